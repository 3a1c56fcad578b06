"""Tokens per second of sampling a local model: parallel slots that share the prompt's KV, beside one sample at a time.

SmolLM2-135M as demur runs it (`demur.models.local.opened`), ten samples per prompt with log-probs: ten choices of one
request, beside ten requests of one choice, prompt by prompt in turn on one server. Shown twice: every request evaluates
its prompt (what sharing saves), and llama.cpp's own cache holds the prompt for both (what decoding together saves).
"""

from __future__ import annotations

import argparse
import asyncio
import time

import aiohttp
import numpy as np

from demur.config import ModelConfig
from demur.models.endpoint import Endpoint
from demur.models.local import running_endpoint
from demur.models.requests.completion import parse_completion
from demur.models.requests.request import request_body
from demur.records import SamplingSettings
from environment import describe, on_one_thread

N = 10
MAX_TOKENS = 16  # as the demo
LEAST_RATIO = 1.8
ALONE, TOGETHER = [[i] for i in range(N)], [list(range(N))]
EXAMPLES = """Answer the question with one short phrase.
Question: What is the boiling point of water at sea level, in degrees Celsius?
Answer: 100
Question: Who wrote Pride and Prejudice?
Answer: Jane Austen
Question: What colour do blue and yellow paint give together?
Answer: green
"""
QUESTIONS = (
    "Which country has Lisbon as its capital?",
    "How many legs do three spiders have together?",
    "Which planet is nearest to the sun?",
    "In which year did the Second World War end?",
)


async def tokens_per_second(
    session: aiohttp.ClientSession, endpoint: Endpoint, question: str, groups: list[list[int]], *, cached: bool
) -> float:
    """Sample the question at these indices, one request per group, one after another."""
    settings = SamplingSettings(n=N, max_tokens=MAX_TOKENS, chat=False)
    text = f"{EXAMPLES}Question: {question}\nAnswer:"
    tokens, start = 0, time.perf_counter()
    for group in groups:
        body = request_body(endpoint.model, text, settings, group) | {"cache_prompt": cached, "ignore_eos": True}
        async with session.post(f"{endpoint.base_url}/completions", json=body) as response:
            samples = parse_completion(await response.json(), group, endpoint.base_url)
        tokens += sum(sample.completion_tokens for sample in samples)
    return tokens / (time.perf_counter() - start)


async def compare(model: str) -> None:
    rates: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    async with running_endpoint(ModelConfig(model=model), parallel=N) as endpoint, aiohttp.ClientSession() as session:
        for question in QUESTIONS:
            for cached, found in rates.items():
                alone = await tokens_per_second(session, endpoint, question, ALONE, cached=cached)
                found.append((alone, await tokens_per_second(session, endpoint, question, TOGETHER, cached=cached)))
    print(f"{model}, {N} samples of {MAX_TOKENS} tokens per prompt, medians of {len(QUESTIONS) - 1} prompts")
    print(f"{'':<42}{'one by one':>12}{'parallel':>10}{'ratio':>8}")
    for cached, found in rates.items():
        rows = np.array(found[1:])  # the first warms up
        alone, together = np.median(rows, axis=0)
        name = "prompt already in the cache" if cached else f"prompt evaluated a request (>= {LEAST_RATIO})"
        print(f"{name:<42}{alone:>12.1f}{together:>10.1f}{np.median(rows[:, 1] / rows[:, 0]):>8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    asyncio.run(compare(options.model))


if __name__ == "__main__":
    main()
