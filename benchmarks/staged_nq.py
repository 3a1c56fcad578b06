"""Which samples of an NQ-Open question mean the same, as far as the sizes of their classes tell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.records import IntArray


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
