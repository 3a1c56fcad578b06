"""The nearest label-free peers, as sources of labels: Smoothie (Guha et al. 2024) and CASCAL (Niu et al. 2026).

Both estimate from answers alone who is right, and both for pools of models. Here they label a pair, and every router
learns from their labels; kNN is what Smoothie-Local itself routes by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.records import Encoder, FloatArray, IntArray
from demur.statistics import mean_ranks

ROUNDS = 10
SILENCE = "no answer"  # what an empty answer is embedded as: no encoder takes an empty text


def smoothie_targets(encoder: Encoder, voters: tuple[Sequence[str], Sequence[str], Sequence[str]]) -> FloatArray:
    """(n,) ranks of how much further the weak answer lies from the latent true one than the strong answer.

    ``voters``: an answer of the weak model and two of the strong one to each prompt. Their embeddings are the true
    one's plus independent noise, so that the squared distances of three give each one's error in closed form (Guha et
    al., section 4). A pair has only two models: the strong one votes twice, which departs from independence.
    """
    said = ([text.strip() or SILENCE for text in texts] for texts in voters)
    weak, first, second = (np.asarray(encoder.encode(texts), dtype=float) for texts in said)
    to_first, to_second, between = (_squares(a, b) for a, b in ((weak, first), (weak, second), (first, second)))
    return mean_ranks((to_first + to_second - between) / 2 - between / 2)


def _squares(a: FloatArray, b: FloatArray) -> FloatArray:
    return np.asarray(((a - b) ** 2).sum(axis=1))


def consensus_targets(joint: Sequence[IntArray]) -> FloatArray:
    """(n,) targets 1/2 + (a_s - a_w) / 2, a_m the share of a model's samples that mean what the consensus does.

    ``joint``: clusters of both models' samples, the strong one's half first. The consensus of a prompt is the meaning
    of the largest vote; a vote weighs what its model's mean agreement with the consensus is, found in turns (CASCAL
    weighs by the models' stated confidence, and groups prompts by hierarchical clusters; here the router groups them).
    """
    shares = [_shares(ids) for ids in joint]
    weight = np.ones(2)
    for _ in range(ROUNDS):
        agreed = np.array([votes[:, int(np.argmax(weight @ votes))] for votes in shares])  # (n, 2) strong, weak
        weight = agreed.mean(axis=0)
    return np.asarray(0.5 + (agreed[:, 0] - agreed[:, 1]) / 2)


def _shares(ids: IntArray) -> FloatArray:
    """(2, meanings) share of either model's samples in each meaning."""
    halves = np.split(np.asarray(ids), 2)
    return np.array([[(half == one).mean() for one in np.unique(ids)] for half in halves])
