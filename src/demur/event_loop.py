"""Runs a coroutine from synchronous code, also inside a running event loop, as in a notebook."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

_Result = TypeVar("_Result")


def run_to_end(work: Coroutine[Any, Any, _Result]) -> _Result:
    """The coroutine's result; its exceptions are raised here."""
    if not _in_a_loop():
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:  # a loop cannot wait for another one in its own thread
        return thread.submit(asyncio.run, work).result()


@contextmanager
def one_loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """Runs coroutines one after another on one and the same loop, which keeps their connections open in between."""
    runner = asyncio.Runner()
    if not _in_a_loop():
        with runner:
            yield runner.run
        return
    with ThreadPoolExecutor(1) as thread:
        try:
            yield lambda work: thread.submit(runner.run, work).result()
        finally:
            thread.submit(runner.close).result()


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
