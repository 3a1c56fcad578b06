"""What the gateways' benchmark loads and with what: a server on a core of its own, and requests to it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

TICKS = os.sysconf("SC_CLK_TCK")
PLACE = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to load."""

    name: str
    port: int
    model: str
    stream: bool = False
    share: float = 1.0  # of the requests; slow peers get fewer
    beside: str = ""  # the row of demur that does the same, of a peer
    path: str = PLACE
    headers: Mapping[str, str] = field(default_factory=dict)  # beside the key


async def load(target: Target, concurrency: int, requests: int) -> tuple[float, list[float]]:
    """(seconds in all, seconds to the first byte of each) of so many requests, so many at a time."""
    body = json.dumps(
        {
            "model": target.model,
            "stream": target.stream,
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        }
    ).encode()
    headers = {"Content-Type": "application/json", "Authorization": "Bearer sk-none", **target.headers}
    url = f"http://127.0.0.1:{target.port}{target.path}"
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


def resident_megabytes(pid: int) -> float:
    """Memory of a process that is in use."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has taken, all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
