"""The ledger: a record of every decision and what it cost, written off the request path, bounded and crash-safe.

Records wait in memory for half a second at most, then a thread commits them together: after kill -9 at most the last
second is missing and nothing is torn. SQLite by default; PostgreSQL by URL, for several replicas.
"""

from __future__ import annotations

import math
import os
import queue
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from demur.config.store_url import SCHEMES
from demur.errors import StoreError
from demur.gateway.clients.budgets import Spent, start_of
from demur.gateway.clients.keys import Admission
from demur.gateway.ledger.record import COLUMNS, LedgerRecord, storable, storable_rows
from demur.gateway.ledger.totals.sums import SumWriter, prepare_sums
from demur.store.connection import PostgresConnection

LARGEST_QUEUE = 100_000  # records that wait while the database is away; more are dropped and counted
COMMIT_SECONDS, LARGEST_COMMIT = 0.5, 2_000
LAST_TRIES_SECONDS = 5.0  # at the end, for a database that is away
SPENT_SECONDS, SPENT_SHARE = 2.0, 0.05  # what keys have spent is read so often, and for this share of the time at most


_SQL_TYPE = {
    "str": "text not null default ''",
    "float": "double precision not null default 0",
    "int": "bigint not null default 0",
    "bool": "boolean not null default false",
}


def _column(name: str) -> str:
    kind, _, optional = str(LedgerRecord.__dataclass_fields__[name].type).partition(" ")
    sql = _SQL_TYPE[kind]
    return f'"{name}" {sql.partition(" not null")[0] if optional else sql}'


def prepare_table(execute: Callable[[str], Any]) -> None:
    """Create the table, or add the columns that a ledger of an earlier version lacks."""
    execute(f"create table if not exists decisions ({', '.join(map(_column, COLUMNS))}, primary key (id))")
    execute("create index if not exists decisions_at on decisions (at)")
    execute("drop index if exists decisions_spent")  # of earlier versions: it had no time
    execute('create index if not exists decisions_spent_at on decisions ("key", at, usd) where "key" <> \'\'')
    there = {column[0] for column in execute("select * from decisions limit 0").description}
    for name in COLUMNS:
        if name not in there:
            execute(f"alter table decisions add column {_column(name)}")
    prepare_sums(execute)


def _insert(mark: str) -> str:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    return f"insert into decisions ({names}) values ({', '.join([mark] * len(COLUMNS))}) on conflict do nothing"


def _write(cursor: Any, mark: str, records: Sequence[LedgerRecord], sums: SumWriter) -> None:
    """Write records, and add those to the sums that were not there before."""
    marks = ", ".join([mark] * len(records))
    cursor.execute(f"select id from decisions where id in ({marks})", [storable(record.id) for record in records])
    there = {name for (name,) in cursor.fetchall()}
    cursor.executemany(_insert(mark), storable_rows(records))
    new = {record.id: record for record in reversed(records) if storable(record.id) not in there}
    sums.write(cursor, list(new.values()))


def _spent_query(mark: str, count: int) -> str:
    marks = ", ".join([mark] * count)
    since = f"sum(case when at >= {mark} then usd else 0 end)"  # a month's, a day's
    return f"""select "key", sum(usd), {since}, {since} from decisions where "key" <> '' and "key" in ({marks}) group by
        "key\""""


def _periods(at: float) -> tuple[float, float]:
    """When this month and this day began."""
    return start_of("month", at), start_of("day", at)


def _spent_of(rows: Iterable[Sequence[Any]], at: float) -> dict[str, Spent]:
    return {key: Spent(ever or 0.0, month or 0.0, day or 0.0, at) for key, ever, month, day in rows}


class Backend(Protocol):
    """Where records are kept; a second one exists (PostgreSQL)."""

    unfit: tuple[
        type[Exception], ...
    ]  # what `write` raises for a record that will never fit; else it can be tried again

    def write(self, records: Sequence[LedgerRecord]) -> None: ...

    def usd_spent(self, keys: Sequence[str]) -> dict[str, Spent]: ...

    def describe_failure(self, error: Exception) -> str: ...  # what could not be written, in words for the operator

    def close(self) -> None: ...


