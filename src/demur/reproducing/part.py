"""One table or figure of `demur reproduce`, and how its cells are written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demur.curves import CostQualityCurve


@dataclass
class Part:
    """One table or figure, as it was made."""

    name: str
    title: str
    columns: Sequence[str] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    figure: Any = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lines(self) -> list[str]:
        """As text, columns aligned."""
        cells = [tuple(self.columns), *self.rows] if self.columns else self.rows
        full = [row for row in cells if any(row[1:])]  # a heading within the table is as long as it is
        widths = [max(len(row[i]) for row in full if i < len(row)) for i in range(max(map(len, full), default=0))]
        shown = [
            "  ".join(v.ljust(w) for v, w in zip(row, widths, strict=False)).rstrip() if any(row[1:]) else row[0]
            for row in cells
        ]
        return ["", f"{self.title}  ({self.seconds:.0f} s)", *shown, *self.notes]


def span(curve: CostQualityCurve, metric: str, value: float, scale: float, digits: int) -> str:
    """A metric with its 95 % interval; "never" where the curve does not get there."""
    if math.isnan(value):
        return "never"
    low, high = curve.interval(metric)
    shown = [f"{scale * bound:.{digits}f}".removeprefix("0") for bound in (value, low, high)]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def cells(curve: CostQualityCurve) -> tuple[str, str, str]:
    """CPT50, CPT80 (percent) and APGR with their intervals."""
    return (
        span(curve, "cpt50", curve.cpt(0.5), 100, 1),
        span(curve, "cpt80", curve.cpt(0.8), 100, 1),
        span(curve, "apgr", curve.apgr, 1, 3),
    )
