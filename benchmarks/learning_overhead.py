"""What learning from traffic costs a gateway: milliseconds that it adds to a request, and memory over many requests.

Latency: two gateways with the same router, one of them learning, in front of one upstream of fixed answers. Every round
asks a new question of both, in an order drawn anew, one request at a time, so that whatever else the machine does meets
both alike. What is added is the difference of the medians; intervals are 95 %, by bootstrap over rounds. Memory: a
gateway that learns from nothing (no router, everything goes to the strong model) is asked different questions, some at
a time, and its process is looked at in between. The learner is a process of its own and sleeps after its first round.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import numpy as np

from added_latency import cpu_milliseconds, wait
from environment import describe
from gateway import UPSTREAM, UPSTREAM_CODE
from gateway_load import process, resident_megabytes
from served_gateway import demur_command

OFF, ON, NOTHING = 8342, 8343, 8344
LEARN = "\n[learn]\nfolder = {folder}\nevery_seconds = 86400.0\nusd_per_day = 0.0\n"
WARM = 50
LEVELS = (0.1, 0.5)
DRAWS = 1000
AIM = 0.1  # ms
LOOKS = (10_000, 20_000, 50_000, 100_000)
AT_A_TIME = 16


def question(i: int) -> bytes:
    """The body of a request that was not asked before."""
    said = f"What is the {('name', 'sum', 'colour')[i % 3]} of thing {i}, and why is it so?"
    return json.dumps({"model": "demur", "messages": [{"role": "user", "content": said}]}).encode()


def learning(folder: Path, command: list[str], port: int) -> list[str]:
    """The same gateway in another folder, which learns."""
    there = folder.with_name(folder.name + "_learning")
    shutil.copytree(folder, there)
    settings = there / "gateway.toml"
    learn = LEARN.format(folder=json.dumps(str(there / "learn")))
    settings.write_text(settings.read_text().replace(str(folder), str(there)) + learn)
    changed = [one.replace(str(folder), str(there)) for one in command]
    changed[changed.index("--port") + 1] = str(port)
    return [*changed, "--learn"]


def milliseconds(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Of one request, to the end of its answer."""
    start = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise SystemExit(f"the gateway answered {answer.status}")
    return 1000 * (time.perf_counter() - start)


def report_latency(pids: dict[int, int], rounds: int) -> None:
    """What the learning gateway adds; ``pids``: port -> process."""
    random, ports = np.random.default_rng(0), [*pids]
    connections = {port: http.client.HTTPConnection("127.0.0.1", port, timeout=60) for port in ports}
    times: dict[int, list[float]] = {port: [] for port in ports}
    before: dict[int, float] = {}
    for turn in range(WARM + rounds):
        if turn == WARM:
            before = {port: cpu_milliseconds(pids[port]) for port in ports}
        for port in random.permutation(ports):
            taken = milliseconds(connections[int(port)], question(turn))
            if turn >= WARM:
                times[int(port)].append(taken)
    spent = [(cpu_milliseconds(pids[port]) - before[port]) / rounds for port in ports]
    found = np.array([times[port] for port in ports])  # (2, rounds)
    drawn = random.integers(0, rounds, (DRAWS, rounds))
    for level in LEVELS:
        low, high = np.quantile([np.diff(np.quantile(found[:, rows], level, axis=1)) for rows in drawn], (0.025, 0.975))
        off, on = np.quantile(found, level, axis=1)
        print(
            f"p{100 * level:.0f} of {rounds} routed requests: {off:.3f} ms without learning, {on:.3f} with it; added "
            f"{on - off:+.3f} [{low:+.3f}, {high:+.3f}] ms (aim: {AIM})",
            flush=True,
        )
    print(f"processor time per request: {spent[0]:.3f} ms without learning, {spent[1]:.3f} ms with it", flush=True)


async def ask_many(first: int, last: int) -> None:
    """Different questions, some at a time."""
    left = iter(range(first, last))
    url, headers = f"http://127.0.0.1:{NOTHING}/v1/chat/completions", {"Content-Type": "application/json"}
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for i in left:
                async with session.post(url, data=question(i), headers=headers) as answer:
                    await answer.read()
                    if answer.status != 200:
                        raise SystemExit(f"the gateway answered {answer.status}")

        await asyncio.gather(*(work() for _ in range(AT_A_TIME)))


def report_memory(pid: int, most: int) -> None:
    """Resident memory of the gateway's process after so many requests."""
    asked, begun = 0, time.monotonic()
    print(f"resident memory of the gateway's process: {resident_megabytes(pid):.1f} MB at the start", flush=True)
    for look in (one for one in LOOKS if one <= most):
        asyncio.run(ask_many(asked, look))
        asked = look
        rate = look / (time.monotonic() - begun)
        print(f"  {resident_megabytes(pid):.1f} MB after {look:,} requests ({rate:,.0f} per second)", flush=True)


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1500)
    parser.add_argument("--requests", type=int, default=LOOKS[-1])
    parser.add_argument("--only", choices=("latency", "memory"))
    options = parser.parse_args()
    print(describe(), flush=True)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name) / "gateway"
        folder.mkdir()
        off = demur_command(folder, upstream=UPSTREAM, port=OFF)
        stack.enter_context(process([sys.executable, "-c", UPSTREAM_CODE, str(UPSTREAM)], 0))
        if options.only != "memory":
            on = learning(folder, off, ON)
            with process(off, 1) as without, process(on, 1) as learns:
                wait(OFF)
                wait(ON)
                report_latency({OFF: without.pid, ON: learns.pid}, options.rounds)
        if options.only != "latency":
            shutil.rmtree(folder / "router")
            shutil.rmtree(folder.with_name(folder.name + "_learning"), ignore_errors=True)
            nothing = [one for one in learning(folder, off, NOTHING) if not one.endswith("/router")]
            with process(nothing, 1) as gateway:
                wait(NOTHING)
                report_memory(gateway.pid, options.requests)


if __name__ == "__main__":
    main()
