"""What clients said of answers, beside the decisions in the ledger; and the losses that a promise is watched by."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from demur.config.store_url import SCHEMES
from demur.errors import StoreError
from demur.gateway.ledger.read import query_ledger
from demur.gateway.ledger.record import storable
from demur.store.connection import PostgresConnection

FeedbackVerdict = Literal["good", "bad"]
Source = Literal["client", "asked again"]
TABLE = (
    "create table if not exists feedback (id text not null, \"key\" text not null default '', "
    "at double precision not null, verdict text not null, source text not null default 'client', "
    "better text not null default '', "
    'primary key (id, "key"))'
)
ADDED = {"source": "'client'", "better": "''"}  # columns that tables of earlier versions lack -> their default
# A better answer is kept where the prompt that it answers is, and as long: `decisions` tells, in the same statement.
INSERT = (
    'insert into feedback (id, "key", at, verdict, source, better) values ({0}, {0}, {0}, {0}, {0}, coalesce((select '
    "cast({0} as text) from decisions where id = {0} and \"key\" = {0} and prompt <> ''), '')) "
    'on conflict (id, "key") do {1}'
)
CHANGED = "update set verdict = excluded.verdict, at = excluded.at, source = excluded.source, better = excluded.better"
ERASE_BETTER = (
    "update feedback set better = '' where better <> '' and not exists (select 1 from decisions where "
    "decisions.id = feedback.id and decisions.prompt <> '')"
)
# Only of decisions that the client's own key asked for, and that were demur's to make.
LOSSES = (
    "select decisions.role, feedback.verdict from feedback join decisions on decisions.id = feedback.id "
    "and decisions.\"key\" = feedback.\"key\" where decisions.role in ('weak', 'strong') order by decisions.at"
)
BETTER = (
    'select decisions.prompt, decisions.at, decisions."key", decisions.role, decisions.answer, feedback.better '
    'from feedback join decisions on decisions.id = feedback.id and decisions."key" = feedback."key" '
    "where feedback.better <> '' and decisions.prompt <> '' and decisions.role in ('weak', 'strong') "
    "order by decisions.at"
)

JUDGED = (
    "select decisions.prompt, feedback.verdict from feedback join decisions on decisions.id = feedback.id "
    "and decisions.\"key\" = feedback.\"key\" where decisions.role = 'weak' and feedback.source = 'client' "
    "and decisions.prompt <> '' order by decisions.at"
)


@dataclass(frozen=True, slots=True)
class Feedback:
    """A verdict on one answer; a later one of the same client replaces it."""

    id: str  # of the decision: the header x-demur-decision-id
    key: str  # name of the client's key
    at: float  # seconds since 1970
    verdict: FeedbackVerdict
    source: Source = "client"  # "asked again": a sign, which replaces no verdict
    better: str = ""  # the text of a better answer


def keep_feedback(url: str, given: Feedback) -> bool:
    """Write a verdict; returns whether its better answer is kept. Raises StoreError."""
    names = given.id, given.key
    values = (*names, given.at, given.verdict, given.source, storable(given.better), *names)
    then = CHANGED if given.source == "client" else "nothing"
    if url.startswith(SCHEMES):
        with closing(PostgresConnection(url, prepare_feedback)) as connection, connection.transaction() as db:
            return _write(db, "%s", values, then)
    try:
        with closing(sqlite3.connect(url, timeout=10)) as db, db:
            prepare_feedback(db.execute)
            return _write(db, "?", values, then)
    except sqlite3.Error as error:
        raise StoreError(f"{url}: feedback cannot be kept ({error})") from None


def _write(db: Any, mark: str, values: tuple[object, ...], then: str) -> bool:
    db.execute(INSERT.format(mark, then), values)
    found = db.execute(f'select better from feedback where id = {mark} and "key" = {mark}', values[:2]).fetchone()
    return bool(found and found[0])


def prepare_feedback(execute: Callable[[str], Any]) -> None:
    """Create the table, or add the columns that one of an earlier version lacks."""
    execute(TABLE)
    there = {column[0] for column in execute("select * from feedback limit 0").description}
    for name, default in ADDED.items():
        if name not in there:
            execute(f"alter table feedback add column {name} text not null default {default}")


@dataclass(frozen=True, slots=True)
class BetterAnswer:
    """A served prompt with the better answer that a client has given."""

    prompt: str
    at: float  # seconds since 1970, when it was asked
    key: str
    role: str  # of the model whose answer was bad
    answer: str  # the strong model's, where it is kept
    better: str


def better_answers(url: str) -> list[BetterAnswer]:
    """The better answers that are kept, of routed prompts, in order of the prompts' time."""
    try:
        return [BetterAnswer(*row) for row in query_ledger(url, BETTER)]
    except StoreError:  # no feedback was given yet, or none by this version
        return []


def judged_prompts(url: str) -> list[tuple[str, FeedbackVerdict]]:
    """Prompts whose weak answers were judged by their clients, and the verdicts; in order of time."""
    try:
        return [(prompt, verdict) for prompt, verdict in query_ledger(url, JUDGED)]
    except StoreError:  # no feedback was given yet
        return []


def losses(url: str) -> list[float]:
    """1 for every answer of the weak model that was called bad, 0 for every other that was judged; in order of time.

    A bad answer of the weak model counts as a better one that was missed, whatever the strong model would have said;
    so does one after which the same was asked again.
    """
    try:
        return [float(role == "weak" and verdict == "bad") for role, verdict in query_ledger(url, LOSSES)]
    except StoreError:  # no feedback was given yet
        return []
