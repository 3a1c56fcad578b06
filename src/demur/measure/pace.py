"""A target held while requests arrive: a price of a unit of cost, set anew as they come.

Every request goes to the model with the largest value less price times cost. The price is the dual variable of the
budget: the lowest at which the latest requests would have cost what may be spent. So it follows the traffic, and what
was spent over or under the target so far is made up over the next requests. A request that would take the sum over its
limit goes to the cheapest model. Pure: no clock, no I/O; one object belongs to one gateway process.

Source: online linear programming by dual prices that are re-solved (Agrawal, Wang and Ye 2014).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from demur.records import FloatArray

WINDOW = 512  # latest requests that the price is set on
MADE_UP_OVER = 256  # requests over which a deviation from the target is made up
SET_EVERY = 8  # requests between two settings of the price
# The sum over all requests never passes the target by more than so many requests' worth, without which nothing dear
# could be asked at the beginning. 32 instead of 4 gains .004 of reward at most on ParetoBandit's validation prompts,
# and goes over a budget of 883 requests by up to 4 %.
ALLOWANCE = 4.0
HALVINGS = 40  # of the interval in which the price is looked for

Arms = tuple[Sequence[float], Sequence[float]]  # of one request: every model's value and cost, cheapest model first


@dataclass(slots=True)
class Pace:
    """Holds a mean cost per request at ``target``, in any unit: USD, or 1 per strong call for a share.

    A pair has the values (0, score): with costs (0, 1) the price is the threshold.
    """

    target: float  # mean cost per request
    seen: deque[Arms] = field(default_factory=lambda: deque(maxlen=WINDOW))
    requests: int = 0
    spent: float = 0.0
    price: float = 0.0  # in value per unit of cost
    every: int = SET_EVERY

    @classmethod
    def begin(cls, target: float, seen: Iterable[Arms] = (), *, every: int = SET_EVERY) -> Pace:
        """A pace that begins with what earlier prompts would have been worth and cost, of which the latest count.

        ``every``: requests between two settings of the price.
        """
        pace = cls(target, deque(seen, maxlen=WINDOW), every=every)
        pace.set_price()
        return pace

    @property
    def limit(self) -> float:
        """What may have been spent by now and is never passed, unless by the cheapest model alone."""
        return self.target * (self.requests + ALLOWANCE)

    def choose(self, values: Sequence[float], costs: Sequence[float]) -> int:
        """The model that gets a request, by every model's value and expected cost, the cheapest model first."""
        self.see(values, costs)
        best = max(range(len(values)), key=lambda arm: values[arm] - self.price * costs[arm])
        return best if self.affords(costs[best]) else 0

    def see(self, values: Sequence[float], costs: Sequence[float], rate: float | None = None) -> None:
        """Take a request's values and expected costs; ``rate``: that of now, where the time of day decides it."""
        self.requests += 1
        self.seen.append((values, costs))
        if self.requests % self.every == 0 or len(self.seen) == 1:
            self.set_price(rate)

    def set_price(self, rate: float | None = None) -> None:
        """Set the price by the latest requests; it is set by itself with every so many of them."""
        self.price = self._solve(rate)

    def affords(self, cost: float) -> bool:
        """May the next request cost so much?"""
        return self.spent + cost <= self.limit

    def threshold(self, dearer: float) -> float:
        """The least score with which a prompt goes to the dearer model of two, which costs so much more."""
        return math.nextafter(self.price * dearer, math.inf)

    def pay(self, cost: float) -> None:
        """Count what a request has cost."""
        self.spent += cost

    @property
    def rate(self) -> float:
        """The mean cost at which the next requests make up for what was spent over or under the target."""
        return max(0.0, self.target + (self.target * self.requests - self.spent) / MADE_UP_OVER)

    def _solve(self, rate: float | None = None) -> float:
        if not self.seen:
            return 0.0
        values, costs = (np.array(each, dtype=float) for each in zip(*self.seen, strict=True))
        return lowest_price(values, costs, self.rate if rate is None else rate)


def lowest_price(values: FloatArray, costs: FloatArray, rate: float) -> float:
    """The lowest price >= 0 at which requests cost ``rate`` on average, or less; values and costs (n, models).

    A price too high for any but the cheapest model where even that is not enough.
    """
    dearer = costs[:, 1:] - costs[:, :1]
    worth = (values[:, 1:] - values[:, :1]) / np.where(dearer > 0, dearer, np.inf)
    low, high = 0.0, 2.0 * max(float(worth.max(initial=0.0)), 1e-12)
    if mean_cost(values, costs, low) <= rate:
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if mean_cost(values, costs, middle) <= rate else (middle, high)
    return high


def mean_cost(values: FloatArray, costs: FloatArray, price: float) -> float:
    """What requests cost on average at a price, (n, models) each."""
    chosen = np.argmax(values - price * costs, axis=1)
    return float(costs[np.arange(len(costs)), chosen].mean())
