"""Latencies in bins of 12 %, from 10 microseconds to 100 seconds: their counts add up, and percentiles follow."""

from __future__ import annotations

import math

import numpy as np

from demur.records import FloatArray

SHORTEST, PER_DECADE, DECADES = 1e-5, 20, 7
BINS = PER_DECADE * DECADES


def latency_bin(seconds: float) -> int:
    """The bin of a latency; the first and the last also hold what is beyond them."""
    if seconds <= SHORTEST:
        return 0
    return min(BINS - 1, int(PER_DECADE * math.log10(seconds / SHORTEST)))


def percentiles(counts: FloatArray, shares: tuple[float, ...] = (0.5, 0.95, 0.99)) -> list[float] | None:
    """Percentiles in ms of counts per bin, (BINS,), to the middle of a bin (6 % off at most); None where all are 0."""
    reached = np.cumsum(counts)
    if not reached[-1]:
        return None
    at = np.searchsorted(reached, np.array(shares) * reached[-1])
    return [round(1000 * SHORTEST * 10 ** ((i + 0.5) / PER_DECADE), 3) for i in at.tolist()]
