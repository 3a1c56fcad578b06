"""What clients said of answers, beside the decisions in the ledger; and the losses that a promise is watched by."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from demur.errors import StoreError
from demur.gateway.ledger.postgres import SCHEMES, PostgresConnection
from demur.gateway.ledger.read import query_ledger

Verdict = Literal["good", "bad"]
Source = Literal["client", "asked again"]
TABLE = (
    "create table if not exists feedback (id text not null, \"key\" text not null default '', "
    "at double precision not null, verdict text not null, source text not null default 'client', "
    'primary key (id, "key"))'
)
SOURCE = "alter table feedback add column source text not null default 'client'"  # of earlier versions
INSERT = 'insert into feedback (id, "key", at, verdict, source) values ({}) on conflict (id, "key") do {}'
CHANGED = "update set verdict = excluded.verdict, at = excluded.at, source = excluded.source"
# Only of decisions that the client's own key asked for, and that were demur's to make.
LOSSES = (
    "select decisions.role, feedback.verdict from feedback join decisions on decisions.id = feedback.id "
    "and decisions.\"key\" = feedback.\"key\" where decisions.role in ('weak', 'strong') order by decisions.at"
)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A verdict on one answer; a later one of the same client replaces it."""

    id: str  # of the decision: the header x-demur-decision-id
    key: str  # name of the client's key
    at: float  # seconds since 1970
    verdict: Verdict
    source: Source = "client"  # "asked again": a sign, which replaces no verdict


def keep_feedback(url: str, given: Feedback) -> None:
    """Write a verdict; raises StoreError."""
    values = (given.id, given.key, given.at, given.verdict, given.source)
    then = CHANGED if given.source == "client" else "nothing"
    if url.startswith(SCHEMES):
        _write_postgres(url, values, then)
        return
    try:
        with closing(sqlite3.connect(url, timeout=10)) as db, db:
            prepare_feedback(db.execute)
            db.execute(INSERT.format("?, ?, ?, ?, ?", then), values)
    except sqlite3.Error as error:
        raise StoreError(f"{url}: feedback cannot be kept ({error})") from None


def prepare_feedback(execute: Callable[[str], Any]) -> None:
    """Create the table, or add the column that one of an earlier version lacks."""
    execute(TABLE)
    if "source" not in {column[0] for column in execute("select * from feedback limit 0").description}:
        execute(SOURCE)


def _write_postgres(url: str, values: tuple[object, ...], then: str) -> None:
    with closing(PostgresConnection(url, prepare_feedback)) as connection, connection.transaction() as db:
        db.execute(INSERT.format("%s, %s, %s, %s, %s", then), values)


def losses(url: str) -> list[float]:
    """1 for every answer of the weak model that was called bad, 0 for every other that was judged; in order of time.

    A bad answer of the weak model counts as a better one that was missed, whatever the strong model would have said;
    so does one after which the same was asked again.
    """
    try:
        return [float(role == "weak" and verdict == "bad") for role, verdict in query_ledger(url, LOSSES)]
    except StoreError:  # no feedback was given yet
        return []
