"""Sending an upstream's answer on to the client, byte for byte: whole ones at once, others as they come.

A client that stops taking its answer is given up, and an answer that was cut never looks complete.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Mapping

from aiohttp import web

from demur.gateway.passage import Passage
from demur.gateway.upstreams import BROKEN, Answer

BUFFERED_BYTES = 64 * 1024  # of an answer that a connection takes without waiting for its client
LOOK_SECONDS = 0.02  # between two looks at what a slow client has taken
STREAM_END = re.compile(rb'data: *\[DONE\]|"finish_reason" *: *"')


class ClientGoneError(Exception):
    """The client has hung up, or takes nothing any more."""


async def send_whole(
    request: web.Request, answer: Answer, data: bytes, headers: Mapping[str, str], *, seconds: float
) -> web.StreamResponse:
    """An answer of which all is there. Raises ClientGoneError for a client that takes none of it for so long."""
    response = web.Response(body=data, status=answer.status, headers=headers)
    await _written(response.prepare(request), seconds)
    await _written(response.write_eof(), seconds)
    await _taken(request, len(data), seconds)
    return response


async def send_pieces(
    request: web.Request, answer: Answer, headers: Mapping[str, str], passage: Passage, *, seconds: float
) -> web.StreamResponse:
    """An answer as it comes; where it breaks off the client's connection is cut. Raises ClientGoneError."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    if not answer.is_stream and "Content-Length" in answer.headers:
        response.content_length = int(answer.headers["Content-Length"])
    try:
        await _written(response.prepare(request), seconds)
        async for piece in answer.pieces:
            await _written(response.write(piece), seconds)
            passage.passed(piece)
        if answer.says_its_end or STREAM_END.search(passage.tail):
            await _written(response.write_eof(), seconds)
            await _taken(request, passage.sent_bytes, seconds)
            return response
    except BROKEN:
        pass
    except Exception:  # whatever it is, it comes in the middle of an answer
        abort(request)
        raise
    finally:
        answer.close()
    passage.outcome = "upstream_error"
    abort(request)
    return response


def abort(request: web.Request) -> None:
    """Cut the client's connection: what it has must not look complete."""
    if request.transport is not None:
        request.transport.abort()


async def _written(work: Awaitable[object], seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await work
    except (ConnectionError, TimeoutError) as error:
        raise ClientGoneError from error


async def _taken(request: web.Request, sent: int, seconds: float) -> None:
    """Until the client has taken what was written, so that it is not lost when the process ends."""
    transport = request.transport
    if transport is None or sent <= BUFFERED_BYTES:
        return
    await asyncio.sleep(0)
    left, since = transport.get_write_buffer_size(), time.monotonic()
    while left and not transport.is_closing():
        await asyncio.sleep(LOOK_SECONDS)
        now = transport.get_write_buffer_size()
        if now < left:
            since = time.monotonic()
        elif time.monotonic() - since > seconds:
            raise ClientGoneError
        left = now
