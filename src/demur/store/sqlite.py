"""A store in one SQLite file, written by one process at a time (`demur.runs.lock`)."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from demur.errors import StoreError
from demur.store.database import TABLES, VERSION, Change, Key, Row, create_table

MEMORY = ":memory:"
_ADVICE = {
    "disk I/O": "disk error: free some space or check the disk, and run the same command again",
    "full": "free some disk space and run the same command again, what is stored is kept",
    "locked": "another demur is writing to it; wait for it to end",
    "readonly": "the file or folder cannot be written",
    "open": "the folder cannot be written",
}


class SqliteDatabase:
    """See `demur.store.database.Database`."""

    among = "select value from json_each(?)"
    shared = False

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # one connection, shared by the threads of a labelling run
        if str(path) != MEMORY:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        with self._errors():
            self.connection = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._prepare()

    def _prepare(self) -> None:
        execute = self.connection.execute
        execute("pragma journal_mode = wal")
        execute("pragma synchronous = normal")  # WAL: safe against kill -9
        execute("pragma secure_delete = on")  # of what is forgotten the bytes go as well
        (found,) = execute("pragma user_version").fetchone()
        if found > VERSION:
            raise StoreError(
                f"{self.path}: the store has version {found}, this demur knows {VERSION}; upgrade demur, "
                f"or name another run folder"
            )
        for name in TABLES:
            execute(f"{create_table(name, of_bytes='blob')} without rowid")
        execute(f"pragma user_version = {VERSION}")

    def rows(self, statement: str, values: Row) -> list[Any]:
        """See `Database.rows`."""
        with self._errors():
            return self.connection.execute(statement, values).fetchall()

    def write(self, *changes: Change) -> None:
        """See `Database.write`."""
        with self._lock, self._errors():
            self.connection.execute("begin immediate")
            try:
                for statement, rows in changes:
                    self.connection.executemany(statement, rows)
                self.connection.execute("commit")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("rollback")
                raise

    def claim(self, key: Key) -> bool:
        """See `Database.claim`: a run's lock keeps other samplers out."""
        return True

    def release(self, key: Key) -> None:
        """See `Database.release`."""

    def close(self) -> None:
        """See `Database.close`."""
        self.connection.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors as one line that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            kind = next((kind for kind in _ADVICE if kind in str(error)), "")
            raise StoreError(f"{self.path}: {error}; {_ADVICE.get(kind, 'is the file a demur store?')}") from error
