"""What a target is warm-started with, from a ledger: USD spent today, and the requests of each of the last hours."""

from __future__ import annotations

from demur.errors import StoreError
from demur.gateway.clients.budgets import start_of
from demur.gateway.ledger.read import query_ledger

HOUR, HOURS = 3600, 25
ROUTED = "case when role in ('weak', 'strong') then 1 else 0 end"


def use_so_far(url: str, now: float) -> tuple[float, dict[int, float]]:
    """(USD of today (UTC), hour since 1970 -> requests that were routed); nothing where no ledger is there yet."""
    last = int(now // HOUR)
    hours = range(last - HOURS + 1, last + 1)
    counts = (
        _sum(hour * HOUR, (hour + 1) * HOUR, "case when role in ('weak', 'strong') then 1 else 0 end") for hour in hours
    )
    day, usd = start_of("day", now), "case when role = 'learning' then 0 else usd end"
    since = min(day, hours[0] * HOUR)
    try:
        found = query_ledger(
            url, f"select {_sum(day, now + 1, usd)}, {', '.join(counts)} from decisions where at >= {since!r}"
        )[0]
    except StoreError:
        return 0.0, {}
    spent, *requests = (float(value or 0.0) for value in found)
    return spent, dict(zip(hours, requests, strict=True))


def _sum(begin: float, end: float, what: str) -> str:
    return f"sum(case when at >= {begin!r} and at < {end!r} then {what} else 0 end)"
