"""Every part and row of `demur reproduce`, by name."""

from __future__ import annotations

from demur.reproducing.reproduction import PARTS
from demur.reproducing.systems import SYSTEMS


def listing() -> list[str]:
    """A line a part, then a line a system with its supervision and source."""
    parts = [f"{name:<12}{title}" for name, (title, _) in PARTS.items()]
    rows = [f"  {system.name} <- {system.source} ({system.cites})" for system in SYSTEMS]
    return [
        *parts,
        "",
        "rows of tables 1 and 2:",
        "  oracle",
        "  Random (chord)",
        *rows,
        "  FrugalGPT (Chen et al. 2023)",
    ]
