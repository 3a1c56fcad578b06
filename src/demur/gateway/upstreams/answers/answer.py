"""Reads an upstream's answer as far as needed before the client gets a byte of it, so that failures can be retried.

Some endpoints report errors with status 200: as a body, as the first event of a stream, or as a stream without text.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from multidict import CIMultiDict

from demur.gateway.http.post import Reply
from demur.gateway.http.request_record import request_record
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.events import data_of, is_error, split_events

WHOLE_BYTES = 2**20  # a longer answer is sent on as it comes
UNENDING_BYTES = 2**24  # one that ends with its connection is read whole up to here: its end must be checked
HELD_BYTES, HELD_SECONDS = 2**16, 2.0  # of a stream that has not begun to answer: then it is let go
SHORT_BYTES = 2**12  # an answer without choices is no longer
COMPLETIONS = ("chat", "completions")  # APIs whose answers are choices
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*(?:\[\s*\]|null)')
_TEMPORARY = frozenset({408, 409, 425, 429})


Response = Reply | aiohttp.ClientResponse


class NoAnswerError(aiohttp.ClientPayloadError):
    """An upstream's response is not an answer, whatever its status."""


def is_temporary(status: int) -> bool:
    """Whether a status is not caused by the request itself, so that another try or model may succeed."""
    return status >= 500 or status in _TEMPORARY


@request_record(frozen=True, slots=True)
class Answer:
    """An upstream's answer: read whole, or, where it is a stream or very long, in pieces of which one has come."""

    response: Response
    began: float  # when its first byte came, of perf_counter
    whole: bytes | None
    pieces: AsyncIterator[bytes]  # all of it; empty where it was read whole
    start: bytes = b""  # the first of them
    on_close: Callable[[], None] | None = None  # called once it is not read any more
    told: int | None = None  # the status that the client is told instead of the upstream's; ``whole`` is then our own

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.told or self.response.status

    @property
    def headers(self) -> CIMultiDict[str]:
        """The upstream's headers, those of its encoding left out: it is decoded."""
        if self.told:
            return CIMultiDict({"Content-Type": "application/json"})
        found = CIMultiDict(self.response.headers)
        if found.popall("Content-Encoding", None):
            found.popall("Content-Length", None)
        return found

    @property
    def is_stream(self) -> bool:
        """A stream of events, rather than one answer."""
        return "text/event-stream" in self.response.headers.get("Content-Type", "")

    @property
    def says_its_end(self) -> bool:
        """False where it ends with its connection: one that is cut then looks like one that is complete."""
        return _says_its_end(self.response)

    def close(self) -> None:
        """Close the connection unless the answer was read whole."""
        self.response.close()
        if self.on_close:
            self.on_close()


def _says_its_end(response: Response) -> bool:
    headers = response.headers
    return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()


async def read_answer(response: Response, protocol: Protocol) -> Answer:
    """The answer as soon as all of it is there, or a stream as soon as it begins to answer.

    Raises NoAnswerError if it is not an answer, and aiohttp's errors for one that breaks off.
    """
    status, began = response.status, time.perf_counter()
    if not (200 <= status < 300 or 400 <= status < 600) or status in (204, 205):
        raise NoAnswerError(f"answered {status}, which is not an answer to a request")
    if status < 400 and "text/event-stream" in response.headers.get("Content-Type", ""):
        start = await _read_start(response.content, protocol)
        return Answer(response, time.perf_counter(), None, _pieces(start, response), start)
    content, data = response.content, bytearray()
    most = WHOLE_BYTES if _says_its_end(response) else UNENDING_BYTES
    while len(data) <= most:
        data += await content.readany()
        if content.at_eof():
            _check_whole(bytes(data), response, protocol)
            return Answer(response, began, bytes(data), _pieces(b"", response))
    return Answer(response, began, None, _pieces(bytes(data), response))


async def _pieces(start: bytes, response: Response) -> AsyncIterator[bytes]:
    yield start
    while piece := await response.content.readany():
        yield piece


async def _read_start(content: aiohttp.StreamReader, protocol: Protocol) -> bytes:
    """The start of a stream, until it has begun to answer, or is so long or slow that the client must have it."""
    start = rest = await content.readany()
    until, begun = time.monotonic() + HELD_SECONDS, False
    while start and len(start) <= HELD_BYTES:
        events, rest = split_events(rest)
        begun = any(_begins(event, protocol) for event in events)
        if begun or (left := until - time.monotonic()) <= 0:
            return start
        piece = await _next_piece(content, left)
        if piece == b"":  # the end
            begun = bool(rest) and _begins(rest, protocol)
            break
        start, rest = start + (piece or b""), rest + (piece or b"")
    if not begun and len(start) <= HELD_BYTES:
        raise NoAnswerError("ended its stream without an answer")
    return start


async def _next_piece(content: aiohttp.StreamReader, seconds: float) -> bytes | None:
    """The next bytes; none at the end, None where they do not come in time."""
    try:
        async with asyncio.timeout(seconds) as clock:
            return await content.readany()
    except TimeoutError:  # aiohttp's own is one, too
        if clock.expired():
            return None
        raise


def _begins(event: bytes, protocol: Protocol) -> bool:
    """True for an event with content. Raises NoAnswerError for one that reports a failure."""
    data = data_of(event)
    value = _parse(data) if data is not None else None
    failed = protocol.failure(value)
    if failed or is_error(event):
        raise NoAnswerError(f"answered with an error: {failed or 'without a reason'}")
    if data is None or data.strip() in (b"", b"[DONE]"):
        return False
    return protocol.begins(value)


def _check_whole(data: bytes, response: Response, protocol: Protocol) -> None:
    """Raise NoAnswerError for a failure with a status that says success, and for an answer that may be incomplete."""
    whole = _says_its_end(response)
    if response.status >= 400 and (whole or "json" not in response.headers.get("Content-Type", "")):
        return
    plain = response.status < 400 and b'"error"' not in data
    if plain and _NO_CHOICES.search(data, 0, SHORT_BYTES) and not _has_answer(data, protocol):
        raise NoAnswerError("answered without any choice")
    framed = plain and data.lstrip()[:1] == b"{" and data.rstrip()[-1:] == b"}"
    if whole and framed and protocol.answer_mark in data:  # not parsed: it may be long
        return
    value = _parse(data)
    if not isinstance(value, dict):
        said = f"answered {response.status} with {len(data)} bytes that are not JSON, or no object"
        raise NoAnswerError(said) if whole else aiohttp.ClientPayloadError(said)  # or with a part of them
    failed = protocol.failure(value)
    if response.status < 400 and failed:
        raise NoAnswerError(f"answered with an error: {failed}")


def _has_answer(data: bytes, protocol: Protocol) -> bool:
    """Whether an answer that seems to have no choices is of another API, or has some after all."""
    value = _parse(data)
    return not isinstance(value, dict) or bool(value.get("choices", protocol.name not in COMPLETIONS))


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
