"""A request's body: inflated within a limit, counted as it arrives, and checked for its structure before it is parsed.

Twenty kilobytes of gzip can be twenty megabytes of brackets, and those half a gigabyte of values.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable

import numpy as np
from aiohttp import web

from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.settings import GatewaySettings

LARGEST_HELD = 2**30  # bytes of all requests that are under way; a request beyond them is answered 429
BYTES_PER_VALUE = 80  # that a parsed value takes at most, about: an object of one member, or a short text
BLOCK = 2**17  # bytes that are looked at together
_IDENTITY = ("", "identity")
_STRUCTURE = np.zeros(256, dtype=bool)
_STRUCTURE[list(b",:[{")] = True

# (compressed bytes, most bytes to give) -> bytes; with nothing to read it ends. Raises ValueError, zlib.error.
Inflate = Callable[[bytes, int], bytes]


class MemoryInUse:
    """The memory held by all requests under way."""

    def __init__(self) -> None:
        self.total = 0


class MemoryShare:
    """The memory held by one request, released at its end."""

    def __init__(self, held: MemoryInUse) -> None:
        self._held, self._mine = held, 0

    def set(self, count: int) -> None:
        """So many bytes from now on; raises ApiError 429 where all requests together hold too many."""
        grows = count > self._mine
        self._held.total += count - self._mine
        self._mine = count
        if grows and self._held.total > LARGEST_HELD:
            raise ApiError(429, "The gateway is full; try again.", "overloaded", "overloaded", retry_after=1)

    def give_back(self) -> None:
        """The request has ended."""
        self.set(0)


async def read_body(request: web.Request, settings: GatewaySettings, hold: MemoryShare) -> bytes:
    """The body, inflated; raises ApiError 400, 408, 413, 415 or 429."""
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if (request.content_length or 0) > settings.max_body_bytes:  # it need not come first
        raise too_large("max_body_bytes", settings.max_body_bytes)
    try:
        if request.content.is_eof():  # all of it came with the header, as it mostly does
            return await _read(request, encoding, settings, hold)
        async with asyncio.timeout(settings.body_seconds):
            return await _read(request, encoding, settings, hold)
    except TimeoutError:
        raise ApiError(408, "The request's body did not come in time.") from None
    except (web.RequestPayloadError, ValueError, zlib.error):  # it is not what its Content-Encoding says, say
        raise ApiError(400, "The body cannot be read.") from None


async def _read(request: web.Request, encoding: str, settings: GatewaySettings, hold: MemoryShare) -> bytes:
    inflate = None if encoding in _IDENTITY else inflater(encoding)
    most, name = settings.max_body_bytes, "max_body_bytes"
    if inflate and settings.max_inflated_bytes < most:
        most, name = settings.max_inflated_bytes, "max_inflated_bytes"
    pieces: list[bytes] = []
    size, more = 0, True
    while more:
        piece = await request.content.readany()
        more = bool(piece) if inflate else not request.content.at_eof()  # the end is what an inflater is told, too
        data = inflate(piece, most - size + 1) if inflate else piece
        size += len(data)
        if size > most:
            raise too_large(name, most)
        hold.set(size)
        pieces.append(data)
    return b"".join(pieces)


def too_large(setting: str, most: int) -> ApiError:
    """413 that names the limit."""
    return ApiError(413, f"The body is larger than {most:,} bytes, this gateway's {setting}.", code="body_too_large")


def inflater(encoding: str) -> Inflate:
    """What inflates a body of this Content-Encoding; raises ApiError 415."""
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ApiError(415, f"Content-Encoding {encoding[:40]!r} is not known; it can be gzip, deflate or identity.")
    found: list[zlib._Decompress] = []

    def inflate(piece: bytes, most: int) -> bytes:
        if not found and piece:  # of deflate some send it bare, without zlib's header
            bare = encoding == "deflate" and piece[0] & 0x0F != 8
            found.append(zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32))
        if piece:
            return found[0].decompress(piece, most)
        if not found or not found[0].eof or found[0].unused_data:
            raise ValueError("it does not end where the body does")
        return b""

    return inflate


def count_structure(raw: bytes, enough: int) -> int:
    """Commas, colons and opening brackets of a JSON text outside its strings: as many values as it has at least.

    Where all of them together are at most ``enough``, strings are not excluded.
    """
    rough = sum(map(raw.count, (b",", b":", b"[", b"{")))
    if rough <= enough:
        return rough
    codes = np.frombuffer(raw.replace(b"\\\\", b"").replace(b'\\"', b""), dtype=np.uint8)
    total, inside = 0, 0
    for start in range(0, len(codes), BLOCK):
        block = codes[start : start + BLOCK]
        quotes = np.cumsum(block == ord('"'), dtype=np.uint8) + np.uint8(inside)
        total += int(np.count_nonzero(_STRUCTURE[block] & (quotes % 2 == 0)))
        inside = int(quotes[-1]) % 2
    return total


def check_structure(raw: bytes, most: int) -> int:
    """How many bytes the values of a JSON text take at most, about, beside their texts. Raises ApiError 413."""
    count = count_structure(raw, most)
    if count > most:
        said = f"The body's JSON has {count:,} values, more than {most:,}, this gateway's max_json_values."
        raise ApiError(413, said, code="body_too_large")
    return count * BYTES_PER_VALUE
