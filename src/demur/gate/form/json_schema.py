"""Does a JSON value break a JSON schema? Says so only where that is certain, in bounded time.

Schemas come with clients' requests, so nothing in them may make the gateway wait: no reference leaves the schema, no
pattern is run (`pattern`, `format`, `not` and conditions are not looked at), and after `MOST_STEPS` the answer is that
nothing is known to be wrong. That is why no general validator is used here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from demur.prompts.tool_calls import canonical_value

MOST_STEPS = 20_000  # values compared with schemas; about 20 ms
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: _is_number(value),
    "integer": lambda value: _is_number(value) and float(value).is_integer(),
}
_LIMITS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any, Any], bool], str]] = {  # keyword -> of what, kept if
    "minimum": (lambda value: value if _is_number(value) else None, lambda value, limit: value >= limit, "below"),
    "maximum": (lambda value: value if _is_number(value) else None, lambda value, limit: value <= limit, "above"),
    "exclusiveMinimum": (
        lambda value: value if _is_number(value) else None,
        lambda value, limit: value > limit,
        "not above",
    ),
    "exclusiveMaximum": (
        lambda value: value if _is_number(value) else None,
        lambda value, limit: value < limit,
        "not below",
    ),
    "minLength": (lambda value: len(value) if isinstance(value, str) else None, lambda n, least: n >= least, "under"),
    "maxLength": (lambda value: len(value) if isinstance(value, str) else None, lambda n, most: n <= most, "over"),
    "minItems": (lambda value: len(value) if isinstance(value, list) else None, lambda n, least: n >= least, "under"),
    "maxItems": (lambda value: len(value) if isinstance(value, list) else None, lambda n, most: n <= most, "over"),
}


class _UnknownError(Exception):
    """What the schema says is not known here, or too much to look at."""


def schema_problem(value: Any, schema: Any, *, where: str = "") -> str:
    """What certainly breaks the schema, as "days: 'two' is not of type integer"; "" where nothing does."""
    try:
        return _Check(schema).problem(value, schema, where)
    except (_UnknownError, RecursionError):
        return ""


class _Check:
    """One value against one schema, with the steps that are left."""

    def __init__(self, root: Any) -> None:
        self._root, self._left = root, MOST_STEPS

    def problem(self, value: Any, schema: Any, where: str) -> str:
        """The first problem."""
        self._left -= 1
        if self._left < 0:
            raise _UnknownError
        if schema is False:
            return _failure_text(where, "nothing is allowed here")
        if not isinstance(schema, Mapping):
            return ""
        if isinstance(schema.get("$ref"), str):
            schema = self._referenced_schema(schema["$ref"]) | {
                key: each for key, each in schema.items() if key != "$ref"
            }
        if value is None and schema.get("nullable") is True:
            return ""
        return (
            _of_type(value, schema, where)
            or _of_values(value, schema, where)
            or _of_limits(value, schema, where)
            or self._of_object(value, schema, where)
            or self._of_array(value, schema, where)
            or self._of_parts(value, schema, where)
        )

    def _referenced_schema(self, reference: str) -> dict[str, Any]:
        found = self._root
        if reference != "#" and not reference.startswith("#/"):
            raise _UnknownError
        for name in reference.split("/")[1:]:
            key = name.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, Mapping) or key not in found:
                raise _UnknownError
            found = found[key]
        if not isinstance(found, Mapping):
            raise _UnknownError
        self._left -= len(found)
        return dict(found)

    def _of_object(self, value: Any, schema: Mapping[str, Any], where: str) -> str:
        if not isinstance(value, Mapping):
            return ""
        required = schema.get("required")
        for name in required if isinstance(required, list) else []:
            if name not in value:
                return _failure_text(where, f"{name!r} is missing")
        known = schema.get("properties")
        properties = known if isinstance(known, Mapping) else {}
        other = schema.get("additionalProperties", True)
        if "patternProperties" in schema:
            other = True
        for name, each in value.items():
            inside = f"{where}.{name}" if where else str(name)
            if name not in properties and other is False:
                return _failure_text(where, f"{name!r} is not known")
            found = self.problem(each, properties.get(name, other), inside)
            if found:
                return found
        return ""

    def _of_array(self, value: Any, schema: Mapping[str, Any], where: str) -> str:
        if not isinstance(value, list):
            return ""
        first = schema.get("prefixItems")
        before = first if isinstance(first, list) else []
        rest = schema.get("items", True)
        for place, each in enumerate(value):
            wanted = before[place] if place < len(before) else rest
            found = self.problem(each, wanted, f"{where}[{place}]")
            if found:
                return found
        return ""

    def _of_parts(self, value: Any, schema: Mapping[str, Any], where: str) -> str:
        for part in _list(schema.get("allOf")):
            if found := self.problem(value, part, where):
                return found
        for name in ("anyOf", "oneOf"):
            problems = [self.problem(value, part, where) for part in _list(schema.get(name))]
            if problems and all(problems):
                several = f"{_short(value)} fits none of {len(problems)} forms"
                return problems[0] if len(problems) == 1 else _failure_text(where, several)
        return ""


def _of_type(value: Any, schema: Mapping[str, Any], where: str) -> str:
    wanted = schema.get("type")
    names = [wanted] if isinstance(wanted, str) else _list(wanted)
    if not names or any(name not in _TYPES for name in names):
        return ""
    if any(_TYPES[name](value) for name in names):
        return ""
    return _failure_text(where, f"{_short(value)} is not of type {names[0]}")


def _of_values(value: Any, schema: Mapping[str, Any], where: str) -> str:
    allowed = schema["enum"] if isinstance(schema.get("enum"), list) else None
    if "const" in schema:
        allowed = [schema["const"]]
    if allowed is None or any(_key(value) == _key(one) for one in allowed):
        return ""
    return _failure_text(where, f"{_short(value)} is not one of {_short(allowed)}")


def _of_limits(value: Any, schema: Mapping[str, Any], where: str) -> str:
    for keyword, (measured, kept, word) in _LIMITS.items():
        limit, size = schema.get(keyword), measured(value)
        if size is not None and _is_number(limit) and not kept(size, limit):
            return _failure_text(where, f"{_short(value)} is {word} {keyword} {limit}")
    return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _key(value: Any) -> str:
    """Without the trimming of texts that comparing two answers allows: an enum lists what is accepted."""
    return value if isinstance(value, str) else json.dumps(canonical_value(value), sort_keys=True)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _short(value: Any) -> str:
    shown = json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _failure_text(where: str, what: str) -> str:
    return f"{where}: {what}" if where else what
