"""Kernel ridge regression on the embedding (a Gaussian process's mean): smooth like a linear router, local like kNN.

Of all methods here it learns soft targets best on NQ-Open and on the local pair (benchmarks/routing_quality.py), on
which ``gamma`` and ``alpha`` were set by hand. Up to ``centres`` training prompts it is exact; of more, evenly spaced
ones are its centres (subset of regressors; Rasmussen and Williams 2006, section 8.3.1), so that a decision stays one
small matrix-vector product.
"""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import Estimator, centre_and_scale, sigmoid
from demur.records import FloatArray

STEEPNESS = 4.0  # sigmoid(4 (f - 1/2)) is f near 1/2, and stays inside (0, 1) without making ties of the extremes
JITTER = 1e-6


class KernelRidge(Estimator):
    """Score = squashed sum_i a_i exp(-gamma |x - x_i|^2), on rows scaled to mean square length 1 around their mean.

    ``gamma``: inverse squared width. ``alpha``: ridge penalty. ``centres``: most prompts that carry a weight.
    """

    def __init__(self, gamma: float = 1.5, alpha: float = 6.0, centres: int = 4096) -> None:
        self.gamma = gamma
        self.alpha = alpha
        self.centres = centres

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        self.mean_, self.scale_ = centre_and_scale(X, weight)
        rows = (X - self.mean_) / self.scale_
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), self.centres)).astype(int))
        self.centres_ = rows[kept]
        self.offset_ = np.array([np.average(y, weights=weight)], dtype=X.dtype)
        to_centres = self._kernel(rows).astype(float)  # (n, m)
        if len(kept) == len(rows):  # exact: one n x n system, without its normal equations
            system = to_centres + np.diag(self.alpha / weight + JITTER)
            self.coefficients_ = np.linalg.solve(system, y - self.offset_).astype(X.dtype)
            return
        weighted = to_centres.T * weight
        system = weighted @ to_centres + self.alpha * (to_centres[kept] + JITTER * np.eye(len(kept)))
        solved = np.linalg.solve(system + JITTER * np.eye(len(kept)), weighted @ (y - self.offset_))
        self.coefficients_ = solved.astype(X.dtype)

    def _strong(self, X: FloatArray) -> FloatArray:
        fitted = self._kernel((X - self.mean_) / self.scale_) @ self.coefficients_ + self.offset_
        return sigmoid(STEEPNESS * (fitted - 0.5))

    def _kernel(self, rows: FloatArray) -> FloatArray:
        """(n, m) similarity of rows to the centres."""
        squares = (rows**2).sum(axis=1)[:, None] + (self.centres_**2).sum(axis=1) - 2 * rows @ self.centres_.T
        return np.asarray(np.exp(-self.gamma * np.maximum(squares, 0.0)))
