"""A connection to PostgreSQL that is opened again after a failure; a store, the ledger, the conversations use it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import Any

from demur.errors import require

LOCK = 60311  # replicas start together: one after the other prepares its tables
# Of libpq. A server that vanished without closing is given up, whether a request (tcp_user_timeout, in ms) or its
# answer is under way; the system's own keepalives begin after two hours.
NETWORK = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    **{"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3},
}


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
        self._busy, self._ended = False, False
        self._connect()

    def _connect(self) -> None:
        self._db = self._psycopg.connect(self._url, autocommit=True, **NETWORK)
        try:
            with self._db.transaction():
                self._db.execute(f"select pg_advisory_xact_lock({LOCK})")
                # A pooler between (PgBouncer) names no server process, and gives a transaction any of its connections:
                # a statement prepared there, under a name that every client uses, may be another client's.
                if self._db.execute("select pg_backend_pid()").fetchone() != (self._db.info.backend_pid,):
                    self._db.prepare_threshold = None
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
        self._busy = True
        try:
            if self._ended:
                raise self._psycopg.OperationalError("the connection is closed")
            if self._db is None or self._db.closed:
                self._connect()
            yield self._db
        except self.unfit:
            raise
        except Exception as error:
            if type(error) is self._psycopg.ProgrammingError:  # not the server's: a value that cannot be sent
                raise TypeError(str(error)) from None
            self._db.close()
            raise
        finally:
            self._busy = False

    def close(self) -> None:
        """Close the connection for good. A statement for which another thread waits ends with an error there."""
        self._ended = True
        if self._busy:
            with suppress(Exception), socket(fileno=os.dup(self._db.fileno())) as under_way:
                under_way.shutdown(SHUT_RDWR)
        elif self._db is not None:
            self._db.close()
