"""A pool router's scores in units of quality: comparable with a price.

A router learns who is better on a prompt, in a scale of its own, and small sets teach it noise. Held-out prompts show
how much of its differences is real: the scores of a prompt, around their mean, are shrunk by the slope of quality on
them, and put on top of each model's own mean quality. If the scores tell nothing about quality, the slope is zero and
the best single model is always chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.methods.pools.pool import PoolRouter
from demur.records import FloatArray, IntArray

HELD_OUT = 0.2  # of the prompts, for the slope


@dataclass(frozen=True, slots=True)
class QualityEstimate:
    """A fitted router with the slope that its scores earned."""

    router: PoolRouter
    means: FloatArray  # (M,) quality of each model
    slope: float  # quality per unit of score; 0 = nothing was learned from the prompts

    def __call__(self, X: FloatArray, task: IntArray | None = None) -> FloatArray:
        """(n, M) quality expected of every model; ``task`` (n,) where the router was fitted with tasks."""
        return np.asarray(self.means + self.slope * _told_apart(self.router.scores(X, task)))


def estimate_quality(
    router: PoolRouter, X: FloatArray, quality: FloatArray, *, task: IntArray | None = None, seed: int = 0
) -> QualityEstimate:
    """Fit on most prompts, the slope on the others; quality (n, M), NaN where unknown. Raises as `PoolRouter.fit`."""
    order = np.random.default_rng(seed).permutation(len(X))
    cut = int(HELD_OUT * len(X))
    held, rest = order[:cut], np.sort(order[cut:])
    of_held, of_rest = (None, None) if task is None else (task[held], task[rest])
    router.fit(X[rest], quality[rest], of_rest)
    slope = slope_of(router.scores(X[held], of_held), quality[held])
    return QualityEstimate(router, np.nanmean(quality, axis=0), slope)


def slope_of(scores: FloatArray, quality: FloatArray) -> float:
    """Least squares slope of quality on score, a model's and a prompt's mean removed, less one standard error; >= 0."""
    asked = ~np.isnan(quality)
    x = np.where(asked, _told_apart(scores), 0.0)
    y = np.where(asked, _told_apart(np.where(asked, quality, np.nanmean(quality, axis=0))), 0.0)
    squares = float((x * x).sum())
    if squares == 0:
        return 0.0
    slope = float((x * y).sum()) / squares
    # prompts are independent, the models' answers to one prompt are not
    error = float(np.sqrt((((y - slope * x) * x).sum(axis=1) ** 2).sum())) / squares
    return max(0.0, slope - error)


def _told_apart(values: FloatArray) -> FloatArray:
    """What is neither the model's nor the prompt's own level."""
    inner = values - values.mean(axis=1, keepdims=True)
    return np.asarray(inner - inner.mean(axis=0))
