"""JSON changed in places, every other byte as it came: the members of an object found, replaced, added. Pure functions.

The decoder is Python's own, told where to begin: one pass reads the values and learns where they stand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_decoded = json.JSONDecoder().raw_decode
_space = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class Member:
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
    at = _expect(text, at, "{")
    if text[at : at + 1] == "}":
        return found, at + 1
    while True:
        if text[at : at + 1] != '"':
            raise ValueError(f"a name is missing at {at}")
        name, at = _decoded(text, at)
        start = _expect(text, at, ":")
        value, at = _decoded(text, start)
        found.append(Member(name, value, start, at))
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return found, at + 1
        at = _expect(text, at, ",")


def elements(text: str, at: int) -> Iterator[int]:
    """Where the elements of the array that begins here stand; raises ValueError for what is no array."""
    at = _expect(text, at, "[")
    while text[at : at + 1] != "]":
        yield at
        at = _skip(text, _decoded(text, at)[1])
        if text[at : at + 1] != "]":
            at = _expect(text, at, ",")


def _expect(text: str, at: int, sign: str) -> int:
    """Where the next thing begins after a sign with space around it."""
    at = _skip(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} is missing at {at}")
    return _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    space = _space.match(text, at)
    return space.end() if space else at


def with_changes(raw: bytes, text: str, changes: Sequence[tuple[int, int, str]]) -> bytes:
    """``raw``, of which ``text`` is the UTF-8 reading, with (start, end, new) put in at these places of the text."""
    ascii_only = text.isascii()  # places in the text are then places in the bytes
    pieces: list[bytes] = []
    at = 0
    for start, end, new in sorted(changes):
        pieces += (raw[at:start] if ascii_only else text[at:start].encode(), new.encode())
        at = end
    pieces.append(raw[at:] if ascii_only else text[at:].encode())
    return b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Body:
    """A JSON object as it came, and what it says."""

    raw: bytes
    text: str
    members: Sequence[Member]
    end: int  # where the object ends
    fields: Mapping[str, Any]  # of a repeated name the last, as Python reads it

    def changed(self, **values: object) -> bytes:
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
    if _skip(text, end) != len(text):
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
