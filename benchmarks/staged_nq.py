"""NQ-Open's samples without texts: which mean the same, as far as class sizes tell, and how sure that makes a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.labels.scores.sureness import Sureness
from demur.labels.scores.uncertainty import consistency, coverage, uncertainty
from demur.records import FloatArray, IntArray


def nq_clusters(sizes: Sequence[Sequence[int]], seed: int = 0) -> tuple[list[IntArray], np.ndarray]:
    """Cluster ids of every question's samples, and where they are known for sure.

    Two classes of one size cannot be told apart: there the members are drawn, which keeps entropies right and only
    blurs which samples go together, so that a gate can look worse than it is, never better.
    """
    random = np.random.default_rng(seed)
    clusters, known = [], []
    for row in sizes:
        ids, sure, fresh = np.empty(len(row), dtype=int), True, 0
        for size in sorted(set(row)):
            members = random.permutation(np.flatnonzero(np.asarray(row) == size))
            sure = sure and (size == 1 or len(members) == size)
            for start in range(0, len(members), size):
                ids[members[start : start + size]] = fresh
                fresh += 1
        clusters.append(ids)
        known.append(sure)
    return clusters, np.array(known)


def nq_sureness(clusters: Sequence[IntArray], nll_sums: FloatArray) -> Sureness:
    """One model's, from the clusters and whole-sequence NLLs (n, samples); answers of one NLL count as one text."""
    covered = [coverage([f"{x:.3f}" for x in row], [(-x,) for x in row]) for row in nll_sums]
    return Sureness(
        np.array([uncertainty(ids, None, "discrete") for ids in clusters]),
        np.array([consistency(ids) for ids in clusters]),
        np.array(covered),
    )
