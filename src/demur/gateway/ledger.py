"""The ledger: a record of every decision and what it cost, written off the request path, bounded and crash-safe.

Records wait in memory for half a second at most, then a thread commits them together: after kill -9 at most the last
second is missing and nothing is torn. SQLite by default; PostgreSQL by URL, for several replicas.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from demur.errors import StoreError, require

LARGEST_QUEUE = 100_000  # records that wait while the database is away; more are dropped and counted
COMMIT_SECONDS, LARGEST_COMMIT = 0.5, 2_000


@dataclass(frozen=True, slots=True)
class LedgerRecord:
    """One request as it went."""

    id: str
    at: float  # seconds since 1970
    key: str  # name of the client's key; empty without keys
    path: str
    asked: str  # model that the client named
    model: str  # model that answered; empty when none did
    role: str  # weak, strong, or direct (the client named a real model)
    score: float | None  # P(the strong model is needed)
    threshold: float | None
    reason: str
    stage: str  # prompt, or gate: the weak model's answer was looked at
    extra_samples: int  # of the weak model, asked by the gate
    calibration_void: bool  # the gate's signals were missing
    status: int
    streamed: bool
    prompt_tokens: int
    completion_tokens: int
    tokens_counted: bool  # False: estimated from lengths, the upstream did not say
    usd: float | None  # drafts and extra samples included; None: the price is unknown
    usd_strong: float | None  # what always-strong would have cost
    queue_seconds: float
    decide_seconds: float  # embedding and scoring
    gate_seconds: float  # the weak model's draft and extra samples, until the gate had decided
    first_byte_seconds: float  # of the upstream
    total_seconds: float
    outcome: str  # ok, upstream_error, fallback, client_gone, refused
    prompt: str  # empty unless record_prompts is on


_SQL_TYPE = {
    "str": "text not null default ''",
    "float": "double precision not null default 0",
    "int": "bigint not null default 0",
    "bool": "boolean not null default false",
}
COLUMNS = tuple(field.name for field in fields(LedgerRecord))
_row = attrgetter(*COLUMNS)  # dataclasses.astuple copies each value, and would hold up the requests


def _column(name: str) -> str:
    kind, _, optional = str(LedgerRecord.__dataclass_fields__[name].type).partition(" ")
    sql = _SQL_TYPE[kind]
    return f'"{name}" {sql.partition(" not null")[0] if optional else sql}'


def _prepare(execute: Callable[[str], Any]) -> None:
    """Create the table, or add the columns that a ledger of an earlier version lacks."""
    execute(f"create table if not exists decisions ({', '.join(map(_column, COLUMNS))}, primary key (id))")
    execute("create index if not exists decisions_at on decisions (at)")
    there = {column[0] for column in execute("select * from decisions limit 0").description}
    for name in COLUMNS:
        if name not in there:
            execute(f"alter table decisions add column {_column(name)}")


def _insert(mark: str) -> str:
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    return f"insert into decisions ({names}) values ({', '.join([mark] * len(COLUMNS))}) on conflict do nothing"


class Backend(Protocol):
    """Where records are kept; a second one exists (PostgreSQL)."""

    def write(self, records: Sequence[LedgerRecord]) -> None: ...

    def close(self) -> None: ...


class SqliteBackend:
    """One SQLite file."""

    def __init__(self, path: str) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(path, timeout=10, check_same_thread=False)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = normal")
        with self._db:
            self._db.execute("begin immediate")  # several processes may share the file
            _prepare(self._db.execute)

    def write(self, records: Sequence[LedgerRecord]) -> None:
        """Commit records together; one that is there already stays as it was."""
        with self._db:
            self._db.executemany(_insert("?"), list(map(_row, records)))

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class PostgresBackend:
    """A PostgreSQL database, connected anew when it went away."""

    def __init__(self, url: str) -> None:
        self._psycopg = require("psycopg", extra="postgres", purpose="a PostgreSQL ledger")
        self._url = url
        self._db: Any = None
        self._connect()

    def _connect(self) -> None:
        self._db = self._psycopg.connect(self._url, connect_timeout=5)
        with self._db.transaction():
            self._db.execute("select pg_advisory_xact_lock(60311)")  # replicas start together
            _prepare(self._db.execute)

    def write(self, records: Sequence[LedgerRecord]) -> None:
        """Commit records together; one that is there already stays as it was."""
        if self._db is None or self._db.closed:
            self._connect()
        try:
            with self._db.transaction(), self._db.cursor() as cursor:
                cursor.executemany(_insert("%s"), list(map(_row, records)))
        except self._psycopg.OperationalError:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()


def open_backend(url: str) -> Backend:
    """SQLite file or postgresql://... URL; raises StoreError that does not show the URL's password."""
    try:
        return PostgresBackend(url) if url.startswith(("postgresql://", "postgres://")) else SqliteBackend(url)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"ledger {url}: {error}; name a file in a folder that can be written") from error
    except Exception as error:
        if type(error).__module__.startswith("psycopg"):
            raise StoreError(
                f"the PostgreSQL ledger cannot be reached: {type(error).__name__}; is the URL right?"
            ) from None
        raise


class Ledger:
    """Takes records without waiting, and writes them in a thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._queue: queue.Queue[LedgerRecord] = queue.Queue(LARGEST_QUEUE)
        self._ending = threading.Event()
        self.dropped = 0  # records lost because the database was away too long
        self.failures = 0  # commits that failed and were tried again
        self._thread = threading.Thread(target=self._work, name="demur-ledger", daemon=True)
        self._thread.start()

    def add(self, record: LedgerRecord) -> None:
        """Keep a record; never blocks."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1

    def close(self) -> None:
        """Write what waits, then close."""
        self._ending.set()
        self._thread.join(timeout=10)
        self._backend.close()

    def _work(self) -> None:
        pending: list[LedgerRecord] = []
        while True:
            ending = self._ending.is_set()
            pending += self._taken(LARGEST_COMMIT - len(pending))
            if pending and self._written(pending):
                pending = []
            if ending and (not pending or self.failures) and self._queue.empty():
                return
            if not ending and self._queue.qsize() < LARGEST_COMMIT:
                self._ending.wait(COMMIT_SECONDS)

    def _taken(self, most: int) -> Iterator[LedgerRecord]:
        for _ in range(most):
            try:
                yield self._queue.get_nowait()
            except queue.Empty:
                return

    def _written(self, records: Sequence[LedgerRecord]) -> bool:
        try:
            self._backend.write(records)
        except Exception:  # the database is away: serving goes on, the records wait
            self.failures += 1
            return False
        return True


def read_ledger(url: str, *, last: int = 20) -> list[LedgerRecord]:
    """The newest records, newest first; raises StoreError."""
    names = ", ".join(f'"{name}"' for name in COLUMNS)
    query = f"select {names} from decisions order by at desc limit {int(last)}"
    if not url.startswith(("postgresql://", "postgres://")):
        if not Path(url).is_file():
            raise StoreError(f"{url}: no ledger here; `demur serve` writes one")
        with closing(sqlite3.connect(f"file:{url}?mode=ro", uri=True)) as db:
            return [_record(row) for row in db.execute(query)]
    psycopg = require("psycopg", extra="postgres", purpose="a PostgreSQL ledger")
    with psycopg.connect(url) as db:
        return [_record(row) for row in db.execute(query).fetchall()]


_BOOLEANS = frozenset(field.name for field in fields(LedgerRecord) if field.type == "bool")


def _record(row: Sequence[Any]) -> LedgerRecord:
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    return LedgerRecord(**(values | {name: bool(values[name]) for name in _BOOLEANS}))
