"""A weak model with a long queue: what would be routed to it goes to the strong one, and the reason says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateways import EASY, gateway


async def test_who_finds_the_weak_model_full_is_answered_by_the_strong_one(tmp_path: Path) -> None:
    async with gateway(tmp_path, weak_at_most=2) as found:
        found.weak.hang_seconds = 1.0
        waiting = [asyncio.create_task(found.ask(f"{EASY} {i}")) for i in range(2)]
        await asyncio.sleep(0.2)
        assert found.gateway.upstreams["weak"].under_way == 2
        status, headers, _ = await found.ask(f"{EASY} third")
        assert (status, headers["x-demur-model"]) == (200, "large")
        assert "2 requests are under way at the weak model (weak_at_most 2), so the strong" in headers["x-demur-reason"]
        named = await found.ask(EASY, model="small")  # who names it waits for it
        assert named[1]["x-demur-model"] == "small"
        assert [answer[1]["x-demur-model"] for answer in await asyncio.gather(*waiting)] == ["small"] * 2
        assert found.gateway.upstreams["weak"].under_way == 0
        assert (await found.ask(EASY))[1]["x-demur-model"] == "small"


async def test_a_stream_is_under_way_until_it_ends(tmp_path: Path) -> None:
    async with gateway(tmp_path, weak_at_most=1) as found:
        await found.ask(EASY, stream=True)
        assert found.gateway.upstreams["weak"].under_way == 0
        assert len(found.weak.requests) == 1


async def test_a_weak_model_that_fails_leaves_no_request_behind(tmp_path: Path) -> None:
    async with gateway(tmp_path, weak_at_most=1, retries=0) as found:
        found.weak.fail_every = 1
        await found.ask(EASY)
        assert found.gateway.upstreams["weak"].under_way == 0
