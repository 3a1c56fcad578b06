"""The last hour, day or week of a ledger as points over time, by key and model: what the dashboard draws.

It reads the sums that are kept beside the decisions. Its whole is the sum of its points, so that both say the same.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from demur.errors import InputError
from demur.gateway.latencies import BINS, percentiles
from demur.gateway.ledger.read import query_ledger, read_decisions
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.ledger.totals.bills import Bill, bill_of_sums
from demur.gateway.ledger.totals.sums import BILLED, COUNTED, HOUR, LATENCIES, MINUTE, QUARTER, TABLE
from demur.records import FloatArray

Period = Literal["hour", "day", "week"]
POINTS: Mapping[str, tuple[int, int]] = {"hour": (MINUTE, 60), "day": (QUARTER, 96), "week": (HOUR, 168)}
LISTED = 100  # keys and models, and that many newest decisions at most
WIDTH = len(BILLED) + len(COUNTED)


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the requests of a point, or of the whole; shares are fractions, None of no requests."""

    bill: Bill
    checked: int  # the gate looked at the weak model's answer
    fallbacks: int  # the other model answered because the chosen one failed
    errors: int  # the client was given an error, 400 or above
    failures: int  # of them 500 or above
    p95_ms: float | None  # until the answer was sent, to 6 %

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        bill, requests = self.bill, self.bill.requests
        return {
            **bill.as_dict(),
            "checked": self.checked,
            "fallbacks": _share(self.fallbacks, requests),
            "errors": _share(self.errors, requests),
            "p95_ms": self.p95_ms,
        }


@dataclass(frozen=True, slots=True)
class Point:
    """A minute, quarter of an hour or hour."""

    at: int  # its start, seconds since 1970
    sums: Sums
    answered: Mapping[str, int]  # requests by the model that answered; the empty name: none did
    failed: Mapping[str, float | None]  # share of the requests to a model that it failed; None where it had none

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"at": self.at, **self.sums.as_dict(), "answered": dict(self.answered), "failed": dict(self.failed)}


@dataclass(frozen=True, slots=True)
class Series:
    """A period's points in order, the last one still under way, and their sum."""

    period: Period
    seconds: int  # of a point
    points: tuple[Point, ...]
    whole: Sums
    keys: tuple[Bill, ...]  # of the period, whatever is filtered; the empty name: without a key
    models: tuple[Bill, ...]  # the same by the model that answered
    recent: tuple[LedgerRecord, ...]  # newest first, prompts left out

    def as_dict(self) -> dict[str, Any]:
        """For JSON; records stay as they are."""
        return {
            "period": self.period,
            "seconds": self.seconds,
            "points": [point.as_dict() for point in self.points],
            "whole": self.whole.as_dict(),
            "keys": [bill.as_dict() for bill in self.keys],
            "models": [bill.as_dict() for bill in self.models],
        }


def series(
    url: str,
    period: str,
    *,
    key: str | None = None,
    model: str | None = None,
    pair: tuple[str, str] = ("", ""),
    newest: int = 25,
    now: float | None = None,
) -> Series:
    """A period of a ledger until ``now``, of one ``key`` or ``model`` where they are given.

    ``pair`` names the two models that are served: a fallback that one answered is a failure of the other. Raises
    InputError for another period, StoreError.
    """
    if period not in get_args(Period):
        raise InputError(f"period is {period!r}; it can be {', '.join(get_args(Period))}")
    seconds, count = POINTS[period]
    first = int(time.time() if now is None else now) // seconds * seconds - (count - 1) * seconds
    sums = _read_sums(url, seconds, first, key)
    latencies = _read_latencies(url, seconds, first, key, model)
    points = []
    for at in range(first, first + count * seconds, seconds):
        here = sums.get(at, {})
        chosen = _add_rows(values for name, values in here.items() if model in (None, name))
        points.append(
            Point(
                at,
                _sums(chosen, latencies.get(at)),
                {name: int(values[0]) for name, values in here.items() if model in (None, name)},
                {name: _failed_share(here, name, pair) for name in pair if name},
            )
        )
    whole = _add_rows(values for here in sums.values() for name, values in here.items() if model in (None, name))
    return Series(
        period=period,  # type: ignore[arg-type]  # checked above
        seconds=seconds,
        points=tuple(points),
        whole=_sums(whole, sum(latencies.values(), np.zeros(BINS))),
        keys=_bills_by(url, "key", seconds, first),
        models=_bills_by(url, "model", seconds, first),
        recent=tuple(read_decisions(url, newest, since=first, key=key, model=model)),
    )


