"""Clients' connections: limits on slow headers and slow readers, and when a connection is busy.

A client that does not complete its header, or stops reading, is cut off. Requests are handled by the application.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from demur.errors import InputError
from demur.gateway.http.failures import failures
from demur.gateway.http.openai_bodies import ApiError

LARGEST_HEADER = 16 * 1024
KEEPALIVE_SECONDS = 75.0  # of an idle connection: a little more than balancers keep theirs
BACKLOG = 2048
LISTENS = "0A"  # state of a socket in /proc/net/tcp


def bind_socket(host: str, port: int, *, shared: bool = False, option: str = "--port") -> socket.socket:
    """A socket that is bound and not yet listened on; ``shared``: others may be bound beside it; ``option``: what sets
    its port. Raises InputError.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"{host}:{port} is taken by {_listener_on(port)}; end that one, or give another port with {option}"
            ) from None
        raise InputError(f"{host}:{port} cannot be listened on: {error.strerror}") from None
    return made


def _listener_on(port: int) -> str:
    """The process that listens on a port, as far as Linux tells us."""
    waiting = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            rows = [line.split() for line in Path(table).read_text(encoding="ascii").splitlines()[1:]]
            there = [row for row in rows if row[3] == LISTENS and int(row[1].rpartition(":")[2], 16) == port]
            waiting |= {f"socket:[{row[9]}]" for row in there}
    for link in Path("/proc").glob("[0-9]*/fd/*") if waiting else ():
        with suppress(OSError):  # of another user, or just closed
            if str(link.readlink()) in waiting:
                name = Path("/proc", link.parts[2], "comm").read_text(encoding="utf-8").strip()
                return f"process {link.parts[2]} ({name})"
    return "another process"


def port_of(listening: socket.socket) -> int:
    """The port that a socket is bound to."""
    return int(listening.getsockname()[1])


class Connection(web.RequestHandler):
    """One client. The middleware calls `header_read` when a request's header is complete."""

    __slots__ = ("_all", "_header", "_header_until", "_slow_seconds", "_stall", "_wire", "answering")

    def __init__(self, server: web.Server, alive: set[Connection], slow_seconds: Callable[[], float]) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=KEEPALIVE_SECONDS,
            access_log=None,  # type: ignore[arg-type]  # none is what switches it off
            auto_decompress=False,  # bodies are inflated within a limit where they are read
            max_line_size=LARGEST_HEADER,
            max_field_size=LARGEST_HEADER,
        )
        self._all, self._slow_seconds = alive, slow_seconds
        self._wire: asyncio.Transport | None = None
        self._header: asyncio.TimerHandle | None = None  # runs on when a header is complete: requests come fast
        self._header_until: float | None = None  # of the loop's clock; None: no header is waited for
        self._stall: asyncio.TimerHandle | None = None
        self.answering = False

    @property
    def busy(self) -> bool:
        """True until the answer's last byte has been handed to the system."""
        return self.answering or (self._wire is not None and self._wire.get_write_buffer_size() > 0)

    def header_read(self) -> None:
        """A request's header is complete."""
        self.answering = True
        self._header_until = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has come."""
        self._wire = cast(asyncio.Transport, transport)  # uvloop's transports are not of this class
        self._all.add(self)
        self._wait_for_header()
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """A client has gone."""
        _cancel(self._header)
        _cancel(self._stall)
        self._wire, self.answering = None, False
        self._all.discard(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The clock of a header runs from its first byte."""
        if data and not self.answering and self._header_until is None:
            self._wait_for_header()
        try:
            super().data_received(data)
        except Exception as error:  # the loop would log its text
            failures.say("a request could not be read", error)
            self._cut()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP in the API's JSON: neither the answer nor the log quotes a byte of it."""
        failures.say("a request was not HTTP" if status < 500 else "a request failed", exc)
        if request.writer.output_size > 0:
            raise ConnectionError("an answer has begun: an error cannot follow it")
        error = ApiError(status, "The request is not valid HTTP, or its header is too long (16 KiB at most).")
        if status >= 500:
            error = ApiError(status, "The gateway failed at this request.", "server_error", "internal_error")
        response = web.Response(body=error.body, status=status, content_type="application/json")
        response.force_close()
        return response

    def log_exception(self, *args: Any, **named: Any) -> None:
        """An exception of aiohttp's own, whose text may quote the request."""
        found = named.get("exc_info")
        failures.say("a connection failed", found if isinstance(found, BaseException) else sys.exception())

    def log_debug(self, *args: Any, **named: Any) -> None:
        """Logs nothing: debug messages quote requests."""

    async def finish_response(self, *args: Any, **named: Any) -> tuple[web.StreamResponse, bool]:
        """The application is done and its answer is sent."""
        try:
            return await super().finish_response(*args, **named)
        finally:
            self.answering = False

    def pause_writing(self) -> None:
        """The client reads more slowly than the answer is written."""
        super().pause_writing()
        self._wait_for_reader()

    def resume_writing(self) -> None:
        """It has caught up."""
        _cancel(self._stall)
        super().resume_writing()

    def _wait_for_header(self) -> None:
        loop = asyncio.get_running_loop()
        self._header_until = loop.time() + self._slow_seconds()
        if self._header is None:
            self._header = loop.call_at(self._header_until, self._check_header)

    def _check_header(self) -> None:
        self._header, loop = None, asyncio.get_running_loop()
        if self._header_until is None:
            return
        if loop.time() < self._header_until:  # of a later request
            self._header = loop.call_at(self._header_until, self._check_header)
        else:
            self._cut()

    def _wait_for_reader(self) -> None:
        if self._wire is None:
            return
        left = _unread_bytes(self._wire)

        def check() -> None:
            if self._wire is None or _unread_bytes(self._wire) >= left:
                self._cut()
            else:
                self._wait_for_reader()

        self._stall = asyncio.get_running_loop().call_later(self._slow_seconds(), check)

    def _cut(self) -> None:
        if self._wire is not None:
            self._wire.abort()


def _unread_bytes(wire: asyncio.Transport) -> int:
    """Bytes that the client has not taken yet: ours, and the system's, which may be megabytes."""
    queued = bytes(4)
    with suppress(OSError):  # other systems than Linux do not say
        queued = fcntl.ioctl(wire.get_extra_info("socket").fileno(), termios.TIOCOUTQ, queued)
    return wire.get_write_buffer_size() + int.from_bytes(queued, sys.byteorder)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class Listener:
    """An application behind a socket. ``slow_seconds``: seconds that a slow client is waited for."""

    def __init__(self, app: web.Application, slow_seconds: Callable[[], float]) -> None:
        # Handlers are cancelled with their client: so is the upstream's request.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
        self._slow_seconds = slow_seconds
        self._alive: set[Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def busy(self) -> bool:
        """True while a client waits for an answer."""
        return any(connection.busy for connection in self._alive)

    async def open(self, listening: socket.socket) -> None:
        """Accept connections."""
        await self._runner.setup()
        server = self._runner.server
        assert server is not None, "set up"
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(server, self._alive, self._slow_seconds), sock=listening, backlog=BACKLOG
        )

    def refuse_more(self) -> None:
        """Accept no further connections."""
        if self._server is not None:
            self._server.close()

    async def close(self) -> None:
        """Close the remaining connections."""
        self.refuse_more()
        await self._runner.cleanup()


def allow_files() -> None:
    """As many open files as the system allows: each request holds two connections."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
