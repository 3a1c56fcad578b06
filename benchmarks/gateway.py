"""Gateways side by side: one trivial upstream, one load tool, one run, alternating: what each adds to a request.

Direct; a proxy of ten lines that does nothing else (the floor); demur passing through (a real model's name), routed
(embedding and score), and both streamed; RouteLLM's own server (MF router with random weights of its own shape,
embeddings from the upstream's stub); the LiteLLM proxy. Upstream and load tool on one core, the gateway on the other.
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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import numpy as np

from environment import describe, peer_python
from served_gateway import demur_command
from worst_requests import report_worst

UPSTREAM, DEMUR, ROUTELLM, LITELLM, FLOOR = 8301, 8302, 8303, 8304, 8305
LEVELS = (1, 32, 128)
ROUNDS = 3
WARM_REQUESTS, MEMORY_REQUESTS = 10_000, 100_000
HEALTH_ASKED = 300
ROUTELLM_NEEDS = (
    *("torch==2.13.0", "routellm==0.2.0", "numpy==2.2.6", "pandas==2.3.3"),
    *("fastapi", "uvicorn", "shortuuid"),
)

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
app = web.Application()
app.router.add_post("/v1/chat/completions", complete)
app.router.add_post("/v1/embeddings", embed)
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


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to load."""

    name: str
    port: int
    model: str
    stream: bool = False
    share: float = 1.0  # of the requests; slow peers get fewer


async def load(target: Target, concurrency: int, requests: int) -> tuple[float, list[float]]:
    """(seconds in all, seconds to the first byte of each) of so many requests, so many at a time."""
    body = json.dumps(
        {
            "model": target.model,
            "stream": target.stream,
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        }
    ).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none"}
    url = f"http://127.0.0.1:{target.port}/v1/chat/completions"
    times: list[float] = []
    left = iter(range(requests))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def work() -> None:
            for _ in left:
                start = time.perf_counter()
                async with session.post(url, data=body, headers=headers) as response:
                    await response.content.readany()
                    times.append(time.perf_counter() - start)
                    await response.read()
                    if response.status != 200:
                        raise SystemExit(f"{target.name} answered {response.status}")

        start = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(concurrency)))
        return time.perf_counter() - start, times


