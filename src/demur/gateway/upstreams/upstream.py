"""One upstream: send a request, retry before the first byte only, and stop asking one that is down for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from demur.errors import DemurError
from demur.gateway.settings import GatewaySettings
from demur.models.endpoint import Endpoint, authorization, secret
from demur.models.retries import backoff_seconds

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_RETRY_AFTER = 2.0  # seconds that a request waits for an upstream that asks for it
LONGEST_REST = 60.0  # seconds that an upstream is left alone because it asked for it
WHOLE_BYTES = 2**20  # a longer answer is sent on as it comes
SHORTEST_KEY = 8  # characters; what is shorter is no secret, and stands in too many words
BROKEN = (aiohttp.ClientError, TimeoutError, OSError)


class UpstreamDown(Exception):  # noqa: N818  # a state, caught by the gateway alone
    """The upstream cannot be reached, hangs, breaks off, rests, or its circuit is open."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds, where it asked for them


class Breaker:
    """Opens after so many failures in a row; after a while one request is let through to try, and no other."""

    def __init__(self, failures: int, seconds: float) -> None:
        self._limit, self._seconds = failures, seconds
        self.failures = 0
        self._closed_again = 0.0
        self._trying = False

    @property
    def open(self) -> bool:
        """True while the upstream is not asked."""
        return self.failures >= self._limit and (self._trying or time.monotonic() < self._closed_again)

    def admit(self) -> bool:
        """May a request pass? Of an upstream that failed, one may, and must end in `record` or `give_back`."""
        if self.open:
            return False
        self._trying = self.failures >= self._limit
        return True

    def record(self, worked: bool) -> None:
        """Count what an attempt came to."""
        self._trying = False
        self.failures = 0 if worked else self.failures + 1
        if not worked and self.failures >= self._limit:
            self._closed_again = time.monotonic() + self._seconds

    def give_back(self) -> None:
        """The request that was to try has ended without a result."""
        self._trying = False


@dataclass(frozen=True, slots=True)
class Answer:
    """An upstream's answer: read whole, or, where it is a stream or very long, in pieces of which one has come."""

    response: aiohttp.ClientResponse
    began: float  # when its first byte came, of perf_counter
    whole: bytes | None
    pieces: AsyncIterator[bytes]  # all of it; empty where it was read whole

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.response.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The upstream's headers."""
        return self.response.headers

    @property
    def is_stream(self) -> bool:
        """A stream of events, rather than one answer."""
        return "text/event-stream" in self.response.headers.get("Content-Type", "")

    @property
    def says_its_end(self) -> bool:
        """False where it ends with its connection: one that is cut then looks like one that is complete."""
        headers = self.response.headers
        return "Content-Length" in headers or "chunked" in headers.get("Transfer-Encoding", "").lower()

    def close(self) -> None:
        """Hang up, unless all of it has come."""
        self.response.close()


async def _begin(response: aiohttp.ClientResponse) -> Answer:
    """The answer as soon as all of it is there, or the first piece of a stream."""
    began = time.perf_counter()
    if response.status < 400 and "text/event-stream" in response.headers.get("Content-Type", ""):
        first = await response.content.readany()
        if not first:
            raise aiohttp.ClientPayloadError("the stream ended before it began")
        return Answer(response, time.perf_counter(), None, _pieces(first, response))
    content, start = response.content, bytearray()
    while len(start) <= WHOLE_BYTES:
        start += await content.readany()
        if content.at_eof():
            return Answer(response, began, bytes(start), _pieces(b"", response))
    return Answer(response, began, None, _pieces(bytes(start), response))


async def _pieces(start: bytes, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    yield start
    while piece := await response.content.readany():
        yield piece


class Upstream:
    """One model's endpoint; ``open`` and ``close`` within a running loop."""

    def __init__(self, endpoint: Endpoint, settings: GatewaySettings) -> None:
        self.endpoint, self._retries = endpoint, settings.retries
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_seconds)
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_seconds, sock_read=settings.first_byte_seconds
        )
        self._rests_until = 0.0  # of time.monotonic
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the connection pool."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            timeout=self._timeout, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """POST and return the answer, of which nothing has been sent on yet; raises UpstreamDown.

        Connection failures and overload are tried again; the last answer is returned as it is, whatever its status.
        """
        self._admit()
        try:
            return await self._try(path, body, headers)
        except BaseException:
            self.breaker.give_back()
            raise

    def _admit(self) -> None:
        rest = self._rests_until - time.monotonic()
        if rest > 0:
            raise UpstreamDown(
                f"{self.endpoint.model}: not asked, it wants to be left alone for {rest:.0f} s", retry_after=rest
            )
        if not self.breaker.admit():
            raise UpstreamDown(f"{self.endpoint.model}: not asked, it failed {self.breaker.failures} times in a row")

    async def _try(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                answer = await self._post(path, body, headers)
            except BROKEN as error:
                self.breaker.record(False)
                if last or isinstance(error, TimeoutError):  # who hangs once would hang the client twice as long
                    raise UpstreamDown(f"{self.endpoint.model}: {type(error).__name__}") from error
                await asyncio.sleep(backoff_seconds(attempt) / 2)
                continue
            self.breaker.record(answer.status < 500)
            if answer.status not in RETRIED:
                return answer
            asked = retry_after(answer.headers.get("Retry-After"))
            if asked is not None and asked > LONGEST_RETRY_AFTER:
                self._rests_until = time.monotonic() + min(asked, LONGEST_REST)
                return answer
            if last:
                return answer
            answer.close()
            await asyncio.sleep(backoff_seconds(attempt) / 2 if asked is None else asked)
        raise AssertionError("unreachable")

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            sent = {**headers, **authorization(self.endpoint), "Accept-Encoding": "identity"}
        except DemurError as error:
            raise UpstreamDown(f"{self.endpoint.model}: its key is missing") from error
        response = await self._pool.post(
            URL(self.endpoint.base_url + path, encoded=True),
            data=body,
            headers=sent,
            allow_redirects=False,
        )
        try:
            return await _begin(response)
        except BaseException:  # the client has gone: the answer goes too
            response.close()
            raise

    @property
    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError(f"{self.endpoint.model} is asked before it was opened")
        return self._session

    async def alive(self) -> bool:
        """Does it answer at all?"""
        try:
            async with self._pool.get(
                self.endpoint.base_url + "/models",
                headers=authorization(self.endpoint),
                timeout=aiohttp.ClientTimeout(total=2),
            ) as response:
                return response.status < 500
        except (*BROKEN, DemurError):
            return False

    def mask_key(self, data: bytes) -> bytes:
        """An error's text without this upstream's key; some echo it."""
        try:
            key = (secret(self.endpoint.api_key_env or "") or "").encode()
        except DemurError:  # its file is gone: it is not asked any more
            return data
        return data.replace(key, b"***") if len(key) >= SHORTEST_KEY else data


def unpriced(upstreams: Iterable[Upstream]) -> list[str]:
    """Names of the models whose price nobody knows."""
    return [one.endpoint.model for one in upstreams if one.endpoint.price is None]


def retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header, which holds a number or a date; None where it says neither."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds == seconds else None  # NaN is a number to Python
