"""What one request of 64 KiB at most can cost a gateway: memory, and how long nobody else is answered.

Bodies of structure alone, plain and compressed, just within this gateway's limits and far beyond them. The gateway is
a process of its own; a heartbeat in its event loop tells how long the loop was held, its peak of resident memory is the
kernel's. By itself: ``python benchmarks/worst_requests.py``; `benchmarks/gateway.py` prints the same rows.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demur.gateway.settings import GatewaySettings
from environment import describe
from served_gateway import demur_command

PORT, WIRE_BYTES, TIMES = 8306, 2**16, 9
SAID = b'"model":"large","messages":[{"role":"user","content":"Why is the sky blue?"}]'
FILLERS = (b"[],", b"{},", b'"",', b'{"a":1},', b"1e9,", b"[[1]],")

GATEWAY_CODE = """
import asyncio, gc, json, sys, time
from pathlib import Path
from demur.gateway.server import running
from demur.gateway.settings import read_settings
def memory(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
async def beat(state):
    while True:
        start = time.perf_counter()
        await asyncio.sleep(0.001)
        state["held"] = max(state["held"], 1000 * (time.perf_counter() - start - 0.001))
async def main():
    state = {"held": 0.0}
    async with running(read_settings(sys.argv[1])):
        beating = asyncio.ensure_future(beat(state))
        gc.freeze()  # as `demur serve` does
        print("ready", flush=True)
        while word := await asyncio.to_thread(sys.stdin.readline):
            if word.strip() == "begin":
                Path("/proc/self/clear_refs").write_text("5")
                before, state["held"] = memory("VmRSS"), 0.0
                print("begun", flush=True)
            else:
                print(json.dumps([memory("VmHWM") - before, state["held"]]), flush=True)
        beating.cancel()
asyncio.run(main())
"""
UPSTREAM_CODE = """
from aiohttp import web
answer = {"index": 0, "message": {"role": "assistant", "content": "Rayleigh."}, "finish_reason": "stop"}
async def complete(request):
    await request.read()
    return web.json_response({"choices": [answer], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})
app = web.Application(client_max_size=2**30)
app.router.add_post("/v1/chat/completions", complete)
web.run_app(app, host="127.0.0.1", port=%d, access_log=None, print=None)
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Of some times that a request was sent: the highest peak, and the least time, as others use the core too."""

    name: str
    wire_bytes: int
    status: int
    peak_megabytes: float
    held_milliseconds: float


def padded(filler: bytes, count: int) -> bytes:
    """A request whose member x is an array of so many of these."""
    return b'{"x":[' + filler * count + filler.rstrip(b",") + b"]," + SAID + b"}"


def requests() -> Iterator[tuple[str, bytes, bool]]:
    """(name, bytes on the wire, compressed)."""
    settings = GatewaySettings()
    for filler in FILLERS:
        structure = sum(map(filler.count, (b",", b":", b"[", b"{")))
        within = min(settings.max_json_values // structure, settings.max_inflated_bytes // len(filler)) - 60
        name = filler.decode()
        yield f"{name} within the limits, gzip", gzip.compress(padded(filler, within)), True
        yield (
            f"{name} 1 MiB, gzip",
            gzip.compress(padded(filler, settings.max_inflated_bytes // len(filler) - 60)),
            True,
        )
        yield f"{name} 20 MiB, gzip", gzip.compress(padded(filler, 20 * 2**20 // len(filler))), True
        yield f"{name} plain", padded(filler, WIRE_BYTES // len(filler) - 60), False
    yield "members, gzip", gzip.compress(b"{" + b'"a":1,' * 150_000 + SAID + b"}"), True
    yield "members, plain", b"{" + b'"a":1,' * 10_000 + SAID + b"}", False
    yield "escapes, gzip", gzip.compress(b'{"x":"' + b"\\u00e9" * 170_000 + b'",' + SAID + b"}"), True
    yield "60 MiB of spaces, gzip", gzip.compress(b" " * 60 * 2**20), True


@contextmanager
def measured_gateway(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A gateway with a heartbeat, before an upstream that answers at once; ``folder`` holds a router."""
    sides = [f'[{role}]\nmodel = "{name}"\nbase_url = "http://127.0.0.1:{PORT + 1}/v1"' for role, name in _PAIR]
    head = f'router = "{folder}/router"\nport = {PORT}\nledger = ""\nanyway = true\n'
    (folder / "worst.toml").write_text(head + "\n".join(sides))
    single = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    upstream = subprocess.Popen([sys.executable, "-c", UPSTREAM_CODE % (PORT + 1)], env=single)
    command = [sys.executable, "-c", GATEWAY_CODE, str(folder / "worst.toml")]
    gateway = subprocess.Popen(command, env=single, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        _read(gateway)
        yield gateway
    finally:
        for child in (gateway, upstream):
            child.kill()
            child.wait()


_PAIR = (("weak", "small"), ("strong", "large"))


def _read(gateway: subprocess.Popen[str]) -> str:
    assert gateway.stdout is not None
    return gateway.stdout.readline()


def _say(gateway: subprocess.Popen[str], word: str) -> str:
    assert gateway.stdin is not None
    gateway.stdin.write(word + "\n")
    gateway.stdin.flush()
    return _read(gateway)


def send(data: bytes, compressed: bool) -> int:
    """The status that a body is answered with."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=120)
    headers = {"Content-Type": "application/json"} | ({"Content-Encoding": "gzip"} if compressed else {})
    connection.request("POST", "/v1/chat/completions", data, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def measure(folder: Path) -> list[Cost]:
    """The cost of each request."""
    found = []
    with measured_gateway(folder) as gateway:
        for _ in range(3):
            if (status := send(b"{" + SAID + b"}", compressed=False)) != 200:
                raise SystemExit(f"the gateway answered {status} to an ordinary request")
        for name, data, compressed in requests():
            assert len(data) <= WIRE_BYTES, name
            costs = []
            for _ in range(TIMES):
                _say(gateway, "begin")
                status = send(data, compressed)
                costs.append((*json.loads(_say(gateway, "end")), status))
            peak, held = max(cost[0] for cost in costs), min(cost[1] for cost in costs)
            found.append(Cost(name, len(data), costs[-1][2], peak, held))
    return found


def report_worst(folder: Path) -> None:
    """Print one row per request, and the worst of all."""
    found = measure(folder)
    print(f"{'one request of 64 KiB at most':<40}{'bytes':>8}{'status':>8}{'peak MiB':>10}{'loop held, ms':>15}")
    for cost in sorted(found, key=lambda one: one.peak_megabytes, reverse=True):
        print(
            f"{cost.name:<40}{cost.wire_bytes:>8,}{cost.status:>8}{cost.peak_megabytes:>10.1f}"
            f"{cost.held_milliseconds:>15.1f}"
        )
    peak, held = max(one.peak_megabytes for one in found), max(one.held_milliseconds for one in found)
    print(f"the worst: {peak:.1f} MiB (aim: 20), the event loop held for {held:.1f} ms (aim: 50; least of {TIMES})")


def main() -> None:
    """The rows, with a router of six prompts."""
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        demur_command(Path(name), upstream=8301, port=8302)
        report_worst(Path(name))


if __name__ == "__main__":
    main()
