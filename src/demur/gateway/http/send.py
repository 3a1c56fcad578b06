"""Sending an upstream's answer on to the client, piece by piece as it comes; one that was cut never looks complete."""

from __future__ import annotations

import re
from collections.abc import Mapping

from aiohttp import web

from demur.gateway.exchange import Passage
from demur.gateway.upstreams.upstream import BROKEN, Answer

STREAM_END = re.compile(rb'data: *\[DONE\]|"finish_reason" *: *"')


class ClientGoneError(Exception):
    """The client's connection is lost; an upstream that loses its own raises the same errors as a client."""


async def send_pieces(
    request: web.Request, answer: Answer, headers: Mapping[str, str], passage: Passage
) -> web.StreamResponse:
    """An answer as it comes; where it breaks off the client's connection is cut."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    if not answer.is_stream and "Content-Length" in answer.headers:
        response.content_length = int(answer.headers["Content-Length"])
    try:
        await _passed_on(request, response, answer, passage)
    except ClientGoneError:
        passage.outcome = "client_gone"
    except BROKEN:
        passage.outcome = "upstream_error"
        _cut(request)
    except Exception:  # whatever it is, it comes in the middle of an answer
        _cut(request)
        raise
    finally:
        answer.close()
    return response


async def _passed_on(request: web.Request, response: web.StreamResponse, answer: Answer, passage: Passage) -> None:
    try:
        await response.prepare(request)
    except ConnectionError as error:
        raise ClientGoneError from error
    async for piece in answer.pieces:
        try:
            await response.write(piece)
        except ConnectionError as error:
            raise ClientGoneError from error
        passage.passed(piece)
    if not answer.says_its_end and not STREAM_END.search(passage.tail):
        raise ConnectionError("the stream ended with its connection, and did not say that it is complete")
    await response.write_eof()


def _cut(request: web.Request) -> None:
    """What the client has must not look complete."""
    if request.transport is not None:
        request.transport.abort()
