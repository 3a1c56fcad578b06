"""Groups of prompts on which the weak model is believed to be better, found without labels.

Training prompts are grouped by their embeddings alone, so that groups are not selected by the result; then the believed
gain of the strong model is averaged over each group. The result is reported with an interval and decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.methods.groups.kmeans import spherical_kmeans
from demur.records import FloatArray, count_of
from demur.statistics import first_rows, normal_interval

PROMPTS_A_SLICE, FEWEST, MOST_SLICES = 40, 20, 12


@dataclass(frozen=True, slots=True)
class WeakerGroup:
    """One group of prompts."""

    prompts: int
    gain: float  # mean believed gain of the strong model
    low: float  # interval of the mean, 95 % over all slices together
    high: float
    example: str  # the prompt nearest to its middle

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        return (
            f"the weak model is believed better on {count_of(self.prompts, 'training prompt')} like "
            f"{self.example[:70]!r}: the "
            f"strong one gains {100 * self.gain:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}] right answers "
            "per 100 there (no labels used)"
        )


def weaker_groups(vectors: FloatArray, prompts: Sequence[str], gains: FloatArray) -> tuple[WeakerGroup, ...]:
    """Slices whose whole interval of believed ``gains`` (n,) lies below zero; ``vectors`` (n, d) are the prompts'.

    A prompt that repeats counts once: it was sampled once, and tells no more.
    """
    first = np.unique(first_rows(prompts))
    vectors, prompts, gains = vectors[first], [prompts[i] for i in first], gains[first]
    count = int(np.clip(len(prompts) // PROMPTS_A_SLICE, 1, MOST_SLICES))
    member, centres = spherical_kmeans(vectors, count, np.random.default_rng(0))
    found = []
    for number, centre in enumerate(centres):
        rows = np.flatnonzero(member == number)
        if len(rows) < FEWEST:
            continue
        low, high = normal_interval(gains[rows], comparisons=count)
        if high < 0:
            example = prompts[rows[np.argmax(vectors[rows] @ centre)]]
            found.append(WeakerGroup(len(rows), float(gains[rows].mean()), low, high, example))
    return tuple(found)
