"""JSON changed in places, every other byte as it came: the members of an object found, replaced, added. Pure functions.

The decoder is Python's own, told where to begin: one pass reads the values and learns where they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_decoded = json.JSONDecoder().raw_decode
_SPACE = r"[ \t\n\r]*"
_object = re.compile(rf'{_SPACE}\{{{_SPACE}(?:(\}})|(?="))').match  # an object's end, or the first name in it
_colon = re.compile(rf"{_SPACE}:{_SPACE}").match
_next_name = re.compile(rf'{_SPACE}(?:(\}})|,{_SPACE}(?="))').match
_array = re.compile(rf"{_SPACE}\[{_SPACE}(\]?)").match
_next_element = re.compile(rf"{_SPACE}(?:(\])|,{_SPACE})").match
_nothing_else = re.compile(rf"{_SPACE}\Z").match


class Member(NamedTuple):
    """A name, its value, and where in the text the value stands."""

    name: str
    value: Any
    start: int
    end: int


def members(text: str, at: int = 0) -> tuple[list[Member], int]:
    """The members of the object that begins here, repeated names included, and where it ends.

    Raises ValueError for what is no object, RecursionError for one that is nested too deeply.
    """
    found: list[Member] = []
    step = _object(text, at)
    while step and not step.group(1):
        name, at = _decoded(text, step.end())
        colon = _colon(text, at)
        if not colon:
            raise ValueError(f": is missing at {at}")
        value, at = _decoded(text, colon.end())
        found.append(Member(name, value, colon.end(), at))
        step = _next_name(text, at)
    if not step:
        raise ValueError(f"an object is broken at {at}")
    return found, step.end()


def elements(text: str, at: int) -> Iterator[int]:
    """Where the elements of the array that begins here stand; raises ValueError for what is no array."""
    step = _array(text, at)
    while step and not step.group(1):
        yield step.end()
        at = _decoded(text, step.end())[1]
        step = _next_element(text, at)
    if not step:
        raise ValueError(f"an array is broken at {at}")


def with_changes(raw: bytes, text: str, changes: Sequence[tuple[int, int, str]]) -> bytes:
    """``raw``, of which ``text`` is the UTF-8 reading, with (start, end, new) put in at these places of the text."""
    in_place = memoryview(raw) if text.isascii() else None  # places in the text are then places in the bytes
    pieces: list[bytes | memoryview] = []
    at = 0
    for start, end, new in sorted(changes):
        pieces += (text[at:start].encode() if in_place is None else in_place[at:start], new.encode())
        at = end
    pieces.append(text[at:].encode() if in_place is None else in_place[at:])
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON object as it came, and what it says."""

    raw: bytes
    text: str
    members: Sequence[Member]
    end: int  # where the object ends
    fields: Mapping[str, Any]  # of a repeated name the last, as Python reads it

    def replace_member(self, **values: object) -> bytes:
        """With other values: those that are there are replaced where they stand, the others come last."""
        new = {name: json.dumps(value) for name, value in values.items()}
        changes = [(one.start, one.end, new[one.name]) for one in self.members if one.name in new]
        missing = [f'"{name}":{value}' for name, value in new.items() if name not in self.fields]
        if missing:
            changes.append((self.end - 1, self.end - 1, ("," if self.members else "") + ",".join(missing)))
        if all(self.text[start:end] == value for start, end, value in changes):
            return self.raw
        return with_changes(self.raw, self.text, changes)


def body_of(raw: bytes) -> Body:
    """A JSON object with nothing after it; raises ValueError or RecursionError."""
    text = raw.decode()
    found, end = members(text, 1 if text.startswith("\ufeff") else 0)
    if not _nothing_else(text, end):
        raise ValueError(f"something stands after the object at {end}")
    return Body(raw, text, found, end, {one.name: one.value for one in found})


def without_logprobs(data: bytes) -> bytes:
    """A completion, or a chunk of one, with null for its choices' log-probs; what is none stays as it is."""
    try:
        body = body_of(data)
        changes = [
            (one.start, one.end, "null")
            for choices in body.members
            if choices.name == "choices"
            for start in elements(body.text, choices.start)
            for one in members(body.text, start)[0]
            if one.name == "logprobs" and one.value is not None
        ]
    except (ValueError, RecursionError):
        return data
    return with_changes(data, body.text, changes) if changes else data
