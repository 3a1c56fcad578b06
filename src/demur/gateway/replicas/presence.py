"""Which processes serve, on all machines, and which models each of them finds down."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from demur.gateway.replicas.shared_accounts import Execute

GONE_SECONDS = 10.0  # without a sign of life: it has ended
TABLE = """create table if not exists replicas (name text primary key, version text not null default '',
    seen timestamptz not null default now(), down jsonb not null default '[]')"""
_GONE = f"seen < now() - interval '{GONE_SECONDS} seconds'"
_BEAT = f"""with own as (insert into replicas (name, version, seen, down)
    values (%(name)s, %(version)s, now(), %(down)s::jsonb) on conflict (name)
    do update set version = excluded.version, seen = excluded.seen, down = excluded.down)
    select name, version, down from replicas where name <> %(name)s and not {_GONE}"""


@dataclass(frozen=True, slots=True)
class Replica:
    """Another process: its version of demur, and the models that it finds down."""

    name: str
    version: str
    down: frozenset[str]


def beat(execute: Execute, name: str, version: str, down: Sequence[str]) -> list[Replica]:
    """Say that this process serves and which models it finds down; returns the others."""
    rows = execute(_BEAT, {"name": name, "version": version, "down": json.dumps(list(down))})
    return [Replica(other, said, frozenset(models)) for other, said, models in rows]


def remove_gone(execute: Execute) -> list[str]:
    """Remove processes that have ended without saying so; returns their names."""
    return [name for (name,) in execute(f"delete from replicas where {_GONE} returning name", {})]


def leave(execute: Execute, name: str) -> None:
    """Say that this process has ended its service."""
    execute("delete from replicas where name = %(name)s", {"name": name})
