"""The gateway as real processes on loopback: SIGTERM and kill -9 under load, streams, official client, databases."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import needed
from databases import Postgres
from demur.gateway.ledger.read import read_ledger
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import load_encoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.testing import FakeEndpoint, fake_endpoint
from gateways import EASY, HARD

pytestmark = pytest.mark.slow


@asynccontextmanager
async def fakes() -> AsyncIterator[tuple[FakeEndpoint, FakeEndpoint]]:
    async with (
        fake_endpoint(lambda prompt, seed: "small says so") as weak,
        fake_endpoint(lambda prompt, seed: "large says so") as strong,
    ):
        yield weak, strong


def configured(folder: Path, weak: FakeEndpoint, strong: FakeEndpoint, **more: object) -> list[str]:
    """A router whose encoder is the weak fake, a settings file, and the command that serves them."""
    words = ["zzz", "aaa", "zaz zz", "aza aa", "zz z", "a aa a"]
    rows = [
        TrainingPrompt(f"{w} {w}{end}", float(w.count("z") > w.count("a")), 1.0, 0.0) for end in "?!." for w in words
    ]
    encoder = load_encoder(f"embedder@{weak.base_url}")
    train_router(encoder, SimilarityWeighted(gamma=1e4), rows, weak="small", strong="large").save(folder / "router")
    lines = [f"{key} = {value!r}".replace("'", '"') for key, value in more.items()]
    for role, fake, name in (("weak", weak, "small"), ("strong", strong, "large")):
        lines += [f'[{role}]\nmodel = "{name}"\nbase_url = "{fake.base_url}"']
    (folder / "gateway.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "demur.cli.main", "serve", str(folder / "router"), "--port", "0"]
    return [*command, "--config", str(folder / "gateway.toml")]


class Address(str):
    """Of a service; and of its operator's routes."""

    __slots__ = ("operator",)
    operator: str


@asynccontextmanager
async def served(
    command: list[str], cwd: Path | None = None, errors: int | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Address]]:
    """The process and its address."""
    child = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=errors, env=os.environ | {"COLUMNS": "200"}
    )
    assert child.stdout is not None
    try:
        line = b"notices"  # where they come by the same pipe
        while line and not line.startswith(b"demur serves"):
            line = await asyncio.wait_for(child.stdout.readline(), 30)
        words = line.decode().split()
        address = Address(words[2].removesuffix("/v1"))
        address.operator = words[4].removesuffix("/)")
        yield child, address
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()
        for pipe in filter(None, (child.stdout, child.stderr)):  # to the end: else it is closed after its event loop
            with suppress(TimeoutError):
                await asyncio.wait_for(pipe.read(), 5)


async def ask(session: aiohttp.ClientSession, address: str, text: str, **more: Any) -> tuple[int, bytes]:
    body = {"model": "demur", "messages": [{"role": "user", "content": text}], **more}
    async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
        return answer.status, await answer.read()


async def test_sigterm_under_load_loses_no_answer(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        weak.hang_seconds = strong.hang_seconds = 0.2
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=str(tmp_path / "l.sqlite"))
        async with served(command) as (child, address), aiohttp.ClientSession() as session:
            asked = [asyncio.create_task(ask(session, address, EASY if i % 2 else HARD)) for i in range(40)]
            await asyncio.sleep(0.5)
            child.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*asked)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    assert {status for status, _ in answers} <= {200, 429}
    answered = sum(status == 200 for status, _ in answers)
    assert answered >= 30
    records = read_ledger(str(tmp_path / "l.sqlite"), last=1000)
    assert sum(record.status == 200 for record in records) == answered


