"""Which prompt a sampler asks next: none that another one, on the same shared store, is at work on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

from demur.records import Prompt
from demur.sampling.budget import Budget
from demur.store import Store

LOOK_AGAIN_SECONDS = 0.5  # at prompts that others are at work on
_Result = TypeVar("_Result")


class Claims:
    """Prompts that wait to be asked of one model, shared by the workers of a process; ``key``: model and settings.

    On a shared store a prompt is claimed while it is asked. Those that others are at work on come last.
    """

    def __init__(self, prompts: Iterable[Prompt], key: tuple[str, str], store: Store, budget: Budget) -> None:
        self._waiting, self._elsewhere = deque(prompts), deque[Prompt]()
        self._model, self._settings = key
        self._store, self._budget = store, budget

    @asynccontextmanager
    async def next(self) -> AsyncIterator[Prompt | None]:
        """The next prompt, for as long as the block runs; None where none is left, or nothing more may be asked."""
        prompt = await self._take()
        try:
            yield prompt
        finally:
            if prompt is not None and self._store.shared:
                await asyncio.to_thread(self._store.release, self._model, prompt.key, self._settings)

    async def _take(self) -> Prompt | None:
        while (self._waiting or self._elsewhere) and not self._budget.closed:
            if not self._waiting:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                self._waiting.extend(self._elsewhere)
                self._elsewhere.clear()
                continue
            prompt = self._waiting.popleft()
            if await in_thread(self._store, self._store.claim, self._model, prompt.key, self._settings):
                return prompt
            self._elsewhere.append(prompt)
        return None


async def in_thread(store: Store, work: Callable[..., _Result], *given: object) -> _Result:
    """What a call of a store returns; a shared one may take long to answer, while requests are under way."""
    return await asyncio.to_thread(work, *given) if store.shared else work(*given)
