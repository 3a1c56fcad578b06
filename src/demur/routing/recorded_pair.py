"""Which of the served models are not those that a router was labelled with, by the names in its record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def other_pair(record: Mapping[str, Any], weak: str | None, strong: str | None) -> str:
    """The models that differ, both names of each, as part of a reason; empty where none does.

    None is a model that is served as recorded. A local file is compared by its name: folders may move.
    """
    differing = "; ".join(_differing(record.get("models", {}), {"weak": weak, "strong": strong}))
    return f"another pair than the labels are of ({differing}): the score may not hold" if differing else ""


def _differing(recorded: Mapping[str, Any], served: Mapping[str, str | None]) -> Iterator[str]:
    for role, name in served.items():
        known = recorded.get(role, {}).get("model")
        if name and known and _name(name) != _name(known):
            yield f"{role} {_name(name)}, labelled with {_name(known)}"


def _name(model: str) -> str:
    return Path(model).stem if model.endswith(".gguf") else model
