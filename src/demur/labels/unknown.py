"""Which prompts' samples are informative about the gain of escalating; label-free, not yet used by training or serving.

Samples are not informative in two cases. No two answers mean the same, as on open-ended prompts, where g is 0 whatever
the answers are worth. Or the answers agree by chance, so that g of the same prompt, sampled again, would vary as much
as g varies between prompts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.labels.belief import believed_gains, pair_shares
from demur.records import BoolArray, FloatArray, IntArray

FEWEST = 3  # samples: two leave one pair, whose absence cannot be looked at


def can_tell(joint: Sequence[IntArray], n: int, weight: float) -> BoolArray:
    """(m,) of m prompts: False where both models are saturated, or g's standard error exceeds its spread over prompts.

    ``joint``: cluster ids of both models' answers in one labelling, the n strong ones first, and each answer that says
    nothing a meaning of its own (`demur.labels.belief.without_silence`); ``weight``: lam. The spread is that of g over
    prompts without what its errors add. With fewer than three samples only saturation is looked at.
    """
    told = np.array([len(np.unique(ids)) < len(ids) for ids in joint])
    if n < FEWEST:
        return told
    errors = gain_errors(joint, n, weight)
    variance = float(np.var(believed_gains(pair_shares(joint, n), weight)))
    spread = np.sqrt(max(variance - float(np.mean(errors**2)), 0.0))
    return np.asarray(told & (errors <= spread))


def gain_errors(joint: Sequence[IntArray], n: int, weight: float) -> FloatArray:
    """(m,) standard error of each prompt's g, by leaving out one sample of either model at a time (jackknife; Efron and
    Tibshirani 1993, section 11)."""
    lacking_strong = [_gains([np.delete(ids, i) for ids in joint], n - 1, weight) for i in range(n)]
    lacking_weak = [_gains([np.delete(ids, n + i) for ids in joint], n, weight) for i in range(n)]
    both = np.array([lacking_strong, lacking_weak])  # (2, n, m)
    return np.asarray(np.sqrt(((n - 1) * both.var(axis=1)).sum(axis=0)))


def _gains(joint: Sequence[IntArray], n: int, weight: float) -> FloatArray:
    return believed_gains(pair_shares(joint, n), weight)
