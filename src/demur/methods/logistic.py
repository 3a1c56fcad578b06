"""Logistic regression on the embedding with soft targets: the plain baseline to print beside everything else.

Ridge-penalised, fitted by Newton's method; a soft target counts as y of a strong row and 1 - y of a weak one.
"""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import Estimator, centre_and_scale, sigmoid
from demur.records import FloatArray

NEWTON_STEPS = 25
CONVERGED = 1e-8


class LogisticRegression(Estimator):
    """P(strong) = sigmoid(a + b x). ``alpha``: ridge penalty on rows scaled to mean square length 1."""

    def __init__(self, alpha: float = 3.0) -> None:
        self.alpha = alpha

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        mean, scale = centre_and_scale(X, weight)
        rows = np.concatenate([((X - mean) / scale).astype(float), np.ones((len(X), 1))], axis=1)
        penalty = np.full(rows.shape[1], self.alpha)
        penalty[-1] = 1e-9  # the intercept goes free
        beta = np.zeros(rows.shape[1])
        for _ in range(NEWTON_STEPS):
            p = sigmoid(rows @ beta)
            gradient = rows.T @ (weight * (p - y)) + penalty * beta
            curvature = (rows * (weight * p * (1 - p) + 1e-9)[:, None]).T @ rows + np.diag(penalty)
            step = np.linalg.solve(curvature, gradient)
            beta -= step
            if np.abs(step).max() < CONVERGED:
                break
        self.weights_ = (beta[:-1] / float(scale[0])).astype(X.dtype)
        self.intercept_ = np.array([beta[-1] - float(mean @ self.weights_)], dtype=X.dtype)

    def _strong(self, X: FloatArray) -> FloatArray:
        return sigmoid(X @ self.weights_ + self.intercept_)
