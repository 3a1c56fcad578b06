"""Three real replicas behind HAProxy, with PostgreSQL: what they share, kill -9, drain, a database that restarts."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from databases import Postgres
from demur.gateway.clients.keys import new_key
from demur.gateway.ledger.read import read_ledger
from demur.measure.threshold import Calibration
from demur.routing.artifact import save_calibration
from gateways import EASY, HARD
from replicas import Replicated, readme_command, replicated
from test_gateway_processes import served
from test_gateway_replicas import reserved
from test_gateway_rollout import swap

pytestmark = pytest.mark.slow


async def until(holds: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Seconds until something holds."""
    started = time.monotonic()
    while not await holds():
        assert time.monotonic() < started + seconds, "it did not happen in time"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


async def is_up(found: Replicated, replica: int, model: str) -> bool:
    async with found.session.get(f"{found.replicas[replica][1].operator}/metrics") as answer:
        return f'demur_upstream_up{{model="{model}"}} 1' in await answer.text()


async def under_way(found: Replicated, replica: int) -> int:
    async with found.session.get(f"{found.replicas[replica][1].operator}/metrics") as answer:
        (line,) = re.findall(r"^demur_in_flight (\d+)", await answer.text(), re.MULTILINE)
    return int(line)


def price_both(folder: Path) -> None:
    """A tenth of a cent for each token of an answer, of either model."""
    toml, prices = folder / "gateway.toml", "\nusd_per_million_input = 0.0\nusd_per_million_output = 1000.0\n"
    toml.write_text(toml.read_text().replace("\n[strong]", f"{prices}[strong]") + prices)


async def test_replicas_share_conversations_outages_and_budgets(tmp_path: Path, postgres: Postgres) -> None:
    key = new_key(tmp_path / "keys.json", "ann", usd=0.0975)
    settings: dict[str, object] = {"keys": str(tmp_path / "keys.json"), "retries": 0}
    settings |= {"breaker_failures": 2, "breaker_seconds": 1.0, "ledger": postgres.url}
    async with replicated(tmp_path, prepare=lambda: price_both(tmp_path), **settings) as found:

        async def all_paid() -> bool:
            return await asyncio.to_thread(reserved, postgres.url) == 0.0

        # -- a conversation stays with the strong model, whichever replica it meets
        said, seen = [HARD], set()
        for turn in range(6):
            status, headers, body = await found.ask(*said, key=key, max_tokens=1)
            assert (status, headers["x-demur-model"]) == (200, "large"), turn
            seen.add(headers["x-demur-decision-id"][:20])  # of the process
            said += [body["choices"][0]["message"]["content"], f"{EASY} {turn}"]
        assert len(seen) == 3
        assert (await found.ask("aaa a?", key=key, max_tokens=1))[1]["x-demur-model"] == "small"  # another one

        # -- budgets: 7 answers of 3 tokens are paid; requests of $.010 are admitted while less than $.0975 is taken
        found.weak.hang_seconds = found.strong.hang_seconds = 1.5
        await until(all_paid, 5.0)
        answers = await asyncio.gather(*(found.ask(f"{EASY} b{i}", key=key, max_tokens=10) for i in range(40)))
        assert sorted(status for status, _, _ in answers) == [200] * 8 + [429] * 32  # from $.021
        found.weak.hang_seconds = found.strong.hang_seconds = 0.0
        await until(all_paid, 5.0)
        found.weak.hang_seconds = found.strong.hang_seconds = 1.5
        answers = await asyncio.gather(*(found.ask(f"{EASY} c{i}", key=key, max_tokens=10) for i in range(40)))
        assert sorted(status for status, _, _ in answers) == [200] * 6 + [429] * 34  # from $.045
        found.weak.hang_seconds = found.strong.hang_seconds = 0.0
        await until(all_paid, 5.0)

        # -- an outage that the first replica meets
        found.weak.refusal = lambda body: (500, "{}")
        first = str(found.replicas[0][1])
        for i in range(2):
            await found.ask(f"{EASY} d{i}", address=first, key=key, max_tokens=1)

        async def one_knows() -> bool:
            return not await is_up(found, 0, "small")

        async def all_know() -> bool:
            return not any([await is_up(found, i, "small") for i in range(3)])

        async def all_forget() -> bool:
            return all([await is_up(found, i, "small") for i in range(3)])

        await until(one_knows, 5.0)
        assert await until(all_know, 5.0) < 1.0
        found.weak.refusal = None
        assert await until(all_forget, 10.0) < 2.5  # a test each second, and the others hear of it


