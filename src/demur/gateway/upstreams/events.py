"""Server-sent events as their specification reads them (WHATWG HTML, section 9.2.6). Pure functions."""

from __future__ import annotations

import re

# Two line ends in a row; a line ends with CR LF, LF or CR.
_END = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_DATA = re.compile(rb"(?:^|(?<=[\r\n]))data(?:: ?([^\r\n]*))?(?=[\r\n]|\Z)")
_MORE_DATA = re.compile(rb"(?<=[\r\n])data(?::[^\r\n]*)?(?:\r\n|\n|\r|\Z)")
_ERROR = re.compile(rb"(?:^|(?<=[\r\n]))event: ?error(?=[\r\n]|\Z)")
_LONGEST_END = 4  # bytes


def split_events(buffer: bytes | bytearray, seen: int = 0) -> tuple[list[bytes], bytes]:
    """The whole events at the start of a buffer, with the blank lines that end them, and what is left.

    ``seen``: so many bytes at its start are known to hold no end of an event.
    """
    events, at, found = [], 0, _END.search(buffer, max(0, seen - _LONGEST_END))
    while found:
        events.append(bytes(buffer[at : found.end()]))
        at = found.end()
        found = _END.search(buffer, at)
    return events, bytes(buffer[at:])


def data_of(event: bytes) -> bytes | None:
    """An event's data, its lines joined; None without any. Comments and other fields are ignored."""
    found = _DATA.findall(event)
    return b"\n".join(found) if found else None


def is_error(event: bytes) -> bool:
    """True for an event of the type "error"."""
    return _ERROR.search(event) is not None


def with_data(event: bytes, data: bytes) -> bytes:
    """The event with other data, in one line; every other byte as it came."""
    found = _DATA.search(event)
    if not found or found.start(1) < 0:
        return event
    return event[: found.start(1)] + data + _MORE_DATA.sub(b"", event[found.end() :])
