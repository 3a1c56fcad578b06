"""One upstream: send a request, retry before the first byte only, and stop asking one that is down for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping

import aiohttp

from demur.endpoints import Endpoint, authorization, backoff_seconds
from demur.gateway.settings import GatewaySettings

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
LONGEST_RETRY_AFTER = 2.0  # seconds that a request waits for an upstream that asks for it


class UpstreamDown(Exception):  # noqa: N818  # a state, caught by the gateway alone
    """The upstream cannot be reached, hangs, or its circuit is open."""


class Breaker:
    """Opens after so many failures in a row; after a while one request is let through to try."""

    def __init__(self, failures: int, seconds: float) -> None:
        self._limit, self._seconds = failures, seconds
        self.failures = 0
        self._closed_again = 0.0

    @property
    def open(self) -> bool:
        """True while the upstream is not asked."""
        return self.failures >= self._limit and time.monotonic() < self._closed_again

    def record(self, worked: bool) -> None:
        """Count what an attempt came to."""
        self.failures = 0 if worked else self.failures + 1
        if not worked and self.failures >= self._limit:
            self._closed_again = time.monotonic() + self._seconds


class Upstream:
    """A model endpoint behind the gateway; use ``open`` and ``close`` within a running loop."""

    def __init__(self, endpoint: Endpoint, settings: GatewaySettings) -> None:
        self.endpoint, self._settings = endpoint, settings
        self.breaker = Breaker(settings.breaker_failures, settings.breaker_seconds)
        self.in_flight = 0
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Open the connection pool."""
        limits = self._settings
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_seconds, sock_read=limits.first_byte_seconds
        )
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            timeout=timeout, connector=connector, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def close(self) -> None:
        """Close the connection pool."""
        if self._session is not None:
            await self._session.close()

    async def send(self, path: str, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """POST and return the response with its body unread; raises UpstreamDown.

        Connection failures and overload are tried again; the last answer is returned as it is, whatever its status.
        """
        if self.breaker.open:
            raise UpstreamDown(f"{self.endpoint.model}: not asked, it failed {self.breaker.failures} times in a row")
        for attempt in range(self._settings.retries + 1):
            last = attempt == self._settings.retries
            try:
                response = await self._post(path, body, headers)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                self.breaker.record(False)
                if last or isinstance(error, TimeoutError):  # who hangs once would hang the client twice as long
                    raise UpstreamDown(f"{self.endpoint.model}: {type(error).__name__}") from error
                await asyncio.sleep(backoff_seconds(attempt) / 2)
                continue
            self.breaker.record(response.status < 500)
            if response.status not in RETRIED or last:
                return response
            wait = _retry_after(response.headers.get("Retry-After"), attempt)
            if wait > LONGEST_RETRY_AFTER:
                return response
            response.release()
            await asyncio.sleep(wait)
        raise AssertionError("unreachable")

    async def _post(self, path: str, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        assert self._session is not None, "open it first"
        sent = {**headers, **authorization(self.endpoint), "Accept-Encoding": "identity"}
        return await self._session.post(self.endpoint.base_url + path, data=body, headers=sent, allow_redirects=False)

    async def alive(self) -> bool:
        """Does it answer at all?"""
        assert self._session is not None, "open it first"
        try:
            timeout = aiohttp.ClientTimeout(total=2)
            async with self._session.get(
                self.endpoint.base_url + "/models", headers=authorization(self.endpoint), timeout=timeout
            ) as response:
                return response.status < 500
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False


def _retry_after(value: str | None, attempt: int) -> float:
    try:
        return max(0.0, float(value)) if value else backoff_seconds(attempt) / 2
    except ValueError:
        return backoff_seconds(attempt) / 2
