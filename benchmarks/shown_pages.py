"""The product's pages as a user sees them, for screenshots and checks: a run's report, its dashboard, a decision.

The gateway is a real one with the run's router. Its two models say what the run's models said when they were sampled;
the run's prompts are asked, and the times of these requests are spread over a week, thinly at night.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

import demur
from demur.config import load_run
from demur.gateway.clients.keys import new_key
from demur.gateway.ledger.ledger import SqliteBackend
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, ServedModel
from demur.records import Prompt, Sample
from demur.runs.run import open_run
from demur.testing import fake_endpoint

WEEK, HOUR = 7 * 86_400, 3600
COPIES, COMMITTED = 1000, 2000  # of each request; records that are written together
WRITTEN_SECONDS = 2.0  # the ledger is half a second behind
KEYS = ("website", "support", "reports")


@dataclass(frozen=True, slots=True)
class Pages:
    """Where a browser finds them."""

    report: str
    dashboard: str
    decision: str


@asynccontextmanager
async def shown_pages(run: Path) -> AsyncIterator[Pages]:
    """The pages of a run's folder, as long as the block lasts."""
    report = demur.report(run=str(run))
    with open_run(load_run(str(run))) as opened:
        prompts, samples, models = opened.prompts, opened.samples, opened.pair
        names = models.weak.model, models.strong.model
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="demur-pages-")))
        weak = await stack.enter_async_context(fake_endpoint(sampled(prompts, samples.weak)))
        strong = await stack.enter_async_context(fake_endpoint(sampled(prompts, samples.strong)))
        keys = {name: new_key(folder / "keys.json", name) for name in KEYS}
        settings = GatewaySettings(
            router=str(run / "router"),
            port=0,
            anyway=True,
            keys=str(folder / "keys.json"),
            weak=ServedModel(names[0], weak.base_url, usd_per_million_input=0.0, usd_per_million_output=0.0),
            strong=ServedModel(names[1], strong.base_url, usd_per_million_input=2.5, usd_per_million_output=10.0),
            ledger=str(folder / "ledger.sqlite"),
            record_prompts=True,
        )
        _, address, operator = await stack.enter_async_context(running(settings))
        await ask_all(address, [prompt.text for prompt in prompts], keys)
        await asyncio.sleep(WRITTEN_SECONDS)
        asked = read_ledger(settings.ledger, last=None)
        spread_over_a_week(settings.ledger, asked)
        name = next((one.id for one in asked if one.stage == "gate"), asked[0].id)
        yield Pages(report.absolute().as_uri(), operator, f"{operator}/decisions/{name}")


def sampled(prompts: Sequence[Prompt], samples: Mapping[str, Sequence[Sample]]) -> Callable[[str, int], str]:
    """A model that says what it said when it was sampled."""
    known = {prompt.text: samples[prompt.id] for prompt in prompts if samples.get(prompt.id)}

    def answer(prompt: str, seed: int) -> str:
        found = known.get(prompt)
        return found[seed % len(found)].text if found else "I do not know."

    return answer


async def ask_all(address: str, texts: Sequence[str], keys: Mapping[str, str]) -> None:
    """Ask each prompt once, by one client after the other."""
    async with aiohttp.ClientSession() as session:
        for i, text in enumerate(texts):
            body = {"model": "demur", "messages": [{"role": "user", "content": text}]}
            headers = {"Authorization": f"Bearer {keys[KEYS[i % len(KEYS)]]}"}
            async with session.post(f"{address}/v1/chat/completions", json=body, headers=headers) as answer:
                await answer.read()


def spread_over_a_week(ledger: str, asked: Sequence[LedgerRecord]) -> None:
    """Write the same requests again at other times, more by day and of late; in one hour the weak model failed."""
    strong = next(record.model for record in asked if record.role == "strong")
    chance, now, found = random.Random(0), time.time(), []
    for i in range(COPIES * len(asked)):
        record, age = asked[i % len(asked)], chance.random() ** 1.5 * WEEK
        if chance.random() > (1.0 if 8 <= time.gmtime(now - age).tm_hour < 18 else 0.25):
            continue
        seconds = record.total_seconds + chance.lognormvariate(-0.3 if record.role == "strong" else -1.2, 0.5)
        other = replace(record, id=f"{record.id}-{i}", at=now - age, total_seconds=seconds, prompt="")
        found.append(failed_over(other, strong) if 5 * HOUR < age < 6 * HOUR and record.role == "weak" else other)
    backend = SqliteBackend(ledger)
    for i in range(0, len(found), COMMITTED):
        backend.write(found[i : i + COMMITTED])
    backend.close()


def failed_over(record: LedgerRecord, strong: str) -> LedgerRecord:
    """The same request, had the weak model been away."""
    return replace(record, role="strong", model=strong, usd=record.usd_strong, outcome="fallback", usd_strong_error=0.0)
