"""Accounts that several machines share in PostgreSQL: USD that were spent, and USD that each process has reserved.

Each step is one statement: it waits for the row, checks that the request fits, and writes. No machine can keep the row
locked when it fails. A process writes the sum of what it has reserved, not the change, so its next step corrects one
whose outcome it did not learn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur.gateway.clients.budgets import Period, Spent, start_of

# (statement, values by name) -> rows
Execute = Callable[[str, Mapping[str, object]], Sequence[Sequence[Any]]]

TABLE = """create table if not exists accounts (name text primary key, ever double precision not null default 0,
    month double precision not null default 0, day double precision not null default 0,
    at double precision not null default 0, reserved jsonb not null default '{}')"""
_OF_PERIOD: dict[Period, str] = {
    "ever": "a.ever",
    "month": "case when a.at >= %(month)s then a.month else 0 end",
    "day": "case when a.at >= %(day)s then a.day else 0 end",
}
_SUM = "(select coalesce(sum(value::double precision), 0) from jsonb_each_text({of}))"
_OTHERS = _SUM.format(of="a.reserved - %(process)s::text")
_FOUND = f"ever, month, day, at, {_SUM.format(of='reserved')}"
_INSERT = """insert into accounts as a (name, ever, month, day, at, reserved)
    values (%(name)s, %(ever_usd)s, %(month_usd)s, %(day_usd)s, %(now)s, %(reserved)s::jsonb)
    on conflict (name) do update set at = greatest(a.at, excluded.at), reserved = a.reserved || excluded.reserved"""
_ADD = ", ".join(f"{period} = {of} + excluded.{period}" for period, of in _OF_PERIOD.items())
_AT_LEAST = ", ".join(f"{period} = greatest({of}, excluded.{period})" for period, of in _OF_PERIOD.items())
# Of processes that were not seen for so long that they must have ended.
_RELEASE = """update accounts set reserved = reserved - %(gone)s::text[] where reserved ?| %(gone)s::text[]"""


@dataclass(frozen=True, slots=True)
class Room:
    """How much an account may hold, in USD by period. ``whole``: also the request itself must fit."""

    limits: Mapping[Period, float]
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """What an account holds: USD spent, and USD reserved by all processes."""

    spent: Spent
    reserved: float


def reserve(
    execute: Execute, name: str, process: str, *, held: float, usd: float, room: Room, now: float, paid: float = 0.0
) -> Account | None:
    """Reserve ``usd`` beside what a process holds already, and add what it has ``paid`` since its last step.

    None where that has no room; nothing changes then.
    """
    more = paid + (usd if room.whole else 0.0)
    compare = "<=" if room.whole else "<"
    fits = [f"{_OF_PERIOD[period]} + {_OTHERS} + %(before)s {compare} %(most_{period})s" for period in room.limits]
    values = _values(name, process, held + usd, Spent(paid, paid, paid), now) | {"before": held + more}
    values |= {f"most_{period}": most for period, most in room.limits.items()}
    return _one(execute(f"{_INSERT}, {_ADD} where {' and '.join(fits) or 'true'} returning {_FOUND}", values))


def pay(execute: Execute, name: str, process: str, *, held: float, usd: float, now: float) -> None:
    """Add what was spent, and write what a process holds from now on."""
    execute(f"{_INSERT}, {_ADD}", _values(name, process, held, Spent(usd, usd, usd), now))


def take_over(execute: Execute, name: str, process: str, spent: Spent, now: float, *, held: float = 0.0) -> None:
    """Take over what was spent by the ledger, where that is more."""
    execute(f"{_INSERT}, {_AT_LEAST}", _values(name, process, held, spent.now(now), now))


def read(execute: Execute, names: Sequence[str]) -> dict[str, Account]:
    """Accounts by name."""
    rows = execute(f"select name, {_FOUND} from accounts where name = any(%(names)s)", {"names": list(names)})
    return {name: _account(found) for name, *found in rows}


def release(execute: Execute, gone: Sequence[str]) -> None:
    """Release what processes that have ended had reserved."""
    execute(_RELEASE, {"gone": list(gone)})


def _values(name: str, process: str, held: float, spent: Spent, now: float) -> dict[str, object]:
    return {
        "name": name,
        "process": process,
        "reserved": json.dumps({process: held}),
        "ever_usd": spent.ever,
        "month_usd": spent.month,
        "day_usd": spent.day,
        "now": now,
        "month": start_of("month", now),
        "day": start_of("day", now),
    }


def _one(rows: Sequence[Sequence[Any]]) -> Account | None:
    return _account(rows[0]) if rows else None


def _account(row: Sequence[Any]) -> Account:
    *spent, reserved = map(float, row)
    return Account(Spent(*spent), reserved)
