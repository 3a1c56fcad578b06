"""Alarms with a stated false-alarm rate: is what arrives still like what was there before?

Each watched quantity (a score, the similarity to the nearest training prompt, an answer's length, a latency, the error
of a predicted belief) is turned into its rank among all values before it. While nothing changes these ranks are
independent and uniform, whatever the quantity's law (conformal p-values, Vovk, Gammerman and Shafer 2005, 8.2); after a
change they crowd somewhere, and only then does a bet on where the latest ranks crowded gain. The sum of such bets over
all times at which the change may have happened is a Shiryaev-Roberts e-detector: while nothing changes, the mean number
of values until a false alarm is at least the level (Shin, Ramdas and Rinaldo 2024). Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from demur.records import FloatArray

BINS = 8  # in which ranks are counted for the bet
LATEST = 60  # ranks that a bet is made on
PRIOR = 12.0  # values that a bet counts as uniform beside the latest
LEVELS = 64  # in which earlier values are counted
FEWEST = 50  # earlier values before anything is bet


@dataclass(slots=True)
class Watch:
    """One watched quantity. ``level``: values until a false alarm, on average, at least."""

    level: float = 100_000.0
    edges: FloatArray | None = None  # (LEVELS - 1,) of the bins in which earlier values are counted
    counts: FloatArray = field(default_factory=lambda: np.zeros(LEVELS))
    evidence: float = 0.0  # the e-detector's value
    latest: deque[int] = field(default_factory=lambda: deque(maxlen=LATEST))  # bins of the latest ranks
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    first: list[float] = field(default_factory=list)  # until there are enough of them for edges

    @classmethod
    def beside(cls, reference: Sequence[float] | FloatArray, level: float = 100_000.0, seed: int = 0) -> Watch:
        """A watch for values that should be like those of ``reference`` (n,)."""
        watch = cls(level=level, random=np.random.default_rng(seed))
        for value in reference:
            watch._keep(float(value))
        return watch

    @property
    def alarmed(self) -> bool:
        """Has the evidence of a change reached the level?"""
        return self.evidence >= self.level

    def add(self, value: float) -> bool:
        """Take one value; True where the alarm is on. Values that are not finite are left out."""
        if not math.isfinite(value):
            return self.alarmed
        rank = self._rank(value)
        if rank is not None:
            self._bet(rank)
        self._keep(value)
        return self.alarmed

    def begin_again(self) -> None:
        """Take what arrives now as what is usual; after an alarm was answered."""
        self.evidence, self.edges = 0.0, None
        self.counts[:] = 0
        self.latest.clear()
        self.first.clear()

    def _rank(self, value: float) -> float | None:
        """Its rank among the values before it, in [0, 1], ties broken at random; None while there are too few."""
        total = self.counts.sum()
        if self.edges is None or total < FEWEST:
            return None
        at = int(np.searchsorted(self.edges, value, side="right"))
        below, beside = self.counts[:at].sum(), self.counts[at] + 1
        return float((below + self.random.random() * beside) / (total + 1))

    def _bet(self, rank: float) -> None:
        at = min(BINS - 1, int(rank * BINS))
        crowd = np.bincount(np.array(self.latest, dtype=int), minlength=BINS) if self.latest else np.zeros(BINS)
        density = BINS * (crowd[at] + PRIOR / BINS) / (len(self.latest) + PRIOR)
        self.evidence = min((self.evidence + 1) * float(density), 1e300)
        self.latest.append(at)

    def _keep(self, value: float) -> None:
        if self.edges is None:
            self.first.append(value)
            if len(self.first) < FEWEST:
                return
            self.edges = np.unique(np.quantile(self.first, np.linspace(0, 1, LEVELS + 1)[1:-1]))
            kept, self.first = self.first, []
            for one in kept:
                self._keep(one)
            return
        self.counts[int(np.searchsorted(self.edges, value, side="right"))] += 1
