"""Matrix factorisation over all models of an arena (Ong et al. 2024, section 4.2): P(a beats b) = sigmoid(s(a) - s(b)).

s(M, q) = v_M . (W e_q) + b_M. Every battle teaches, whatever its two models are; by mini-batches of Adam.
"""

from __future__ import annotations

from typing import Self

import numpy as np

from demur.methods.estimator import centre_and_scale, sigmoid
from demur.methods.fit.optimiser import Adam
from demur.records import FloatArray, IntArray

BATCH = 256


class ArenaFactorization:
    """Learned embeddings of models; ``epochs`` over the battles, ``decay`` of all weights at every step."""

    def __init__(
        self, dimension: int = 32, epochs: int = 10, learning_rate: float = 2e-3, decay: float = 1e-4, seed: int = 0
    ) -> None:
        self.dimension = dimension
        self.epochs = epochs
        self.learning_rate = learning_rate
        self.decay = decay
        self.seed = seed

    def fit(self, X: FloatArray, sides: IntArray, won: FloatArray, models: int) -> Self:
        """Learn from battles: prompts X (n, d), places of both models (n, 2), and wins of the first, (n,) in [0, 1]."""
        random = np.random.default_rng(self.seed)
        self.mean_, self.scale_ = centre_and_scale(X, np.ones(len(X)))
        rows = (X - self.mean_) / self.scale_
        vectors = random.normal(0, self.dimension**-0.5, (models, self.dimension))
        projection = random.normal(0, X.shape[1] ** -0.5, (X.shape[1], self.dimension))
        bias = np.zeros(models)
        optimiser = Adam([vectors, projection, bias], self.learning_rate, self.decay)
        for _ in range(self.epochs):
            order = random.permutation(len(rows))
            for batch in (order[i : i + BATCH] for i in range(0, len(order), BATCH)):
                optimiser.step(_gradients(rows[batch], sides[batch], won[batch], vectors, projection, bias))
        self.vectors_, self.projection_, self.bias_ = vectors, projection, bias
        return self

    def gap(self, X: FloatArray, strong: int, weak: int) -> FloatArray:
        """(n,) P(model ``strong`` beats model ``weak``) on prompts X."""
        hidden = ((X - self.mean_) / self.scale_) @ self.projection_
        return sigmoid(hidden @ (self.vectors_[strong] - self.vectors_[weak]) + self.bias_[strong] - self.bias_[weak])


def _gradients(
    rows: FloatArray, sides: IntArray, won: FloatArray, vectors: FloatArray, projection: FloatArray, bias: FloatArray
) -> list[FloatArray]:
    """Of the mean cross-entropy, for the models' vectors, the projection and the biases."""
    a, b = sides[:, 0], sides[:, 1]
    hidden, between = rows @ projection, vectors[a] - vectors[b]
    error = (sigmoid((hidden * between).sum(axis=1) + bias[a] - bias[b]) - won) / len(rows)
    to_vectors, to_bias = np.zeros_like(vectors), np.zeros_like(bias)
    for side, sign in ((a, 1.0), (b, -1.0)):
        np.add.at(to_vectors, side, sign * error[:, None] * hidden)
        np.add.at(to_bias, side, sign * error)
    return [to_vectors, rows.T @ (error[:, None] * between), to_bias]