@pytest.mark.parametrize("workers", [1, 2])
async def test_nobody_reads_what_it_prints(tmp_path: Path, workers: int) -> None:
    """As behind ``2>&1 | head``: a refused key is printed at a request, which ends as it would have; so do others."""
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=str(tmp_path / "l.sqlite"))
        fixed = [word if word != "0" else str(random.randrange(20_000, 30_000)) for word in command]
        async with served([*fixed, "--workers", str(workers)], errors=asyncio.subprocess.STDOUT) as (child, address):
            child._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]  # the pipe's reading end
            async with aiohttp.ClientSession() as session:
                weak.refusal = lambda body: (401, "{}") if "messages" in body else None
                assert [(await ask(session, address, text))[0] for text in (EASY, HARD, EASY)] == [502, 200, 502]
                child.send_signal(signal.SIGHUP)  # prints as well
                await asyncio.sleep(0.5)
                assert (await ask(session, address, HARD))[0] == 200
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    assert sorted(record.status for record in read_ledger(str(tmp_path / "l.sqlite"))) == [200, 200, 502, 502]


async def test_a_thousand_streams_at_once(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        weak.hang_seconds = strong.hang_seconds = 0.5
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        connector = aiohttp.TCPConnector(limit=0)
        async with served(command) as (_, address), aiohttp.ClientSession(connector=connector) as session:
            answers = await asyncio.gather(*(ask(session, address, EASY, stream=True) for _ in range(1000)))
            assert [status for status, _ in answers].count(200) == 1000
            assert all(body.endswith(b"data: [DONE]\n\n") for _, body in answers)


async def test_a_reload_drops_no_request(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        weak.hang_seconds = 0.05
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served(command) as (child, address), aiohttp.ClientSession() as session:
            for _ in range(5):
                asked = [asyncio.create_task(ask(session, address, EASY)) for _ in range(20)]
                child.send_signal(signal.SIGHUP)
                assert {status for status, _ in await asyncio.gather(*asked)} == {200}


async def test_two_workers_share_a_port_and_end_together(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=str(tmp_path / "l.sqlite"))
        fixed = [word if word != "0" else str(random.randrange(20_000, 30_000)) for word in command]
        async with served([*fixed, "--workers", "2"]) as (child, address), aiohttp.ClientSession() as session:
            answers = await asyncio.gather(*(ask(session, address, EASY) for _ in range(50)))
            assert [status for status, _ in answers].count(200) == 50
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    assert len(read_ledger(str(tmp_path / "l.sqlite"), last=1000)) == 50


async def test_an_upstream_that_fails_half_the_time(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        weak.fail_every, strong.fail_every = 2, 3
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=str(tmp_path / "l.sqlite"))
        async with served(command) as (_, address), aiohttp.ClientSession() as session:
            statuses = [(await ask(session, address, EASY))[0] for _ in range(60)]
            await asyncio.sleep(1.2)
            records = read_ledger(str(tmp_path / "l.sqlite"), last=1000)
    assert sorted(record.status for record in records) == sorted(statuses)
    assert set(statuses) == {200}


async def test_the_official_client_plain_and_streamed(tmp_path: Path) -> None:
    openai = needed("openai")
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served(command) as (_, address):
            client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0)
            messages = [{"role": "user", "content": HARD}]
            raw = await client.chat.completions.with_raw_response.create(model="demur", messages=messages)
            assert raw.parse().choices[0].message.content == "large says so"
            assert raw.headers["x-demur-model"] == "large"
            stream = await client.chat.completions.create(model="demur@1.1", messages=messages, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
            assert text.split() == ["small", "says", "so"]
            with pytest.raises(openai.NotFoundError, match="does not exist"):
                await client.chat.completions.create(model="gpt-9", messages=messages)
            assert [one.id async for one in client.models.list()] == ["demur", "small", "large"]
            await client.close()


async def test_postgres_keeps_the_ledger_of_two_replicas(tmp_path: Path, postgres: Postgres) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=postgres.url)
        async with served(command) as (a, first), served(command) as (b, second), aiohttp.ClientSession() as session:
            for address in (first, second):
                for _ in range(10):
                    assert (await ask(session, address, EASY))[0] == 200
            for child in (a, b):
                child.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(child.wait(), 20) == 0
    records = await asyncio.to_thread(read_ledger, postgres.url, last=100)
    assert len(records) == 20
