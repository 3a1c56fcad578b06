"""Erases prompts and answers, better ones too, from a ledger, by age and by key; what the requests cost stays."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from demur.errors import StoreError, require
from demur.gateway.ledger.feedback import ERASE_BETTER, prepare_feedback
from demur.gateway.ledger.ledger import prepare_table


def erase_prompts(url: str, *, before: float | None = None, key: str | None = None) -> int:
    """Erase the prompts of requests before a time (seconds since 1970), of a client's key, or both; returns how many.

    Raises StoreError.
    """
    wanted = {"at < {}": before, '"key" = {}': key}
    given = {clause: value for clause, value in wanted.items() if value is not None}
    if url.startswith(("postgresql://", "postgres://")):
        return _erase_postgres(url, _statement(list(given), "%s"), list(given.values()))
    if not Path(url).is_file():
        return 0
    try:
        with closing(sqlite3.connect(url, timeout=10)) as db, db:
            db.execute("pragma secure_delete = on")  # the bytes go as well
            prepare_table(db.execute)
            prepare_feedback(db.execute)
            erased = db.execute(_statement(list(given), "?"), list(given.values())).rowcount
            db.execute(ERASE_BETTER)
            return erased
    except sqlite3.Error as error:
        raise StoreError(f"{url}: prompts cannot be erased ({error}); is it the file of `demur serve`?") from None


def _statement(clauses: list[str], mark: str) -> str:
    asked = " and ".join(["prompt <> ''", *(clause.format(mark) for clause in clauses)])
    return f"update decisions set prompt = '', answer = '' where {asked}"


def _erase_postgres(url: str, statement: str, values: list[object]) -> int:
    psycopg = require("psycopg", extra="postgres", purpose="a PostgreSQL ledger")
    try:
        with psycopg.connect(url, connect_timeout=5) as db:
            prepare_table(db.execute)
            prepare_feedback(db.execute)
            erased = int(db.execute(statement, values).rowcount)
            db.execute(ERASE_BETTER)
            return erased
    except psycopg.Error as error:  # its text may hold the URL's password
        raise StoreError(f"the PostgreSQL ledger cannot be changed: {type(error).__name__}; does it run?") from None
