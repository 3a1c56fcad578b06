"""Local sampling: n answers of a prompt at once, its KV shared by the parallel slots, against one answer a request.

SmolLM2-135M through demur's own local endpoint, the demo's prompt; tokens a second, in one run, alternating.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from demur.config import ModelConfig
from demur.endpoints import EndpointClient
from demur.local import opened
from demur.prompts import load_prompts
from demur.quickstart import demo_config
from demur.records import SamplingSettings
from environment import describe

N, PROMPTS, ROUNDS = 10, 8, 3


async def tokens_per_second(client: EndpointClient, together: bool, seed: int, settings: SamplingSettings) -> float:
    """Answer tokens a second over some prompts."""
    prompts = load_prompts(demo_config().prompts)[seed * PROMPTS : (seed + 1) * PROMPTS]
    groups = [list(range(N))] if together else [[i] for i in range(N)]
    tokens, start = 0, time.perf_counter()
    for prompt in prompts:
        for group in groups:
            tokens += sum(s.completion_tokens for s in await client.complete(prompt.text, settings, group))
    return tokens / (time.perf_counter() - start)


async def main() -> None:
    """Print both rates and their ratio."""
    print(describe())
    base = demo_config().sampling
    settings = SamplingSettings(n=N, max_tokens=32, template=base.template, chat=False)  # no stop: equal lengths
    async with opened(ModelConfig("smollm2-135m"), parallel=N) as endpoint, EndpointClient(endpoint) as client:
        await client.complete("warm up", settings, [0])
        rates: dict[bool, list[float]] = {True: [], False: []}
        for seed in range(ROUNDS):
            for together in (True, False):
                rates[together].append(await tokens_per_second(client, together, seed, settings))
    alone, together_rate = statistics.median(rates[False]), statistics.median(rates[True])
    print(f"one by one {alone:.0f} tokens/s, {N} together {together_rate:.0f} tokens/s: {together_rate / alone:.2f}x")


if __name__ == "__main__":
    asyncio.run(main())
