"""Cost against quality of a pool: the frontier that a router's scores reach, the best single model, the oracle, AIQ.

A model is chosen by score - price x cost, for every price (Hu et al. 2024, RouterBench, section 3). Pure functions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.errors import InputError
from demur.records import FloatArray, IntArray
from demur.statistics import draw_counts, percentile_interval

PRICES = 200


@dataclass(frozen=True, slots=True)
class Frontier:
    """Mean cost and mean quality, (points,) each, by growing cost; quality never falls (the non-decreasing hull)."""

    costs: FloatArray
    qualities: FloatArray
    low: float  # the cheapest and the dearest single model: what AIQ is averaged over
    high: float

    @property
    def aiq(self) -> float:
        """Average improvement in quality: the hull's mean height between the cheapest and the dearest model."""
        grid = np.linspace(self.low, self.high, 512)
        heights = np.interp(grid, self.costs, self.qualities)
        return float(np.mean((heights[1:] + heights[:-1]) / 2))


def frontier(scores: FloatArray, quality: FloatArray, cost: FloatArray) -> Frontier:
    """The hull of every price's choice; arrays (n, M), ``cost`` in any unit. Raises InputError."""
    score, value, price = _check(scores, quality, cost)
    chosen = choices(score, price)
    points = list(zip(earn(chosen, price).mean(axis=1), earn(chosen, value).mean(axis=1), strict=True))
    typical = price.mean(axis=0)
    return hull([(float(x), float(y)) for x, y in points], typical.min(), typical.max())


def _check(scores: FloatArray, quality: FloatArray, cost: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    score, value, price = (np.asarray(a, dtype=float) for a in (scores, quality, cost))
    if not score.shape == value.shape == price.shape or score.ndim != 2:
        raise InputError(f"scores {score.shape}, quality {value.shape}, cost {price.shape}: give (n, M) of each")
    if not all(np.isfinite(a).all() for a in (score, value, price)):
        raise InputError("a score, quality or cost is missing (NaN); leave out prompts that lack a model")
    return score, value, price


def choices(score: FloatArray, price: FloatArray) -> IntArray:
    """(prices, n) the model that every price of a USD chooses, rising from 0; the last is the cheapest model alone."""
    typical = price.mean(axis=0)  # known before the answer is
    spread = (np.ptp(score) or 1.0) / max(1e-12, np.ptp(typical))
    rates = np.concatenate([[0.0], spread * np.logspace(-4, 2, PRICES)])
    chosen = [np.argmax(score - rate * typical, axis=1) for rate in rates]
    return np.stack([*chosen, np.full(len(score), np.argmin(typical))])


def earn(chosen: IntArray, values: FloatArray) -> FloatArray:
    """(prices, n) each choice's own value."""
    return np.asarray(np.take_along_axis(values, chosen.T, axis=1).T)


def hull(points: list[tuple[float, float]], low: float, high: float) -> Frontier:
    """Upper concave, non-decreasing hull of (cost, quality): choosing at random between two points gives their line."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if kept and y <= max(q for _, q in kept):
            continue
        while len(kept) >= 2 and _below(kept[-2], kept[-1], (x, y)):
            kept.pop()
        if kept and kept[-1][0] == x:
            kept.pop()
        kept.append((x, y))
    return Frontier(np.array([x for x, _ in kept]), np.array([y for _, y in kept]), float(low), float(high))


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[1] - a[1]) * (c[0] - a[0]) <= (c[1] - a[1]) * (b[0] - a[0])


def oracle_frontier(quality: FloatArray, cost: FloatArray) -> Frontier:
    """The frontier of a router that knows every model's quality."""
    return frontier(quality, quality, cost)


@dataclass(frozen=True, slots=True)
class FrontierIntervals:
    """95 % bootstrap intervals over prompts; the choices at each price are those on all prompts."""

    aiq: tuple[float, float]
    best: tuple[float, float]  # of the quality at the hull's upper end


def frontier_intervals(scores: FloatArray, quality: FloatArray, cost: FloatArray) -> FrontierIntervals:
    """Intervals of what `frontier` finds; arrays (n, M). Raises InputError."""
    score, value, price = _check(scores, quality, cost)
    weights = np.array(list(draw_counts(len(score)))) / len(score)  # (resamples, n)
    chosen = choices(score, price)
    costs, qualities = weights @ earn(chosen, price).T, weights @ earn(chosen, value).T
    singles = weights @ price
    found = [
        (hull(list(zip(x.tolist(), y.tolist(), strict=True)), ends.min(), ends.max()).aiq, y.max())
        for x, y, ends in zip(costs, qualities, singles, strict=True)
    ]
    (low, least), (high, most) = percentile_interval(found).tolist()
    return FrontierIntervals((low, high), (least, most))
