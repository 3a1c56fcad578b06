"""Two samplers on one PostgreSQL store beside one: work that waits for the endpoint, and nothing paid twice.

    python benchmarks/scale_samplers.py --store postgresql:///demur?host=/tmp [--prompts 200] [--seconds 0.5]

Each repetition asks a fake endpoint, which takes `--seconds` per request and counts, for two samples of prompts that
are new to the store, four requests at once per sampler. Samplers are processes; the clock runs from the moment when all
have opened the store until the last has ended. The ratio is of medians of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections import Counter

from demur.models.endpoint import Endpoint
from demur.models.requests.client import EndpointClient
from demur.records import Prompt, SamplingSettings
from demur.sampling.sample import sample_prompts
from demur.store import Store
from demur.testing import FakeEndpoint, fake_endpoint, in_a_thread
from environment import describe, on_one_thread

AT_ONCE, N = 4, 2
PROMPTS, SECONDS, REPETITIONS = 200, 0.5, 3
LEAST = 1.9  # two samplers, of one


def prompts_of(repetition: str, count: int) -> list[Prompt]:
    """Prompts that no other repetition has."""
    return [Prompt(str(i), f"{repetition}: question {i}") for i in range(count)]


async def sample(store: str, address: str, repetition: str, count: int) -> None:
    """One sampler: opens the store, says so, and begins when it is told."""
    endpoint = Endpoint("m", address, concurrency=AT_ONCE)
    async with EndpointClient(endpoint) as client:
        with Store(store) as opened:
            print("ready", flush=True)
            sys.stdin.readline()
            await sample_prompts(prompts_of(repetition, count), client, endpoint, SamplingSettings(n=N), opened)


def timed(store: str, fake: FakeEndpoint, repetition: str, samplers: int, count: int) -> float:
    """Seconds of so many samplers for the same prompts; raises SystemExit where a sample was paid for twice."""
    fake.requests.clear()
    command = [sys.executable, __file__, "--store", store, "--sampler", fake.base_url, repetition, str(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, **pipes) for _ in range(samplers)]  # type: ignore[call-overload]
    try:
        for one in started:
            assert one.stdout.readline() == "ready\n"
        begun = time.perf_counter()
        for one in started:
            one.stdin.write("go\n")
            one.stdin.flush()
        ended = [one.wait(600) for one in started]
        taken = time.perf_counter() - begun
    finally:
        for one in started:
            one.kill()
    asked = Counter(body["messages"][-1]["content"] for body in fake.requests)
    if any(ended) or len(asked) != count or set(asked.values()) != {1}:
        raise SystemExit(f"{len(asked):,} of {count:,} prompts asked, {asked.total():,} requests, exits {ended}")
    return taken


def print_samplers(store: str, count: int = PROMPTS, seconds: float = SECONDS) -> None:
    """Two beside one, interleaved."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    with in_a_thread(fake_endpoint(lambda text, seed: text)) as fake:
        fake.hang_seconds = seconds
        for repetition in range(REPETITIONS):
            for samplers, found in taken.items():
                found.append(timed(store, fake, f"{time.time_ns()}-{repetition}-{samplers}", samplers, count))
    one, two = (statistics.median(found) for found in taken.values())
    said = "reached" if one / two >= LEAST else "not reached"
    print(
        f"samplers on one PostgreSQL store ({count} prompts, requests of {seconds:g} s): one {one:.1f} s, two "
        f"{two:.1f} s: {one / two:.2f}x (aim {LEAST}: {said}); every prompt asked once; waiting alone takes "
        f"{count * seconds / AT_ONCE:.1f} s",
        flush=True,
    )


def main() -> None:
    """The benchmark, or one of its samplers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--sampler", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    on_one_thread()
    if given.sampler:
        address, repetition, count = given.sampler
        asyncio.run(sample(given.store, address, repetition, int(count)))
        return
    print(describe())
    print_samplers(given.store, given.prompts, given.seconds)


if __name__ == "__main__":
    main()