async def test_no_request_is_lost_but_those_under_way_at_a_killed_replica(tmp_path: Path, postgres: Postgres) -> None:
    """The models answer nothing while the first replica is killed, so that it is known what is under way there."""
    async with replicated(tmp_path, ledger=postgres.url, notice_seconds=2.0) as found:

        async def all_wait() -> bool:
            return sum([await under_way(found, i) for i in range(3)]) == 12

        async def all_kept() -> bool:
            rows = await asyncio.to_thread(read_ledger, postgres.url, last=100_000)
            return len(rows) == sum(one.status == 200 for one in found.asked)

        found.weak.hang_seconds = 0.1
        async with found.load(12):
            await asyncio.sleep(1.5)
            found.weak.held = True
            await until(all_wait, 30.0)
            await until(all_kept, 30.0)
            (killed, _), (ended, _), _ = found.replicas
            there, at = await under_way(found, 0), time.monotonic()
            killed.kill()
            await killed.wait()
            dead = time.monotonic()  # its sockets are closed: none can be sent to it any more
            found.weak.held = False
            await asyncio.sleep(1.5)
            ended.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(ended.wait(), 20) == 0
            await asyncio.sleep(0.5)
            await asyncio.to_thread(postgres.stop, "immediate")
            await asyncio.sleep(1.0)
            await asyncio.to_thread(postgres.start)
            await asyncio.sleep(1.5)
        lost = [one for one in found.asked if one.status != 200]
        assert len(found.asked) > 100
        assert all(one.started <= dead and one.ended >= at for one in lost), [one.started - at for one in lost]
        assert 0 < sum(one.started < at for one in lost) == there < 12
        last, _ = found.replicas[2]
        last.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(last.wait(), 30) == 0
    answered = sum(one.status == 200 for one in found.asked)
    kept = await asyncio.to_thread(read_ledger, postgres.url, last=100_000)
    assert answered <= len(kept) <= len(found.asked)  # every answer, whatever the database did


async def test_replicas_are_updated_one_after_the_other_and_their_router_replaced_and_nobody_notices(
    tmp_path: Path, postgres: Postgres
) -> None:
    """Each ends by SIGTERM and is started again at its port once the proxy knows; the path is that of the probes."""
    volume = tmp_path / "volume"

    def prepare() -> None:
        volume.mkdir()
        (tmp_path / "run" / "router").rename(volume / "v1")
        swap(volume / "current", volume / "v1")
        (tmp_path / "run" / "router").symlink_to(volume / "current")
        shutil.copytree(volume / "v1", volume / "v2")
        save_calibration(volume / "v2", Calibration(0.25, 0.5, 18, "strong share 50%"))

    settings = {"ledger": postgres.url, "notice_seconds": 2.0, "drain_seconds": 5.0}
    async with replicated(tmp_path, prepare=prepare, **settings) as found, AsyncExitStack() as stack:
        found.weak.hang_seconds = 0.1
        said = [HARD]
        status, headers, body = await found.ask(*said)
        assert (status, headers["x-demur-model"]) == (200, "large")
        said += [body["choices"][0]["message"]["content"], EASY]
        async with found.load():
            for child, address in found.replicas:
                child.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(child.wait(), 30) == 0
                port = address.rpartition(":")[2]
                await stack.enter_async_context(served([*readme_command(), "--port", port], tmp_path))
                async with found.session.get(f"{address}/health") as answer:
                    assert answer.status == 200
                await asyncio.sleep(1.0)  # until the proxy has asked it, twice
                swap(volume / "current", volume / ("v2" if child is found.replicas[1][0] else "v1"))
            swap(volume / "current", volume / "v2")
            await asyncio.sleep(2.5)
            thresholds = {
                (await found.ask(f"aaa {i}", address=str(one)))[1]["x-demur-threshold"]
                for i, (_, one) in enumerate(found.replicas)
            }
        assert thresholds == {"0.250000"}
        assert [one.status for one in found.asked if one.status != 200] == []
        assert len(found.asked) > 100
        status, headers, _ = await found.ask(*said)  # which none of the processes that serve now has seen
        assert (status, headers["x-demur-model"]) == (200, "large")

        async def all_kept() -> bool:
            return len(await asyncio.to_thread(read_ledger, postgres.url, last=100_000)) >= len(found.asked)

        await until(all_kept, 20.0)
