"""One table or figure of `demur reproduce`, how its cells are written, and how a failure becomes a cell."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from demur.errors import DemurError
from demur.measure.curve import CostQualityCurve

Cells = tuple[str, ...]
_WHY = ": not computable: "  # between a row's name and the reason


@dataclass(frozen=True, eq=False)
class PartContent:
    """What is in a table or figure."""

    columns: Cells = ()
    rows: tuple[Cells, ...] = ()  # a row of one cell is a heading, or why something is not computable
    figure: Any = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """One table or figure, as it was made."""

    name: str
    title: str
    content: PartContent
    seconds: float = 0.0

    @property
    def lines(self) -> list[str]:
        """As text, columns aligned."""
        content = self.content
        cells = [content.columns, *content.rows] if content.columns else list(content.rows)
        full = [row for row in cells if any(row[1:])]  # a heading within the table is as long as it is
        widths = [max(len(row[i]) for row in full if i < len(row)) for i in range(max(map(len, full), default=0))]
        shown = [
            "  ".join(v.ljust(w) for v, w in zip(row, widths, strict=False)).rstrip() if any(row[1:]) else row[0]
            for row in cells
        ]
        return ["", f"{self.title}  ({self.seconds:.0f} s)", *shown, *content.notes]

    def as_dict(self) -> dict[str, Any]:
        """As `demur reproduce --json` prints it."""
        content = self.content
        return {
            "name": self.name,
            "title": self.title,
            "columns": content.columns,
            "rows": content.rows,
            "notes": content.notes,
            "picture": f"{self.name}.png" if content.figure is not None else None,
            "seconds": round(self.seconds, 1),
        }


def row_or_why(name: str, make: Callable[[], Cells]) -> Cells:
    """The cells of ``make`` behind the row's name, or one cell that says why there are none."""
    try:
        return (name, *make())
    except DemurError as error:
        return (f"{name}: {why(error)}",)


def rows_or_why(name: str, make: Callable[[], tuple[Cells, ...]]) -> tuple[Cells, ...]:
    """The rows of ``make``, or one row that says why there are none."""
    try:
        return make()
    except DemurError as error:
        return ((f"{name}: {why(error)}",),)


def cells_or_why(name: str, makes: Sequence[Callable[[], str]]) -> Cells:
    """A row of cells, each a text or why there is none; without any text the first reason stands for all."""
    shown = [cell_or_why(make) for make in makes]
    if all(f": {cell}".startswith(_WHY) for cell in shown):
        return (f"{name}: {shown[0]}",)
    return (name, *shown)


def cell_or_why(make: Callable[[], str]) -> str:
    """The text of ``make``, or why there is none."""
    try:
        return make()
    except DemurError as error:
        return why(error)


def reasons_together(rows: Sequence[Cells]) -> tuple[Cells, ...]:
    """Neighbouring rows that are missing for one and the same reason as one row; others as they are."""
    found: list[Cells] = []
    for reason, group in groupby(rows, key=lambda row: row[0].partition(_WHY)[2] if len(row) == 1 else ""):
        same = list(group)
        if not reason or len(same) == 1:
            found += same
            continue
        names = [row[0].partition(_WHY)[0] for row in same]
        first = names[0].partition(": ")[0]
        rest = [name.removeprefix(f"{first}: ") for name in names[1:]]
        found.append((f"{', '.join([names[0], *rest])}{_WHY}{reason}",))
    return tuple(found)


def why(error: DemurError) -> str:
    """In one line, whether or not the message begins with the same words."""
    return f"{_WHY.removeprefix(': ')}{' '.join(str(error).split()).removeprefix(_WHY.removeprefix(': '))}"


def span_columns(value: float, low: float, high: float, digits: int, *, cut: bool = True) -> str:
    """A value with its interval, such as ``.551 [.530, .571]``; "never" for nan. ``cut``: without a leading zero."""
    if math.isnan(value):
        return "never"
    shown = [f"{bound:.{digits}f}" for bound in (value, low, high)]
    first, second, third = (one.removeprefix("0") for one in shown) if cut else shown
    return f"{first} [{second}, {third}]"


def cells(curve: CostQualityCurve) -> Cells:
    """CPT50, CPT80 (percent) and APGR with their intervals."""
    found = []
    for metric, value in (("cpt50", curve.cpt(0.5)), ("cpt80", curve.cpt(0.8)), ("apgr", curve.apgr)):
        scale, digits = (1, 3) if metric == "apgr" else (100, 1)
        low, high = curve.interval(metric)
        found.append(span_columns(scale * value, scale * low, scale * high, digits))
    return tuple(found)
