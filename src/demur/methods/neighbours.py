"""k nearest neighbours (Eqs. 11-12): the mean outcome of the training prompts most similar to the query.

The paper prints k = 1 (its argmin of a similarity is meant as argmax); one neighbour gives scores that no threshold can
tune, so the default is the square root of the number of training prompts.
"""

from __future__ import annotations

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import Estimator, unit_rows
from demur.records import FloatArray

ROWS_AT_ONCE = 256


class KNN(Estimator):
    """P(strong) = weighted mean target of the k training prompts with the largest cosine; ties in order of training."""

    def __init__(self, k: int | None = None) -> None:
        self.k = k

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        if self.k is not None and not 1 <= self.k <= len(X):
            raise InputError(f"k = {self.k} neighbours of {len(X)} training prompts; use 1 to {len(X)}, or k=None")
        self.rows_ = unit_rows(X)
        self.outcomes_ = np.stack([weight * y, weight], axis=1)

    def _strong(self, X: FloatArray) -> FloatArray:
        queries = unit_rows(X.astype(self.rows_.dtype, copy=False))
        parts = [queries[i : i + ROWS_AT_ONCE] @ self.rows_.T for i in range(0, len(queries), ROWS_AT_ONCE)]
        return np.concatenate([self._mean_of_nearest(part) for part in parts])

    def _mean_of_nearest(self, cosines: FloatArray) -> FloatArray:
        n = cosines.shape[1]
        k = self.k or max(1, round(n**0.5))
        nearest = np.argpartition(-cosines, min(k, n - 1), axis=1)[:, :k]
        sums = self.outcomes_[nearest].sum(axis=1)
        total = np.where(sums[:, 1] > 0, sums[:, 1], 1.0)  # neighbours of weight 0 only: no evidence, a tie
        return np.where(sums[:, 1] > 0, sums[:, 0] / total, 0.5)
