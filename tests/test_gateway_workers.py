"""Several workers as one service, as real processes: one port, one rate, one budget, one count, one reload."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from demur.gateway.clients.keys import new_key
from demur.gateway.ledger.read import read_ledger
from demur.measure.threshold import Calibration
from demur.routing.artifact import save_calibration
from gateways import EASY, HARD
from test_gateway_processes import configured, fakes, served

pytestmark = pytest.mark.slow


async def once(address: str, key: str = "") -> int:
    """The status of a request on a connection of its own: any worker may get it."""
    body = {"model": "demur", "messages": [{"role": "user", "content": EASY}]}
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{address}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
        await answer.read()
        return answer.status


async def get(address: str, path: str) -> str:
    async with aiohttp.ClientSession() as session, session.get(f"{address}{path}") as answer:
        assert answer.status == 200
        return await answer.text()


def requests_in(metrics: str) -> int:
    rows = [line for line in metrics.splitlines() if line.startswith("demur_requests_total{")]
    return sum(int(row.split()[-1]) for row in rows)


def workers_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def until(holds: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def test_rate_and_count_are_those_of_all_workers(tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys.json", "ann", requests_per_minute=5)
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(
            configured, tmp_path, weak, strong, ledger="", keys=str(tmp_path / "keys.json")
        )
        async with served([*command, "--workers", "3"]) as (_, address):
            statuses = [await once(address, key) for _ in range(30)]
            assert statuses.count(200) == 5
            assert statuses.count(429) == 25
            await asyncio.sleep(1.5)  # what a worker has counted may be missing for a second
            texts = [await get(address.operator, "/metrics") for _ in range(12)]
            assert {requests_in(text) for text in texts} == {5}
            assert all('demur_refused_total{status="429"} 25\n' in text for text in texts)
            stats = [await get(address.operator, "/admin/stats") for _ in range(6)]
            assert all('"requests": 5' in one for one in stats)


async def test_counts_never_fall_whichever_worker_is_asked(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "2"]) as (_, address):
            seen = []
            for _ in range(40):
                await once(address)
                seen.append(requests_in(await get(address.operator, "/metrics")))
            assert seen == sorted(seen)


async def test_a_reload_reaches_every_worker(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "3"]) as (_, address):
            save_calibration(tmp_path / "router", Calibration(-1.0, 1.0, 5, "strong share 100%"))
            async with aiohttp.ClientSession() as session, session.post(f"{address.operator}/admin/reload") as answer:
                assert answer.status == 200
            await asyncio.sleep(1.5)
            stats = [await get(address.operator, "/admin/stats") for _ in range(20)]
            assert all('"threshold": -1.0' in one for one in stats)


async def test_a_worker_that_is_killed_is_started_again_and_counts_on(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=str(tmp_path / "l.sqlite"))
        async with served([*command, "--workers", "2"]) as (child, address):
            assert [await once(address) for _ in range(20)] == [200] * 20
            await asyncio.sleep(1.5)
            before = workers_of(child.pid)
            os.kill(before[0], signal.SIGKILL)
            await until(lambda: len(workers_of(child.pid)) == 2 and before[0] not in workers_of(child.pid))
            assert [await once(address) for _ in range(20)] == [200] * 20  # those meanwhile wait for the new one
            await asyncio.sleep(1.5)
            assert requests_in(await get(address.operator, "/metrics")) == 40
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    assert len(read_ledger(str(tmp_path / "l.sqlite"), last=100)) == 40


async def test_a_worker_that_hangs_is_replaced_and_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "2"]) as (parent, address):
            stopped = workers_of(parent.pid)[1]
            os.kill(stopped, signal.SIGSTOP)
            await until(lambda: len(set(workers_of(parent.pid)) - {stopped}) == 2, 40.0)
            async with asyncio.timeout(20):
                assert [await once(address) for _ in range(24)] == [200] * 24


async def test_while_workers_end_nobody_is_left_at_the_door(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        weak.hang_seconds = 2.0
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "2"]) as (child, address):
            running = [asyncio.create_task(once(address)) for _ in range(8)]
            await asyncio.sleep(0.7)
            child.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.4)
            for _ in range(6):
                with pytest.raises(aiohttp.ClientConnectionError):
                    await asyncio.wait_for(once(address), 0.5)
            assert await asyncio.gather(*running) == [200] * 8
            assert await asyncio.wait_for(child.wait(), 20) == 0


async def test_workers_that_die_again_and_again_are_given_up(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "2"]) as (child, _):
            shutil.rmtree(tmp_path / "router")
            first, other = workers_of(child.pid)
            os.kill(first, signal.SIGKILL)
            assert await asyncio.wait_for(child.wait(), 60) == 1
            assert not alive(other)


async def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "2"]) as (child, _):
            workers = workers_of(child.pid)
            assert len(workers) == 2
            child.kill()
            await until(lambda: not any(map(alive, workers)))


@pytest.mark.parametrize("more", [[], ["--workers", "2"]])
async def test_a_port_that_is_taken_is_said_at_once(tmp_path: Path, more: list[str]) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            command[command.index("--port") + 1] = port
            child = await asyncio.create_subprocess_exec(
                *command, *more, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            said, complaint = await asyncio.wait_for(child.communicate(), 20)
    assert (child.returncode, said) == (2, b"")
    assert f"127.0.0.1:{port} is taken by process {os.getpid()} (" in complaint.decode()
    assert "give another port with --port" in complaint.decode()


async def test_what_is_wrong_with_the_first_worker_is_said_once(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        shutil.rmtree(tmp_path / "router")
        child = await asyncio.create_subprocess_exec(*command, "--workers", "4", stderr=asyncio.subprocess.PIPE)
        _, complaint = await asyncio.wait_for(child.communicate(), 20)
    assert child.returncode == 2
    assert complaint.decode().count("no saved router here") == 1


def priced(folder: Path) -> None:
    """Both models cost $1 a million tokens."""
    toml, price = folder / "gateway.toml", "\nusd_per_million_input = 1.0\nusd_per_million_output = 1.0\n"
    toml.write_text(toml.read_text().replace("\n[strong]", f"{price}[strong]") + price)


async def test_what_is_under_way_in_all_workers_takes_up_one_budget(tmp_path: Path) -> None:
    """Forty requests at once, each $0.025 and more, of a key with $0.01: one is let in, whichever worker it reaches."""
    key = new_key(tmp_path / "keys.json", "ann", usd=0.01)
    body = {"model": "large", "messages": [{"role": "user", "content": "z" * 100_000}]}
    async with fakes() as (weak, strong):
        strong.hang_seconds = 3.0
        command = await asyncio.to_thread(
            configured, tmp_path, weak, strong, ledger="", keys=str(tmp_path / "keys.json")
        )
        priced(tmp_path)
        async with served([*command, "--workers", "2"]) as (_, address):

            async def one() -> int:
                headers = {"Authorization": f"Bearer {key}"}
                async with (
                    aiohttp.ClientSession() as session,
                    session.post(f"{address}/v1/chat/completions", json=body, headers=headers) as answer,
                ):
                    return answer.status

            statuses = await asyncio.gather(*(one() for _ in range(40)))
    assert (statuses.count(200), statuses.count(429), len(strong.requests)) == (1, 39, 1)


async def test_a_spent_budget_stays_spent_for_every_worker_and_after_a_restart(tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys.json", "ann", usd=3e-6)
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(
            configured, tmp_path, weak, strong, ledger=str(tmp_path / "l.sqlite"), keys=str(tmp_path / "keys.json")
        )
        priced(tmp_path)  # an answer is six tokens in and out: $0.000006
        for answered in (1, 0):
            async with served([*command, "--workers", "2"]) as (child, address):
                statuses = [await once(address, key) for _ in range(11)]  # known to the other worker at once
                child.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(child.wait(), 20) == 0
            assert statuses.count(200) == answered


async def test_a_named_conversation_is_the_same_in_every_worker(tmp_path: Path) -> None:
    """Twelve conversations that begin at the strong model; the second turn is on a connection of its own."""

    async def model_of(address: str, text: str, name: str) -> str:
        body = {"model": "demur", "messages": [{"role": "user", "content": text}]}
        url, headers = f"{address}/v1/chat/completions", {"x-demur-conversation": name}
        async with aiohttp.ClientSession() as session, session.post(url, json=body, headers=headers) as answer:
            return answer.headers["x-demur-model"]

    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", "2"]) as (_, address):
            names = [f"c{number}" for number in range(12)]
            assert {await model_of(address, HARD, name) for name in names} == {"large"}
            assert {await model_of(address, EASY, name) for name in names} == {"large"}
            assert await model_of(address, EASY, "another") == "small"