class SqliteBackend:
    """One SQLite file, opened again when it was replaced."""

    unfit: tuple[type[Exception], ...] = (
        sqlite3.IntegrityError,
        sqlite3.DataError,
        sqlite3.ProgrammingError,
        ValueError,
        TypeError,
        OverflowError,
    )

    def __init__(self, path: str) -> None:
        self._path, self._sums = path, SumWriter("?")
        self._open()

    def _open(self) -> None:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True)
        _keep_private(Path(self._path))
        self._db = sqlite3.connect(self._path, timeout=10, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        with self._db:
            self._db.execute("begin immediate")  # several processes may share the file
            prepare_table(self._db.execute)
        self._file = _file_id(self._path)

    def write(self, records: Sequence[LedgerRecord]) -> None:
        """Commit records together; existing records stay unchanged."""
        if _file_id(self._path) != self._file:  # moved away: what is written to it now would be lost
            self._db.close()
            self._open()
        with self._db:
            _write(self._db.cursor(), "?", records, self._sums)

    def usd_spent(self, keys: Sequence[str]) -> dict[str, Spent]:
        """USD of each key's requests so far."""
        now = time.time()
        return _spent_of(self._db.execute(_spent_query("?", len(keys)), [*_periods(now), *keys]), now)

    def describe_failure(self, error: Exception) -> str:
        """Which file cannot be written, and why."""
        why = error if isinstance(error, sqlite3.Error | OSError) else type(error).__name__
        return f"{self._path} cannot be written ({why})"

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _keep_private(path: Path) -> None:
    """The owner's alone, before anything is written: who asked what may stand in it. SQLite's -wal and -shm follow."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    for one in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with suppress(OSError):  # not there, or not ours to change
            one.chmod(0o600)


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # a Path costs more than the call
    except OSError:
        return None
    return found.st_dev, found.st_ino


class PostgresBackend:
    """A PostgreSQL database, reconnected after a failure."""

    def __init__(self, url: str) -> None:
        self._connection, self._sums = PostgresConnection(url, prepare_table), SumWriter("%s")
        self.unfit: tuple[type[Exception], ...] = self._connection.unfit

    def write(self, records: Sequence[LedgerRecord]) -> None:
        """Commit records together; existing records stay unchanged."""
        with self._connection.transaction() as db, db.cursor() as cursor:
            _write(cursor, "%s", records, self._sums)

    def usd_spent(self, keys: Sequence[str]) -> dict[str, Spent]:
        """USD of each key's requests so far."""
        now = time.time()
        with self._connection.transaction() as db:
            rows = db.execute(_spent_query("%s", len(keys)), [*_periods(now), *keys]).fetchall()
        return _spent_of(rows, now)

    def describe_failure(self, error: Exception) -> str:
        """That the server cannot be reached; without its own text, which may hold a password."""
        return f"PostgreSQL is away ({type(error).__name__})"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def open_backend(url: str) -> Backend:
    """SQLite file or postgresql://... URL; raises StoreError that does not show the URL's password."""
    try:
        return PostgresBackend(url) if url.startswith(SCHEMES) else SqliteBackend(url)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"ledger {url}: {error}; name a file in a folder that can be written") from error
    except Exception as error:
        if type(error).__module__.startswith("psycopg"):
            raise StoreError(
                f"the PostgreSQL ledger cannot be reached: {type(error).__name__}; is the URL right?"
            ) from None
        raise


class Ledger:
    """Takes records without waiting and writes them in a thread; reports what each key has spent."""

    def __init__(self, backend: Backend, admission: Admission | None = None) -> None:
        self._backend, self._admission = backend, admission
        self._queue: queue.SimpleQueue[LedgerRecord] = queue.SimpleQueue()
        self._ending = threading.Event()
        self._given_up = math.inf  # of time.monotonic: then what cannot be written is lost
        self._away = False
        self._spent_again = 0.0  # when it is read next
        self.dropped = 0  # records lost: the database was away too long, or could not take them
        self.failures = 0  # commits that failed and were tried again
        self._tell_spent()
        self._thread = threading.Thread(target=self._work, name="demur-ledger", daemon=True)
        self._thread.start()

    def add(self, record: LedgerRecord) -> None:
        """Keep a record; never blocks."""
        if self._queue.qsize() < LARGEST_QUEUE:
            self._queue.put(record)
        else:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, then close."""
        self._given_up = time.monotonic() + LAST_TRIES_SECONDS
        self._ending.set()
        self._thread.join(timeout=3 * LAST_TRIES_SECONDS)
        self._backend.close()  # ends what is asked of a database that hangs
        self._thread.join(timeout=1.0)  # until it has said what is lost

    def _work(self) -> None:
        pending: list[LedgerRecord] = []
        while not self._ending.is_set():
            pending = self._write_records(pending + self._take_queued(LARGEST_COMMIT - len(pending)))
            self._tell_spent()
            if pending or self._queue.qsize() < LARGEST_COMMIT:
                self._ending.wait(COMMIT_SECONDS)
        while pending or not self._queue.empty():
            pending = self._write_records(pending + self._take_queued(LARGEST_COMMIT - len(pending)))
            if pending and time.monotonic() >= self._given_up:
                lost = len(pending) + self._queue.qsize()
                self.dropped += lost
                _say(f"{lost} records are lost")
                return
            if pending:
                time.sleep(COMMIT_SECONDS / 2)

    def _take_queued(self, most: int) -> list[LedgerRecord]:
        found: list[LedgerRecord] = []
        try:
            while len(found) < most:
                found.append(self._queue.get_nowait())
        except queue.Empty:
            pass
        return found

    def _write_records(self, records: list[LedgerRecord]) -> list[LedgerRecord]:
        """Write records; returns those that must wait until the database is back. A record that can never be stored is
        dropped alone.
        """
        if not records:
            return []
        try:
            self._backend.write(records)
        except self._backend.unfit as error:
            if len(records) > 1:
                half = len(records) // 2
                return self._write_records(records[:half]) + self._write_records(records[half:])
            self.dropped += 1
            _say(f"record {records[0].id} cannot be kept ({type(error).__name__})")
        except Exception as error:  # the database is away: serving goes on, the records wait
            self.failures += 1
            self._note(error)
            return records
        self._note(None)
        return []

    def _note(self, error: Exception | None) -> None:
        """Report when records cannot be written, and when they can again."""
        if self._away != (error is not None):
            self._away = error is not None
            what = self._backend.describe_failure(error) if error else "it is written again"
            _say(f"{what}; records wait, and requests are served" if error else what)

    def _tell_spent(self) -> None:
        names = self._admission.limited if self._admission else []
        start = time.monotonic()
        if self._admission is None or not names or start < self._spent_again:
            return
        try:
            self._admission.learn(self._backend.usd_spent(names))
        except Exception as error:  # away: what this process has counted holds until it is back
            self._note(error)
        taken = time.monotonic() - start
        self._spent_again = start + max(SPENT_SECONDS, taken / SPENT_SHARE)


def _say(text: str) -> None:
    print(f"demur: ledger: {text}", file=sys.stderr)