@contextmanager
def process(command: list[str], core: int, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server on one core, ended with the block."""
    single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENAI_API_KEY": "sk-none"}
    child = subprocess.Popen(
        ["taskset", "-c", str(core), *command],
        env=os.environ | single | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def wait_for(target: Target, seconds: float = 120) -> None:
    """Until it answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            asyncio.run(load(target, 1, 1))
            return
        except (aiohttp.ClientError, SystemExit, OSError):
            time.sleep(0.5)
    raise SystemExit(f"{target.name} did not answer within {seconds:.0f} s")


def routellm_command(folder: Path, python: Path) -> list[str]:
    """The published server with an MF checkpoint of its own shape and random weights."""
    code = (
        "import sys; from routellm.routers.matrix_factorization.model import MFModel; "
        "MFModel(dim=128, num_models=64, text_dim=1536, num_classes=1, use_proj=True).save_pretrained(sys.argv[1], "
        "config=dict(dim=128, num_models=64, text_dim=1536, num_classes=1, use_proj=True))"
    )
    checkpoint = folder / "mf"
    subprocess.run([str(python), "-c", code, str(checkpoint)], check=True, env=os.environ | {"OPENAI_API_KEY": "x"})
    (folder / "routellm.yaml").write_text(f"mf:\n  checkpoint_path: {checkpoint}\n")
    models = ["--strong-model", "openai/large", "--weak-model", "openai/small"]
    base = ["--base-url", f"http://127.0.0.1:{UPSTREAM}/v1", "--api-key", "sk-none", "--port", str(ROUTELLM)]
    return [
        str(python),
        "-m",
        "routellm.openai_server",
        "--routers",
        "mf",
        "--config",
        str(folder / "routellm.yaml"),
        *models,
        *base,
    ]


def litellm_command(folder: Path, python: Path) -> list[str]:
    """The proxy with one OpenAI-compatible model."""
    given = {"model": "openai/large", "api_base": f"http://127.0.0.1:{UPSTREAM}/v1", "api_key": "sk-none"}
    (folder / "litellm.yaml").write_text(json.dumps({"model_list": [{"model_name": "large", "litellm_params": given}]}))
    return [
        str(python.with_name("litellm")),
        "--config",
        str(folder / "litellm.yaml"),
        "--port",
        str(LITELLM),
        "--host",
        "127.0.0.1",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default="routellm,litellm", help="comma-separated; empty for none")
    parser.add_argument("--requests", type=int, default=3000)
    options = parser.parse_args()
    print(describe())
    targets = [
        Target("direct", UPSTREAM, "large"),
        Target("bare aiohttp proxy", FLOOR, "large"),
        Target("demur pass-through", DEMUR, "large"),
        Target("demur routed", DEMUR, "demur"),
        Target("direct, streamed", UPSTREAM, "large", stream=True),
        Target("demur passed, streamed", DEMUR, "large", stream=True),
        Target("demur routed, streamed", DEMUR, "demur", stream=True),
    ]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        stack.enter_context(process([sys.executable, "-c", UPSTREAM_CODE, str(UPSTREAM)], 0))
        stack.enter_context(process([sys.executable, "-c", FLOOR_CODE, str(UPSTREAM), str(FLOOR)], 1))
        gateway = stack.enter_context(process(demur_command(folder, upstream=UPSTREAM, port=DEMUR), 1))
        if "routellm" in options.peers:
            python = peer_python("routellm-server", ROUTELLM_NEEDS)
            url = f"http://127.0.0.1:{UPSTREAM}/v1"
            stack.enter_context(process(routellm_command(folder, python), 1, OPENAI_BASE_URL=url))
            targets.append(Target("RouteLLM server, routed", ROUTELLM, "router-mf-0.5", share=0.1))
        if "litellm" in options.peers:
            python = peer_python("litellm", ["litellm[proxy]==1.108.7"])
            # Without keys, as demur is here; its prices from the package, not from the network.
            alone = {"LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true"}
            alone |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
            stack.enter_context(process(litellm_command(folder, python), 1, **alone))
            targets.append(Target("LiteLLM proxy, pass", LITELLM, "large", share=0.2))
        for target in targets:
            wait_for(target)
        report(targets, options.requests)
        by_name = {target.name: target for target in targets}
        report_health(by_name["demur routed"], options.requests)
        report_memory(by_name["demur pass-through"], gateway.pid)
        report_worst(folder)


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
    before = _resident_megabytes(pid)
    asyncio.run(load(passed, 32, MEMORY_REQUESTS))
    after = _resident_megabytes(pid)
    print(
        f"resident memory: {before:.0f} MB after {WARM_REQUESTS:,} requests, {after:.0f} MB {MEMORY_REQUESTS:,} later"
    )


def _resident_megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def report(targets: list[Target], requests: int) -> None:
    """Medians over alternating rounds."""
    os.sched_setaffinity(0, {0})
    print(f"{'':<26}" + "".join(f"{f'c = {c}: req/s':>16}{'p50':>9}{'p99':>9}" for c in LEVELS) + "   (ms)")
    rates: dict[tuple[str, int], list[float]] = {}
    middles: dict[tuple[str, int], list[float]] = {}
    tails: dict[tuple[str, int], list[float]] = {}
    for _ in range(ROUNDS):
        for concurrency in LEVELS:
            for target in targets:
                count = max(60, int(requests * target.share / (8 if concurrency == 1 else 1)))
                seconds, times = asyncio.run(load(target, concurrency, count))
                key = target.name, concurrency
                rates.setdefault(key, []).append(count / seconds)
                middles.setdefault(key, []).append(1000 * float(np.quantile(times, 0.5)))
                tails.setdefault(key, []).append(1000 * float(np.quantile(times, 0.99)))
    for target in targets:
        cells = [
            f"{np.median(rates[target.name, c]):>16,.0f}{np.median(middles[target.name, c]):>9.2f}"
            f"{np.median(tails[target.name, c]):>9.2f}"
            for c in LEVELS
        ]
        print(f"{target.name:<26}{''.join(cells)}")
    direct, bare, passed, routed = (
        float(np.median(middles[name, 1]))
        for name in ("direct", "bare aiohttp proxy", "demur pass-through", "demur routed")
    )
    print(
        f"added at concurrency 1, p50: {passed - direct:.2f} ms passed through (the bare proxy {bare - direct:.2f}), "
        f"{routed - direct:.2f} ms routed"
    )
    added = np.median(middles["demur passed, streamed", 1]) - np.median(middles["direct, streamed", 1])
    print(f"added to the first byte of a stream, p50: {added:.2f} ms passed through")
    for name, ours in (("RouteLLM server, routed", "demur routed"), ("LiteLLM proxy, pass", "demur pass-through")):
        if (name, 32) in rates:
            ratios = [f"{np.median(rates[ours, c]) / np.median(rates[name, c]):.1f}x at {c}" for c in LEVELS]
            print(f"{ours} against {name}: {', '.join(ratios)} the requests per second")


if __name__ == "__main__":
    main()
