"""Where conversations are kept: by all workers of a machine in a SQLite file, by several machines in PostgreSQL.

A row per name of a conversation; a name is a digest. It is written before the client has its answer, so that the next
request finds it in whichever worker it meets. Where the database fails, what this process knows is used.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from demur.gateway.decision.held import Found, Held
from demur.gateway.ledger.postgres import SCHEMES, PostgresConnection

LARGEST = 20_000  # names that a process knows by itself
MOST_ROWS, SWEEP_EVERY = 200_000, 1_000  # names in a database, and writes between two looks at how many there are
WAIT_SECONDS, REST_SECONDS = 0.5, 5.0  # for the database, and before one that failed is asked again
MEMORY = ":memory:"
_TYPES = {"str": "text", "float": "double precision", "int": "bigint", "bool": "boolean"}
_DEFAULTS = {"text": "''", "double precision": "0", "bigint": "0", "boolean": "false"}
COLUMNS = {field.name: _TYPES[str(field.type).replace("Role", "str")] for field in fields(Held)}
_COLUMNS = ", ".join(f'"{name}"' for name in COLUMNS)
_FRESH = ", ".join(f'"{name}" = excluded."{name}"' for name in COLUMNS)
_SWEEP = f"""delete from conversations
where "at" < (select "at" from conversations order by "at" desc limit 1 offset {MOST_ROWS})"""


class Table(Protocol):
    """The table of conversations; SQLite's and PostgreSQL's are asked in the same words."""

    mark: str  # of a value in a statement

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """One statement as a transaction of its own; the rows that it finds."""

    def close(self) -> None:
        """Close it."""


class SqliteTable:
    """A SQLite file that several processes share, or memory."""

    mark = "?"

    def __init__(self, path: str) -> None:
        if path != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(path, timeout=WAIT_SECONDS, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")  # what a crash of the machine loses is not worth a wait
        _prepare(self._db.execute)

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        """See `Table.execute`."""
        return self._db.execute(statement, values).fetchall()

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
        with self._connection.transaction() as db:
            done = db.execute(statement, values)
            return list(done.fetchall()) if done.description else []

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


class HeldConversations:
    """The records of conversations, by their names; the database is asked in a thread of its own."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._own: OrderedDict[str, Held] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="demur-conversations")
        self._ask_again = 0.0  # of time.monotonic
        self._writes = 0

    async def find(self, names: Sequence[str]) -> Found | None:
        """The record under the first of these names that is known."""
        rows = await self._asked(partial(self._read, names)) if names else {}
        known = self._own if rows is None else rows
        return next((Found(known[name], name) for name in names if name in known), None)

    async def keep(self, names: Sequence[str], held: Held) -> None:
        """Keep a record under all of these names."""
        for name in names:
            self._own[name] = held
            self._own.move_to_end(name)
        while len(self._own) > LARGEST:
            self._own.popitem(last=False)
        await self._asked(partial(self._write, names, held))

    async def _asked(self, work: Callable[[], Any]) -> Any:
        """The database's answer; None while it fails."""
        if time.monotonic() < self._ask_again:
            return None
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                found = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except Exception as error:  # whatever it is, requests are answered; its text may hold the URL's password
            if not self._ask_again:
                print(f"demur: conversations: the database is away ({type(error).__name__})", file=sys.stderr)
            self._ask_again = time.monotonic() + REST_SECONDS
            return None
        self._ask_again = 0.0
        return found

    def _read(self, names: Sequence[str]) -> dict[str, Held]:
        marks = ", ".join([self._table.mark] * len(names))
        rows = self._table.execute(f"select name, {_COLUMNS} from conversations where name in ({marks})", list(names))
        return {name: _held(values) for name, *values in rows}

    def _write(self, names: Sequence[str], held: Held) -> None:
        row = ", ".join([self._table.mark] * (1 + len(COLUMNS)))
        values = [value for name in sorted(names) for value in (name, *astuple(held))]  # in order: no deadlock
        statement = f"insert into conversations (name, {_COLUMNS}) values {', '.join([f'({row})'] * len(names))}"
        self._table.execute(f"{statement} on conflict (name) do update set {_FRESH}", values)
        self._writes += 1
        if self._writes % SWEEP_EVERY == 0:
            self._table.execute(_SWEEP)

    def close(self) -> None:
        """Close the database."""
        self._thread.shutdown(wait=True)
        self._table.close()


def _held(values: Sequence[Any]) -> Held:
    role, ask, at, tokens, asks, requests, mixed, chosen = values
    return Held(role, ask, at, tokens, asks, requests, bool(mixed), bool(chosen))
