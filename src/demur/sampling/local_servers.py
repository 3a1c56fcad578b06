"""A local model as a completer: on one server, or on two where a core is free, each with its share of the cores.

llama.cpp's threads wait for each other at every layer, so two servers with a thread each do more on two cores than one
server with two. Servers are started when a request finds none idle: a run whose samples are complete needs no model,
and a model that is done leaves its core to the other one.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from demur.config import ModelConfig
from demur.models.catalogue import is_known, model
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import ChatRequest, Progress, Sample, SamplingSettings

AT_ONCE = 2  # servers that work, of both models together
MEMORY_SHARE = 0.2  # of this machine's memory, that a model's file may take so that two servers hold it


class Turns:
    """Which of a run's local servers work at once: as many as have cores of their own."""

    def __init__(self) -> None:
        cores = available_cores()
        self.at_once = min(AT_ONCE, cores)
        self.threads = cores // self.at_once
        self.free = asyncio.Semaphore(self.at_once)


class LocalServers:
    """A `demur.sampling.sample.Completer` of a local model; use as an async context manager, which ends its servers."""

    def __init__(self, config: ModelConfig, settings: SamplingSettings, turns: Turns, progress: Progress) -> None:
        self._config, self._settings, self._turns, self._progress = config, settings, turns, progress
        copies = turns.at_once if file_bytes(config) <= MEMORY_SHARE * memory_bytes() else 1
        self.endpoint: Endpoint = replace(endpoint_of(config), concurrency=copies)
        self._idle: list[EndpointClient] = []
        self._clients: list[EndpointClient] = []
        self._stack = AsyncExitStack()
        self._starting = asyncio.Lock()  # the first one fetches the model

    @property
    def notes(self) -> tuple[str, ...]:
        """Deviations from the request, one sentence each."""
        return tuple(dict.fromkeys(note for client in self._clients for note in client.notes))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int], /
    ) -> AsyncIterator[list[Sample]]:
        """As `EndpointClient.sample`, when it is this model's turn."""
        async with self._turns.free:
            client = self._idle.pop() if self._idle else await self._start()
            try:
                async for samples in client.sample(asked, settings, indices):
                    yield samples
            finally:
                self._idle.append(client)

    async def _start(self) -> EndpointClient:
        async with self._starting:
            server = running_endpoint(
                self._config,
                parallel=self._settings.most,
                threads=self._turns.threads,
                progress=self._progress,
                max_tokens=self._settings.max_tokens,
            )
            endpoint = await self._stack.enter_async_context(server)
            client = await self._stack.enter_async_context(EndpointClient(endpoint))
        self._clients.append(client)
        return client


def completer_of(
    config: ModelConfig, settings: SamplingSettings, turns: Turns, progress: Progress
) -> LocalServers | EndpointClient:
    """What asks a model of a run; use as an async context manager."""
    endpoint = endpoint_of(config)
    return LocalServers(config, settings, turns, progress) if endpoint.local else EndpointClient(endpoint)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """This machine's memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return 0


def file_bytes(config: ModelConfig) -> int:
    """The size of a local model's file."""
    return model(config.model).size if is_known(config.model) else Path(config.model).stat().st_size
