"""Which numbers a setting may be, held in the metadata of its dataclass field and checked in one place.

    timeout_seconds: float = field(default=120.0, metadata={"above": 0})

``at_least`` and ``at_most`` include their bound, ``above`` and ``below`` do not. No setting may be nan or infinite,
whatever its metadata: every comparison with nan is false, so a limit of nan would have no effect.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from demur.errors import InputError

_WORDS = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}


def check_number(value: float | None, where: str, **limits: float) -> None:
    """Raise InputError, naming setting and value, for a number that is not finite or outside ``limits``.

    None is a setting that was not given, and always fits.
    """
    if value is None:
        return
    wanted = " and ".join(f"{words} {limits[name]:g}" for name, words in _WORDS.items() if name in limits)
    if not -sys.float_info.max <= value <= sys.float_info.max:  # so are whole numbers that no float can hold
        raise InputError(f"{where} is {value}; give a finite number{wanted and ', '}{wanted}")
    if not _fits(value, limits):
        raise InputError(f"{where} is {value}; it must be {wanted}")


def check_field(value: object, metadata: Mapping[Any, Any], where: str) -> None:
    """The same for a field's value and its metadata; a text may hold all but NUL, which no path or variable may.

    A table's limits are those of each of its values.
    """
    if isinstance(value, Mapping):
        for name, one in value.items():
            check_field(one, metadata, f"{where}.{name}")
    if isinstance(value, str) and "\0" in value:
        raise InputError(f"{where} is {value[:80]!r}; it must hold no NUL character")
    if isinstance(value, int | float) and not isinstance(value, bool):
        check_number(value, where, **{name: metadata[name] for name in _WORDS if name in metadata})


def check_limits(record: Any, where: str = "") -> None:
    """Raise InputError for the first number of a record, or of a record in it, that is outside its field's limits."""
    for one in fields(record):
        value, path = getattr(record, one.name), f"{where}{one.name}"
        if is_dataclass(value):
            check_limits(value, f"{path}.")
        check_field(value, one.metadata, path)


def _fits(value: float, limits: Mapping[str, float]) -> bool:
    return (
        value >= limits.get("at_least", -math.inf)
        and value > limits.get("above", -math.inf)
        and value <= limits.get("at_most", math.inf)
        and value < limits.get("below", math.inf)
    )
