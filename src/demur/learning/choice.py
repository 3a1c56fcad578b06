"""Which of the prompts seen are worth sampling: near duplicates once, rare regions kept, the rest as they come.

Pure: rows are embeddings of unit length.
"""

from __future__ import annotations

import numpy as np

from demur.records import FloatArray

DUPLICATE = 0.97  # cosine from which a prompt tells nothing that a learned one did not
RARE_EVERY = 4  # one prompt in so many is the one that is least like those learned from


def choose(seen: FloatArray, learned: FloatArray, count: int, random: np.random.Generator) -> list[int]:
    """Indices of at most ``count`` rows of ``seen`` (n, d), in the order to sample them; ``learned`` (m, d).

    Three of four are drawn at random, so that what is learned from looks like the traffic; the fourth is the rarest.
    """
    nearest = _similarity(seen, learned)
    chosen: list[int] = []
    while len(chosen) < count:
        fresh = np.flatnonzero(nearest < DUPLICATE)
        if not len(fresh):
            break
        rare = len(chosen) % RARE_EVERY == RARE_EVERY - 1
        picked = int(fresh[np.argmin(nearest[fresh])] if rare else random.choice(fresh))
        chosen.append(picked)
        nearest = np.maximum(nearest, seen @ seen[picked])
        nearest[picked] = 1.0
    return chosen


def _similarity(seen: FloatArray, learned: FloatArray) -> FloatArray:
    """(n,) cosine of each row to its nearest learned one; -1 where nothing is learned yet."""
    if not len(learned) or not len(seen):
        return np.full(len(seen), -1.0)
    return np.asarray((seen @ learned.T).max(axis=1))
