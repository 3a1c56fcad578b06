"""An answer by vote: several answers of a model, and one that most of them agree with is served. Pure functions."""

from __future__ import annotations

from itertools import combinations, islice

import numpy as np

from demur.records import FloatArray, IntArray

MOST_BALLOTS = 500  # of the samples of one prompt


def winner(ids: IntArray) -> int:
    """Which of these answers is served: the first of the largest cluster, of equal ones the first asked for."""
    clusters, first, counts = np.unique(ids, return_index=True, return_counts=True)
    return int(first[np.flatnonzero(counts == counts.max())].min()) if len(clusters) else 0


def ballots(ids: IntArray, votes: int) -> list[tuple[tuple[int, ...], int]]:
    """Every way to draw so many of a prompt's samples, as positions, and the position of the answer that is served.

    ``ids``: clusters by meaning, (n,). Fewer samples than votes are one draw of all of them.
    """
    draws = islice(combinations(range(len(ids)), min(votes, len(ids))), MOST_BALLOTS)
    return [(draw, draw[winner(ids[list(draw)])]) for draw in draws]


def vote_shares(ids: IntArray, votes: int) -> FloatArray:
    """(n,) how often each of a prompt's samples is the answer that is served; one vote serves each alike."""
    found = np.zeros(len(ids))
    for _, at in ballots(ids, votes):
        found[at] += 1
    return np.asarray(found / found.sum())


def own_agreement(ids: IntArray, votes: int) -> float:
    """Share of a model's other samples that mean the same as the answer that is served; no sample confirms itself.

    With one vote it is the share of pairs that mean the same; 1 where no other sample is left.
    """
    shares = []
    for draw, at in ballots(ids, votes):
        others = np.delete(ids, list(draw))
        shares.append(float(np.mean(others == ids[at])) if len(others) else 1.0)
    return float(np.mean(shares))
