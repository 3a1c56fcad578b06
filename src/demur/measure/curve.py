"""Cost against quality for every threshold of a router, and the numbers read off the curve: CPT, PGR, APGR.

Pure functions on arrays, one value per prompt. Strong iff score >= threshold. All shares and metrics are fractions.
Ong et al. 2024 (CPT, PGR, APGR); section 4.1.4 of Zhang et al. 2025 (CPT).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from demur.errors import InputError
from demur.records import FloatArray, IntArray
from demur.statistics import RESAMPLES, draw_counts, percentile_interval

Protocol = Literal["full", "routellm"]
USUAL_METRICS = ("apgr", "cpt50", "cpt80")


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One threshold with its cost and quality."""

    threshold: float  # strong iff score >= threshold; inf: never
    strong_share: float
    quality: float  # mean over the prompts
    cost: float | None  # mean USD per prompt; None without costs


@dataclass(frozen=True, eq=False)
class CostQualityCurve:
    """A router's curve from always weak (share 0) to always strong (share 1); arrays by growing strong share."""

    thresholds: FloatArray  # (m,) strong iff score >= threshold; inf: never
    strong_shares: FloatArray  # (m,)
    qualities: FloatArray  # (m,) mean over the prompts
    costs: FloatArray | None  # (m,) mean USD per prompt; None without costs
    weak_quality: float
    strong_quality: float
    _samples: _Samples | None  # what intervals and the oracle come from; None on an oracle

    @property
    def gain(self) -> float:
        """Mean quality that always-strong has over always-weak; where it is <= 0, CPT and APGR are nan."""
        return self.strong_quality - self.weak_quality

    @cached_property
    def gain_interval(self) -> tuple[float, float]:
        """95 % bootstrap interval over prompts of `gain`; the gain itself of an oracle."""
        if self._samples is None:
            return self.gain, self.gain
        low, high = percentile_interval(self._samples.total_gains())
        return float(low), float(high)

    @property
    def has_gap(self) -> bool:
        """Whether always-strong is better than always-weak beyond chance. If not, a part of the gap (CPT, PGR, APGR) is
        a part of noise, and may be any number."""
        return self.gain_interval[0] > 0

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The curve as rows."""
        costs = [None] * len(self.thresholds) if self.costs is None else self.costs.tolist()
        rows = zip(self.thresholds.tolist(), self.strong_shares.tolist(), self.qualities.tolist(), costs, strict=True)
        return tuple(CurvePoint(*row) for row in rows)

    @cached_property
    def oracle(self) -> CostQualityCurve:
        """The oracle's curve: prompts by falling gain, without losses. Its thresholds are gains."""
        if self._samples is None:
            return self
        gains = np.maximum(np.sort(self._samples.gains)[::-1], 0.0)
        shares = np.arange(len(gains) + 1) / len(gains)
        qualities = self.weak_quality + np.concatenate([[0.0], np.cumsum(gains)]) / len(gains)
        thresholds = np.concatenate([[math.inf], gains])
        return CostQualityCurve(thresholds, shares, qualities, None, self.weak_quality, self.strong_quality, None)

    def with_costs(self, costs: FloatArray) -> CostQualityCurve:
        """The same curve with another mean cost at each of its points, USD per prompt, (m,)."""
        return replace(self, costs=costs)

    def cpt(self, recovered: float) -> float:
        """Least strong share that recovers this fraction of the gap between the models; nan when it never does."""
        return float(_cpt(self.strong_shares, self.qualities, self._target(recovered))) if self.gain > 0 else math.nan

    def pgr(self, strong_share: float) -> float:
        """Fraction of the gap recovered at a strong share."""
        if self.gain <= 0:
            return math.nan
        return (float(np.interp(strong_share, self.strong_shares, self.qualities)) - self.weak_quality) / self.gain

    @property
    def apgr(self) -> float:
        """Mean fraction of the gap recovered over all strong shares; random is .5."""
        return (
            _area(self.strong_shares, (self.qualities - self.weak_quality) / self.gain) if self.gain > 0 else math.nan
        )

    def interval(self, metric: str) -> tuple[float, float]:
        """95 % bootstrap interval over prompts of ``apgr`` or ``cptNN`` (such as ``cpt50``); (nan, nan) without a gap.

        Resamples in which always-strong is not better are left out; one that never recovers the share counts as 1.
        """
        low, high = percentile_interval(self.draws(metric))
        return float(low), float(high)

    def draws(self, metric: str) -> FloatArray:
        """(resamples,) the metric of prompts drawn again, which `interval` is of; nan without a gap.

        Curves over as many prompts in one order draw the same ones: a mean or difference of theirs is paired.
        """
        if self._samples is None or self.gain <= 0:
            return np.full(RESAMPLES, math.nan)
        return self._resample(metric, self._samples)

    def apgr_beyond(self, other: CostQualityCurve) -> tuple[float, float, float]:
        """How much higher its APGR is than that of another curve of the same prompts, and the paired 95 % interval."""
        low, high = percentile_interval(self.draws("apgr") - other.draws("apgr"))
        return self.apgr - other.apgr, float(low), float(high)

    def band(self, shares: FloatArray) -> FloatArray:
        """(2, m) pointwise 95 % interval of mean quality at these strong shares, both models' drawn again.

        Raises InputError on an oracle, which has none.
        """
        if self._samples is None:
            raise InputError("an oracle's curve has no band; ask the router's own curve for it")
        return percentile_interval(self._samples.quality_at(shares))

    @cached_property
    def _bootstrap(self) -> dict[str, FloatArray]:
        return {}

    def _resample(self, metric: str, samples: _Samples) -> FloatArray:
        if metric != "apgr" and not (metric.startswith("cpt") and metric[3:].isdigit()):
            raise InputError(f"no interval is called {metric!r}; use apgr, or cpt and a percentage such as cpt50")
        if metric not in self._bootstrap:  # the draws are what takes long: the usual metrics come from the same ones
            names = tuple(dict.fromkeys((*USUAL_METRICS, metric)))
            recovered = [None if name == "apgr" else int(name[3:]) / 100 for name in names]
            self._bootstrap.update(zip(names, samples.resample_metrics(recovered).T, strict=True))
        return self._bootstrap[metric]

    def _target(self, recovered: float) -> float:
        return self.weak_quality + recovered * self.gain


