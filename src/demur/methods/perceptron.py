"""Two-layer perceptron (MLP, Eq. 10): softmax(W2 relu(W1 e + b1) + b2) over the two models, on soft targets."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from demur.methods.estimator import Estimator, centre_and_scale, sigmoid
from demur.methods.fit.optimiser import Adam
from demur.records import FloatArray, IntArray

BATCH_ROWS = 128


class MLP(Estimator):
    """One hidden layer, learned by mini-batch Adam with weight decay; two softmax outputs differ by one logit."""

    def __init__(
        self, hidden: int = 64, decay: float = 1e-2, steps: int = 500, learning_rate: float = 1e-3, seed: int = 0
    ) -> None:
        self.hidden = hidden
        self.decay = decay
        self.steps = steps
        self.learning_rate = learning_rate
        self.seed = seed

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        mean, scale = centre_and_scale(X, weight)
        rows = ((X - mean) / scale).astype(X.dtype)
        random = np.random.default_rng(self.seed)
        first = random.normal(0, 1, (X.shape[1], self.hidden)).astype(X.dtype)  # rows have length 1: units of size 1
        second = np.zeros(
            (self.hidden, 2), X.dtype
        )  # starts at score 1/2, so that few rows are not outweighed by the initial values
        biases = [np.zeros(self.hidden, X.dtype), np.zeros(2, X.dtype)]
        optimiser = Adam([first, biases[0], second, biases[1]], self.learning_rate, self.decay)
        share = (weight / weight.mean()).astype(X.dtype)
        for batch in _batches(len(rows), self.steps, random):
            optimiser.step(_gradients(rows[batch], y[batch], share[batch], first, second, biases))
        self.first_, self.second_ = first / scale[0], second
        self.first_bias_, self.second_bias_ = biases[0] - mean @ self.first_, biases[1]

    def _strong(self, X: FloatArray) -> FloatArray:
        hidden = np.maximum(X @ self.first_ + self.first_bias_, 0.0)
        logits = hidden @ self.second_ + self.second_bias_
        return sigmoid(logits[:, 1] - logits[:, 0])


def _batches(n: int, steps: int, random: np.random.Generator) -> Iterator[IntArray]:
    """Row numbers for each of the steps: all rows in a new random order, epoch after epoch."""
    while steps > 0:
        order = random.permutation(n)
        for start in range(0, n, BATCH_ROWS)[:steps]:
            yield order[start : start + BATCH_ROWS]
        steps -= -(-n // BATCH_ROWS)


def _gradients(
    X: FloatArray, y: FloatArray, share: FloatArray, first: FloatArray, second: FloatArray, biases: list[FloatArray]
) -> list[FloatArray]:
    """Gradients of the weighted cross-entropy: first layer, its bias, second layer, its bias."""
    hidden = np.maximum(X @ first + biases[0], 0.0)
    logits = hidden @ second + biases[1]
    error = (share * (sigmoid(logits[:, 1] - logits[:, 0]) - y) / len(X)).astype(X.dtype)
    outer = np.stack([-error, error], axis=1)
    inner = (outer @ second.T) * (hidden > 0)
    return [X.T @ inner, inner.sum(axis=0), hidden.T @ outer, outer.sum(axis=0)]
