"""What a store asks of its database. Two exist: an SQLite file, and PostgreSQL for several machines.

Statements are written once, with ``?`` for a value and ``among`` for a list of keys, which is one value: JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

VERSION = 1
TABLES = {
    "samples": (
        "model text not null, prompt text not null, settings text not null, sample bigint not null, "
        "answer text not null, logprobs text, finish_reason text not null, "
        "prompt_tokens bigint not null, completion_tokens bigint not null, choices bigint not null",
        "model, prompt, settings, sample",
    ),
    "batch_paid": (  # the samples that were paid at a batch API's price
        "model text not null, prompt text not null, settings text not null, sample bigint not null",
        "model, prompt, settings, sample",
    ),
    "batches": (  # sent, and their results not read yet; asked: a JSON list
        "model text not null, settings text not null, file text not null, url text not null, batch text not null, "
        "asked text not null",
        "model, settings, file",
    ),
    "refusals": (
        "model text not null, prompt text not null, settings text not null, reason text not null",
        "model, prompt, settings",
    ),
    "settled": (
        "models text not null, prompt text not null, settings text not null, fewest bigint not null",
        "models, prompt, settings, fewest",
    ),
    "verdicts": (
        "model text not null, pair text not null, contradiction double precision not null, "
        "neutral double precision not null, entailment double precision not null",
        "model, pair",
    ),
    "embeddings": ("encoder text not null, text text not null, vector {bytes} not null", "encoder, text"),
    "meanings": (
        "decided_by text not null, answers text not null, clusters text not null, pairs bigint not null",
        "decided_by, answers",
    ),
}  # name -> columns, primary key; a table that is new to an older store is made when that is opened

Row = Sequence[object]
Change = tuple[str, Sequence[Row]]  # a statement, and the values of each time that it is executed
Key = tuple[str, str, str]  # model, prompt (hashed), settings


class Database(Protocol):
    """Where a store's rows are kept. Every method raises StoreError, and may be called from any thread."""

    among: str  # a query of the values of a JSON list
    shared: bool  # several samplers may be at work on it at once

    def rows(self, statement: str, values: Row) -> list[Any]:
        """What a query finds."""
        ...

    def write(self, *changes: Change) -> None:
        """Execute changes in one transaction, committed when this returns."""
        ...

    def claim(self, key: Key) -> bool:
        """Whether this sampler may ask for a key now: no other one is at work on it. Held until `release`."""
        ...

    def release(self, key: Key) -> None:
        """Let others ask for a key."""
        ...

    def close(self) -> None:
        """End; what was written stays."""
        ...


def create_table(name: str, *, of_bytes: str) -> str:
    """The statement that makes a table; ``of_bytes``: the type of a column of bytes."""
    columns, key = TABLES[name]
    return f"create table if not exists {name} ({columns.format(bytes=of_bytes)}, primary key ({key}))"


def replace_clause(table: str) -> str:
    """What an insertion into a table ends in, so that it replaces a row of the same key."""
    columns, key = TABLES[table]
    names = [column.split()[0] for column in columns.split(", ")]
    rest = [f"{name} = excluded.{name}" for name in names if name not in key.split(", ")]
    return f"on conflict ({key}) do update set {', '.join(rest)}"