def _read_sums(url: str, seconds: int, first: int, key: str | None) -> dict[int, dict[str, FloatArray]]:
    """Sums by the start of a point and the model that answered, each (WIDTH,)."""
    columns = ", ".join(f'sum("{name}")' for name in (*BILLED, *COUNTED))
    where, values = _where(seconds, first, {"key": key})
    query = f'select "start", "model", {columns} from {TABLE} where {where} group by "start", "model"'
    found: dict[int, dict[str, FloatArray]] = {}
    for at, name, *numbers in query_ledger(url, query, values):
        found.setdefault(int(at), {})[str(name)] = np.array(numbers, dtype=np.float64)
    return found


def _read_latencies(url: str, seconds: int, first: int, key: str | None, model: str | None) -> dict[int, FloatArray]:
    """Requests per bin of latency, (BINS,), by the start of a point."""
    where, values = _where(seconds, first, {"key": key, "model": model})
    query = f'select "start", "bin", sum("requests") from {LATENCIES} where {where} group by "start", "bin"'
    found: dict[int, FloatArray] = {}
    for at, number, requests in query_ledger(url, query, values):
        found.setdefault(int(at), np.zeros(BINS))[int(number)] = float(requests)
    return found


def _bills_by(url: str, column: Literal["key", "model"], seconds: int, first: int) -> tuple[Bill, ...]:
    """The bills of the keys or models that asked most."""
    columns = ", ".join(f'sum("{name}")' for name in BILLED)
    where, values = _where(seconds, first, {})
    order = f'group by "{column}" order by sum("{BILLED[0]}") desc, "{column}" limit {LISTED}'
    rows = query_ledger(url, f'select "{column}", {columns} from {TABLE} where {where} {order}', values)
    return tuple(bill_of_sums(numbers, str(name)) for name, *numbers in rows)


def _where(seconds: int, first: int, equal: Mapping[str, str | None]) -> tuple[str, list[object]]:
    given = {name: value for name, value in equal.items() if value is not None}
    clauses = ['"grain" = ?', '"start" >= ?', *(f'"{name}" = ?' for name in given)]
    return " and ".join(clauses), [seconds, first, *given.values()]


def _add_rows(rows: Iterable[FloatArray]) -> FloatArray:
    return np.asarray(sum(rows, np.zeros(WIDTH)))


def _sums(values: FloatArray, latencies: FloatArray | None) -> Sums:
    bill = bill_of_sums(values[: len(BILLED)])
    checked, fallbacks, errors, failures = map(int, values[len(BILLED) :])
    found = None if latencies is None else percentiles(latencies, (0.95,))
    return Sums(bill, checked, fallbacks, errors, failures, found[0] if found else None)


def _failed_share(here: Mapping[str, FloatArray], name: str, pair: tuple[str, str]) -> float | None:
    """The share of the requests to a model that it failed: those that the other one answered in its place as well."""
    other = pair[1] if name == pair[0] else pair[0]
    nothing = np.zeros(WIDTH)
    own, others = here.get(name, nothing), here.get(other, nothing)
    gone = float(others[len(BILLED) + COUNTED.index("fallbacks")])
    return _share(gone + float(own[len(BILLED) + COUNTED.index("failures")]), gone + float(own[0]))


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole and math.isfinite(part) else None
