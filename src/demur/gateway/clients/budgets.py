"""Budgets of a key: in all, per day and per month (UTC), and how they taper. Pure functions.

From `WARN` of a daily or monthly budget on, a warning is given; from `TAPER` on fewer and fewer requests go to the
strong model, none at the end. When this budget, or one without a period, is used up, requests are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal, Protocol

from demur.records import dollars

WARN, TAPER = 0.8, 0.9  # of a budget for a day or a month
Period = Literal["ever", "month", "day"]


class Budgeted(Protocol):
    """What has budgets: a client's key. None: no limit."""

    @property
    def usd(self) -> float | None: ...

    @property
    def usd_per_day(self) -> float | None: ...

    @property
    def usd_per_month(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Spent:
    """USD that a key has spent."""

    ever: float = 0.0
    month: float = 0.0
    day: float = 0.0
    at: float = 0.0  # when this was so, seconds since 1970

    def now(self, at: float) -> Spent:
        """The same at a later time: what was spent in a month or on a day that has ended is forgotten."""
        month = self.month if start_of("month", at) <= self.at else 0.0
        return Spent(self.ever, month, self.day if start_of("day", at) <= self.at else 0.0, at)

    def plus(self, usd: float, at: float) -> Spent:
        """After another request."""
        found = self.now(at)
        return replace(found, ever=found.ever + usd, month=found.month + usd, day=found.day + usd)

    def at_least(self, other: Spent, at: float) -> Spent:
        """The larger of what two have counted."""
        mine, theirs = self.now(at), other.now(at)
        return Spent(max(mine.ever, theirs.ever), max(mine.month, theirs.month), max(mine.day, theirs.day), at)


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """How much of one budget is used."""

    period: Period
    usd: float  # spent in the period, and reserved for requests under way
    budget: float  # USD

    @property
    def share(self) -> float:
        """Of the budget; 1 and more: it is used up."""
        return self.usd / self.budget if self.budget else 1.0

    @property
    def setting(self) -> str:
        """What sets it in the file of keys."""
        return {"ever": "usd", "day": "usd_per_day", "month": "usd_per_month"}[self.period]

    @property
    def words(self) -> str:
        """Which budget, for a message."""
        return {
            "ever": dollars(self.budget),
            "day": f"{dollars(self.budget)} per day",
            "month": f"{dollars(self.budget)} per month",
        }[self.period]


def uses(key: Budgeted, spent: Spent, under_way: float = 0.0) -> Iterator[BudgetUse]:
    """Every budget of a key."""
    for period, budget, usd in (
        ("ever", key.usd, spent.ever),
        ("month", key.usd_per_month, spent.month),
        ("day", key.usd_per_day, spent.day),
    ):
        if budget is not None:
            yield BudgetUse(period, usd + under_way, budget)  # type: ignore[arg-type]  # the three literals above


def has_budget(key: Budgeted) -> bool:
    """Whether anything limits what a key may spend."""
    return any(True for _ in uses(key, Spent()))


def kept_share(use: BudgetUse | None) -> float:
    """The fraction of the strong share that is left: 1 below `TAPER` of a budget for a day or a month, 0 at its end."""
    if use is None or use.period == "ever":
        return 1.0
    return min(1.0, max(0.0, (1 - use.share) / (1 - TAPER)))


def start_of(period: Period, at: float) -> float:
    """When the month or the day (UTC) of a time began, seconds since 1970; 0 where the period has no end."""
    if period == "ever":
        return 0.0
    day = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day.replace(day=1) if period == "month" else day).timestamp()


def seconds_left(period: Period, at: float) -> int | None:
    """Seconds until the next month or day (UTC) begins; None where the period has no end."""
    if period == "ever":
        return None
    start = datetime.fromtimestamp(start_of(period, at), UTC)
    following = (start + timedelta(days=32)).replace(day=1) if period == "month" else start + timedelta(days=1)
    return max(1, round(following.timestamp() - at))
