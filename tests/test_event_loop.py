"""Coroutines end where plain code waits for them, in a notebook too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from demur.event_loop import one_loop, run_to_end
from demur.testing import in_a_thread


async def doubled(value: int) -> int:
    await asyncio.sleep(0)
    if value < 0:
        raise ValueError("negative")
    return 2 * value


def test_without_a_loop() -> None:
    assert run_to_end(doubled(2)) == 4


async def test_inside_a_running_loop_as_in_a_notebook() -> None:
    assert run_to_end(doubled(2)) == 4
    with pytest.raises(ValueError, match="negative"):
        run_to_end(doubled(-1))


async def _loop() -> int:
    return id(asyncio.get_running_loop())


def test_coroutines_share_a_loop() -> None:
    with one_loop() as run:
        assert run(_loop()) == run(_loop())


async def test_coroutines_share_a_loop_within_another_one() -> None:
    with one_loop() as run:
        assert run(_loop()) == run(_loop()) != await _loop()
    with pytest.raises(ValueError, match="negative"), one_loop() as run:
        run(doubled(-1))


@asynccontextmanager
async def _server(kept: list[str], fails: str = "") -> AsyncIterator[int]:
    if fails == "at the start":
        raise OSError("the port is taken")
    yield await _loop()
    kept.append("closed")
    if fails == "at the end":
        raise OSError("it hangs")


async def test_a_server_runs_in_a_thread_while_the_block_does() -> None:
    kept: list[str] = []
    with in_a_thread(_server(kept)) as loop:
        assert loop != await _loop()
        assert kept == []
    assert kept == ["closed"]


@pytest.mark.parametrize("fails", ["at the start", "at the end"])
def test_what_a_server_in_a_thread_raises_is_raised_here(fails: str) -> None:
    with pytest.raises(OSError, match=r"the port is taken|it hangs"), in_a_thread(_server([], fails)):
        assert fails == "at the end"