@dataclass(frozen=True, eq=False)
class _Samples:
    """Prompts sorted by falling score, for resampling: O(n) per resample, no sort."""

    scores: FloatArray  # (n,) falling
    weak: FloatArray  # (n,) quality of the weak model
    gains: FloatArray  # (n,) strong - weak quality
    groups: IntArray  # (n,) rows with one number are drawn together

    def resample_metrics(self, recovered: Sequence[float | None]) -> FloatArray:
        """(resamples, metrics) APGR (None) or CPT of each share recovered, of prompts drawn with replacement."""
        return np.array([self._once(counts, recovered) for counts in self._draws()])

    def total_gains(self) -> FloatArray:
        """(resamples,) mean quality that always-strong has over always-weak."""
        return np.array([counts @ self.gains / counts.sum() for counts in self._draws()])

    def quality_at(self, shares: FloatArray) -> FloatArray:
        """(resamples, m) mean quality at strong shares."""
        return np.array(
            [counts @ self.weak / counts.sum() + np.interp(shares, *self._curve(counts)) for counts in self._draws()]
        )

    def _draws(self) -> Iterator[IntArray]:
        """How often each prompt is drawn, one resample at a time."""
        return draw_counts(len(self.groups), groups=self.groups)

    def _once(self, counts: IntArray, recovered: Sequence[float | None]) -> list[float]:
        shares, gained = self._curve(counts)
        if gained[-1] <= 0:
            return [math.nan] * len(recovered)
        return [
            _area(shares, gained / gained[-1])
            if share is None
            else _or_one(self._cpt(shares, gained, share * gained[-1]))
            for share in recovered
        ]

    @cached_property
    def _ends(self) -> IntArray:
        """Index of the last prompt of each block of equal scores."""
        return np.flatnonzero(np.append(np.diff(self.scores) != 0, True))

    def _curve(self, counts: IntArray) -> tuple[FloatArray, FloatArray]:
        """Strong shares and quality gained, of prompts drawn so often."""
        return self._at(counts, np.concatenate([[0], self._ends + 1]))

    def _at(self, counts: IntArray, taken: IntArray) -> tuple[FloatArray, FloatArray]:
        """Strong share and quality gained at positions in the sorted prompts."""
        total, zero = counts.sum(), np.zeros(1)
        return (
            np.concatenate([zero, np.cumsum(counts)])[taken] / total,
            np.concatenate([zero, np.cumsum(counts * self.gains)])[taken] / total,
        )

    def _cpt(self, shares: FloatArray, gained: FloatArray, target: float) -> float:
        return _cpt(shares, gained, target)


class _DecileSamples(_Samples):
    """The same under RouteLLM's protocol: every resample has the eleven thresholds of its own scores."""

    def _curve(self, counts: IntArray) -> tuple[FloatArray, FloatArray]:
        levels = _deciles(np.repeat(self.scores, counts)[::-1])
        return self._at(counts, np.searchsorted(-self.scores, -levels, side="right"))

    def _cpt(self, shares: FloatArray, gained: FloatArray, target: float) -> float:
        return float(np.interp(target, gained, shares))


def _deciles(ascending: FloatArray) -> FloatArray:
    """(11,) RouteLLM's thresholds by falling level: above the largest score, then its nine deciles and the least."""
    places = np.linspace(0, 1, 11)[:10] * (len(ascending) - 1)
    below = places.astype(int)
    above = np.minimum(below + 1, len(ascending) - 1)
    low, high = ascending[below], ascending[above]
    levels = low + (high - low) * (places - below)
    return np.concatenate([[np.nextafter(ascending[-1], np.inf)], levels[::-1]])


