"""Requests that want the same kind of work at once share one piece of it: fewer statements, the more there are."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_Result = TypeVar("_Result")


class Together(Generic[_Result]):
    """Work that is under way once at a time. Whoever comes meanwhile shares the next one, which begins after it."""

    def __init__(self, work: Callable[[], Awaitable[_Result]]) -> None:
        self._work = work
        self._running: asyncio.Task[_Result] | None = None
        self._next: asyncio.Task[_Result] | None = None

    async def join(self) -> _Result:
        """The result of work that begins from now on. It goes on if who waits for it gives up."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._begin(self._running))
        return await asyncio.shield(self._next)

    async def _begin(self, before: asyncio.Task[_Result] | None) -> _Result:
        if before is not None and not before.done():
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._work()
