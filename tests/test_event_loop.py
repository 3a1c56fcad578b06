"""Coroutines end where plain code waits for them, in a notebook too."""

from __future__ import annotations

import asyncio

import pytest

from demur.event_loop import one_loop, run_to_end


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
