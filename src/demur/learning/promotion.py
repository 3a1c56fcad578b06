"""Is a candidate router better than the one in force? By the believed gain that both catch on the same prompts.

Pure functions. Every prompt is scored by a fit that did not see it: the candidate's scores are cross-validated, and
the router in force scores what came after its training, and its own held-out scores of what it was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from demur.labels.believed_gain import caught_within_folds
from demur.records import BoolArray, FloatArray
from demur.routing.verdict import widening

# Standard errors on either side of a gain. The first router is compared with random order, at one false promotion in a
# hundred; a later candidate that is no better than the router in force does no harm, a poisoned one is far below it.
FIRST_ERRORS, LATER_ERRORS = 2.33, 1.645
FEWEST = 40  # prompts, below which nothing is promoted


@dataclass(frozen=True, slots=True)
class Comparison:
    """Believed gain per prompt that the candidate catches beyond the router in force, averaged over all shares."""

    gain: float
    low: float
    high: float
    n: int  # prompts
    beside: str  # what the candidate was compared with
    what: str = "prompts"

    @property
    def better(self) -> bool:
        """True where the candidate is promoted."""
        return self.n >= FEWEST and self.low > 0

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        figures = f"{self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        said = "better than" if self.better else "NOT shown to beat"
        few = f"; at least {FEWEST} prompts are needed" if self.n < FEWEST else ""
        return f"{said} {self.beside}: {figures} of believed gain per prompt on {self.n} {self.what}{few}"


def compare(
    candidate: FloatArray, in_force: FloatArray | None, gains: FloatArray, recent: BoolArray | None = None
) -> Comparison:
    """Compare two routers' scores, (n,) each, by what escalating is believed to gain on each prompt, (n,).

    On all prompts and on the ``recent`` ones alone, (n,) booleans: those that the router in force was not trained on.
    After a change of the traffic only they tell. The clearer of both counts. Without a router ``in_force`` the
    candidate is compared with random order.
    """
    on_all = _compare(candidate, in_force, gains, "prompts")
    if in_force is None or recent is None or recent.sum() < FEWEST:
        return on_all
    on_recent = _compare(candidate[recent], in_force[recent], gains[recent], "recent prompts")
    return max(on_all, on_recent, key=lambda one: one.low)


def _compare(candidate: FloatArray, in_force: FloatArray | None, gains: FloatArray, what: str) -> Comparison:
    beside = "the router in force" if in_force is not None else "random"
    if len(gains) < 2:
        return Comparison(0.0, 0.0, 0.0, len(gains), beside, what)
    each = caught_within_folds(candidate, gains)
    if in_force is not None:
        each = each - caught_within_folds(in_force, gains)
    gain, error = float(np.mean(each)), float(np.std(each, ddof=1)) / math.sqrt(len(each))
    width = error * (FIRST_ERRORS * widening(len(each)) if in_force is None else LATER_ERRORS)
    return Comparison(gain, gain - width, gain + width, len(gains), beside, what)
