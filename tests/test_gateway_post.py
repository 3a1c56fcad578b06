"""Requests on kept connections: each gets its own answer, and a connection is used again only where that is safe."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from multidict import CIMultiDict

from demur.gateway.http.post import Poster

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
END = b""  # in a script: the server closes the connection


@dataclass(slots=True)
class Seen:
    """What a server was sent, connection by connection."""

    connections: list[list[bytes]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)  # a request has

    @property
    def requests(self) -> list[int]:
        """How many requests came on each connection."""
        return [len(one) for one in self.connections]


@asynccontextmanager
async def posting(*scripts: Sequence[bytes], seconds: float = 5.0) -> AsyncIterator[tuple[Poster, Seen]]:
    """A client of a server that says, on its n-th connection, one piece of the n-th script for each request."""
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine: list[bytes] = []
        script = scripts[len(seen.connections)]
        seen.connections.append(mine)
        for said in script:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            mine.append(head + await reader.readexactly(int(length[1]) if length else 0))
            seen.came.set()
            if said == END:
                return
            writer.write(said)
        await reader.read()  # until the client closes

    async with poster_of(serve, seconds) as poster:
        yield poster, seen


@asynccontextmanager
async def poster_of(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], seconds: float = 5.0
) -> AsyncIterator[Poster]:
    """A client of what serves each connection."""
    ended: list[asyncio.Task[None]] = []

    async def to_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(OSError, EOFError):  # the client has closed
                await serve(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.ensure_future(to_end(reader, writer)))

    limits = aiohttp.ClientTimeout(total=None, sock_connect=seconds, sock_read=seconds)
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        async with aiohttp.ClientSession(timeout=limits) as session:
            yield Poster(session, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        await asyncio.gather(*ended)


async def ask(poster: Poster, path: str = "/chat", **headers: str) -> tuple[int, bytes]:
    reply = await poster.post(path, CIMultiDict(headers), b"{}")
    try:
        return reply.status, await reply.content.read()
    finally:
        reply.close()


async def test_a_request_is_written_as_http_and_its_connection_is_kept() -> None:
    async with posting([OK, OK]) as (poster, seen):
        assert await ask(poster, "/chat?q=%20", Accept="text/event-stream") == (200, b"ok")
        assert await ask(poster) == (200, b"ok")
    head, body = seen.connections[0][0].split(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    assert (line, body) == (b"POST /v1/chat?q=%20 HTTP/1.1", b"{}")
    assert {b"Content-Length: 2", b"Accept: text/event-stream"} < {*headers}
    assert sum(one.startswith(b"Host: 127.0.0.1:") for one in headers) == 1
    assert seen.requests == [2]


async def test_what_comes_before_the_answer_is_not_the_answer() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
    async with posting([early + OK, OK]) as (poster, seen):
        assert [await ask(poster), await ask(poster)] == [(200, b"ok")] * 2
    assert seen.requests == [2]


async def test_an_answer_that_nobody_asked_for_answers_nobody() -> None:
    unasked = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nothers"
    async with posting([OK + unasked], [OK]) as (poster, seen):
        assert await ask(poster) == (200, b"ok")
        await asyncio.sleep(0.05)
        assert await ask(poster) == (200, b"ok")
    assert seen.requests == [1, 1]


async def test_what_comes_unasked_while_a_connection_is_idle_answers_nobody() -> None:
    """A server that ends an idle connection may say 408 first."""
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(OK)
        if not release.is_set():
            await release.wait()
            writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with poster_of(serve) as poster:
        assert await ask(poster) == (200, b"ok")
        release.set()
        await asyncio.sleep(0.05)
        assert await ask(poster) == (200, b"ok")


CLOSING = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("first", [CLOSING, b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"], ids=["close", "1.0"])
async def test_a_connection_that_is_to_end_is_not_used_again(first: bytes) -> None:
    async with posting([first], [OK]) as (poster, seen):
        assert [await ask(poster), await ask(poster)] == [(200, b"ok")] * 2
    assert seen.requests == [1, 1]


async def test_an_answer_that_is_not_read_costs_its_connection() -> None:
    async with posting([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"], [OK]) as (poster, seen):
        reply = await poster.post("/chat", CIMultiDict(), b"{}")
        assert await reply.content.readany() == b"half"
        reply.close()
        with pytest.raises(aiohttp.ClientConnectionError):
            await reply.content.readany()
        assert await ask(poster) == (200, b"ok")
    assert seen.requests == [1, 1]


async def test_a_request_that_is_cancelled_costs_its_connection() -> None:
    """Its answer may still come, and would be the next one's."""
    async with posting([b"HTTP/1.1 200 OK\r\n"], [OK]) as (poster, seen):
        asking = asyncio.ensure_future(ask(poster))
        await seen.came.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await ask(poster) == (200, b"ok")
    assert seen.requests == [1, 1]


async def test_a_request_is_never_sent_twice() -> None:
    """The server may have taken it before it closed the connection: whether to ask again is the caller's to say."""
    async with posting([OK, END]) as (poster, seen):
        assert await ask(poster) == (200, b"ok")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await ask(poster)
    assert seen.requests == [2]


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal"])
async def test_a_server_that_falls_silent_is_waited_for_so_long_and_not_longer(said: bytes) -> None:
    async with posting([said], seconds=0.1) as (poster, _):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ask(poster), 5.0)


async def test_what_is_not_http_is_an_error_of_the_answer() -> None:
    async with posting([b"SSH-2.0-OpenSSH_9.2\r\n\r\n"]) as (poster, _):
        with pytest.raises(aiohttp.ClientResponseError):
            await ask(poster)


async def test_a_header_cannot_begin_another_request() -> None:
    async with posting([OK]) as (poster, seen):
        with pytest.raises(ValueError, match="header injection"):
            await ask(poster, Accept="a\r\nX: b")
    assert seen.requests in ([], [0])


async def test_a_redirect_is_not_followed() -> None:
    moved = b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    async with posting([moved]) as (poster, _):
        assert await ask(poster) == (307, b"")


async def test_a_host_that_takes_no_connection_is_not_reached() -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await ask(Poster(session, "http://127.0.0.1:1/v1"))


async def test_a_host_that_always_speaks_first_is_given_up() -> None:
    """What it says before the request may come after the connection was looked at: then it is no answer either."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    async with poster_of(serve) as poster:
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(ask(poster), 5.0)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
async def test_a_certificate_is_checked_and_an_encrypted_connection_is_kept(tmp_path: Path) -> None:
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    await asyncio.to_thread(
        subprocess.run, [*made, "-keyout", key, "-out", certificate, *named], check=True, capture_output=True
    )
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(certificate, key)
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(0)
        try:
            while True:
                await reader.readuntil(b"{}")
                connections[-1] += 1
                writer.write(OK)
        except (EOFError, OSError):
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=own) as server:
        port = server.sockets[0].getsockname()[1]
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError):
                await ask(Poster(session, f"https://localhost:{port}/v1"))
        trusted = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=certificate))
        async with aiohttp.ClientSession(connector=trusted) as session:
            poster = Poster(session, f"https://localhost:{port}/v1")
            assert [await ask(poster), await ask(poster)] == [(200, b"ok")] * 2
        await asyncio.sleep(0.05)  # the server sees the end
    assert connections == [2]
