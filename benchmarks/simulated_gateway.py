"""Does `demur simulate` foretell the gateway? A device and a cloud of known speed, the same arrivals, p50 side by side.

Two fake endpoints on loopback: the device answers in two slots, first come first served, so many tokens per second; the
cloud after its time to the first token. A router sends prompts of z to the cloud. Requests arrive at random at a load
that the device bears; then at twice that load, with `weak_at_most`, so that the queue is bounded. Times are seconds as
they pass: the machine must be otherwise idle.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from demur.evaluation.device.edge_cloud import (
    Cloud,
    Edge,
    Requests,
    cloud_seconds,
    device_seconds,
    poisson,
    simulate_serving,
)
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, ServedModel
from demur.records import BoolArray, FloatArray
from demur.testing import on_loopback
from environment import describe

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from gateways import save_router

EDGE = Edge(tokens_per_s=40.0, prompt_tokens_per_s=1e6, slots=2)
CLOUD = Cloud(ttft=0.25, tokens_per_s=200.0, rtt=0.0, bandwidth=1e9)
REQUESTS, HARD_SHARE = 120, 0.3
AT_ONCE = 4  # at the device, where the queue is bounded
LOADS = {"as the device bears it": (1.0, None), "at twice that, weak_at_most": (2.0, AT_ONCE)}
WITHIN = 0.15


@asynccontextmanager
async def endpoint(seconds: Any, slots: int) -> AsyncIterator[str]:
    """Answers after ``seconds(tokens)``, in so many slots; the prompt says how many tokens."""
    free = asyncio.Semaphore(slots)

    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        tokens = int(body["messages"][-1]["content"].split()[-1])
        async with free:
            await asyncio.sleep(seconds(tokens))
        message = {"role": "assistant", "content": "x"}
        usage = {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": tokens + 5}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "model": body["model"], "choices": [choice]} | {"usage": usage}
        )

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    async with on_loopback(app) as address:
        yield f"{address}/v1"


async def measured(arrivals: FloatArray, tokens: FloatArray, hard: BoolArray, at_most: int | None) -> FloatArray:
    """(n,) seconds of every request through a real gateway."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        save_router(folder / "router")
        device = await stack.enter_async_context(endpoint(lambda n: n / EDGE.tokens_per_s, EDGE.slots))
        cloud = await stack.enter_async_context(endpoint(lambda n: CLOUD.ttft + n / CLOUD.tokens_per_s, 1000))
        settings = GatewaySettings(
            router=str(folder / "router"),
            port=0,
            weak=ServedModel("small", device),
            strong=ServedModel("large", cloud),
            ledger=str(folder / "ledger.sqlite"),
            weak_at_most=at_most,
        )
        address = (await stack.enter_async_context(running(settings)))[1]
        session = await stack.enter_async_context(aiohttp.ClientSession(raise_for_status=True))
        start = time.perf_counter()

        async def ask(i: int) -> float:
            await asyncio.sleep(max(0.0, start + arrivals[i] - time.perf_counter()))
            text = f"{'zzz zz zzzz' if hard[i] else 'aaa aa aaaa'}? {int(tokens[i])}"
            began, body = time.perf_counter(), {"model": "demur", "messages": [{"role": "user", "content": text}]}
            async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
                await answer.read()
            return time.perf_counter() - began

        return np.array(await asyncio.gather(*(ask(i) for i in range(len(arrivals)))))


def main() -> None:
    print(describe())
    random = np.random.default_rng(0)
    tokens = random.integers(10, 40, REQUESTS).astype(float)
    hard = random.random(REQUESTS) < HARD_SHARE
    bears = 0.7 * EDGE.slots * EDGE.tokens_per_s / tokens.mean() / (1 - HARD_SHARE)  # requests per second
    for name, (load, at_most) in LOADS.items():
        arrivals = poisson(load * bears, REQUESTS)
        foretold = simulate_serving(
            Requests(
                arrivals,
                ~hard,
                hard,
                device_seconds(EDGE, np.zeros(REQUESTS), tokens),
                cloud_seconds(CLOUD, np.zeros(REQUESTS), tokens),
            ),
            EDGE.slots,
            longest_queue=np.inf if at_most is None else at_most,
        )
        found = asyncio.run(measured(arrivals, tokens, hard, at_most))
        p50 = [float(np.median(each)) for each in (foretold.latency, found)]
        p95 = [float(np.quantile(each, 0.95)) for each in (foretold.latency, found)]
        print(
            f"{name} ({load * bears:.2f}/s): p50 {p50[0]:.3f} s simulated, {p50[1]:.3f} s measured "
            f"({p50[1] / p50[0] - 1:+.1%}, wanted within {WITHIN:.0%}); p95 {p95[0]:.3f} and {p95[1]:.3f}; "
            f"{foretold.diverted.mean():.0%} diverted"
        )


if __name__ == "__main__":
    main()
