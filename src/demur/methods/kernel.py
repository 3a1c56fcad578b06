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
ROWS_AT_ONCE = 2048  # of the training prompts, where there are more of them than centres


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
        kept = np.unique(np.linspace(0, len(X) - 1, min(len(X), self.centres)).astype(int))
        self.centres_ = (X[kept] - self.mean_) / self.scale_
        self.offset_ = np.array([np.average(y, weights=weight)], dtype=X.dtype)
        if len(kept) == len(X):  # exact: one n x n system, without its normal equations
            system = self._kernel(self.centres_).astype(float) + np.diag(self.alpha / weight + JITTER)
            self.coefficients_ = np.linalg.solve(system, y - self.offset_).astype(X.dtype)
            return
        system, right = self._normal_equations(X, y - self.offset_, weight)
        system += self.alpha * self._kernel(self.centres_)
        system[np.diag_indices_from(system)] += JITTER * (1 + self.alpha)
        self.coefficients_ = np.linalg.solve(system, right).astype(X.dtype)

    def _normal_equations(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """K' W K, (m, m), and K' W y, (m,), of all rows' kernel K (n, m): a part of the rows at a time.

        A part's products are of the rows' own precision, a matrix by itself transposed, and added up in float64.
        """
        m = len(self.centres_)
        system, right = np.zeros((m, m)), np.zeros(m)
        for start in range(0, len(X), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            root = np.sqrt(weight[part]).astype(X.dtype)
            rows = root[:, None] * self._kernel((X[part] - self.mean_) / self.scale_)
            system += rows.T @ rows
            right += rows.T @ (root * y[part])
        return system, right

    def _strong(self, X: FloatArray) -> FloatArray:
        fitted = self._kernel((X - self.mean_) / self.scale_) @ self.coefficients_ + self.offset_
        return sigmoid(STEEPNESS * (fitted - 0.5))

    def _kernel(self, rows: FloatArray) -> FloatArray:
        """(n, m) similarity of rows to the centres."""
        found = rows @ self.centres_.T
        found *= 2  # in place from here on: the array may be half of what training holds
        found -= (rows**2).sum(axis=1)[:, None]
        found -= (self.centres_**2).sum(axis=1)
        np.minimum(found, 0.0, out=found)
        found *= self.gamma
        return np.asarray(np.exp(found, out=found))
