"""A further model for a router of GraphRouter, from a few labelled prompts of it: nothing is fitted again.

The few prompts are a run of their own, between the weak model and the new one, sampled and labelled as any run. The new
model becomes a tier between the weak and the strong one (`demur.routing.tiers`), so it is served as those of
``[[models]]`` are. Whether it is worth its price is measured on the same prompts, each of them held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from demur.config import load_run, tier_name
from demur.config.tiers import RESERVED
from demur.errors import InputError
from demur.files import check_output_folder
from demur.gate.router import Router
from demur.labels.beliefs.tier_beliefs import AGREEING, GRADED_KINDS
from demur.labels.preference_files import read_preferences
from demur.measure.tiers import choose_models, take_chosen
from demur.methods.pools.pair_pools import PairGraphRouter
from demur.models.images.joined_encoder import embed
from demur.models.prices import ServingCost
from demur.records import BoolArray, Encoder, FloatArray, IntArray, Preference, dollars
from demur.routing.artifact import DESCRIPTION
from demur.routing.prompt_router import PromptRouter
from demur.routing.tiers import Tiers, gains_of
from demur.runs.provenance import serving_costs
from demur.runs.run import Own, open_run
from demur.statistics import first_rows, folds, held_out, interval

FEWEST = 10  # labelled prompts of the new model


@dataclass(frozen=True, slots=True)
class JoinedModel:
    """What came of a model that joined."""

    folder: str  # of the router with it
    model: str
    prompts: int  # labelled, that it is known by
    names: tuple[str, ...]  # all models, by rising cost
    share: float  # of those prompts that go to the new model, each by what the others show of it
    worth: tuple[float, float, float]  # gain less price over the router without it, per prompt, 95 % interval behind

    @property
    def lines(self) -> tuple[str, ...]:
        """Where the router is, and whether the new model is worth its price."""
        return (
            f"saved {self.folder}: {', '.join(self.names)} by rising price; {self.model} is known by {self.prompts} "
            "labelled prompts, and nothing was fitted again",
            self.verdict,
        )

    @property
    def verdict(self) -> str:
        """Whether the new model is worth its price, as one line."""
        (mean, low, high), told = self.worth, "" if self.worth[1] > 0 else "NOT shown to be "
        return (
            f"{self.model} is {told}worth its price: {self.share:.0%} of those prompts "
            f"would go to it, each held out, for a gain less price of {100 * mean:+.1f} [{100 * low:+.1f}, "
            f"{100 * high:+.1f}] per 100 prompts"
        )


def join_model(
    new: str,
    *,
    router: str = "run/router",
    to: str = "run/joined",
    anyway: bool = False,
    force: bool = False,
    encoder: Encoder | None = None,
    allow_endpoints: Sequence[str] = (),
) -> JoinedModel:
    """Save a router of GraphRouter's with a further model, the strong one of the run ``new``.

    ``new``: folder of a labelled run of the router's weak model and the new one, on a few of the router's training
    prompts (with gold answers ``demur label --from accuracy --kind soft`` makes them graded ones). ``router`` was
    trained with methods graphrouter and hidden above 0; the one in ``to`` has no threshold yet. ``encoder`` and
    ``allow_endpoints``: as `demur.Router.load` takes them. Raises InputError, also where the model is not shown to be
    worth its price, unless it is to join ``anyway``, and ArtifactError.
    """
    check_output_folder(Path(to))
    if (Path(to) / DESCRIPTION).exists() and not force:
        raise InputError(f"{to} holds a router; name another folder with --to, or --force to replace it")
    loaded = Router.load(router, encoder=encoder, allow_endpoints=allow_endpoints)
    first, method = loaded.prompt_router, loaded.prompt_router.method
    if not isinstance(method, PairGraphRouter):
        raise InputError(
            f"{router}: its method is {type(method).__name__}, and models join GraphRouter alone: demur train "
            "--methods graphrouter --hidden 0.5"
        )
    if method.of_several:
        raise InputError(
            f"{router}: it is one router over all of [[models]], and a model joins a pair's alone; name the new one in "
            "[[models]], sample and train again (what was sampled is kept)"
        )
    with open_run(load_run(new), Own(encoder=encoder), allow_endpoints=allow_endpoints) as run:
        rows = _shared_rows(read_preferences(run.config.preferences), first, new)
        name, cost = tier_name(run.config.strong), serving_costs(run)["strong"]
    if not isinstance(cost, dict):
        raise InputError(f"{new}: the price of {name} is unknown, and a choice of several models weighs their prices")
    before = first.tiers or _two_tiers(loaded)
    usd = float(np.mean([ServingCost(**cost).usd(one.prompt) for one in first.training]))
    at = _place(before, name, usd)
    X, learned = embed(first.encoder, [one.prompt for one in first.training]), [one.prompt for one in first.training]
    few = np.array([learned.index(row.prompt) for row in rows])
    y, target = np.array([first.training[i].target for i in few]), np.array([row.target for row in rows])
    grown, gains = gains_of_new_model(method, X, few, y, target, first_rows(learned))
    after = _with_tier(before, at, (name, rows[0].model_b), grown, usd, gains)
    share, worth = worth_of(before, after, at, few, target, _own_threshold(first))
    found = JoinedModel(to, name, len(rows), after.names, share, worth)
    if worth[1] <= 0 and not anyway:
        raise InputError(
            f"{found.verdict}; add it to [[models]] of a run file and sample it on every prompt, or say --anyway"
        )
    record = dict(first.record)
    models = dict(record["models"])
    models["between"] = [*models.get("between", ()), asdict(replace(run.config.strong, name=name))]
    record |= {"models": models, "serving_cost": record["serving_cost"] | {name: cost}}
    made = replace(
        first,
        tiers=after,
        training_scores=after.scores(after.training_values),
        curve=None,  # probabilities are of two models
        calibration=None,
        record=record | {"joined": {"model": name, "prompts": len(rows), "labels": rows[0].kind}},
    )
    Router(made, about="no gate: a model has joined", beliefs=loaded.beliefs).save(to)
    return found


def _shared_rows(rows: Sequence[Preference], router: PromptRouter, new: str) -> list[Preference]:
    """The rows of the router's training prompts, on which the weak model's quality is known. Raises InputError."""
    if rows[0].model_a != router.weak:
        raise InputError(
            f"{new}: its weak model is {rows[0].model_a}, and the router's is {router.weak}; sample {router.weak} "
            "beside the new model"
        )
    kinds = (str(router.record.get("labels", {}).get("rows")), rows[0].kind)
    if not {*kinds} <= {*AGREEING, *GRADED_KINDS}:
        raise InputError(
            f"{new}: its labels are {kinds[1]}, the router's {kinds[0]}; a model that joins needs gains in both: label "
            "with --kind believed, --from agreement or --from accuracy"
        )
    learned = {one.prompt for one in router.training}
    shared = [row for row in rows if row.prompt in learned]
    if len(shared) < FEWEST:
        raise InputError(
            f"{new}: {len(shared)} of its {len(rows)} labelled prompts are training prompts of the router, which a new "
            f"model is known by; at least {FEWEST} are needed"
        )
    return shared


def _place(tiers: Tiers, name: str, usd: float) -> int:
    """Where a model of that price stands. Raises InputError where it is not between the others, or called as one."""
    if name in (*tiers.names, *RESERVED):
        raise InputError(f"a model of the router is called {name!r} already; give the new one a name (name = ...)")
    if not tiers.usd[0] < usd < tiers.usd[-1]:
        raise InputError(
            f"{name} at {dollars(1000 * usd)} per 1,000 answers is not between {tiers.names[0]} at "
            f"{dollars(1000 * tiers.usd[0])} and {tiers.names[-1]} at {dollars(1000 * tiers.usd[-1])}; the "
            "cheapest and the dearest model need labels of their own: demur sample"
        )
    return int(np.searchsorted(tiers.usd, usd))


def _two_tiers(loaded: Router) -> Tiers:
    """A pair as tiers: the method's own scores, and what the strong model believes of both. Raises InputError."""
    router = loaded.prompt_router
    usd = router.expected_usd([one.prompt for one in router.training])
    if usd is None or loaded.beliefs is None:
        lacking = "a price of its models" if usd is None else "what the strong model believes (the gate was off)"
        raise InputError(f"the router does not know {lacking}, which a choice of several models needs; train again")
    own = router.curve.scores_of(router.training_scores) if router.curve else router.training_scores
    names, means = (router.weak, router.strong), (float(usd[0].mean()), float(usd[1].mean()))
    return Tiers(names, names, (), means, loaded.beliefs.T, gains_of([], own))


