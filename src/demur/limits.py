"""Which values a setting may have: its dataclass field's type, and the limits in its metadata, in one place.

    timeout_seconds: float = field(default=120.0, metadata={"above": 0, "about": "For one request."})

``at_least`` and ``at_most`` include their bound, ``above`` and ``below`` do not. No setting may be nan or infinite,
whatever its metadata: every comparison with nan is false, so a limit of nan would have no effect. ``choices`` are the
texts that a later check takes, for editors. ``written`` is a field's name in files where that differs; ``instead_of``
names the fields that it replaces there. ``about``, or ``help`` where the field is an option of a command, is its text.
Where a file has a text in place of a whole table, the text is the value of the field marked ``alone``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, field, fields, is_dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from demur.errors import InputError

_WORDS = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
_BOUNDS = {"at_least": "minimum", "above": "exclusiveMinimum", "at_most": "maximum", "below": "exclusiveMaximum"}
_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", NoneType: "null"}
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
MOST_SHOWN, CLOSEST_SHOWN = 16, 6  # keys that an error names
OF_MANY = "demur schema gateway"  # what lists the keys of the tables that have more
_Record = TypeVar("_Record")
_Value = TypeVar("_Value")


def setting(about: str, default: _Value, **limits: float) -> _Value:
    """A field that is not an option of a command, with its text, its default and its limits."""
    return field(default=default, metadata={"about": about, **limits})


def from_mapping(record: type[_Record], values: object, *, where: str = "run file") -> _Record:
    """Make a record (nested dataclasses and all) from plain values; unknown, missing and mistyped keys are errors."""
    if not isinstance(values, Mapping):
        raise InputError(f"{where}: expected a table of keys for {record.__name__}, found {values!r}")
    hints, known = get_type_hints(record), {f.name: f for f in fields(record)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; {_known_keys(str(unknown[0]), list(known))}")
    typed = {key: _check_value(hints[key], value, known[key], where) for key, value in values.items()}
    try:
        return record(**typed)
    except InputError as error:  # the record's own check
        raise InputError(f"{where}: {error}") from None
    except TypeError as error:  # a required key is missing: dataclass says which
        raise InputError(f"{where}: {str(error).replace(record.__name__ + '.__init__() ', '')}") from None


def _known_keys(key: str, known: list[str]) -> str:
    """The key that was meant, and all keys of a table; of one with many those most like it, if one is."""
    meant = get_close_matches(key, known, n=1)
    asked = f"did you mean {meant[0]!r}? " if meant else ""
    if len(known) <= MOST_SHOWN:
        return f"{asked}known here: {', '.join(known)}"
    if not meant:
        return f"`{OF_MANY}` lists the {len(known)} known here"
    closest = get_close_matches(key, known, n=CLOSEST_SHOWN, cutoff=0.0)
    return f"{asked}the closest of the {len(known)} known here: {', '.join(closest)}"


def _check_value(hint: Any, value: Any, of: Field[Any], where: str) -> Any:
    """One value as its field wants it, within the field's limits."""
    found = _check_type(hint, value, f"{where}: {of.name}")
    check_field(found, of.metadata, f"{where}: {of.name}")
    return found


def _check_type(hint: Any, value: Any, where: str) -> Any:
    """One value as its annotation wants it."""
    if value is not None and isinstance(hint, UnionType):  # a record or nothing
        hint = next(filter(is_dataclass, get_args(hint)), hint)
    if is_dataclass(hint) and isinstance(hint, type):
        alone = _alone(hint) if isinstance(value, str) else None
        return from_mapping(hint, {alone: value} if alone else value, where=where)
    if get_origin(hint) is dict:
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected a table, found {value!r}")
        return {str(name): _check_type(get_args(hint)[1], item, f"{where}.{name}") for name, item in value.items()}
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise InputError(f"{where}: expected a list, found {value!r}")
        return tuple(_check_type(get_args(hint)[0], item, where) for item in value)
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise InputError(f"{where}: {value!r} is not one of {', '.join(map(repr, get_args(hint)))}")
        return value
    allowed = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= sys.float_info.max else value  # its field's check names one beyond it
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
        names = " or ".join("nothing" if kind is NoneType else kind.__name__ for kind in allowed)
        raise InputError(f"{where}: expected {names}, found {value!r}")
    return value


def _alone(record: type[Any]) -> str | None:
    """The field whose value is a text that stands in place of the record's table."""
    return next((one.name for one in fields(record) if "alone" in one.metadata), None)


def json_schema(record: type[Any], title: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the files that `from_mapping` reads as this record, without the record's own
    checks of several keys together.
    """
    return {"$schema": _DRAFT, "title": title, **_table_schema(record)}


def text_of(one: Field[Any]) -> str:
    """What a setting is; empty where its field does not say it."""
    return str(one.metadata.get("help") or one.metadata.get("about", ""))


def default_of(one: Field[Any]) -> Any:
    """A field's default as plain values; MISSING where it must be given."""
    value = one.default if one.default_factory is MISSING else one.default_factory()
    if value is not MISSING and is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return list(value) if isinstance(value, tuple) else value


def _table_schema(record: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(record)
    instead = {name: _file_name(one) for one in fields(record) for name in one.metadata.get("instead_of", ())}
    required = [one.name for one in fields(record) if default_of(one) is MISSING]
    either = [{"required": [name for name in required if name in instead]}]
    either += [{"required": [name]} for name in dict.fromkeys(instead.values())]
    return {
        "type": "object",
        "properties": {_file_name(one): _field_schema(hints[one.name], one) for one in fields(record)},
        "required": [name for name in required if name not in instead],
        **({"anyOf": either} if instead else {}),
        "additionalProperties": False,
    }


def _file_name(one: Field[Any]) -> str:
    """The name of a field in files."""
    return str(one.metadata.get("written", one.name))


def _field_schema(hint: Any, one: Field[Any]) -> dict[str, Any]:
    found = _type_schema(hint, one.metadata)
    if text_of(one):
        found = {"description": text_of(one), **found}
    default = default_of(one)
    if default is MISSING or isinstance(default, dict):  # a table's defaults stand at its keys
        return found
    return {**found, "default": default}


def _type_schema(hint: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of an annotation's values; limits and choices are those of the single numbers and texts in them."""
    if is_dataclass(hint) and isinstance(hint, type):
        table = _table_schema(hint)
        return {"anyOf": [{"type": "string"}, table]} if _alone(hint) else table
    if get_origin(hint) is Literal:
        return {"enum": list(get_args(hint))}
    if get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": _type_schema(get_args(hint)[1], metadata)}
    if get_origin(hint) is tuple:
        return {"type": "array", "items": _type_schema(get_args(hint)[0], metadata)}
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    if any(kind not in _TYPES for kind in kinds):
        return {"anyOf": [_type_schema(kind, metadata) for kind in kinds]}
    types = [_TYPES[kind] for kind in kinds]
    found: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
    if {int, float} & {*kinds}:
        found |= {_BOUNDS[name]: metadata[name] for name in _BOUNDS if name in metadata}
    if "choices" in metadata:
        found["enum"] = [*metadata["choices"], *([None] if NoneType in kinds else [])]
    return found


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
        for i, item in enumerate(value if isinstance(value, tuple) else ()):
            if is_dataclass(item):
                check_limits(item, f"{path}[{i}].")
        check_field(value, one.metadata, path)


def _fits(value: float, limits: Mapping[str, float]) -> bool:
    return (
        value >= limits.get("at_least", -math.inf)
        and value > limits.get("above", -math.inf)
        and value <= limits.get("at_most", math.inf)
        and value < limits.get("below", math.inf)
    )
