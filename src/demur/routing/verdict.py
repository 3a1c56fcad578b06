"""What a router has learned, in one line: does it catch more of the believed gain than chance, on prompts held out?

The gain is the labels' own (2 y - 1): no truth is looked at. A router that is not shown to beat random is kept, and
whoever sets a threshold on it or serves it has to say that they want to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.labels.beliefs.believed_gain import caught_within_folds
from demur.records import FloatArray, IntArray
from demur.statistics import FOLDS, group_numbers, interval

KEY = "verdict"  # in a router's record
GOLD, BY_GOLD = ("accuracy", "quality-gap"), "gold answers"  # sources of labels by them, in a record and in words
# Where there is nothing to learn, cross-validated scores spread so much wider than scores of other prompts would: every
# pair of prompts counts twice, since either one is in the fit that scores the other.
COUNTED_TWICE = math.sqrt(2)


@dataclass(frozen=True, slots=True)
class RouterVerdict:
    """Gain caught per prompt over random order, averaged over all strong shares, with its 95 % interval."""

    gain: float
    low: float
    high: float
    n: int  # prompts
    labels: str = ""  # by what the gain is counted (`labels_from`); empty: it is believed by the samples

    @property
    def learned(self) -> bool:
        """True where the interval lies above 0, what random scores catch."""
        return self.low > 0

    @property
    def needed(self) -> int | None:
        """Prompts at which an interval of a gain of this size would lie above 0; None where the gain is not positive.

        An interval is as wide as one over the root of n: n (half-width / gain)^2.
        """
        half = (self.high - self.low) / 2
        return math.ceil(self.n * (half / self.gain) ** 2) if self.gain > 0 else None

    @property
    def enough(self) -> int | None:
        """`needed`, and more than there are; None likewise."""
        return max(self.needed, self.n + 1) if self.needed else None

    @property
    def gained(self) -> str:
        """The gain over random with its interval, in the unit of the gate's own sentence."""
        percent = f"{100 * self.gain:+.2f} [{100 * self.low:+.2f}, {100 * self.high:+.2f}]"
        return f"{percent} right answers per 100 prompts"

    @property
    def figures(self) -> str:
        """The gain in words."""
        return f"{self.gained} over random ({self.basis or 'believed without labels'}, mean over all shares)"

    @property
    def basis(self) -> str:
        """By whom the gain is counted; empty where it is believed by the samples."""
        return self.labels and f"by {self.labels}"

    @property
    def sentence(self) -> str:
        """What the router has learned, as one line with its interval."""
        if self.learned:
            return f"The router gains {self.figures}, held out"
        few = f"{self.n} prompts show no gain"
        if self.enough:
            few = f"{self.n} prompts are too few; about {self.enough:,} would show a gain of this size"
        return f"NOT shown to beat random: {self.figures}, held out; {few}"


def verdict_of(scores: FloatArray, targets: FloatArray, groups: IntArray | None = None) -> RouterVerdict:
    """From held-out scores and targets of the training prompts, (n,) each; n >= 1.

    ``groups`` (n,): those that the scores were held out by; rows of one tell no more than one of them.
    """
    each = caught_within_folds(scores, 2 * np.asarray(targets, dtype=float) - 1, groups)
    wider = widening(int(group_numbers(len(each), groups).max()) + 1)
    gain, (low, high) = float(each.mean()), interval(each, groups=groups)
    return RouterVerdict(gain, gain - wider * (gain - low), gain + wider * (high - gain), len(each))


def widening(n: int) -> float:
    """How much wider the interval of n prompts' held-out gains is than that of as many independent values.

    Beside `COUNTED_TWICE`, two means are estimated in every fold. Of a few prompts it is so wide that nothing is told.
    """
    free = n - 2 * min(FOLDS, n)
    return COUNTED_TWICE * math.sqrt(n / max(free, 1))


def recorded_verdict(record: Mapping[str, Any]) -> RouterVerdict | None:
    """The verdict that a router was saved with; None of one saved before demur wrote it."""
    found = record.get(KEY)
    return RouterVerdict(**found | {"labels": labels_from(record)}) if found else None


def labels_from(record: Mapping[str, Any]) -> str:
    """Where a router's labels are from, if not from its samples, such as "the judge gpt-4o"."""
    labels = record.get("labels", {})
    judge = str(labels.get("judge") or "").partition("@http")[0]
    named = {"judge": f"the judge {judge}", "preference": f"the preferences of {labels.get('file')}"}
    return named.get(labels.get("source"), BY_GOLD if labels.get("source") in GOLD else "")


def with_verdict(record: Mapping[str, Any], verdict: RouterVerdict) -> dict[str, Any]:
    """A router's record with its verdict."""
    return {**record, KEY: asdict(verdict)}


def check_learned(record: Mapping[str, Any], router: str, *, anyway: bool, option: str = "--anyway") -> None:
    """Raise InputError for a router that was not shown to beat random, unless it is wanted ``anyway``, which an
    ``option`` says."""
    found = recorded_verdict(record)
    if found is not None and not found.learned and not anyway:
        raise InputError(f"{router}: {found.sentence}; label more prompts, or use it with {option}")