def cost_quality_curve(
    scores: ArrayLike,
    weak_quality: ArrayLike,
    strong_quality: ArrayLike,
    *,
    protocol: Protocol = "full",
    weak_cost: ArrayLike | None = None,
    strong_cost: ArrayLike | None = None,
    groups: ArrayLike | None = None,
) -> CostQualityCurve:
    """The curve of a router's ``scores`` over prompts with known quality of both models; arrays (n,).

    ``full``: one point per distinct score; prompts with equal scores move together, and between two points the curve is
    the straight line that choosing at random among them gives. ``routellm``: RouteLLM's own numbers, eleven thresholds
    at deciles of the scores (its known faults included). Costs are USD per prompt. ``groups`` (n,): group numbers from
    0; the rows of a group, such as several drafts of one prompt, are resampled together. Raises InputError for arrays
    of unequal length, none at all, or values that are not finite.
    """
    given = {"scores": scores, "weak_quality": weak_quality, "strong_quality": strong_quality}
    arrays = {name: _finite(values, name) for name, values in given.items()}
    score, weak, strong = arrays.values()
    if not len(score) == len(weak) == len(strong):
        lengths = ", ".join(f"{len(a)} {name}" for name, a in arrays.items())
        raise InputError(f"arrays of unequal length: {lengths}; give one value per prompt")
    if (weak_cost is None) != (strong_cost is None):
        raise InputError(
            f"{'weak_cost' if strong_cost is None else 'strong_cost'} alone is not a cost; give both, or none"
        )
    costs = None
    if weak_cost is not None and strong_cost is not None:
        costs = tuple(_cost(*given, len(score)) for given in ((weak_cost, "weak_cost"), (strong_cost, "strong_cost")))
    if protocol not in ("full", "routellm"):
        raise InputError(f"protocol {protocol!r} is neither full nor routellm")
    by_deciles = protocol == "routellm"
    order = np.argsort(-score, kind="stable")
    levels = _deciles(np.sort(score)) if by_deciles else np.concatenate([[math.inf], np.unique(score)[::-1]])
    taken = np.searchsorted(-score[order], -levels, side="right")  # prompts with score >= threshold

    def mean_at(low: FloatArray, high: FloatArray) -> FloatArray:
        gained = np.concatenate([[0.0], np.cumsum((high - low)[order])])[taken]
        return np.asarray((low.sum() + gained) / len(score))

    group = np.arange(len(score)) if groups is None else np.asarray(groups)
    if group.shape != score.shape:
        raise InputError(f"groups of shape {group.shape} for {len(score)} scores; give one number per prompt")
    kind, resampling = (_RouteLLMCurve, _DecileSamples) if by_deciles else (CostQualityCurve, _Samples)
    return kind(
        thresholds=levels,
        strong_shares=taken / len(score),
        qualities=mean_at(weak, strong),
        costs=None if costs is None else mean_at(*costs),
        weak_quality=float(weak.mean()),
        strong_quality=float(strong.mean()),
        _samples=resampling(score[order], weak[order], (strong - weak)[order], group[order]),
    )


class _RouteLLMCurve(CostQualityCurve):
    """CPT and APGR as RouteLLM computes them: np.interp over accuracy, whether or not the curve is monotone."""

    def cpt(self, recovered: float) -> float:
        return (
            float(np.interp(self._target(recovered), self.qualities, self.strong_shares)) if self.gain > 0 else math.nan
        )


def _cpt(shares: FloatArray, qualities: FloatArray, target: float) -> float:
    """Least share at which the piecewise straight curve reaches the target; nan when it never does."""
    tolerance = 1e-12 * max(1.0, abs(target))
    reached = np.flatnonzero(qualities >= target - tolerance)
    if not len(reached):
        return math.nan
    at = int(reached[0])
    if at == 0:
        return float(shares[at])
    part = (target - qualities[at - 1]) / (qualities[at] - qualities[at - 1])
    return float(shares[at - 1] + min(1.0, max(0.0, part)) * (shares[at] - shares[at - 1]))


def _or_one(share: float) -> float:
    return 1.0 if math.isnan(share) else share


def _area(shares: FloatArray, values: FloatArray) -> float:
    return float(np.sum(np.diff(shares) * (values[1:] + values[:-1]) / 2))


def _cost(values: ArrayLike, name: str, n: int) -> FloatArray:
    """(n,) USD per prompt; one number stands for all."""
    array = _finite(np.full(n, values) if np.ndim(values) == 0 else values, name)
    if len(array) != n:
        raise InputError(f"{len(array)} values of {name} for {n} prompts; give one per prompt, or one for all")
    return array


def _finite(values: ArrayLike, name: str) -> FloatArray:
    try:
        array = np.asarray(values, dtype=float)
    except (TypeError, ValueError):
        raise InputError(
            f"{name}: not an array of numbers, found {type(values).__name__}; give one per prompt"
        ) from None
    if array.ndim != 1:
        raise InputError(f"{name}: shape {array.shape}; give one value per prompt, (n,)")
    if array.size == 0:
        raise InputError(f"{name}: no values; give one per prompt")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: {int((~np.isfinite(array)).sum())} of {array.size} values are not finite numbers")
    return array
