"""Sums of the decisions per minute, quarter of an hour and hour, kept in the ledger beside them.

Each commit adds its decisions in the same transaction, a decision that was there before adds nothing, and old sums are
removed. So the figures of a week are read from some hundred rows, whatever was served.
"""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import add
from typing import Any

from demur.gateway.latencies import latency_bin
from demur.gateway.ledger.record import DECIDED, LedgerRecord, storable
from demur.gateway.ledger.totals.bills import Bill, sums_of

MINUTE, QUARTER, HOUR = 60, 900, 3600
KEPT_SECONDS = {MINUTE: 2 * 3600, QUARTER: 2 * 86_400, HOUR: 9 * 86_400}  # by the seconds that a row adds up
REMOVE_SECONDS = 600.0  # between two removals of old rows
COLUMNS = {"routed": "routed", "strong": "routed_strong"}  # of sums of a bill; the others' begin with bill_
BILLED = tuple(COLUMNS.get(one.name, f"bill_{one.name}") for one in fields(Bill)[1:])
COUNTED = ("checked", "fallbacks", "errors", "failures")
TABLE, LATENCIES = "decisions_sums", "decisions_latencies"
_OF = '"grain", "start", "key", "model"'

Group = tuple[int, int, str, str]  # seconds of a row, its start (seconds since 1970), key, model that answered


def prepare_sums(execute: Callable[[str], Any]) -> None:
    """Create the two tables, which are read by their primary keys alone, or add the sums that earlier ones lack."""
    of = '"grain" bigint not null, "start" bigint not null, "key" text not null, "model" text not null'
    columns = {name: f'"{name}" double precision not null default 0' for name in (*BILLED, *COUNTED)}
    execute(f"create table if not exists {TABLE} ({of}, {', '.join(columns.values())}, primary key ({_OF}))")
    there = {column[0] for column in execute(f"select * from {TABLE} limit 0").description}
    for name in columns:
        if name not in there:
            execute(f"alter table {TABLE} add column {columns[name]}")
    bins = '"bin" bigint not null, "requests" double precision not null default 0'
    execute(f'create table if not exists {LATENCIES} ({of}, {bins}, primary key ({_OF}, "bin"))')


class SumWriter:
    """Adds decisions to the sums; ``mark`` is how a database's statements name a value."""

    def __init__(self, mark: str) -> None:
        self._sums = _upsert(TABLE, _OF, (*BILLED, *COUNTED), mark)
        self._latencies = _upsert(LATENCIES, f'{_OF}, "bin"', ("requests",), mark)
        self._remove = [
            f'delete from {table} where "grain" = {mark} and "start" < {mark}' for table in (TABLE, LATENCIES)
        ]
        self._again = 0.0

    def write(self, cursor: Any, records: Sequence[LedgerRecord]) -> None:
        """Add decisions within the transaction of a cursor of either database.

        Rows are written in order, so that processes which write at once wait for each other, never in a circle.
        """
        sums, latencies = add_up(records)
        cursor.executemany(self._sums, [(*group, *sums[group]) for group in sorted(sums)])
        cursor.executemany(self._latencies, [(*place, latencies[place]) for place in sorted(latencies)])
        now = time.time()
        if now >= self._again:
            self._again = now + REMOVE_SECONDS
            for statement in self._remove:
                cursor.executemany(statement, [(grain, int(now - kept)) for grain, kept in KEPT_SECONDS.items()])


def _upsert(table: str, key: str, numbers: Sequence[str], mark: str) -> str:
    names = ", ".join(f'"{name}"' for name in numbers)
    marks = ", ".join([mark] * (key.count(",") + 1 + len(numbers)))
    added = ", ".join(f'"{name}" = {table}."{name}" + excluded."{name}"' for name in numbers)
    return f"insert into {table} ({key}, {names}) values ({marks}) on conflict ({key}) do update set {added}"


def add_up(
    records: Sequence[LedgerRecord],
) -> tuple[dict[Group, list[float]], dict[tuple[int, int, str, str, int], float]]:
    """What records add to the rows of both tables: by minute first, then minutes to quarters and hours."""
    sums: dict[Group, list[float]] = {}
    latencies: dict[tuple[int, int, str, str, int], float] = {}
    alike: defaultdict[tuple[int, str, str], list[LedgerRecord]] = defaultdict(list)
    for record in (one for one in records if one.role != DECIDED):  # nothing was requested of a model
        alike[int(record.at) // MINUTE * MINUTE, record.key, record.model].append(record)
    for (start, *names), minute in alike.items():
        key, model = (str(storable(name)) for name in names)
        added = _sums_of_all(minute)
        counts = Counter(latency_bin(record.total_seconds) for record in minute if not record.is_test)
        for grain in (MINUTE, QUARTER, HOUR):
            group = (grain, start // grain * grain, key, model)
            sums[group] = list(map(add, sums[group], added)) if group in sums else added
            for number, count in counts.items():
                place = (*group, number)
                latencies[place] = latencies.get(place, 0.0) + count
    return sums, latencies


def _sums_of_all(records: Sequence[LedgerRecord]) -> list[float]:
    """What records add to the sums of one row; what is not finite adds nothing."""
    rows: list[tuple[float, ...]] = [(*sums_of(record), *counts_of(record)) for record in records]
    if not math.isfinite(sum(map(sum, rows))):
        rows = [tuple(value if math.isfinite(value) else 0.0 for value in row) for row in rows]
    return [float(sum(column)) for column in zip(*rows, strict=True)]


def counts_of(record: LedgerRecord) -> tuple[bool, ...]:
    """What a record adds to COUNTED: errors are all that the client was told, failures those of a server. No
    client was told of a request of demur's own."""
    if record.is_test:
        return (False,) * len(COUNTED)
    return (record.stage == "gate", record.outcome == "fallback", record.status >= 400, record.status >= 500)
