"""Trains every router of a run on its preferences, and the models between the weak and the strong one beside them.

RouterDC and GraphRouter are fitted once, over all models, and take the place of the router of these two.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from demur.config import tier_name
from demur.errors import InputError
from demur.labels.beliefs.tier_beliefs import tier_qualities
from demur.labels.beliefs.unknown import UNKNOWN_FILE, UnknownPrompt, read_unknown, told_by
from demur.labels.label_run import believed_needs, untold_reasons
from demur.labels.preference_files import read_preferences
from demur.labels.prompt_kinds import kinds_of_run
from demur.labels.targets import gain_targets
from demur.methods.estimator import Estimator
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.fit.threads import one_thread
from demur.methods.pools.pair_pools import PoolPair, fit_pairs
from demur.models.images.joined_encoder import embed
from demur.models.prices import ServingCost
from demur.models.requests.cut_answers import cut_answers
from demur.records import FloatArray, IntArray, Method, Preference, count_of
from demur.routing.known.length_ratios import length_ratios
from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter
from demur.routing.tiers import Tiers, gains_of
from demur.routing.train import method_of, train_routers, with_probabilities
from demur.routing.verdict import verdict_of, with_verdict
from demur.runs.provenance import AnswerTokens, answer_lengths, record_of, serving_costs
from demur.runs.run import Run
from demur.sampling.cost import samples_in
from demur.sampling.earlier.answer_lengths import own_limit
from demur.statistics import first_rows


def train_run(run: Run) -> tuple[dict[str, PromptRouter], PromptRouter]:
    """A router per method, and the one to serve, which of several models decides among all of them."""
    config, served = run.config, run.config.router.served
    preferences, unknown = read_preferences(config.preferences), read_unknown(config.folder / UNKNOWN_FILE)
    reasons = untold_reasons(run, preferences)
    fitted = train_routers(
        *(preferences, run.encoder, _methods_of(run), run.mapping),
        record=_router_record(run, preferences, unknown, reasons),
        unknown=unknown,
        on_unknown=config.router.unknown,
        progress=run.progress,
    )
    needs = believed_needs(run, [row.prompt for row in preferences])
    routers = fitted
    told = [not why for why in reasons] or [True] * len(preferences)
    if needs is not None and any(told):
        needs = np.where(told, needs, np.nan)
        routers = {name: with_probabilities(router, needs) for name, router in fitted.items()}
    serving = add_tiers(run, preferences, fitted[served]) if config.between else routers[served]
    lengths = answer_lengths(run)
    return {name: with_lengths(one, lengths) for name, one in routers.items()}, with_lengths(serving, lengths)


def with_lengths(router: PromptRouter, answers: AnswerTokens) -> PromptRouter:
    """The same router, whose record says how long strong answers are beside weak ones, as a gateway's ledger counts."""
    learned, texts = router.learned, training_texts(router)
    scores = np.where(router.unknown_setting.settled_rows(learned.untold), np.inf, learned.scores)
    weak, strong = zip(*(answers.get(text, ((), ())) for text in texts), strict=True)
    return replace(router, record={**router.record, **length_ratios(scores, weak, strong)})


def _methods_of(run: Run) -> dict[str, Any]:
    """The run's methods by name, unfitted: the user's own, or demur's."""
    return {name: run.own.methods.get(name, method_of(name, run.config.router)) for name in run.config.router.methods}


def _router_record(
    run: Run, preferences: Sequence[Preference], unknown: Sequence[UnknownPrompt], reasons: Sequence[str]
) -> dict[str, Any]:
    """What a router keeps of the run that it was trained in; ``reasons``: `untold_reasons`."""
    record = record_of(run, preferences) | {"serving_cost": serving_costs(run)}
    told = {"told": told_by(preferences, unknown, reasons), "unlike": run.config.router.unlike}
    kinds = kinds_of_run(run, preferences, unknown, reasons)
    return record | told | (kinds.as_record() if kinds else {}) | _cut_record(run)


def _cut_record(run: Run) -> dict[str, Any]:
    """Share of each model's answers that a limit of tokens ended, what they would cost at full length is not known; and
    where it was the endpoint's own limit, their tokens: served answers end there, too."""
    train = run.complete(run.train_prompts)
    sides = {"weak": run.samples.weak, "strong": run.samples.strong}
    found = {role: cut_answers(samples_in(side, train)) for role, side in sides.items()}
    longest, pair = run.config.sampling.max_tokens, {"weak": run.pair.weak, "strong": run.pair.strong}
    own = {
        role: cut.tokens if cut.by_endpoint(longest) else own_limit(run.config, pair[role], run.store)
        for role, cut in found.items()
        if cut.share
    }
    return {
        "cut": {role: cut.share for role, cut in found.items()},
        "cut_by_endpoint": {role: tokens for role, tokens in own.items() if tokens},
    }


