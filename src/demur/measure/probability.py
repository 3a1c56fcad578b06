"""From a method's score to a probability that means the same on every router: P(strong right and weak wrong).

The methods learn targets of different scales, so their scores lie in narrow and different ranges. A logistic curve
(Platt 1999) from held-out scores to what both models' samples let one believe puts them on one scale, without labels.
It rises strictly, so the order of prompts stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from demur.records import FloatArray, IntArray
from demur.statistics import group_numbers

LEAST_SLOPE = 1e-3  # per standard deviation of the scores: one that does not rise would lose their order
STEPS, SMALL = 100, 1e-10
WIDTH = 1.959964  # standard deviations on each side of a 95 % interval


@dataclass(frozen=True, slots=True)
class ProbabilityCurve:
    """P = 1 / (1 + exp(-(offset + slope z))), z = (score - middle) / spread."""

    middle: float
    spread: float
    offset: float
    slope: float  # > 0
    covariance: tuple[float, float, float]  # of offset and slope: variance, covariance, variance
    n: int  # prompts that it was fitted on

    def __call__(self, scores: FloatArray) -> FloatArray:
        """(n,) probabilities of a method's scores (n,)."""
        return np.asarray(_sigmoid(self.offset + self.slope * (scores - self.middle) / self.spread))

    def scores_of(self, probabilities: FloatArray) -> FloatArray:
        """(n,) the method's own scores again."""
        logit = np.log(probabilities / (1 - probabilities))
        return np.asarray(self.middle + self.spread * (logit - self.offset) / self.slope)

    def interval(self, probability: float) -> tuple[float, float]:
        """95 % interval of a probability that the curve gives: how far other training prompts would have moved it."""
        logit = float(np.log(probability / (1 - probability)))
        z = (logit - self.offset) / self.slope
        own, across, steep = self.covariance
        half = WIDTH * float(np.sqrt(max(0.0, own + 2 * across * z + steep * z * z)))
        return float(_sigmoid(logit - half)), float(_sigmoid(logit + half))


def _sigmoid(values: FloatArray | float) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(values, dtype=float))))


def fit_curve(scores: FloatArray, believed: FloatArray, groups: IntArray | None = None) -> ProbabilityCurve:
    """The curve from held-out scores (n,) to believed probabilities (n,) in [0, 1], by maximum likelihood.

    The covariance is the sandwich estimate, as the targets are means of samples and not outcomes; rows of one of the
    ``groups`` (n,) are not independent. One success and one
    failure are added at the middle, so that a pair of models that never differ has a finite curve.
    """
    middle, spread = float(scores.mean()), float(scores.std()) or 1.0
    X = np.column_stack([np.ones(len(scores) + 2), np.append((scores - middle) / spread, [0.0, 0.0])])
    y = np.append(believed, [0.0, 1.0])
    found = np.zeros(2)
    for _ in range(STEPS):
        p = _sigmoid(X @ found)
        bread = (X * (p * (1 - p))[:, None]).T @ X + 1e-6 * np.eye(2)
        step = np.linalg.solve(bread, X.T @ (y - p))
        found = found + step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < SMALL:
            break
    p = _sigmoid(X @ found)
    bread = np.linalg.inv((X * (p * (1 - p))[:, None]).T @ X + 1e-6 * np.eye(2))
    number = group_numbers(len(scores), groups)
    count = int(number.max()) + 1
    residues = np.zeros((count + 2, 2))
    np.add.at(residues, np.append(number, [count, count + 1]), X * (y - p)[:, None])
    covariance = bread @ (residues.T @ residues) @ bread
    parts = (float(covariance[0, 0]), float(covariance[0, 1]), float(covariance[1, 1]))
    return ProbabilityCurve(middle, spread, float(found[0]), max(LEAST_SLOPE, float(found[1])), parts, len(scores))


def saved_curve(kept: Mapping[str, Any] | None) -> ProbabilityCurve | None:
    """The curve of a saved router; None of one saved before demur had them. Raises ValueError."""
    if kept is None:
        return None
    found = ProbabilityCurve(**{**kept, "covariance": tuple(kept["covariance"])})
    numbers = (found.middle, found.spread, found.offset, found.slope, *found.covariance)
    if not np.isfinite(numbers).all() or found.slope <= 0 or found.spread <= 0:
        raise ValueError(f"its probability curve does not rise: {numbers}")
    return found
