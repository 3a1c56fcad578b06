"""Coroutines end where plain code waits for them, in a notebook too."""

from __future__ import annotations

import asyncio

import pytest

from demur.running import finished


async def doubled(value: int) -> int:
    await asyncio.sleep(0)
    if value < 0:
        raise ValueError("negative")
    return 2 * value


def test_without_a_loop() -> None:
    assert finished(doubled(2)) == 4


async def test_inside_a_running_loop_as_in_a_notebook() -> None:
    assert finished(doubled(2)) == 4
    with pytest.raises(ValueError, match="negative"):
        finished(doubled(-1))
