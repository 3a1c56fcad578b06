"""Gateways side by side: one trivial upstream, one load tool, one run, alternating: what each adds to a request.

Direct; a proxy of ten lines that does nothing else (the floor); demur passing through (a real model's name), routed
(embedding and score), and both streamed; RouteLLM's own server, routed; LiteLLM, Portkey, TensorZero, SMG and
vllm-router passing through (`gateway_peers.py`). Upstream and load tool on one core, the gateway on the other. A peer
that cannot be installed or does not start is named and left out.

Beside the fastest peers the load tool and the upstream, which share a core, are what is slowest; so the gateway's CPU
time per request is printed too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from environment import describe
from gateway_load import Target, cpu_seconds, load, process, resident_megabytes, wait_for
from gateway_peers import PEERS, Peer
from served_gateway import demur_command
from worst_requests import report_worst

UPSTREAM, DEMUR, FLOOR = 8301, 8302, 8305
LEVELS = (1, 32, 128)
WARM_REQUESTS, MEMORY_REQUESTS = 10_000, 100_000
HEALTH_ASKED = 300
STARTING_SECONDS = 120

# The upstream: a fixed answer, plain or streamed, and fixed embeddings; as little work as aiohttp can do.
UPSTREAM_CODE = """
import json, sys
from aiohttp import web
usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
message = {"role": "assistant", "content": "Because it is."}
choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
whole = json.dumps(whole).encode()
deltas = [{"index": 0, "delta": {"content": "a"}}]
chunk = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": deltas}
pieces = [b"data: " + json.dumps(chunk).encode() + b"\\n\\n"] * 5 + [b"data: [DONE]\\n\\n"]
rows = [{"object": "embedding", "index": 0, "embedding": [0.01] * 1536}]
vectors = json.dumps({"object": "list", "model": "e", "usage": usage, "data": rows}).encode()
async def complete(request):
    body = await request.read()
    if b'"stream": true' not in body and b'"stream":true' not in body:
        return web.Response(body=whole, content_type="application/json")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for piece in pieces:
        await response.write(piece)
    return response
async def embed(request):
    await request.read()
    return web.Response(body=vectors, content_type="application/json")
async def well(request):
    return web.Response()
app = web.Application()
app.router.add_post("/v1/chat/completions", complete)
app.router.add_post("/v1/embeddings", embed)
app.router.add_get("/health", well)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
"""

# The least that a proxy in Python on the same libraries can do: read, send on, answer.
FLOOR_CODE = """
import sys, aiohttp, uvloop
from aiohttp import web
url = f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions"
async def opened(app):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:
        app["session"] = session
        yield
async def pass_on(request):
    headers = {"Content-Type": "application/json"}
    async with request.app["session"].post(url, data=await request.read(), headers=headers) as answer:
        return web.Response(body=await answer.read(), content_type="application/json")
app = web.Application()
app.cleanup_ctx.append(opened)
app.router.add_post("/v1/chat/completions", pass_on)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]), access_log=None, print=None, loop=uvloop.new_event_loop())
"""

# Asks /health in turn on one connection and prints the milliseconds of each.
HEALTH_CODE = """
import http.client, json, sys, time
connection, times = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])), []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    connection.request("GET", "/health")
    connection.getresponse().read()
    times.append(1000 * (time.perf_counter() - start))
    time.sleep(0.01)
