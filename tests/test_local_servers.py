"""A local model is served when it is needed, on as many servers as have cores of their own, and once if it is large."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from demur.config import ModelConfig
from demur.errors import EndpointError
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of
from demur.records import Sample, SamplingSettings, no_progress
from demur.sampling import local_servers
from demur.sampling.local_servers import LocalServers, Turns
from demur.testing import fake_endpoint

SETTINGS = SamplingSettings("2..5", max_tokens=8)
SECONDS = 0.1  # that a request takes


@dataclass
class Machine:
    """Fake servers in place of llama.cpp's, on a machine of two cores."""

    started: list[tuple[str, dict[str, Any]]]
    open: int = 0
    fails: bool = False

    @asynccontextmanager
    async def running_endpoint(self, config: ModelConfig, **given: Any) -> AsyncIterator[Endpoint]:
        self.started.append((Path(config.model).stem, given))
        async with fake_endpoint(lambda prompt, seed: f"{prompt} {seed}", hang_seconds=SECONDS) as fake:
            fake.refusal = lambda body: (401, "{}") if self.fails else None
            self.open += 1
            yield replace(endpoint_of(config), base_url=fake.base_url, concurrency=1)
            self.open -= 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine([])
    monkeypatch.setattr(local_servers, "running_endpoint", found.running_endpoint)
    monkeypatch.setattr(local_servers, "available_cores", lambda: 2)
    return found


def model(folder: Path, name: str) -> ModelConfig:
    file = folder / f"{name}.gguf"
    file.write_bytes(b"GGUF" * 256)
    return ModelConfig(str(file))


async def ask(servers: LocalServers, prompt: str, *indices: int) -> list[Sample]:
    return [one async for samples in servers.sample(prompt, SETTINGS, indices) for one in samples]


async def test_servers_are_started_when_they_are_needed_and_end_with_the_run(tmp_path: Path, machine: Machine) -> None:
    async with LocalServers(model(tmp_path, "small"), SETTINGS, Turns(), no_progress) as servers:
        assert servers.endpoint.concurrency == 2
        assert machine.started == []  # a run whose samples are complete needs no model
        first = await ask(servers, "a", 0, 1)
        again = await ask(servers, "b", 0, 1)
        assert [one.index for one in (*first, *again)] == [0, 1, 0, 1]
        assert len(machine.started) == 1  # one after another, so one is enough
        await asyncio.gather(ask(servers, "a", 2), ask(servers, "b", 2))
        assert len(machine.started) == machine.open == 2
        assert machine.started[0][1] | {"progress": None} == {
            "parallel": 5,  # the most choices of a request
            "threads": 1,
            "max_tokens": 8,
            "progress": None,
        }
    assert machine.open == 0


async def test_no_more_servers_work_at_once_than_there_are_cores(tmp_path: Path, machine: Machine) -> None:
    turns = Turns()
    async with (
        LocalServers(model(tmp_path, "small"), SETTINGS, turns, no_progress) as small,
        LocalServers(model(tmp_path, "large"), SETTINGS, turns, no_progress) as large,
    ):
        start = time.monotonic()
        await asyncio.gather(*(ask(side, f"{i}", 0) for side in (small, large) for i in range(3)))
        assert time.monotonic() - start >= 3 * SECONDS  # six requests, two at a time
        assert {name for name, _ in machine.started} == {"small", "large"}


async def test_a_request_that_fails_gives_its_turn_back(tmp_path: Path, machine: Machine) -> None:
    turns = Turns()
    async with LocalServers(model(tmp_path, "small"), SETTINGS, turns, no_progress) as servers:
        machine.fails = True
        for _ in range(turns.at_once + 1):
            with pytest.raises(EndpointError, match="401"):
                await ask(servers, "a", 0)
        machine.fails = False
        assert await asyncio.wait_for(ask(servers, "a", 0), 10)


async def test_a_model_that_takes_a_large_part_of_the_memory_is_loaded_once(
    tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_servers, "memory_bytes", lambda: 4 * 1024)
    async with LocalServers(model(tmp_path, "large"), SETTINGS, Turns(), no_progress) as servers:
        assert servers.endpoint.concurrency == 1


@pytest.mark.parametrize(("cores", "at_once", "threads"), [(1, 1, 1), (2, 2, 1), (3, 2, 1), (8, 2, 4)])
def test_cores_are_shared_by_two_servers(
    monkeypatch: pytest.MonkeyPatch, cores: int, at_once: int, threads: int
) -> None:
    monkeypatch.setattr(local_servers, "available_cores", lambda: cores)
    found = Turns()
    assert (found.at_once, found.threads) == (at_once, threads)
