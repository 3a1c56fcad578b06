"""A target held while requests arrive: the threshold is the dual variable of the budget.

The threshold is set from the scores and costs of the latest requests, so it follows the traffic. What was spent over
or under the target so far is paid back over the next requests; a request that would break the target's limit goes to
the weak model. Pure: no clock, no I/O; one object belongs to one gateway process.

Source: the Lagrangian of a knapsack with one constraint, re-solved on a window (Agrawal and Devanur 2014); a limit that
is never passed, as in ParetoBandit (arXiv 2604.00136).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from demur.records import FloatArray

WINDOW = 512  # latest requests that the threshold is set on
PAID_BACK_OVER = 256  # requests over which a deviation from the target is made up
SET_EVERY = 8  # requests between two settings of the threshold
OVERSHOOT = 0.005  # of the target, which the sum over all requests never passes by more
ALLOWANCE = 32.0  # requests' worth of target that may be spent ahead, so that a target can be met at the beginning


@dataclass(slots=True)
class Pace:
    """Holds a mean cost per request at ``target`` (in any unit: USD, or 1 per strong call for a share).

    ``seen``: (score, cost of weak, cost of strong) of earlier prompts, to begin with; those of the training prompts.
    """

    target: float  # mean cost per request
    seen: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=WINDOW))
    requests: int = 0
    spent: float = 0.0
    threshold: float = math.inf  # strong iff score >= threshold

    @classmethod
    def begin(cls, target: float, seen: Iterable[tuple[float, float, float]] = ()) -> Pace:
        """A pace that begins with the scores and costs of earlier prompts, of which the latest are kept."""
        pace = cls(target, deque(seen, maxlen=WINDOW))
        pace.threshold = pace._solved()
        return pace

    @property
    def allowed(self) -> float:
        """What may have been spent by now and is never passed."""
        return self.target * (self.requests * (1 + OVERSHOOT) + ALLOWANCE)

    def chooses_strong(self, score: float, weak_cost: float, strong_cost: float) -> bool:
        """Does this request go to the strong model? By its score and, where that is too dear by now, not at all."""
        self.requests += 1
        self.seen.append((score, weak_cost, strong_cost))
        if self.requests % SET_EVERY == 0 or not math.isfinite(self.threshold):
            self.threshold = self._solved()
        return score >= self.threshold and self.spent + strong_cost <= self.allowed

    def pay(self, cost: float) -> None:
        """Count what a request cost."""
        self.spent += cost

    @property
    def rate(self) -> float:
        """The mean cost at which the next requests make up for what was spent over or under the target."""
        return max(0.0, self.target + (self.target * self.requests - self.spent) / PAID_BACK_OVER)

    def _solved(self) -> float:
        """The lowest threshold whose mean cost over the window is at most `rate`."""
        if not self.seen:
            return math.inf
        scores, weak, strong = np.array(self.seen).T
        return lowest_affordable(scores, weak, strong, self.rate)


def lowest_affordable(scores: FloatArray, weak: FloatArray, strong: FloatArray, rate: float) -> float:
    """The lowest threshold at which these prompts cost ``rate`` on average, or less; inf where even the weak model
    alone costs more. Arrays (n,) of scores and of each prompt's cost on either model."""
    order = np.argsort(-scores, kind="stable")
    levels = scores[order]
    costs = (weak.sum() + np.cumsum((strong - weak)[order])) / len(scores)
    last = np.append(levels[1:] != levels[:-1], True)  # equal scores go together
    affordable = np.flatnonzero(last & (costs <= rate + 1e-15))
    return float(levels[affordable[-1]]) if len(affordable) else math.inf
