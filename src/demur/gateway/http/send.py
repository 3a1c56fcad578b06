"""Sends an upstream's answer to the client, piece by piece; an answer that was cut off never looks complete."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import HttpVersion11, web

from demur.gateway.upstreams.answers.answer import Answer
from demur.gateway.upstreams.answers.passed_answer import PassedAnswer
from demur.gateway.upstreams.upstream import BROKEN


class ClientGoneError(Exception):
    """The client's connection is lost; an upstream that loses its own raises the same errors as a client."""


async def send_pieces(
    request: web.Request, answer: Answer, headers: Mapping[str, str], passed: PassedAnswer
) -> tuple[web.StreamResponse, str]:
    """An answer as it comes, and its outcome; where it breaks off the client's connection is cut."""
    response = web.StreamResponse(status=answer.status, headers=headers)
    if request.version < HttpVersion11:  # it knows no chunks: an answer without a length ends with its connection
        response.force_close()
    if not answer.is_stream and "Content-Length" in answer.headers:
        response.content_length = int(answer.headers["Content-Length"])
    try:
        await _pass_on(request, response, answer, passed)
    except ClientGoneError:
        return response, "client_gone"
    except BROKEN:
        _cut(request)
        return response, "upstream_error"
    except Exception:  # whatever it is, it comes in the middle of an answer
        _cut(request)
        raise
    finally:
        answer.close()
    return response, "ok"


async def _pass_on(request: web.Request, response: web.StreamResponse, answer: Answer, passed: PassedAnswer) -> None:
    try:
        await response.prepare(request)
    except ConnectionError as error:
        raise ClientGoneError from error
    async for piece in answer.pieces:
        try:
            await response.write(piece)
        except ConnectionError as error:
            raise ClientGoneError from error
        passed.add(piece)
    if not answer.says_its_end and not (answer.is_stream and passed.ended):
        raise ConnectionError("the answer ended with its connection, and did not say that it is complete")
    await response.write_eof()


def _cut(request: web.Request) -> None:
    """Close the connection, so that the answer does not look complete."""
    if request.transport is not None:
        request.transport.abort()
