"""The weak model's samples as the gate's input: one is the draft that would be served, the others are extra samples.

Training, evaluation and serving use the same code. Every prompt's samples are read in several orders, each with another
sample as the draft, which makes better use of few prompts and makes a measurement depend less on the sampling order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.gate.gate import GateRows, read_head, read_signals
from demur.labels.scores.uncertainty import consistency, has_tokens
from demur.records import FloatArray, IntArray, Sample

ORDERS = 4


@dataclass(frozen=True, slots=True)
class Drafts:
    """n prompts' weak samples in r orders each."""

    orders: IntArray  # (n, r, samples) indices; the draft first
    signals: FloatArray  # (k + 1, n, r, s) after the draft and 0, 1, ... k extra samples
    heads: FloatArray | None  # (n, r, 2) of the draft's first tokens; None where a sample has no log-probs


def read_drafts(clusters: Sequence[IntArray], samples: Sequence[Sequence[Sample]], extra: int) -> Drafts:
    """Signals of every prompt's weak samples; ``clusters`` are their meanings, ``extra`` the samples beside a draft.

    A prompt with fewer samples than others was settled by them: further ones are taken to be like these.
    """
    orders = draft_orders(samples)
    known = has_tokens(samples)
    logprobs = [[one.logprobs or () if known else None for one in answers] for answers in samples]
    signals = [
        [
            [_signals(ids, tokens, order[: step + 1]) for order in each]
            for ids, tokens, each in zip(clusters, logprobs, orders, strict=True)
        ]
        for step in range(extra + 1)
    ]
    heads = [
        [read_head(answers[order[0]].logprobs or ()) for order in each]
        for answers, each in zip(samples, orders, strict=True)
    ]
    return Drafts(orders, np.array(signals), np.array(heads) if known else None)


def draft_orders(samples: Sequence[Sequence[Sample]]) -> IntArray:
    """(n, r, samples) indices of every prompt's samples in r orders, each with another draft first."""
    counts = np.array([len(answers) for answers in samples])
    count = int(counts.max())
    starts = np.unique(np.linspace(0, count, ORDERS, endpoint=False).astype(int))
    return np.asarray((starts[:, None] + np.arange(count)) % counts[:, None, None])


def _signals(ids: IntArray, logprobs: Sequence[tuple[float, ...] | None], order: IntArray) -> FloatArray:
    return read_signals(ids[order], [logprobs[i] for i in order])


def gate_rows(prompt_scores: FloatArray, drafts: Drafts, joint: Sequence[IntArray], strong: Sequence[int]) -> GateRows:
    """The gate's training rows. A draft's gain is the strong model's believed accuracy less the draft's.

    ``joint``: clusters over both models' answers of every prompt, the strong ones first, so many each.
    """
    gains = []
    for ids, count, orders in zip(joint, strong, drafts.orders, strict=True):
        own, weak = ids[:count], ids[count:]
        gains.append([consistency(own) - float(np.mean(own == weak[draft])) for draft in orders[:, 0]])
    return GateRows(prompt_scores, drafts.signals, np.array(gains), drafts.heads)
