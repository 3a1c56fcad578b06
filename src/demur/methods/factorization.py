"""Matrix factorisation (MF, Eq. 9): P(strong wins) = sigmoid(s(strong, q) - s(weak, q)), s bilinear in model and query.

s(M, q) = v_M . (W e_q) with a learned embedding v_M per model and a projection W of the query's embedding (Ong et al.
2024; Koren et al. 2009). For one pair this is a linear score on the embedding; the bilinear form serves more models.
"""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import Estimator, centre_and_scale, sigmoid
from demur.methods.fit.optimiser import Adam
from demur.records import FloatArray


class MatrixFactorization(Estimator):
    """Two models' embeddings and a projection, by full-batch Adam; ``alpha``: ridge penalty on both, over sqrt(n)."""

    def __init__(
        self, dimension: int = 64, alpha: float = 0.4, steps: int = 100, learning_rate: float = 0.01, seed: int = 0
    ) -> None:
        self.dimension = dimension
        self.alpha = alpha
        self.steps = steps
        self.learning_rate = learning_rate
        self.seed = seed

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        mean, scale = centre_and_scale(X, weight)
        rows = (X - mean) / scale
        random = np.random.default_rng(self.seed)
        models = random.normal(0, 1 / np.sqrt(self.dimension), (2, self.dimension))  # weak, strong
        projection = random.normal(0, 1 / np.sqrt(self.dimension), (self.dimension, X.shape[1]))
        bias = np.zeros(2)
        share, y = (weight / weight.sum()).astype(X.dtype), y.astype(X.dtype)
        optimiser, ridge = Adam([models, projection, bias], self.learning_rate), self.alpha / weight.sum() ** 0.5
        for _ in range(self.steps):
            between = models[1] - models[0]
            direction = (between @ projection).astype(X.dtype)  # mixed types would copy all rows at every step
            error = share * (sigmoid(rows @ direction + X.dtype.type(bias[1] - bias[0])) - y)
            pull = error @ rows  # (d,)
            toward = projection @ pull
            pulls = np.stack([-toward, toward]) + ridge * models, np.outer(between, pull) + ridge * projection
            optimiser.step([*pulls, np.array([-error.sum(), error.sum()])])
        self.models_, self.projection_, self.bias_ = (a.astype(X.dtype) for a in (models, projection, bias))
        self.mean_, self.scale_ = mean, scale
        self.direction_ = ((models[1] - models[0]) @ projection / float(scale[0])).astype(X.dtype)  # folded for serving
        self.offset_ = np.array([bias[1] - bias[0] - float(mean @ self.direction_)], dtype=X.dtype)

    def _strong(self, X: FloatArray) -> FloatArray:
        return sigmoid(X @ self.direction_ + self.offset_)
