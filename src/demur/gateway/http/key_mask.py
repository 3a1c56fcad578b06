"""Masks an upstream's key wherever an answer shows it: headers, errors, streams, JSON escapes.

A key is replaced by as many stars, so that announced lengths stay correct.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable
from functools import lru_cache

SHORTEST_KEY = 8  # characters; shorter values are not secret, and occur in too many words
_ESCAPED = {"/": rb"\/", '"': rb"\"", "\\": rb"\\"}


class KeyMask:
    """Masks these keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = sorted({key for key in keys if len(key) >= SHORTEST_KEY}, key=len, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def mask(self, data: bytes) -> bytes:
        """Bytes of an answer without the keys, as long as before."""
        for key in self._keys:
            if key.encode() in data or b"\\" in data:
                data = _pattern(key).sub(lambda found: b"*" * len(found[0]), data)
        return data

    def mask_text(self, text: str) -> str:
        """A header's value without the keys."""
        for key in self._keys:
            text = text.replace(key, "*" * len(key))
        return text

    async def mask_pieces(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pieces of an answer; what may be the beginning of a key waits for the piece that goes on with it."""
        rest = b""
        async for piece in pieces:
            data = self.mask(rest + piece)
            kept = self._key_start(data)
            rest = data[kept:]
            if kept:
                yield data[:kept]
        if rest:
            yield rest

    def _key_start(self, data: bytes) -> int:
        """Where a key begins that these bytes do not end; their length without one."""
        return min((_begins(data, _spellings(key)) for key in self._keys), default=len(data))


@lru_cache(16)
def _spellings(key: str) -> tuple[tuple[bytes, ...], ...]:
    """How JSON can spell each character: literally, by its number, by its own escape."""
    return tuple(
        (letter.encode(), *([b"\\u%04x" % ord(letter)] if ord(letter) < 2**16 else ()))
        + ((_ESCAPED[letter],) if letter in _ESCAPED else ())
        for letter in key
    )


@lru_cache(16)
def _pattern(key: str) -> re.Pattern[bytes]:
    return re.compile(b"".join(b"(?:" + b"|".join(map(_regex, forms)) + b")" for forms in _spellings(key)))


def _regex(form: bytes) -> bytes:
    return b"(?i:" + re.escape(form) + b")" if form.startswith(b"\\u") else re.escape(form)


def _begins(data: bytes, spellings: tuple[tuple[bytes, ...], ...]) -> int:
    """The first place near the end from which all bytes are the beginning of a key; else the length."""
    longest = sum(max(map(len, forms)) for forms in spellings)
    starts = {form[:1] for form in spellings[0]}
    for at in range(max(0, len(data) - longest + 1), len(data)):
        if data[at : at + 1] in starts and _goes_on(data, at, spellings):
            return at
    return len(data)


def _goes_on(data: bytes, at: int, spellings: tuple[tuple[bytes, ...], ...]) -> bool:
    """Are the bytes from here to the end the beginning of a key?"""
    for forms in spellings:
        rest = data[at : at + 6]
        if not rest:
            return True
        whole = next((form for form in forms if _same(rest[: len(form)], form)), None)
        if whole is None:
            return any(len(rest) < len(form) and _same(rest, form[: len(rest)]) for form in forms)
        at += len(whole)
    return False


def _same(found: bytes, form: bytes) -> bool:
    """By its number a letter is spelled in either case."""
    return found == form or (form[:2] == b"\\u" and found[:2] == b"\\u" and found.lower() == form.lower())
