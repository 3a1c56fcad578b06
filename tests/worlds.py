"""Planted worlds: small data whose right answer is known, for tests of whatever must find it."""

from __future__ import annotations

import numpy as np

from demur.records import FloatArray


def planted(n: int = 400, d: int = 16, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unit rows X (n, d), and targets y that depend on one direction: (X, y in {0, 1}, P(y = 1))."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, d)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    p = 1 / (1 + np.exp(-12 * X[:, 0]))
    return X, (random.random(n) < p).astype(float), p
