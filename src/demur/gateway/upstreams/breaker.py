"""When an upstream is not asked: in an outage, as distinct from requests that fail by their own fault.

Consecutive failures only raise a suspicion: five requests that break a template fail at a healthy model, too. So an
ordinary request decides, which any model can answer. In an outage it is repeated until it is answered; no client's
request is used for that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress


class Breaker:
    """The circuit of one upstream: ``open`` while it is not asked.

    ``ask`` sends the ordinary request and returns whether it was answered; ``say`` reports to the operator.
    """

    def __init__(
        self, failures: int, seconds: float, ask: Callable[[], Awaitable[bool]], say: Callable[[str], None]
    ) -> None:
        self._limit, self._ask, self._say = failures, ask, say
        self.seconds = seconds  # between two ordinary requests in an outage
        self.failures = 0  # of requests, in a row
        self.open = False
        self._well_until = 0.0  # monotonic: the ordinary request was answered a moment ago
        self._told = False  # that requests fail by themselves
        self._watching: asyncio.Task[None] | None = None
        self._look_now = asyncio.Event()  # do not wait: it may answer again
        self._reported = False  # of another machine, and not yet found here

    @property
    def found_down(self) -> bool:
        """True in an outage that this process has found itself."""
        return self.open and not self._reported

    def report_down(self) -> None:
        """Another machine finds it down: it gets no requests until an ordinary one of this machine is answered."""
        if not self.open and self._watching is None:
            self.open = self._reported = True
            self._say("is down as another machine finds; it is asked an ordinary request from here")
            self._look_now.set()
            self._watching = asyncio.ensure_future(self._watch(""))

    def report_up(self) -> None:
        """Another machine finds that it answers again: it is asked from here, too."""
        if self.open:
            self._look_now.set()

    def record(self, worked: bool, why: str = "", *, certain: bool = False) -> None:
        """Count a request; ``why`` it failed. ``certain``: whatever is asked would have failed."""
        if worked:
            self.failures, self._told = 0, False
            self._close()
            return
        self.failures += 1
        if self.open or self.failures < self._limit:
            return
        if certain:
            self._open(why)
        if self._watching is None and (self.open or time.monotonic() >= self._well_until):
            self._watching = asyncio.ensure_future(self._watch(why))

    async def close(self) -> None:
        """End what runs in the background."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)

    async def _watch(self, why: str) -> None:
        """Decide a suspected outage, and wait for the end of one."""
        try:
            if not self.open:
                answered = await self._ask()
                if answered or self.failures < self._limit:
                    self._blame_requests(why)
                    return
                self._open(f"{why}; an ordinary request fails as well")
            while self.open:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._look_now.wait(), self.seconds)
                self._look_now.clear()
                if self.open and await self._ask():
                    self._close()
                self._reported = False
        finally:
            self._watching = None

    def _blame_requests(self, why: str) -> None:
        self._well_until = time.monotonic() + self.seconds
        if self.failures >= self._limit and not self._told:
            self._told = True
            self._say(f"fails at {self.failures} requests in a row ({why}) but not at an ordinary one: it is asked on")
        self.failures = 0

    def _open(self, why: str) -> None:
        if not self.open:
            self.open = True
            failed = f"its last {self.failures} requests failed; at last"
            last = "its last request failed:" if self.failures == 1 else failed
            self._say(f"is down: {last} it {why}")

    def _close(self) -> None:
        self._look_now.clear()
        self._reported = False
        if self.open:
            self.open, self.failures = False, 0
            self._say("answers again")