def add_tiers(run: Run, rows: Sequence[Preference], router: PromptRouter) -> PromptRouter:
    """The router between all models of a run. Raises InputError for labels that compare two models alone, an unknown
    price, and prices that do not rise."""
    known = {prompt.text: prompt for prompt in run.complete(run.train_prompts)}
    lacking = [row.prompt for row in rows if row.prompt not in known]
    if lacking:
        raise InputError(
            f"{count_of(len(lacking), 'labelled prompt has', 'labelled prompts have')} no samples of all models, such "
            f"as {lacking[0][:60]!r}"
        )
    names, models = map(tier_name, run.config.models), [one.model for one in run.pair.all]
    learned, believed = tier_qualities(run, rows, [known[row.prompt] for row in rows])
    return with_tiers(router, tuple(names), models, learned, believed)


def with_tiers(
    router: PromptRouter, names: Sequence[str], models: Sequence[str], learned: FloatArray, qualities: FloatArray
) -> PromptRouter:
    """The same router between all these models by rising cost; its scores become those of `demur.measure.tiers`.

    ``learned``: (n, K) how right each model is on the training prompts, of which the gains over the weak one are
    learned; ``qualities``: (n, K) how right each is believed. What they cost is in the router's record.
    Raises InputError for a method of the user's own, an unknown price, and costs that do not rise.
    """
    if not isinstance(router.method, Estimator):
        raise InputError("several models need one of demur's own methods; serve one of them (router.serve)")
    gains = learned - learned[:, :1]
    for name, column in zip(names[1:-1], gains.T[1:-1], strict=True):
        if np.ptp(column) == 0:
            raise InputError(
                f"{name} gains the same ({column[0]:.3f}) over {names[0]} on all {len(column)} prompts, so there is "
                "nothing to learn of it; leave it out of [[models]], then demur run FILE --again (no sample is lost)"
            )
    texts = [one.prompt for one in router.training]
    X, groups = embed(router.encoder, texts), first_rows(texts)
    methods: Sequence[Method]
    with one_thread():
        if isinstance(router.method, PoolPair):
            methods, values = fit_pairs(router.method, X, learned, groups)
            values = values[groups]
            router = _of_one_router(router, methods[-1], values[:, -1], gains[:, -1], groups)
        else:
            methods, values = _fit_each(router, X, gains, groups)
    roles = ("weak", *names[1:-1], "strong")
    usd = tuple(_mean_usd(router.cost(role), name, texts) for role, name in zip(roles, names, strict=True))
    between = tuple(methods[: len(names) - 2])  # the strong model's is the router's own
    tiers = Tiers(tuple(names), tuple(models), between, usd, qualities, values)
    return replace(router, tiers=tiers, training_scores=tiers.scores(values))


def _fit_each(
    router: PromptRouter, X: FloatArray, gains: FloatArray, groups: IntArray
) -> tuple[Sequence[Method], FloatArray]:
    """A method for each model between, fitted on its gains (n, K) alone; and the (n, K) gains predicted held out, rows
    of one of the ``groups`` (n,) together."""
    methods, held = [], []
    for column in gains.T[1:-1]:
        y, method = gain_targets(column), copy.deepcopy(router.method)
        held.append(held_out_scores(method, X, y, groups=groups)[groups])
        methods.append(method.fit(X, y))
    return methods, gains_of(held, router.training_scores)


def _of_one_router(
    router: PromptRouter, last: Method, values: FloatArray, gains: FloatArray, groups: IntArray
) -> PromptRouter:
    """The router with the strong model's part of one over all models in place of the pair's, and the verdict on it;
    ``values`` and ``gains`` (n,): of the strong model, predicted held out by ``groups`` and as labelled."""
    verdict = verdict_of(0.5 + values / 2, gain_targets(gains), groups)
    return replace(router, method=last, record=with_verdict(router.record, verdict))


def _mean_usd(cost: ServingCost | None, name: str, texts: Sequence[str]) -> float:
    if cost is None:
        raise InputError(
            f"what {name} costs is unknown, and a choice of several models weighs their prices; give it "
            "usd_per_million_input and usd_per_million_output"
        )
    return float(np.mean([cost.usd(text) for text in texts]))
