"""Matrix factorisation over M models (Eq. 9).

P(a beats b) = sigmoid(s(a, q) - s(b, q)), with s(M, q) = v_M . (W e_q) + b_M.
"""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import centre_and_scale, sigmoid
from demur.methods.fit.optimiser import Adam
from demur.methods.pools.pool import PoolRouter, battles
from demur.records import FloatArray, IntArray


class PoolFactorization(PoolRouter):
    """An embedding per model and a projection of the query's, learned from all battles by full-batch Adam."""

    def __init__(
        self, dimension: int = 64, decay: float = 0.02, steps: int = 150, learning_rate: float = 0.01, seed: int = 0
    ) -> None:
        self.dimension = dimension
        self.decay = decay
        self.steps = steps
        self.learning_rate = learning_rate
        self.seed = seed

    def _fit(self, X: FloatArray, quality: FloatArray, task: IntArray | None) -> None:
        self.mean_, self.scale_ = centre_and_scale(X, np.ones(len(X)))
        rows = (X - self.mean_) / self.scale_
        pairs, won, fought = battles(quality)
        left, right = np.array(pairs).T
        random = np.random.default_rng(self.seed)
        models = random.normal(0, self.dimension**-0.5, (quality.shape[1], self.dimension))
        projection = random.normal(0, self.dimension**-0.5, (X.shape[1], self.dimension))
        bias = np.zeros(quality.shape[1])
        optimiser = Adam([models, projection, bias], self.learning_rate, self.decay)
        for _ in range(self.steps):
            hidden = rows @ projection
            scores = hidden @ models.T + bias
            error = (fought * sigmoid(scores[:, left] - scores[:, right]) - won) / fought.sum()
            pull = np.zeros_like(scores)
            for pair, (a, b) in enumerate(pairs):
                pull[:, a] += error[:, pair]
                pull[:, b] -= error[:, pair]
            optimiser.step([pull.T @ hidden, rows.T @ (pull @ models), pull.sum(axis=0)])
        self.vectors_, self.projection_, self.bias_ = models, projection, bias

    def _scores(self, X: FloatArray, task: IntArray | None) -> FloatArray:
        hidden = ((X - self.mean_) / self.scale_) @ self.projection_
        return np.asarray(hidden @ self.vectors_.T + self.bias_)
