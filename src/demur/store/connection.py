"""A connection to PostgreSQL that is opened again after a failure; a store, the ledger, the conversations use it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from demur.errors import require

LOCK = 60311  # replicas start together: one after the other prepares its tables


class PostgresConnection:
    """A connection; ``prepare`` makes the tables that it needs, each time it is opened."""

    def __init__(
        self, url: str, prepare: Callable[[Callable[..., Any]], None], *, purpose: str = "a PostgreSQL ledger"
    ) -> None:
        self._psycopg = require("psycopg", extra="postgres", purpose=purpose)
        logging.getLogger("psycopg").setLevel(logging.ERROR)  # its warnings show whole rows
        errors = self._psycopg.errors
        # What it raises for a value that will never fit; anything else can be tried again.
        self.unfit: tuple[type[Exception], ...] = (errors.DataError, errors.IntegrityError, errors.DatatypeMismatch)
        self.unfit += (ValueError, TypeError, OverflowError)
        self._url, self._prepare = url, prepare
        self._db: Any = None
        self._connect()

    def _connect(self) -> None:
        # tcp_user_timeout, in ms: a server that vanished without closing is given up as well
        self._db = self._psycopg.connect(self._url, connect_timeout=5, tcp_user_timeout=10_000, autocommit=True)
        try:
            with self._db.transaction():
                self._db.execute(f"select pg_advisory_xact_lock({LOCK})")
                self._prepare(self._db.execute)
        except BaseException:
            self._db.close()
            raise

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A transaction; after an error the connection is closed, and opened again at the next use."""
        with self._open_connection() as db, db.transaction():
            yield db

    def execute(self, statement: str, values: Any = ()) -> list[Any]:
        """One statement as a transaction of its own, in one message to the server; returns the rows that it finds."""
        with self._open_connection() as db:
            done = db.execute(statement, values)
            return list(done.fetchall()) if done.description else []

    @contextmanager
    def _open_connection(self) -> Iterator[Any]:
        if self._db is None or self._db.closed:
            self._connect()
        try:
            yield self._db
        except self.unfit:
            raise
        except Exception as error:
            if type(error) is self._psycopg.ProgrammingError:  # not the server's: a value that cannot be sent
                raise TypeError(str(error)) from None
            self._db.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        if self._db is not None:
            self._db.close()
