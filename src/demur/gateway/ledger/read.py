"""Reads a ledger: its records, or sums of them."""

from __future__ import annotations

import re
import shlex
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from demur.config.store_url import SCHEMES
from demur.errors import StoreError, require
from demur.files import named_from_here
from demur.gateway.ledger.record import COLUMNS, LedgerRecord
from demur.serving_file import serving_gateways

_NAMES = ", ".join(f'"{name}"' for name in COLUMNS)


def read_decision(url: str, name: str) -> LedgerRecord | None:
    """The record of this id; None where there is none. Raises StoreError."""
    found = query_ledger(url, f"select {_NAMES} from decisions where id = ?", (name,))
    return _record(found[0]) if found else None


def read_ledger(url: str, *, last: int | None = 20, since: float = 0.0) -> list[LedgerRecord]:
    """The newest records, newest first, or all (None), after ``since`` (seconds since 1970). Raises StoreError."""
    query = f"select {_NAMES} from decisions where at > {float(since)!r} order by at desc"
    query += "" if last is None else f" limit {int(last)}"
    return [_record(row) for row in query_ledger(url, query)]


def read_decisions(
    url: str, last: int, *, since: float = 0.0, key: str | None = None, model: str | None = None
) -> list[LedgerRecord]:
    """The newest records of a key or a model, newest first, without their prompts. Raises StoreError."""
    given = {name: value for name, value in {"key": key, "model": model}.items() if value is not None}
    where = "".join(f' and "{name}" = ?' for name in given)
    names = _NAMES.replace('"prompt"', "''")
    query = f"select {names} from decisions where at >= ?{where} order by at desc limit {int(last)}"
    return [_record(row) for row in query_ledger(url, query, (since, *given.values()))]


def query_ledger(url: str, query: str, values: Sequence[object] = ()) -> list[Sequence[Any]]:
    """The rows of a query, whose ``?`` stand for values; raises StoreError, without a URL's password."""
    if url.startswith(SCHEMES):
        return _query_postgres(url, query.replace("?", "%s"), values)
    if not Path(url).is_file():
        raise StoreError(f"{url}: no ledger here; {_elsewhere(Path(url).parent) or '`demur serve` writes one'}")
    try:
        with closing(sqlite3.connect(f"{Path(url).absolute().as_uri()}?mode=ro", uri=True)) as db:
            return db.execute(_with_columns(query, db.execute), values).fetchall()
    except sqlite3.Error as error:
        raise StoreError(
            f"{url}: not a ledger that can be read ({error}); name the file that `demur serve` writes"
        ) from None


def _elsewhere(folder: Path) -> str:
    """Where the gateways that serve this folder's router keep their ledgers; empty where none does."""
    kept = dict.fromkeys(named_from_here(one.ledger) for one in serving_gateways(folder) if one.ledger)
    commands = " or ".join(f"demur ledger {shlex.quote(one)}" for one in kept)
    return f"the gateway that serves its router keeps it elsewhere: {commands}" if kept else ""


def _query_postgres(url: str, query: str, values: Sequence[object]) -> list[Sequence[Any]]:
    psycopg = require("psycopg", extra="postgres", purpose="a PostgreSQL ledger")
    try:
        with psycopg.connect(url, connect_timeout=5) as db:
            rows: list[Sequence[Any]] = db.execute(_with_columns(query, db.execute), values or None).fetchall()
            return rows
    except psycopg.Error as error:  # its text may hold the URL's password
        raise StoreError(
            f"the PostgreSQL ledger cannot be read: {type(error).__name__}; is the URL right, does it run?"
        ) from None


_DECISIONS = re.compile(r"\b(from|join) decisions\b")
_UNSET = {"str": "''", "float": "0", "int": "0", "bool": "false", "float | None": "cast(null as double precision)"}


def _with_columns(query: str, execute: Callable[[str], Any]) -> str:
    """A query of a ledger that an earlier version wrote, with the columns that it lacks: nothing is in them."""
    if not _DECISIONS.search(query):
        return query
    there = {column[0] for column in execute("select * from decisions limit 0").description}
    lacks = [f'{_UNSET[str(one.type)]} as "{one.name}"' for one in fields(LedgerRecord) if one.name not in there]
    whole = f"(select decisions.*, {', '.join(lacks)} from decisions)"
    return _DECISIONS.sub(rf"\1 {whole} decisions", query) if lacks else query


_BOOLEANS = frozenset(field.name for field in fields(LedgerRecord) if field.type == "bool")


def _record(row: Sequence[Any]) -> LedgerRecord:
    values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    return LedgerRecord(**(values | {name: bool(values[name]) for name in _BOOLEANS}))
