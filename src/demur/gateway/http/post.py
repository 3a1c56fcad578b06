"""POSTs a request on a kept connection of aiohttp's pool, and does nothing else.

Connecting, TLS, keeping connections and parsing answers are aiohttp's. Its `ClientSession` prepares much more for each
request (cookies, redirects, proxies, a task that writes the body): most of what it took to send one on.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache

import aiohttp
from aiohttp import hdrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, StreamWriter
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

UNASKED_CONNECTIONS = 8  # on which something came before a request was sent: then the host is at fault


class Reply:
    """The answer to a request, whose body is read from ``content``. When that ends, its connection is kept."""

    __slots__ = ("_connection", "content", "headers", "status")

    def __init__(
        self, status: int, headers: CIMultiDictProxy[str], content: aiohttp.StreamReader, connection: Connection
    ) -> None:
        self.status, self.headers, self.content = status, headers, content
        self._connection: Connection | None = connection
        content.on_eof(self._keep_connection)

    def _keep_connection(self) -> None:
        if self._connection is not None:
            self._connection.release()
            self._connection = None

    def close(self) -> None:
        """Close the connection, unless the body has ended."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            if self.content.exception() is None:  # who still reads must not wait forever
                self.content.set_exception(aiohttp.ClientConnectionError("Connection closed"))


class Poster:
    """Sends requests to one host on the connections of a session, with its timeouts; within a running loop."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        connector = session.connector
        assert connector is not None, "a session has one until it is closed"
        self.base_url, self._connector, self._timeout = base_url, connector, session.timeout
        self._loop = asyncio.get_running_loop()
        # By it the pool knows where to connect, and how; its headers are those of every request.
        self._host = aiohttp.ClientRequest("POST", URL(base_url), loop=self._loop, session=session)

    async def post(self, path: str, headers: CIMultiDict[str], body: bytes) -> Reply:
        """The answer, once its header is there; ``path`` is put behind the base URL, ``body`` is not empty.

        Nothing is sent twice and no redirect is followed. Raises aiohttp's errors and OSError.
        """
        sent = self._host.headers.copy()
        sent.update(headers)
        sent[hdrs.CONTENT_LENGTH] = str(len(body))
        if hdrs.CONTENT_TYPE not in sent:
            sent[hdrs.CONTENT_TYPE] = "application/octet-stream"
        connection, protocol = await self._connect()
        try:
            line = f"POST {_target(self.base_url, path)} HTTP/1.1"
            return await self._ask(connection, protocol, line, sent, body)
        except BaseException:
            connection.close()
            raise

    async def _connect(self) -> tuple[Connection, ResponseHandler]:
        """A connection on which nothing has come yet: what came unasked would be taken for the answer."""
        for _ in range(UNASKED_CONNECTIONS):
            try:
                connection = await self._connector.connect(self._host, [], self._timeout)
            except TimeoutError as error:
                raise aiohttp.ConnectionTimeoutError(f"Connection timeout to host {self._host.url.host}") from error
            protocol = connection.protocol
            assert protocol is not None, "it has not been released"
            if not protocol.should_close:
                return connection, protocol
            connection.close()
        raise aiohttp.ClientConnectionError(f"{self._host.url.host} speaks before it is asked")

    async def _ask(
        self, connection: Connection, protocol: ResponseHandler, line: str, headers: CIMultiDict[str], body: bytes
    ) -> Reply:
        protocol.set_response_params(read_until_eof=True, read_timeout=self._timeout.sock_read)
        writer = StreamWriter(protocol, self._loop)
        await writer.write_headers(line, headers)  # refuses line ends in them
        await writer.write(body, drain=False)  # an upstream may answer before it has read all of it
        protocol.start_timeout()
        try:
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:  # they come before the answer
                message, content = await protocol.read()
        except HttpProcessingError as error:
            said = aiohttp.ClientResponseError(self._host.request_info, (), status=error.code, message=error.message)
            raise said from error
        return Reply(message.code, message.headers, content, connection)


@lru_cache(256)
def _target(base_url: str, path: str) -> str:
    """What the request's first line names."""
    return URL(base_url + path, encoded=True).raw_path_qs
