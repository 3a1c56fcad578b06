"""Where conversations are kept: by all workers of a machine in a SQLite file, by several machines in PostgreSQL.

A row per name of a conversation; a name is a digest. Where several workers serve, it is written before the client has
its answer, so that the next request finds it in whichever worker it meets. A process that serves alone knows its own
rows, writes them a little later, and reads the file only where another service has written to it.

A process remembers what it has kept or read, and of two records under one name the later one counts: what the database
has missed while it failed is not forgotten when it returns, and is written then.
"""

from __future__ import annotations

import asyncio
import math
import os
import sqlite3
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import fields
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol

from demur.config.store_url import SCHEMES
from demur.gateway.decision.conversation_model import ConversationRecord, KnownConversation
from demur.gateway.http.request_record import request_record
from demur.gateway.ledger.together import Together
from demur.store.connection import PostgresConnection

LARGEST = 20_000  # names that a process knows by itself, of several
MOST_ROWS, SWEEP_EVERY = 100_000, 1_000  # names in a database, and writes between two looks at how many there are
LATER_SECONDS = 0.05  # after which a process that serves alone writes what it keeps: so much is lost if it is killed
WRITTEN_AT_ONCE = 1_000  # names in one statement: SQLite allows 32,766 values
WAIT_SECONDS, END_SECONDS = 0.5, 3.0  # for the database: of a request, at the end
PATIENCE_SECONDS = 2.0  # of a tool loop that this process does not know, for a database that has just begun to fail
FIRST_REST, REST_SECONDS = 0.1, 5.0  # before one that failed is asked again: doubled by each failure, up to the latter
MEMORY = ":memory:"
_TYPES = {"str": "text", "float": "double precision", "int": "bigint", "bool": "boolean"}
_DEFAULTS = {"text": "''", "double precision": "0", "bigint": "0", "boolean": "false"}
COLUMNS = {field.name: _TYPES[str(field.type).replace("Role", "str")] for field in fields(ConversationRecord)}
_values = attrgetter(*COLUMNS)
_COLUMNS = ", ".join(f'"{name}"' for name in COLUMNS)
_LATER = ", ".join(f'"{name}" = excluded."{name}"' for name in COLUMNS)
_FRESH = f'{_LATER} where excluded."at" >= conversations."at"'  # a record that had to wait replaces no later one
_SWEEP = f"""delete from conversations
where "at" < (select "at" from conversations order by "at" desc limit 1 offset {MOST_ROWS})"""


class Table(Protocol):
    """The table of conversations; SQLite's and PostgreSQL's are asked in the same words."""

    mark: str  # of a value in a statement

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """One statement as a transaction of its own; the rows that it finds."""

    def changes(self) -> int | None:
        """A number that changes when another process writes; None where that is not known. It does not wait."""

    def describe_failure(self, error: Exception) -> str:
        """What cannot be used, and why, for the operator."""

    def close(self) -> None:
        """Close it."""


class SqliteTable:
    """A SQLite file that several processes share, or memory."""

    mark = "?"

    def __init__(self, path: str) -> None:
        if path != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._path = path
        self._db = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")  # what a crash of the machine loses is not worth a wait
        _prepare(self._db.execute)

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """See `Table.execute`."""
        return self._db.execute(statement, values).fetchall()

    def changes(self) -> int | None:
        """See `Table.changes`."""
        return int(self._db.execute("pragma data_version").fetchone()[0])

    def describe_failure(self, error: Exception) -> str:
        """See `Table.describe_failure`."""
        why = error if isinstance(error, sqlite3.Error) else type(error).__name__
        return f"{self._path} cannot be used ({why})"

    def close(self) -> None:
        """Close the file."""
        self._db.close()


class PostgresTable:
    """A table that several machines share."""

    mark = "%s"

    def __init__(self, url: str) -> None:
        self._connection = PostgresConnection(url, _prepare)

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """See `Table.execute`."""
        return self._connection.execute(statement, values)

    def changes(self) -> int | None:
        """See `Table.changes`."""
        return None

    def describe_failure(self, error: Exception) -> str:
        """See `Table.describe_failure`; without the error's own text, which may hold the password."""
        return f"PostgreSQL is away ({type(error).__name__})"

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _prepare(execute: Callable[[str], Any]) -> None:
    columns = ", ".join(f'"{name}" {kind} not null' for name, kind in COLUMNS.items())
    execute(f"create table if not exists conversations (name text primary key, {columns})")
    execute('create index if not exists conversations_at on conversations ("at")')
    there = {column[0] for column in execute("select * from conversations limit 0").description}
    for name, kind in COLUMNS.items():
        if name not in there:
            execute(f'alter table conversations add column "{name}" {kind} not null default {_DEFAULTS[kind]}')


