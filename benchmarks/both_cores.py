"""Do both cores work while a local pair is sampled? The demo's models on its first prompts, cold, without a store.

As demur does it (a model that has prompts left starts a second server on a core that is free) beside one server of each
model, as before: wall time against its bound, the time that all servers are at work divided by the servers that may
work at once; and CPU seconds. The ratio of both is what scheduling loses: on a machine that others use, too, both times
grow alike, and the ratio stays.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from demur.prompts import load_prompts
from demur.quickstart import demo_config
from demur.records import Sample, SamplingSettings
from demur.sampling import local_servers
from demur.sampling.local_servers import LocalServers, available_cores
from demur.sampling.pair import endpoints_of, sample_pair, stored_pair
from demur.store import Store
from environment import describe, on_one_thread

MOST_RATIO = 1.6


class Watched(LocalServers):
    """Counts the seconds that servers are at work."""

    seconds = 0.0

    async def sample(
        self, asked: Any, settings: SamplingSettings, indices: Sequence[int], /
    ) -> AsyncIterator[list[Sample]]:
        async with self._turns.free:
            start = time.perf_counter()
            client = self._idle.pop() if self._idle else await self._start()
            try:
                async for samples in client.sample(asked, settings, indices):
                    yield samples
            finally:
                self._idle.append(client)
                Watched.seconds += time.perf_counter() - start


class OneServer(Watched):
    """As before: one server of each model."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.endpoint = replace(self.endpoint, concurrency=1)


def run(servers: type[Watched], prompts: int) -> tuple[float, float, float]:
    """Wall seconds, seconds at work, CPU seconds."""
    config = demo_config()
    config = replace(config, sampling=replace(config.sampling, n=config.sampling.most))
    asked = load_prompts(config.prompts)[:prompts]
    local_servers.LocalServers = servers  # type: ignore[misc]
    Watched.seconds = 0.0
    used, start = children(), time.perf_counter()
    with Store(":memory:") as store:
        pair = endpoints_of(config)
        sample_pair(config, pair, asked, stored_pair(pair, config.sampling, asked, store), store)
    return time.perf_counter() - start, Watched.seconds, children() - used


def children() -> float:
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=20)
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    at_once = min(local_servers.AT_ONCE, available_cores())
    print(f"{options.prompts} prompts, five samples of both models, {at_once} servers at once")
    print(f"{'':<28}{'wall s':>9}{'at work s':>11}{'CPU s':>8}{'wall / bound':>14}")
    for name, servers in (("one server of each model", OneServer), ("on the cores that are free", Watched)):
        wall, work, cpu = run(servers, options.prompts)
        print(f"{name:<28}{wall:>9.1f}{work:>11.1f}{cpu:>8.1f}{wall / (work / at_once):>14.2f}", flush=True)
    print(f"aim: at most {MOST_RATIO}")


if __name__ == "__main__":
    main()
