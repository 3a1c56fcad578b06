"""Alarms with a stated false-alarm rate: is what arrives still like what was there before?

Each watched quantity (a score, the similarity to the nearest training prompt, an answer's length, a latency, the error
of a predicted belief) is turned into its rank among all values before it. While nothing changes these ranks are
independent and uniform, whatever the quantity's law (conformal p-values, Vovk, Gammerman and Shafer 2005, 8.2); after a
change they concentrate somewhere, and only then does a bet on where the latest ranks concentrate gain. The sum of such
bets over all times at which the change may have happened is a Shiryaev-Roberts e-detector: while nothing changes, the
mean number of values until a false alarm is at least the level (Shin, Ramdas and Rinaldo 2024). Pure: no clock, no I/O.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

BINS = 8  # in which ranks are counted for the bet
LATEST = 60  # ranks that a bet is made on
PRIOR = 12.0  # values that a bet counts as uniform beside the latest
LEVELS = 64  # in which earlier values are counted
FEWEST = 50  # earlier values before anything is bet
LEVEL = 100_000.0  # values until a false alarm, on average, at least
MOST_EVIDENCE = 1e300


@dataclass(slots=True)
class Watch:
    """One watched quantity; its first values are the reference. ``level``: values until a false alarm, on average.

    Plain Python: a request pays for a few of these, and calls of numpy would take ten times as long.
    """

    level: float = LEVEL
    random: Random = field(default_factory=lambda: Random(0))
    edges: list[float] = field(default_factory=list)  # of the bins in which earlier values are counted
    counts: list[int] = field(default_factory=list)
    counted: int = 0  # the sum of the counts
    evidence: float = 0.0  # the e-detector's value
    latest: deque[int] = field(default_factory=lambda: deque(maxlen=LATEST))  # bins of the latest ranks
    crowd: list[int] = field(default_factory=lambda: [0] * BINS)  # how many of the latest are in each
    first: list[float] = field(default_factory=list)  # until there are enough of them for edges

    @classmethod
    def beside(cls, reference: Iterable[float], level: float = LEVEL, seed: int = 0) -> Watch:
        """A watch for values that should be like those of ``reference``."""
        watch = cls(level=level, random=Random(seed))
        for value in reference:
            watch._keep(float(value))
        return watch

    @property
    def alarmed(self) -> bool:
        """Has the evidence of a change reached the level?"""
        return self.evidence >= self.level

    def add(self, value: float) -> bool:
        """Take one value; True where the alarm is on. Values that are not finite are left out."""
        if math.isfinite(value):
            if self.counts:
                at = bisect_right(self.edges, value)
                self._bet(self._rank(at))
                self._count(at)
            else:
                self._keep(value)
        return self.alarmed

    def begin_again(self) -> None:
        """Begin a new reference with the next values, once an alarm was dealt with."""
        self.evidence, self.counted, self.crowd = 0.0, 0, [0] * BINS
        for kept in (self.edges, self.counts, self.latest, self.first):
            kept.clear()

    def _rank(self, at: int) -> float:
        """The rank of a value of this bin among the values before it and itself, in [0, 1], ties broken at random."""
        within = self.random.random() * (self.counts[at] + 1)
        return (sum(self.counts[:at]) + within) / (self.counted + 1)

    def _count(self, at: int) -> None:
        self.counts[at] += 1
        self.counted += 1

    def _bet(self, rank: float) -> None:
        at = min(BINS - 1, int(rank * BINS))
        density = BINS * (self.crowd[at] + PRIOR / BINS) / (len(self.latest) + PRIOR)
        self.evidence = min((self.evidence + 1) * density, MOST_EVIDENCE)
        if len(self.latest) == LATEST:
            self.crowd[self.latest[0]] -= 1
        self.latest.append(at)
        self.crowd[at] += 1

    def _keep(self, value: float) -> None:
        if self.counts:
            self._count(bisect_right(self.edges, value))
            return
        self.first.append(value)
        if len(self.first) == FEWEST:
            self.edges = _quantiles(self.first, LEVELS)
            self.counts = [0] * (len(self.edges) + 1)
            for one in self.first:
                self._count(bisect_right(self.edges, one))
            self.first.clear()


def _quantiles(values: Sequence[float], parts: int) -> list[float]:
    """The different quantiles that divide values into so many parts, between neighbours in proportion."""
    ordered, found = sorted(values), set[float]()
    for part in range(1, parts):
        place, rest = divmod(part * (len(ordered) - 1), parts)
        low, high = ordered[place : place + 2]
        found.add(low + (high - low) * rest / parts)
    return sorted(found)