def open_table(ledger: str, folder: Path | None) -> Table:
    """The table that belongs to a ledger: in the same PostgreSQL, or in a file beside the SQLite one.

    Without a ledger, in the ``folder`` that the workers of a service share, else in memory.
    """
    if ledger.startswith(SCHEMES):
        return PostgresTable(ledger)
    if ledger:
        path = Path(ledger)
        return SqliteTable(str(path.with_name(f"{path.stem}-conversations.sqlite")))
    return SqliteTable(str(folder / "conversations.sqlite") if folder else MEMORY)


@request_record(frozen=True, slots=True)
class Search:
    """What is known under some names."""

    conversation: KnownConversation | None
    answered: bool = True  # by the database
    sure: bool = True  # False: another process may know more, because the database does not answer or did not lately


class ConversationRecords:
    """The records of conversations, by their names; the database is asked in a thread of its own.

    ``alone``: no other worker of the service reads what this process keeps.
    """

    def __init__(self, table: Table, *, alone: bool = False) -> None:
        self._table, self._alone = table, alone
        self._own: OrderedDict[str, ConversationRecord] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="demur-conversations")
        self._ask_again = 0.0  # of time.monotonic
        self._failed_at = -math.inf  # of time.monotonic
        self._rest = 0.0  # seconds, after the last failure; 0: the database answers
        self._writes = 0
        self._known_at: int | None = None  # `Table.changes` when this process knew every row
        self._later: dict[str, ConversationRecord] = {}  # to be written
        self._writing: asyncio.Task[None] | None = None
        self._busy = False  # the thread writes
        self._learn_again = 0.0  # of time.monotonic
        self._wanted: dict[str, None] = {}  # names that requests wait for
        self._reading, self._keeping = Together(self._read_wanted), Together(self._write_waiting)
        if alone:
            self._learn(self._read_all())

    async def find(self, names: Sequence[str]) -> KnownConversation | None:
        """The record under the first of these names that is known."""
        return (await self.search(names)).conversation

    async def search_patiently(
        self, names: Sequence[str], enough: Callable[[KnownConversation | None], bool]
    ) -> Search:
        """As `search` does, but until it is ``enough`` a database that has just begun to fail is asked again."""
        until = time.monotonic() + PATIENCE_SECONDS
        known = await self.search(names)
        while not (known.sure or enough(known.conversation) or self._rest >= REST_SECONDS or time.monotonic() > until):
            await asyncio.sleep(max(FIRST_REST, self._ask_again - time.monotonic()))
            known = await self.search(names)
        return known

    async def search(self, names: Sequence[str]) -> Search:
        """The record under the first of these names that is known, and whether the database was there to ask."""
        if not names:
            return Search(None)
        knows_all = self._knows_all()
        rows = None if knows_all else await self._rows_of(names)
        self._remember(rows or {})
        if rows is not None and self._alone and time.monotonic() >= self._learn_again:
            self._learn_again = time.monotonic() + REST_SECONDS
            self._learn(await self._ask_database(self._read_all))
        conversation = next((KnownConversation(self._own[name], name) for name in names if name in self._own), None)
        # What others could not write they write within a rest.
        lately = time.monotonic() < self._failed_at + REST_SECONDS + WAIT_SECONDS
        answered = knows_all or rows is not None
        return Search(conversation, answered, knows_all or (answered and not lately))

    async def _rows_of(self, names: Sequence[str]) -> dict[str, ConversationRecord] | None:
        """Rows that may be under these names; None while the database fails."""
        self._wanted.update(dict.fromkeys(names))
        return await self._reading.join()

    async def _read_wanted(self) -> dict[str, ConversationRecord] | None:
        names, self._wanted = list(self._wanted), {}
        found: dict[str, ConversationRecord] | None = await self._ask_database(partial(self._read, names))
        return found

    async def keep(self, names: Sequence[str], record: ConversationRecord) -> None:
        """Keep a record under all of these names; where the database fails, it is written once it answers again."""
        records = dict.fromkeys(names, record)
        self._remember(records)
        self._later.update(records)
        if not self._alone:
            await self._keeping.join()
        if self._later and (self._writing is None or self._writing.done()):
            self._writing = asyncio.create_task(self._write_later())

    async def _write_later(self) -> None:
        while self._later:
            await asyncio.sleep(max(LATER_SECONDS, self._ask_again - time.monotonic()))
            await self._write_waiting()

    async def _write_waiting(self) -> None:
        """Write what waits, unless the database has just failed."""
        if time.monotonic() < self._ask_again:
            return
        records, self._later, self._busy = self._later, {}, True
        written = None
        try:
            written = await self._ask_database(partial(self._write, records))
        finally:  # also where the request is given up
            if written is None:
                self._later = dict(list((records | self._later).items())[-self._most :])
            self._busy = False

    @property
    def _most(self) -> int:
        return MOST_ROWS if self._alone else LARGEST

    def _knows_all(self) -> bool:
        """Whether this process knows every row: nobody else has written since it has read them."""
        # While the thread writes it holds the connection.
        if self._known_at is None or self._busy:
            return False
        try:
            return self._table.changes() == self._known_at
        except Exception:  # the database fails
            return False

    def _read_all(self) -> tuple[int | None, dict[str, ConversationRecord]]:
        """`Table.changes`, and every row."""
        changes = self._table.changes()
        newest = f'select name, {_COLUMNS} from conversations order by "at" desc limit {MOST_ROWS}'
        rows = self._table.execute(newest)
        return changes, {name: _record_of(values) for name, *values in reversed(rows)}

    def _learn(self, found: tuple[int | None, dict[str, ConversationRecord]] | None) -> None:
        if found:
            self._known_at, records = found
            self._remember(records)

    def _remember(self, records: Mapping[str, ConversationRecord]) -> None:
        for name, record in records.items():
            if name not in self._own or record.at >= self._own[name].at:
                self._own[name] = record
            self._own.move_to_end(name)
        while len(self._own) > self._most:
            self._own.popitem(last=False)

    async def _ask_database(self, work: Callable[[], Any]) -> Any:
        """The database's answer; None while it fails."""
        if time.monotonic() < self._ask_again:
            return None
        try:
            found = await self._wait_for(work)
        except Exception as error:  # whatever it is, requests are answered; its text may hold the URL's password
            if not self._rest:
                print(f"demur: conversations: {self._table.describe_failure(error)}", file=sys.stderr)
            self._rest = min(REST_SECONDS, 2 * self._rest or FIRST_REST)
            self._failed_at = time.monotonic()
            self._ask_again = self._failed_at + self._rest
            return None
        self._rest = self._ask_again = 0.0
        return found

    async def _wait_for(self, work: Callable[[], Any]) -> Any:
        """The result of work in the thread. Raises TimeoutError where it is late."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        # Unlike asyncio.timeout, this takes a result that came in time to a loop that was busy itself.
        try:
            done, _ = await asyncio.wait([running], timeout=WAIT_SECONDS)
        finally:
            running.cancel()  # nothing happens to what is done
        if not done:
            raise TimeoutError
        return running.result()

    def _read(self, names: Sequence[str]) -> dict[str, ConversationRecord]:
        marks = ", ".join([self._table.mark] * len(names))
        rows = self._table.execute(f"select name, {_COLUMNS} from conversations where name in ({marks})", list(names))
        return {name: _record_of(values) for name, *values in rows}

    def _write(self, records: Mapping[str, ConversationRecord]) -> bool:
        row = ", ".join([self._table.mark] * (1 + len(COLUMNS)))
        ordered = sorted(records)  # no deadlock
        for start in range(0, len(ordered), WRITTEN_AT_ONCE):
            names = ordered[start : start + WRITTEN_AT_ONCE]
            values = [value for name in names for value in (name, *_values(records[name]))]
            statement = f"insert into conversations (name, {_COLUMNS}) values {', '.join([f'({row})'] * len(names))}"
            self._table.execute(f"{statement} on conflict (name) do update set {_FRESH}", values)
        self._writes += 1
        if self._writes % SWEEP_EVERY == 0:
            self._table.execute(_SWEEP)
        return True

    def close(self) -> None:
        """Write what is still to be written, and close the database."""
        if self._writing:
            self._writing.cancel()
        wait([self._thread.submit(self._write_rest)], END_SECONDS)
        self._table.close()  # ends what is asked of a database that hangs
        self._thread.shutdown(cancel_futures=True)

    def _write_rest(self) -> None:
        if self._later:
            with suppress(Exception):  # the database is away
                self._write(self._later)


def _record_of(values: Sequence[Any]) -> ConversationRecord:
    role, ask, at, tokens, asks, requests, mixed, chosen, decided_by = values
    return ConversationRecord(role, ask, at, tokens, asks, requests, bool(mixed), bool(chosen), decided_by)
