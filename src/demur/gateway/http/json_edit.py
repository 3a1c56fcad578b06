"""Edits JSON in place and keeps every other byte: members of an object are found, replaced or added. Pure functions.

Python's own decoder is called at each position, so one pass gives the values and their places.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple, cast

from demur.gateway.http.request_record import request_record

MOST_MEMBERS = 1000  # of an object whose members are looked for one by one
# Raises StopIteration where no value stands.
_decode = json.JSONDecoder().scan_once  # type: ignore[attr-defined]
_SPACE = r"[ \t\n\r]*"
_object = re.compile(rf'{_SPACE}\{{{_SPACE}(?:(\}})|(?="))').match  # an object's end, or the first name in it
_colon = re.compile(rf"{_SPACE}:{_SPACE}").match
_next_name = re.compile(rf'{_SPACE}(?:(\}})|,{_SPACE}(?="))').match
_array = re.compile(rf"{_SPACE}\[{_SPACE}(\]?)").match
_next_element = re.compile(rf"{_SPACE}(?:(\])|,{_SPACE})").match
_nothing_else = re.compile(rf"{_SPACE}\Z").match


class Span(NamedTuple):
    """A name of an object, and where in its text, or in its bytes, the value stands."""

    name: str
    plain: bool  # the name is written without escapes
    start: int
    end: int
    at: int  # where the name begins


def members(text: str, at: int = 0) -> tuple[list[Span], list[Any], int]:
    """The members of the object that begins here, repeated names included, their values, and where it ends.

    Raises ValueError if it is not an object, RecursionError for one that is nested too deeply.
    """
    spans: list[Span] = []
    values: list[Any] = []
    step = _object(text, at)
    while step and not step[1]:
        begins = step.end()
        name, at = scanstring(text, begins + 1)
        colon = _colon(text, at)
        if not colon:
            raise ValueError(f": is missing at {at}")
        start = colon.end()
        value, end = _decode_value(text, start)
        spans.append(Span(name, at - begins == len(name) + 2, start, end, begins))
        values.append(value)
        at = end
        if len(spans) > MOST_MEMBERS:
            raise ValueError(f"an object has more than {MOST_MEMBERS} members")
        step = _next_name(text, at)
    if not step:
        raise ValueError(f"an object is broken at {at}")
    return spans, values, step.end()


def _decode_value(text: str, at: int) -> tuple[Any, int]:
    """The value that begins here, and where it ends. Raises ValueError, RecursionError."""
    try:
        return cast(tuple[Any, int], _decode(text, at))
    except StopIteration:
        raise ValueError(f"a value is missing at {at}") from None


def elements(text: str, at: int) -> Iterator[int]:
    """Where the elements of the array that begins here stand; raises ValueError if it is not an array."""
    step = _array(text, at)
    while step and not step.group(1):
        yield step.end()
        at = _decode_value(text, step.end())[1]
        step = _next_element(text, at)
    if not step:
        raise ValueError(f"an array is broken at {at}")


def splice(raw: bytes, changes: Sequence[tuple[int, int, bytes]]) -> bytes:
    """``raw`` with (start, end, new) put in at these places, which rise."""
    whole, at = memoryview(raw), 0
    pieces: list[bytes | memoryview] = []
    for start, end, new in changes:
        pieces += (whole[at:start], new)
        at = end
    return b"".join([*pieces, whole[at:]])


def _byte_places(text: str, places: Sequence[int]) -> list[int]:
    """Rising places in a text as places in its UTF-8."""
    if text.isascii():
        return list(places)
    return list(accumulate(len(text[a:b].encode()) for a, b in pairwise([0, *places])))


@request_record(frozen=True, slots=True)
class Body:
    """The bytes of a JSON object and the places of its members, without their values."""

    raw: bytes
    spans: tuple[Span, ...]
    end: int  # where the object ends

    def __contains__(self, name: str) -> bool:
        return any(span.name == name for span in self.spans)

    def with_members(self, drop: Collection[str], rename: Mapping[str, str]) -> Body:
        """Without some members, and with others under other names; one whose new name is there already is left out.

        Every other member keeps its bytes.
        """
        names = {span.name for span in self.spans}
        new = {old: name for old, name in rename.items() if old in names}
        gone = names & {*drop, *(old for old, name in new.items() if name in names)}
        if not gone and not new:
            return self
        pieces, spans = [self.raw[: self.spans[0].at]], list[Span]()
        at = len(pieces[0])
        for span in self.spans:
            if span.name in gone:
                continue
            name = b'"%s":' % new[span.name].encode() if span.name in new else self.raw[span.at : span.start]
            piece = (b"," if spans else b"") + name + self.raw[span.start : span.end]
            start, at = at + len(piece) - (span.end - span.start), at + len(piece)
            spans.append(Span(new.get(span.name, span.name), span.plain, start, at, start - len(name)))
            pieces.append(piece)
        end = self.raw[self.end - 1 :]
        return Body(b"".join([*pieces, end]), tuple(spans), at + 1)

    def replace_member(self, **values: object) -> bytes:
        """With other values: existing members are replaced in place, others are added at the end."""
        if not values:
            return self.raw
        new = {name: json.dumps(value).encode() for name, value in values.items()}
        changes = [(span.start, span.end, new[span.name]) for span in self.spans if span.name in new]
        missing = [b'"%s":%s' % (name.encode(), value) for name, value in new.items() if name not in self]
        if missing:
            changes.append((self.end - 1, self.end - 1, (b"," if self.spans else b"") + b",".join(missing)))
        return self.raw if all(self.raw[a:b] == value for a, b, value in changes) else splice(self.raw, changes)


def body_of(raw: bytes) -> tuple[Body, dict[str, Any]]:
    """A JSON object with nothing after it, and its values, of a repeated name the last; raises ValueError or
    RecursionError.
    """
    text = raw.decode()
    spans, values, end = members(text, 1 if text.startswith("\ufeff") else 0)
    if not _nothing_else(text, end):
        raise ValueError(f"something stands after the object at {end}")
    fields = {span.name: value for span, value in zip(spans, values, strict=True)}
    if text.isascii():
        return Body(raw, tuple(spans), end), fields
    places = _byte_places(text, [place for one in spans for place in (one.at, one.start, one.end)] + [end])
    every = zip(spans, places[0::3], places[1::3], places[2::3], strict=False)  # the last place is the object's end
    in_bytes = tuple(Span(one.name, one.plain, start, stop, at) for one, at, start, stop in every)
    return Body(raw, in_bytes, places[-1]), fields


def without_logprobs(data: bytes) -> bytes:
    """A completion, or a chunk of one, with null for its choices' log-probs; other text stays as it is."""
    try:
        text = data.decode()
        spans, _, end = members(text, 1 if text.startswith("\ufeff") else 0)
        changes = [
            (span.start, span.end)
            for choices in spans
            if choices.name == "choices"
            for start in elements(text, choices.start)
            for span, value in zip(*members(text, start)[:2], strict=True)
            if span.name == "logprobs" and value is not None
        ]
    except (ValueError, RecursionError):
        return data
    if not changes or not _nothing_else(text, end):
        return data
    places = _byte_places(text, [place for both in changes for place in both])
    return splice(data, [(a, b, b"null") for a, b in zip(places[::2], places[1::2], strict=True)])
