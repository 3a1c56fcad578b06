"""Answers that are a table of Markdown: compared by their cells, whatever the order of columns.

The order of rows counts unless the question asks for several things in none (`lists`). Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LEAD_IN_WORDS = 12  # before the table, as in "Here is the table:"
_RULE = re.compile(r"\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*\Z")
_CELL = re.compile(r"(?<!\\)\|")

Table = tuple[tuple[str, ...], ...]  # rows of cells, the header first


def table_of(answer: str) -> Table | None:
    """The table that an answer consists of, perhaps after a line that introduces it; None for any other answer."""
    if "|" not in answer:
        return None
    lines = [line for line in answer.strip().splitlines() if line.strip()]
    start = next((i for i, line in enumerate(lines) if "|" in line), len(lines))
    said, rows = " ".join(lines[:start]), lines[start:]
    if len(said.split()) > LEAD_IN_WORDS or len(rows) < 3 or not _RULE.match(rows[1]):
        return None
    cells = [tuple(_cells(row)) for row in (rows[0], *rows[2:])]
    return tuple(cells) if all("|" in row for row in rows) and len({len(row) for row in cells}) == 1 else None


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in _CELL.split(row.strip().removeprefix("|").removesuffix("|"))]


def canonical_table(table: Table, plain: Callable[[str], str]) -> str:
    """Equal for two tables with equal cells in equal rows, each cell under its own header; ``plain`` normalises a
    cell."""
    columns = sorted(zip(*(map(plain, row) for row in table), strict=True))
    return "\n".join(" | ".join(row) for row in zip(*columns, strict=True))


def with_rows_in_order(table: Table, plain: Callable[[str], str]) -> str:
    """The table as text, its rows in the order of their normalised cells."""
    head, *rows = table
    rows.sort(key=lambda row: sorted(map(plain, row)))
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))
