"""Every part and row of `demur reproduce`, by name; and what a list of names picks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from demur.errors import InputError
from demur.paper.measures import Laboratory
from demur.paper.parts import in_domain, pool_tables, tables
from demur.paper.parts.in_domain import in_domain_table
from demur.paper.parts.judged_answers import judged_answers
from demur.paper.parts.overheads import overheads
from demur.paper.parts.part import PartContent
from demur.paper.parts.taus import taus
from demur.paper.sources.trainings import PAIRS, SOURCES
from demur.paper.systems import SYSTEMS

_OF_TABLES = {
    "oracle": "oracle (analytic)",
    "random": "Random (chord)",
    **{system.key: f"{system.name} <- {system.source} ({system.cites})" for system in SYSTEMS},
}
_OF_COST = {key: shown for key, shown in _OF_TABLES.items() if key != "oracle"}
_OF_POOLS = {
    pool_tables.row_key(pool, row): f"{pool_tables.POOLS[pool][0]}: {row}"
    for pool in pool_tables.POOLS
    for row in pool_tables.ROWS[pool]
}
_IN_DOMAIN = {in_domain.row_key(pair, source): f"{pair}: {source}" for pair in PAIRS for source in SOURCES}


@dataclass(frozen=True, slots=True)
class PartKind:
    """A table or figure that can be made."""

    title: str
    make: Callable[[Laboratory], PartContent]
    rows: Mapping[str, str]  # key -> what the row is; empty for what is made as a whole


PARTS: dict[str, PartKind] = {
    "table-1": PartKind("Table 1: every system on MT-Bench, GSM8K, MMLU", tables.table_1, _OF_TABLES),
    "table-2": PartKind("Table 2's shape: a smaller weak model", tables.table_2, _OF_TABLES),
    "figure-1": PartKind("Figure 1: training prompts against routing efficiency", tables.figure_1, {}),
    "figure-2": PartKind("Figure 2: kNN routers by supervision", tables.figure_2, {}),
    "cost": PartKind("API cost at CPT80", tables.cost, _OF_COST),
    "pools": PartKind("Pools of more than two models", pool_tables.pools_of_models, _OF_POOLS),
    "in-domain": PartKind("In domain: all sources x all routers (not in the paper)", in_domain_table, _IN_DOMAIN),
    "tau": PartKind("tau (Eq. 4): ties, balance and APGR (not in the paper)", taus, {}),
    "overhead": PartKind("Overhead of the architectures (the paper's second limitation)", overheads, {}),
    "table-3": PartKind("Table 3's shape: a judge compares routed answers", judged_answers, {}),
}


def listing() -> list[str]:
    """One line per part, and one line per row under it; rows of several parts stand under the first."""
    lines = ["--only takes the names in the first column, parts and rows alike, with commas between:"]
    seen: set[str] = set()
    for name, kind in PARTS.items():
        lines.append(f"{name:<12}{kind.title}")
        fresh = {key: shown for key, shown in kind.rows.items() if key not in seen}
        lines += [f"  {key:<44}{shown}" for key, shown in fresh.items()]
        if kind.rows and not fresh:
            lines.append("  the rows named above")
        seen |= kind.rows.keys()
    return lines


def choose_parts(only: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Parts to make and the only rows to make in them (none: all) from names of either; nothing named is everything.

    Rows alone pick every part that has them. Raises InputError for a name of neither.
    """
    every = {key for kind in PARTS.values() for key in kind.rows}
    unknown = [name for name in only if name not in PARTS and name not in every]
    if unknown:
        raise InputError(f"no part or row is called {unknown[0]!r}; `demur reproduce --list` names them all")
    rows = frozenset(only) & every
    named = [name for name in PARTS if name in only]
    if not named:
        named = [name for name, kind in PARTS.items() if not only or rows & kind.rows.keys()]
    return tuple(named), rows
