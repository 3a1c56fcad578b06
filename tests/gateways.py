"""A gateway between two fake endpoints, with a router that sends sums to the strong one, for tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from demur.gate.gate import Gate
from demur.gate.router import Router
from demur.gateway.app import Gateway
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, ServedModel
from demur.measure.threshold import Calibration
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import LetterEncoder
from demur.records import Role
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.testing import FakeEndpoint, fake_endpoint, on_loopback

HARD, EASY = "zzz zz zzzz?", "aaa aa aaaa?"
RECORD = LedgerRecord(
    *(
        "id1",
        time.time(),
        "",
        "/v1/chat/completions",
        "demur",
        "small",
        "weak",
        0.2,
        0.5,
        "score",
        "gate",
        2,
        False,
        200,
        False,
    ),
    *(10, 20, True, 0.001, 0.01, 0.0, 0.0015, 0.0005, 0.05, 0.1, 0.2, "ok", ""),
)


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway, its address and that of the operator's routes, its two fakes and a client session."""

    gateway: Gateway
    address: str
    operator: str
    weak: FakeEndpoint
    strong: FakeEndpoint
    session: aiohttp.ClientSession

    async def ask(self, text: str = EASY, *, model: str = "demur", **more: Any) -> tuple[int, dict[str, str], Any]:
        """(status, headers, body) of a chat completion."""
        headers = more.pop("headers", {})
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        async with self.session.post(f"{self.address}/v1/chat/completions", json=body, headers=headers) as answer:
            found = await answer.json() if "json" in answer.content_type else await answer.read()
            return answer.status, dict(answer.headers), found


def save_router(folder: Path, gate: Gate | None = None) -> None:
    """A router that takes letters z for hard; with a gate where one is given."""
    words = ["zzz", "aaa", "zaz zz", "aza aa", "zz z", "a aa a"]
    rows = [
        TrainingPrompt(f"{w} {w}{end}", float(w.count("z") > w.count("a")), 1.0, 0.0) for end in "?!." for w in words
    ]
    router = train_router(LetterEncoder(), SimilarityWeighted(gamma=1e4), rows, weak="small", strong="large")
    router = replace(router, calibration=Calibration(0.5, 0.5, 18, "strong share 50%"))
    Router(router, gate, active=gate is not None).save(folder)


@asynccontextmanager
async def gateway(tmp_path: Path, *, gate: Gate | None = None, **settings: Any) -> AsyncIterator[Running]:
    """Everything, as long as the block runs."""
    save_router(tmp_path / "router", gate)
    async with (
        fake_endpoint(lambda prompt, seed: f"small says {prompt[:20]}") as weak,
        fake_endpoint(lambda prompt, seed: f"large says {prompt[:20]}") as strong,
        aiohttp.ClientSession() as session,
    ):
        given = GatewaySettings(
            router=str(tmp_path / "router"),
            port=0,
            weak=ServedModel("small", weak.base_url, usd_per_million_input=0.0, usd_per_million_output=0.0),
            strong=ServedModel("large", strong.base_url, usd_per_million_input=1.0, usd_per_million_output=2.0),
            ledger=str(tmp_path / "ledger.sqlite"),
        )
        async with running(replace(given, **settings)) as (found, address, operator):
            yield Running(found, address, operator, weak, strong, session)


BOTH: tuple[Role, ...] = ("weak", "strong")


def point(found: Running, address: str, roles: tuple[Role, ...] = BOTH) -> None:
    """These models are asked at another address from now on."""
    for role in roles:
        side = found.gateway.upstreams[role]
        side.endpoint = replace(side.endpoint, base_url=f"http://{address}/v1")


@asynccontextmanager
async def upstream(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]], found: Running, roles: tuple[Role, ...] = BOTH
) -> AsyncIterator[None]:
    """These models are this handler, as long as the block runs."""
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/v1/{path:.*}", handler)
    async with on_loopback(app, handler_cancellation=True) as address:
        point(found, address.removeprefix("http://"), roles)
        yield


@asynccontextmanager
async def wire(
    found: Running, *said: bytes | float, roles: tuple[Role, ...] = BOTH, reset: bool = False
) -> AsyncIterator[list[bytes]]:
    """These models say these bytes to every request, pausing for numbers (seconds), then hang up; yields requests."""
    heads: list[bytes] = []
    talking: set[asyncio.Task[None] | None] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talking.add(asyncio.current_task())
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        for word in said:
            if isinstance(word, bytes):
                writer.write(word)
                await writer.drain()
            else:
                await asyncio.sleep(word)
        writer.transport.abort() if reset else writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    point(found, f"127.0.0.1:{server.sockets[0].getsockname()[1]}", roles)
    try:
        yield heads
    finally:
        server.close()
        await asyncio.gather(*filter(None, talking), return_exceptions=True)
