"""A store on PostgreSQL, for several machines: samplers at once share the work, and none pays for what another has.

A sampler claims a key before it asks a model. A claim is a row that its sampler renews as long as it lives; that of a
sampler that was killed runs out. After the server was restarted, every claim holds for `LEASE_SECONDS` more, so that
its sampler can come back to it. Where the server goes away, what was to be done is done once it is back: every
statement may be repeated.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from demur.config.store_url import check_store_url, shown_store
from demur.errors import StoreError
from demur.store.connection import PostgresConnection
from demur.store.database import TABLES, VERSION, Change, Key, Row, create_table

LEASE_SECONDS, RENEW_SECONDS = 60.0, 10.0  # of a claim
AWAY_SECONDS, TRY_AGAIN_SECONDS = 60.0, 0.5  # how long a server that went away is waited for
OTHERS = {
    "demur_store": "create table if not exists demur_store (version bigint primary key)",
    "claims": "create table if not exists claims (model text, prompt text, settings text, holder text not null, "
    "until timestamptz not null, primary key (model, prompt, settings))",
}
CLAIM = """
insert into claims values (%s, %s, %s, %s, clock_timestamp() + %s * interval '1 second')
on conflict (model, prompt, settings) do update set holder = excluded.holder, until = excluded.until
where claims.holder = excluded.holder
or greatest(claims.until, pg_postmaster_start_time() + %s * interval '1 second') < clock_timestamp()
returning 1
"""
_Found = TypeVar("_Found")


class PostgresDatabase:
    """See `demur.store.database.Database`. ``reached``: its URL has been right, so that it waits for the server."""

    among = "select value from json_array_elements_text(?::json)"
    shared = True

    def __init__(self, url: str, reached: bool = False) -> None:
        check_store_url(url)
        self._named = shown_store(url)
        self._holder = secrets.token_hex(16)
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._renewing: threading.Thread | None = None
        connect = partial(PostgresConnection, url, self._prepare, purpose="a store on PostgreSQL")
        self._connection = self._when_there(connect, AWAY_SECONDS if reached else 0.0)

    def _prepare(self, execute: Callable[..., Any]) -> None:
        """Make the tables that are missing; a role that may not make any can use those that are there."""

        def is_there(name: str) -> bool:
            return execute("select to_regclass(%s)", [name]).fetchone()[0] is not None

        execute("set client_encoding to 'utf8'")
        (encoding,) = execute("select current_setting('server_encoding')").fetchone()
        if encoding not in ("UTF8", "SQL_ASCII"):
            raise StoreError(f"{self._named}: the database's encoding is {encoding}; make one with UTF8 (createdb -E)")
        known = is_there("demur_store")
        if not known and (foreign := [name for name in (*TABLES, *OTHERS) if is_there(name)]):
            raise StoreError(
                f"{self._named}: the table {foreign[0]} there is not demur's; name another database, or a schema "
                "of its own (?options=-csearch_path=NAME)"
            )
        found = execute("select max(version) from demur_store").fetchone()[0] if known else VERSION
        if found != VERSION:
            raise StoreError(
                f"{self._named}: the store has version {found}, this demur knows {VERSION}; use the same demur "
                "everywhere, or name another database"
            )
        for name in TABLES:
            if not is_there(name):
                execute(create_table(name, of_bytes="bytea"))
        for name, statement in OTHERS.items():
            if not is_there(name):
                execute(statement)
        if not known:
            execute("insert into demur_store values (%s)", [VERSION])

    def rows(self, statement: str, values: Row) -> list[Any]:
        """See `Database.rows`."""
        return self._run(lambda db: list(db.execute(_with_marks(statement), values).fetchall()))

    def write(self, *changes: Change) -> None:
        """See `Database.write`."""

        def work(db: Any) -> None:
            with db.cursor() as cursor:
                for statement, rows in changes:
                    cursor.executemany(_with_marks(statement), [tuple(map(_storable, row)) for row in rows])

        self._run(work)

    def claim(self, key: Key) -> bool:
        """See `Database.claim`."""
        with self._lock:
            if self._renewing is None:
                self._renewing = threading.Thread(target=self._renew, name="demur-claims", daemon=True)
                self._renewing.start()
        values = (*key, self._holder, LEASE_SECONDS, LEASE_SECONDS)
        return self._run(lambda db: db.execute(CLAIM, values).fetchone() is not None)

    def release(self, key: Key) -> None:
        """See `Database.release`."""
        statement = "delete from claims where model = %s and prompt = %s and settings = %s and holder = %s"
        self._run(lambda db: db.execute(statement, (*key, self._holder)))

    def close(self) -> None:
        """See `Database.close`."""
        self._closed.set()
        if self._renewing is not None:
            with suppress(Exception), self._lock, self._connection.transaction() as db:
                db.execute("delete from claims where holder = %s", [self._holder])
            self._renewing.join(timeout=5)
        self._connection.close()

    def _renew(self) -> None:
        statement = "update claims set until = clock_timestamp() + %s * interval '1 second' where holder = %s"
        while not self._closed.wait(RENEW_SECONDS):
            with suppress(StoreError):  # whoever asks for a row next says it
                self._run(lambda db: db.execute(statement, [LEASE_SECONDS, self._holder]))

    def _run(self, work: Callable[[Any], _Found]) -> _Found:
        """What work in a transaction finds; where the server goes away, it is done once that is back."""

        def transact() -> _Found:
            with self._lock, self._connection.transaction() as db:
                return work(db)

        return self._when_there(transact, AWAY_SECONDS)

    def _when_there(self, work: Callable[[], _Found], seconds: float) -> _Found:
        """What work finds; it is done again while the server is away, for so long."""
        end = time.monotonic() + seconds
        while True:
            try:
                return work()
            except Exception as error:
                if self._closed.is_set() or not _went_away(error) or time.monotonic() >= end:
                    raise self._as_store_error(error) from None
            time.sleep(TRY_AGAIN_SECONDS)

    def _as_store_error(self, error: Exception) -> Exception:
        """An error of PostgreSQL as one line that says what to do; any other as it is."""
        if not type(error).__module__.startswith("psycopg"):
            return error
        said = _first_line(error)
        known = (advice for sign, advice in _ADVICE.items() if sign in said)
        return StoreError(f"{self._named}: {said}; {next(known, _WHERE if _went_away(error) else _FOREIGN)}")


_WHERE = "is the URL right, and does it run? The same command goes on, what is stored is kept"
_FOREIGN = "is it a database of demur's?"
_ADVICE = {
    "permission denied": "a role needs CREATE on the schema to make the tables, then SELECT, INSERT, UPDATE, DELETE",
    "must be owner": "a role needs CREATE on the schema to make the tables, then SELECT, INSERT, UPDATE, DELETE",
    "read-only": "name the primary server, which can be written",
    "No space left": "free some disk space there and run the same command again, what is stored is kept",
    "password": "give it as PGPASSWORD, in the file that PGPASSFILE names (~/.pgpass), or by ?service=NAME",
    'database "': "make it with createdb, or name another one",
    'role "': "name another user as postgresql://USER@HOST/DATABASE, or as PGUSER",
}


def _went_away(error: Exception) -> bool:
    """Whether the same may succeed a moment later: the server is away, starting or full, or transactions collided."""
    if type(error).__module__.partition(".")[0] != "psycopg":
        return False
    state = getattr(error, "sqlstate", None)
    if state is None:  # also where a new connection is refused
        known = type(error).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
        return known and not any(sign in _first_line(error) for sign in _ADVICE)
    return state.startswith(("08", "57P")) or state in ("40001", "40P01", "53300")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _with_marks(statement: str) -> str:
    return statement.replace("?", "%s")


def _storable(value: object) -> object:
    """PostgreSQL keeps no text with a zero byte."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
