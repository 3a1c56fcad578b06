"""A router of more than two models on some prompts: what it chooses, what that costs, and how good it is.

Of prompts without grades quality is believed: the mean belief in a model over the training prompts for which the
router, held out, chooses it at the same threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.errors import InputError
from demur.measure.ladder import ladder
from demur.measure.threshold import Calibration
from demur.measure.tiers import take_chosen, threshold_keeping, threshold_within
from demur.models.prices import Like
from demur.records import BoolArray, FloatArray, IntArray, dollars
from demur.routing.prompt_router import PromptRouter
from demur.routing.tiers import Tiers
from demur.statistics import first_rows, mean_interval

PARTS = (0.1, 0.2, 0.5)  # of what the dearest model alone costs: budgets that a report shows


@dataclass(frozen=True, slots=True)
class TierUse:
    """One way to use the models of a router on some prompts."""

    about: str
    shares: tuple[float, ...]  # of the prompts, by model
    quality: tuple[float, float, float] | None  # with its 95 % interval over prompts; None: not known
    usd: float  # per 1,000 prompts


@dataclass(frozen=True, slots=True)
class TiersMeasured:
    """A router of several models on some prompts: its models alone, at its threshold, and within budgets."""

    names: tuple[str, ...]  # by rising cost
    prompts: int
    on: str
    believed: bool
    uses: tuple[TierUse, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        width = max(len(one.about) for one in self.uses)
        kind = "believed quality" if self.believed else "quality"
        rows = [f"  {one.about:<{width}}  {_quality(one)}  {dollars(one.usd)}  {_shares(one)}" for one in self.uses]
        head = f"{len(self.names)} models ({' < '.join(self.names)}) on {self.prompts:,} {self.on}: {kind} [95 %], USD "
        return (f"{head}per 1,000, share of calls to each", *rows)


def _quality(use: TierUse) -> str:
    return "not known" if use.quality is None else "{:.3f} [{:.3f}, {:.3f}]".format(*use.quality)


def _shares(use: TierUse) -> str:
    return " / ".join(f"{share:.0%}" for share in use.shares)


def tiers_of(router: PromptRouter) -> Tiers:
    """The tiers of a router that has some."""
    assert router.tiers is not None, "a router of a pair has no tiers"
    return router.tiers


def tier_usd(router: PromptRouter, texts: Sequence[str], like: Like = ()) -> FloatArray:
    """(n, K) expected USD of one answer of each model; ``like``: `Looked.like`."""
    costs = [router.cost(role) for role in tiers_of(router).roles]
    assert all(costs), "with_tiers refuses a model of unknown price"
    return np.column_stack([cost.usd_of_each(texts, like) for cost in costs if cost])


def tier_choices(
    router: PromptRouter, values: FloatArray, threshold: float, settled: BoolArray | None = None
) -> IntArray:
    """(n,) the model of each prompt; ``settled``: those that the setting for unknown prompts decides."""
    tiers = tiers_of(router)
    found = tiers.choices(values, threshold)
    if settled is not None:
        found = np.where(settled, tiers.roles.index(router.unknown_setting.role), found)
    return np.asarray(found)


def believed_mean(tiers: Tiers, at: IntArray, threshold: float) -> float:
    """Mean believed quality of new prompts whose models are ``at``, (n,)."""
    learned = tiers.choices(tiers.training_values, threshold)
    means = tiers.qualities.mean(axis=0)
    for m in range(len(tiers.names)):
        rows = learned == m
        means[m] = tiers.qualities[rows, m].mean() if rows.any() else means[m]
    return float(means[at].mean())


def calibrate_tiers(
    router: PromptRouter,
    texts: Sequence[str],
    values: FloatArray,
    settled: BoolArray,
    *,
    like: Like = (),
    usd_per_1k: float | None = None,
    keep_quality: float | None = None,
) -> Calibration:
    """The threshold of a budget, or of a part of the dearest model's believed quality, on new prompts.

    ``values``: (n, K) of all of them; ``settled``: those that go by the router's setting; ``like``: `Looked.like`.
    Raises InputError.
    """
    tiers, told = tiers_of(router), values[~settled]
    if not len(told):
        raise InputError(f"none of {len(values)} prompts can be scored, so no threshold decides; give other prompts")
    steps = tiers.steps(told)
    if usd_per_1k is not None:
        usd = tier_usd(router, texts, like)

        def usd_at(threshold: float) -> float:
            return float(take_chosen(usd, tier_choices(router, values, threshold, settled)).mean())

        return threshold_within(steps, usd_at, usd_per_1k, "your prompts")
    assert keep_quality is not None, "one of the two is asked"
    return threshold_keeping(
        steps, lambda t: believed_mean(tiers, tiers.choices(told, t), t), keep_quality, "your prompts"
    )


def measure_tiers(
    router: PromptRouter,
    values: FloatArray,
    quality: FloatArray,
    usd: FloatArray,
    settled: BoolArray | None = None,
    *,
    texts: Sequence[str],
    on: str,
    believed: bool,
) -> TiersMeasured:
    """On prompts, ``texts``, whose gains were predicted as ``values``; all (n, K), ``usd`` of one answer."""
    tiers, groups = tiers_of(router), first_rows(texts)
    count = len(tiers.names)
    uses = [_use(f"{name} alone", np.full(len(values), m), quality, usd, groups) for m, name in enumerate(tiers.names)]
    at = tier_choices(router, values, router.threshold, settled)
    uses.append(_use(f"at threshold {router.threshold:.4f}", at, quality, usd, groups))
    for part in PARTS:
        budget = part * float(usd[:, -1].mean())
        if budget < usd[:, 0].mean():
            continue
        for models in (tuple(range(count)), (0, count - 1)):
            found = ladder(values, quality, usd, budget, models, groups)
            shares = [0.0] * count
            for m, share in zip(found.models, found.shares, strict=True):
                shares[m] = share
            who = "all" if len(models) == count else f"{tiers.names[0]} and {tiers.names[-1]}"
            uses.append(
                TierUse(
                    f"{who} within {part:.0%} of {tiers.names[-1]}'s cost",
                    tuple(shares),
                    (found.quality, found.low, found.high),
                    1000 * found.usd,
                )
            )
    return TiersMeasured(tiers.names, len(values), on, believed, tuple(uses))


def _use(about: str, at: IntArray, quality: FloatArray, usd: FloatArray, groups: IntArray) -> TierUse:
    each = take_chosen(quality, at)
    shares = tuple(float(np.mean(at == m)) for m in range(quality.shape[1]))
    return TierUse(about, shares, mean_interval(each, groups), 1000 * float(take_chosen(usd, at).mean()))
