"""Groups of prompts by their embeddings alone: spherical k-means."""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import unit_rows
from demur.records import FloatArray, IntArray

ROUNDS = 20


def spherical_kmeans(
    X: FloatArray, k: int, random: np.random.Generator, *, rounds: int = ROUNDS
) -> tuple[IntArray, FloatArray]:
    """Spherical k-means: cluster of every row, and unit centres (k, d)."""
    rows = unit_rows(X)
    centres = rows[random.choice(len(rows), size=min(k, len(rows)), replace=False)]
    for _ in range(rounds):
        nearest = np.argmax(rows @ centres.T, axis=1)
        order = np.argsort(nearest, kind="stable")
        used, first = np.unique(nearest[order], return_index=True)
        sums = centres.copy()  # a cluster that lost its rows keeps its centre
        sums[used] = np.add.reduceat(rows[order], first)
        centres = unit_rows(sums)
    return np.argmax(rows @ centres.T, axis=1), centres
