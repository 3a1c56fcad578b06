"""Logs failures by kind, place and count, without any byte of a request, which may hold a key.

An exception's text may quote the request, so it is left out, and so are tracebacks.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPEATED_SECONDS = 10.0  # a kind is logged again after so long, with its count
FRAMES = 4
log = logging.getLogger("demur.gateway")


class FailureLog:
    """Logs each kind of failure at most once per `REPEATED_SECONDS`."""

    def __init__(self, seconds: float = REPEATED_SECONDS) -> None:
        self._seconds = seconds
        self._said: dict[str, float] = {}  # kind -> seconds, monotonic
        self._kept: Counter[str] = Counter()

    def say(self, what: str, error: BaseException | None) -> None:
        """``what`` went wrong is words of our own."""
        kind = f"{what}: {type(error).__name__}{raised_at(error)}"
        now = time.monotonic()
        self._kept[kind] += 1
        if now - self._said.get(kind, -self._seconds) < self._seconds:
            return
        self._said[kind] = now
        times = self._kept.pop(kind)
        log.error("%s%s", kind, f" ({times} times)" if times > 1 else "")


def raised_at(error: BaseException | None) -> str:
    """Where an exception was raised: the innermost frames, by file and line."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:] if error else []
    where = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
    return f" at {where}" if where else ""


failures = FailureLog()


class Later:
    """Does in threads what may wait, or fail: a failure is logged."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Future[object]] = set()  # a task without a reference may be collected

    def do(self, work: Callable[..., object], *given: Any) -> None:
        """Begin it, in a running loop."""
        task = asyncio.ensure_future(asyncio.to_thread(work, *given))
        self._under_way.add(task)
        task.add_done_callback(self._end)

    def _end(self, done: asyncio.Future[object]) -> None:
        self._under_way.discard(done)
        if not done.cancelled() and (error := done.exception()):
            failures.say("what a request showed could not be kept", error)