print(json.dumps(times))
"""


@dataclass
class Row:
    """What was measured of one target."""

    target: Target
    pid: int
    rates: dict[int, list[float]] = field(default_factory=dict)  # requests per second, of each round, by concurrency
    middles: dict[int, list[float]] = field(default_factory=dict)  # p50 in ms
    tails: dict[int, list[float]] = field(default_factory=dict)  # p99 in ms
    cpu: float = 0.0  # seconds of the server, one core
    requests: int = 0

    def measure(self, concurrency: int, requests: int) -> None:
        """One stretch of load."""
        count = max(60, int(requests * self.target.share / (8 if concurrency == 1 else 1)))
        before = cpu_seconds(self.pid)
        seconds, times = asyncio.run(load(self.target, concurrency, count))
        if concurrency > 1:
            self.cpu += cpu_seconds(self.pid) - before
            self.requests += count
        self.rates.setdefault(concurrency, []).append(count / seconds)
        self.middles.setdefault(concurrency, []).append(1000 * float(np.quantile(times, 0.5)))
        self.tails.setdefault(concurrency, []).append(1000 * float(np.quantile(times, 0.99)))

    def median(self, of: dict[int, list[float]], concurrency: int) -> float:
        """Of the rounds."""
        return float(np.median(of[concurrency]))

    @property
    def cpu_microseconds(self) -> float:
        """CPU time of the server per request under load."""
        return 1e6 * self.cpu / self.requests


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS), help="comma-separated; empty for none (%(default)s)")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only-peers", action="store_true", help="neither /health, memory over time, nor the worst")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        upstream = stack.enter_context(process([sys.executable, "-c", UPSTREAM_CODE, str(UPSTREAM)], 0)).pid
        floor = [sys.executable, "-c", FLOOR_CODE, str(UPSTREAM), str(FLOOR)]
        floor_pid = stack.enter_context(process(floor, 1)).pid
        gateway = stack.enter_context(process(demur_command(folder, upstream=UPSTREAM, port=DEMUR), 1)).pid
        rows = [
            Row(Target("direct", UPSTREAM, "large"), upstream),
            Row(Target("direct, streamed", UPSTREAM, "large", stream=True), upstream),
            Row(Target("bare aiohttp proxy", FLOOR, "large"), floor_pid),
            Row(Target("demur pass-through", DEMUR, "large"), gateway),
            Row(Target("demur passed, streamed", DEMUR, "large", stream=True), gateway),
            Row(Target("demur routed", DEMUR, "demur"), gateway),
            Row(Target("demur routed, streamed", DEMUR, "demur", stream=True), gateway),
        ]
        for row in rows:
            wait_for(row.target, STARTING_SECONDS)
        rows += [row for peer in options.peers.split(",") if peer for row in peer_rows(peer, folder, stack)]
        measure(rows, options.requests, options.rounds)
        report(rows)
        if not options.only_peers:
            by_name = {row.target.name: row.target for row in rows}
            report_health(by_name["demur routed"], options.requests)
            report_memory(by_name["demur pass-through"], gateway)
            report_worst(folder)


def peer_rows(name: str, folder: Path, stack: ExitStack) -> list[Row]:
    """The rows of a peer once it answers; none, and the reason printed, if it cannot be had here."""
    try:
        peer = PEERS[name](folder, f"http://127.0.0.1:{UPSTREAM}/v1")
        pid = stack.enter_context(process(peer.command, 1, **peer.environment)).pid
        found = [Row(target, pid) for target in with_ports(peer)]
        for row in found:
            wait_for(row.target, STARTING_SECONDS)
    except (OSError, subprocess.CalledProcessError, SystemExit) as error:
        print(f"{name} is left out: {error}")
        return []
    return found


def with_ports(peer: Peer) -> list[Target]:
    """Its rows, with the port that it has chosen where it chooses one."""
    if peer.told is None:
        return peer.rows
    end = time.monotonic() + STARTING_SECONDS
    while not peer.told.is_file() or not peer.told.read_text():
        if time.monotonic() > end:
            raise SystemExit(f"it named no port within {STARTING_SECONDS} s")
        time.sleep(0.1)
    return [replace(target, port=int(peer.told.read_text())) for target in peer.rows]


def measure(rows: Sequence[Row], requests: int, rounds: int) -> None:
    """Every target in turn, at every concurrency, round after round."""
    os.sched_setaffinity(0, {0})
    for _ in range(rounds):
        for concurrency in LEVELS:
            for row in rows:
                row.measure(concurrency, requests)


def report(rows: Sequence[Row]) -> None:
    """Medians over the rounds, and each peer beside demur."""
    print(f"{'':<26}" + "".join(f"{f'c = {c}: req/s':>16}{'p50':>9}{'p99':>9}" for c in LEVELS) + "   (ms)")
    for row in rows:
        cells = [
            f"{row.median(row.rates, c):>16,.0f}{row.median(row.middles, c):>9.2f}{row.median(row.tails, c):>9.2f}"
            for c in LEVELS
        ]
        print(f"{row.target.name:<26}{''.join(cells)}")
    by_name = {row.target.name: row for row in rows}
    print(f"{'':<26}{'added ms':>10}{'CPU us':>10}{'MB':>8}   demur's requests per second over its, at {LEVELS}")
    for row in rows[2:]:
        direct = by_name["direct, streamed" if row.target.stream else "direct"]
        added = row.median(row.middles, 1) - direct.median(direct.middles, 1)
        cells = [f"{added:>10.2f}{row.cpu_microseconds:>10.0f}{resident_megabytes(row.pid):>8.0f}"]
        if row.target.beside:
            ours = by_name[row.target.beside]
            cells += [f"{ours.median(ours.rates, c) / row.median(row.rates, c):>8.2f}" for c in LEVELS]
        print(f"{row.target.name:<26}{''.join(cells)}")
    print(
        "added ms: p50 of the first byte above the direct one's, 1 at a time; CPU us: of the server per request, at "
        f"{LEVELS[1]} and {LEVELS[2]}; MB: resident"
    )


def report_health(routed: Target, requests: int) -> None:
    """How long /health takes while routed requests fill the gateway; asked by a process of its own."""
    asking = subprocess.Popen([sys.executable, "-c", HEALTH_CODE, str(DEMUR), str(HEALTH_ASKED)], stdout=-1)
    seconds, _ = asyncio.run(load(routed, LEVELS[-1], requests))
    said, _ = asking.communicate(timeout=120)
    times = np.array(json.loads(said))
    print(
        f"/health while {LEVELS[-1]} routed requests are under way ({requests / seconds:,.0f} req/s): "
        f"p50 {np.quantile(times, 0.5):.1f} ms, p99 {np.quantile(times, 0.99):.1f} ms of {len(times)}"
    )


def report_memory(passed: Target, pid: int) -> None:
    """Resident memory of the gateway after a warm-up and after many more requests."""
    asyncio.run(load(passed, 32, WARM_REQUESTS))
    before = resident_megabytes(pid)
    asyncio.run(load(passed, 32, MEMORY_REQUESTS))
    after = resident_megabytes(pid)
    print(
        f"resident memory: {before:.0f} MB after {WARM_REQUESTS:,} requests, {after:.0f} MB {MEMORY_REQUESTS:,} later"
    )


if __name__ == "__main__":
    main()
