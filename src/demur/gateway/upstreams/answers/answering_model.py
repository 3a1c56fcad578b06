"""Which model an upstream says it answered with: the version that a provider may change without a word. Pure."""

from __future__ import annotations

import re

READ_BYTES = 2048  # of an answer's beginning and of its end, where these fields stand
# They begin with a literal, which is found fast: a lookbehind for the backslash would be tried at every byte.
_FIELDS = [re.compile(rb'"%s"\s*:\s*"([^"\\]{1,100})"' % name) for name in (b"model", b"system_fingerprint")]


def answering_model(data: bytes) -> str:
    """The answer's ``model`` and ``system_fingerprint``, separated by a space; what is not said is left out."""
    ends = (data,) if len(data) <= READ_BYTES else (data[:READ_BYTES], data[-READ_BYTES:])
    return " ".join(filter(None, (_first(field, ends) for field in _FIELDS)))


def _first(field: re.Pattern[bytes], ends: tuple[bytes, ...]) -> str:
    """The field's first value outside texts, in which quotes stand behind a backslash; empty when there is none."""
    for data in ends:
        for found in field.finditer(data):
            if data[found.start() - 1 : found.start()] != b"\\":
                return found[1].decode("utf-8", "replace")
    return ""
