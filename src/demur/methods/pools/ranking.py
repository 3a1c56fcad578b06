"""Similarity-weighted ranking over M models: one Bradley-Terry fit per query (Eqs. 5-8), by Newton's method.

min over xi of sum_i w_i sum_(a,b) cross-entropy(won_i(a, b), sigmoid(xi_a - xi_b)). A query enters only through its
weighted counts of wins, so all queries of a block are solved at once. Two models give SW's closed form.
"""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import sigmoid, unit_rows
from demur.methods.pools.pool import PoolRouter, battles
from demur.records import FloatArray, IntArray

ROWS_AT_ONCE = 256
NEWTON_STEPS = 12


class PoolRanking(PoolRouter):
    """Coefficients xi (n, M) of the weighted fit; w_i = gamma^(1 + cosine / largest cosine) (Ong et al. 2024).

    ``ridge``: a Gaussian prior on xi, in weighted battles; without one a model that always wins has no finite xi.
    """

    def __init__(self, gamma: float = 10.0, ridge: float = 1e-3) -> None:
        self.gamma = gamma
        self.ridge = ridge

    def _fit(self, X: FloatArray, quality: FloatArray, task: IntArray | None) -> None:
        self.rows_ = unit_rows(X)
        pairs, self.won_, self.fought_ = battles(quality)
        self.signs_ = np.zeros((len(pairs), quality.shape[1]))  # +1 at a, -1 at b
        for row, (a, b) in zip(self.signs_, pairs, strict=True):
            row[a], row[b] = 1.0, -1.0

    def _scores(self, X: FloatArray, task: IntArray | None) -> FloatArray:
        queries = unit_rows(X)
        return np.concatenate(
            [self._block(queries[i : i + ROWS_AT_ONCE]) for i in range(0, len(queries), ROWS_AT_ONCE)]
        )

    def _block(self, queries: FloatArray) -> FloatArray:
        cosines = queries @ self.rows_.T
        largest = cosines.max(axis=1, keepdims=True)
        exponents = cosines / np.where(largest > 0, largest, 1.0)
        weights = self.gamma ** (exponents - exponents.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        return self._newton(weights @ self.won_, weights @ self.fought_)

    def _newton(self, won: FloatArray, fought: FloatArray) -> FloatArray:
        """(m, pairs) weighted wins of a and battles -> (m, M) coefficients."""
        signs, models = self.signs_, self.signs_.shape[1]
        outer = (signs[:, :, None] * signs[:, None, :]).reshape(len(signs), -1)
        xi = np.zeros((len(won), models))
        for _ in range(NEWTON_STEPS):
            p = sigmoid(xi @ signs.T)
            gradient = (fought * p - won) @ signs + self.ridge * xi
            curvature = ((fought * p * (1 - p)) @ outer).reshape(len(won), models, models)
            curvature += self.ridge * np.eye(models)
            xi -= np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0].clip(-2.0, 2.0)  # damped: it cannot run off
        return xi
