"""Presets: named settings for the keys of a run file, or of a command, that are not given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from demur.errors import InputError

PRESETS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {  # by name, then table of the run file
    "paper": {  # Zhang et al. 2025: Eq. 2 of whole sequences, Eqs. 3 and 4, Eq. 6, Eqs. 11-12; no n is printed there
        "sampling": {"n": 10},
        "label": {"source": "entropy", "kind": "hard", "definition": "paper", "delta": "paper", "tau": 0.1},
        "router": {"methods": ["sw", "mf", "mlp", "knn"], "serve": "sw", "k": 1, "weighting": "paper"}
        | {"gate": "off", "unknown": "score"},
    }
}


def filled_in(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """A run file's keys, with those of its ``preset`` that are not given. Raises InputError for an unknown preset."""
    if not values.get("preset"):
        return values
    filled = dict(values) | {"preset": ""}
    for table, keys in _preset(values["preset"], where).items():
        given = values.get(table, {})
        filled[table] = {**keys, **given} if isinstance(given, Mapping) else given  # reading names what is no table
    return filled


def preset_values(preset: str, table: str) -> Mapping[str, Any]:
    """A preset's values of a table, for a command; none without a preset. Raises InputError for an unknown one."""
    return _preset(preset, "--preset")[table] if preset else {}


def _preset(name: object, where: str) -> Mapping[str, Mapping[str, Any]]:
    if name not in PRESETS:
        raise InputError(f"{where}: no preset is called {name!r}; known: {', '.join(PRESETS)}")
    return PRESETS[str(name)]
