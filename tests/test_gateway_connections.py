"""Clients that are slow, and the end of a gateway: what is cut, and what is still finished."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest
from aiohttp import web

from conftest import needed
from gateways import EASY, Running, gateway, upstream

REQUEST = b'{"model": "small", "messages": [{"role": "user", "content": "x"}]}'
HEADER = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(REQUEST)


def connected(found: Running) -> socket.socket:
    """A client whose system takes no more than a few kilobytes for it."""
    host, _, port = found.address.removeprefix("http://").partition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


async def endless(request: web.Request) -> web.StreamResponse:
    await request.read()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    while True:
        await response.write(b"data: " + b"x" * 65536 + b"\n\n")


async def test_a_client_that_stops_reading_a_stream_gives_up_its_place(tmp_path: Path) -> None:
    async with gateway(tmp_path, body_seconds=0.3, ledger="") as found, upstream(endless, found):
        with connected(found) as client:
            client.send(HEADER + REQUEST)
            await asyncio.sleep(0.2)
            assert found.gateway.in_flight == 1
            await asyncio.sleep(1.5)
            assert found.gateway.in_flight == 0
        assert [record.outcome for record in found.gateway.metrics.recent] == ["client_gone"]


async def test_a_client_that_reads_slowly_keeps_its_stream(tmp_path: Path) -> None:
    """What counts is that it goes on, not how fast."""
    async with gateway(tmp_path, body_seconds=0.5, ledger="") as found, upstream(endless, found):
        with connected(found) as client:
            client.send(HEADER + REQUEST)
            start = time.monotonic()
            while time.monotonic() - start < 1.5:
                await asyncio.get_running_loop().sock_recv(client, 8192)
                await asyncio.sleep(0.01)
            assert found.gateway.in_flight == 1
        await asyncio.sleep(0.1)


async def test_the_second_header_of_a_connection_must_come_in_time_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, body_seconds=0.2) as found:
        host, _, port = found.address.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200 OK" in await reader.readuntil(b'"ok"}')
        await asyncio.sleep(0.4)  # to wait between requests is no fault
        writer.write(b"GET /health HTTP/1.1\r\nHost:")
        start = time.monotonic()
        assert await asyncio.wait_for(reader.read(), 2) == b""
        assert time.monotonic() - start < 1
        writer.close()


async def test_an_answer_is_finished_before_the_end(tmp_path: Path) -> None:
    """Eight megabytes that the client takes slowly: they have left the handler long before they have left."""
    size = 8_000_000

    async def large(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=b"x" * size, content_type="application/json")

    got = 0
    async with gateway(tmp_path, ledger="") as found, upstream(large, found):
        client = connected(found)
        client.send(HEADER + REQUEST)
        await asyncio.sleep(0.5)

        async def read() -> None:
            nonlocal got
            await asyncio.sleep(0.2)
            while chunk := await asyncio.get_running_loop().sock_recv(client, 65536):
                got += len(chunk)

        reading = asyncio.ensure_future(read())
    await asyncio.wait_for(reading, 5)
    client.close()
    assert got > size


async def test_while_it_ends_new_requests_are_sent_elsewhere(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        await found.ask(EASY)
        found.gateway.leaving = found.gateway.draining = True
        status, headers, body = await found.ask(EASY)
        assert (status, headers["Connection"], headers["Retry-After"]) == (503, "close", "1")
        assert "shutting down" in body["error"]["message"]


async def test_a_stream_that_runs_is_not_cut_by_the_end(tmp_path: Path) -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for i in range(5):
            await response.write(b'data: {"choices": [{"delta": {"content": "%d"}}]}\n\n' % i)
            await asyncio.sleep(0.1)
        await response.write(b"data: [DONE]\n\n")
        return response

    async with gateway(tmp_path) as found, upstream(slow, found):
        asked = asyncio.ensure_future(found.ask(EASY, stream=True))
        await asyncio.sleep(0.15)
        found.gateway.draining = True
        status, _, body = await asked
    assert (status, body.count(b"data: ")) == (200, 6)


@pytest.mark.parametrize(
    "test",
    [
        test_a_client_that_stops_reading_a_stream_gives_up_its_place,
        test_a_client_that_reads_slowly_keeps_its_stream,
        test_an_answer_is_finished_before_the_end,
    ],
)
def test_it_is_so_on_the_other_loop(tmp_path: Path, test: Callable[[Path], Coroutine[None, None, None]]) -> None:
    async def on_this_loop() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        await test(tmp_path)

    uvloop = needed("uvloop")
    uvloop.run(on_this_loop())
