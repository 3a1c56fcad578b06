"""Which model an upstream says it answered with: the version that a provider may change without a word. Pure."""

from __future__ import annotations

import re

READ_BYTES = 2048  # of an answer's beginning and of its end, where these fields stand
_MODEL, _BUILD = (
    re.compile(rb'(?<!\\)"%s"\s*:\s*"([^"\\]{1,100})"' % name) for name in (b"model", b"system_fingerprint")
)


def answering_model(data: bytes) -> str:
    """The answer's ``model`` and ``system_fingerprint``, separated by a space; what is not said is left out.

    Texts of the answer are not read: quotes are escaped in them.
    """
    ends = data[:READ_BYTES], data[-READ_BYTES:]
    found = (next(filter(None, map(field.search, ends)), None) for field in (_MODEL, _BUILD))
    return " ".join(one[1].decode("utf-8", "replace") for one in found if one)