def _with_tier(
    tiers: Tiers, at: int, names: tuple[str, str], method: PairGraphRouter, usd: float, gains: FloatArray
) -> Tiers:
    """The tiers and one more; ``names``: its own and its model's, ``gains`` (n,) over the weak one, predicted."""
    believed = np.clip(tiers.qualities[:, 0] + gains, 0.0, 1.0)  # nobody has sampled it on most of these prompts
    return Tiers(
        (*tiers.names[:at], names[0], *tiers.names[at:]),
        (*tiers.models[:at], names[1], *tiers.models[at:]),
        (*tiers.methods[: at - 1], method, *tiers.methods[at - 1 :]),
        (*tiers.usd[:at], usd, *tiers.usd[at:]),
        np.insert(tiers.qualities, at, believed, axis=1),
        np.insert(tiers.training_values, at, gains, axis=1),
    )


def _own_threshold(router: PromptRouter) -> float:
    """The router's threshold on the scale of its method."""
    return float(router.curve.scores_of(np.array(router.threshold))) if router.curve else router.threshold


def gains_of_new_model(
    method: PairGraphRouter,
    X: FloatArray,
    few: IntArray,
    y: FloatArray,
    target: FloatArray,
    first: IntArray | None = None,
) -> tuple[PairGraphRouter, FloatArray]:
    """The router of the weak and the new model, and the gain (n,) that it predicts on prompts with embeddings X (n, d).

    ``few`` (m,): which of them it is known by, with the targets ``y`` and ``target`` of `PairGraphRouter.of_new_model`;
    each of these is predicted from the other folds, rows of one prompt together. ``first`` (n,): the first row of each
    row's prompt, of which the few are.
    """

    def predict(train: BoolArray, held: BoolArray) -> FloatArray:
        made = method.of_new_model(X[few][train], y[train], target[train])
        return np.asarray(2 * made.predict_proba(X[few][held])[:, 1] - 1)

    grown = method.of_new_model(X[few], y, target)
    gains = 2 * grown.predict_proba(X)[:, 1] - 1
    gains[few] = held_out(folds(len(few), groups=first_rows(few.tolist())), predict)
    return grown, np.asarray(gains if first is None else gains[first])


def worth_of(
    before: Tiers, after: Tiers, at: int, few: IntArray, target: FloatArray, threshold: float
) -> tuple[float, tuple[float, float, float]]:
    """The new model's share of the few prompts, and the gain less price that choosing among all models adds."""
    known = before.qualities[few] - before.qualities[few, :1]
    truth = np.insert(known, at, 2 * target - 1, axis=1)
    price, net = 2 * threshold - 1, []
    for tiers, gains in ((before, known), (after, truth)):
        chosen = choose_models(tiers.steps(tiers.training_values[few]), threshold)
        net.append(take_chosen(gains, chosen) - price * take_chosen(tiers.costs, chosen))
    more = net[1] - net[0]
    return float(np.mean(chosen == at)), (float(more.mean()), *interval(more))
