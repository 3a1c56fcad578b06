"""Samples a run's prompts by a batch API: sends what the store lacks, waits for hours, reads the results, and again.

A batch is written to the store before it is waited for, so the same command goes on with it after any end. A request
that failed is not sent again by the same command: it is named, and asked again when the user says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from demur.errors import BatchRefusedError, InputError
from demur.event_loop import run_to_end
from demur.models.endpoint import Endpoint
from demur.records import count_of
from demur.sampling.batches.batch_api import BatchApi, BatchState
from demur.sampling.batches.batch_files import BatchRequest, in_files
from demur.sampling.batches.batch_results import BatchReader
from demur.sampling.batches.by_files import (
    keep_left_out,
    local_notes,
    read_left_out,
    remote_sides,
    requests_for,
    settle_prompts,
)
from demur.sampling.cost import batch_words
from demur.sampling.pair import budget_of
from demur.sampling.rounds import Settle
from demur.sampling.sample_run import SampledRun
from demur.store import SentBatch

FOLDER = "batches"  # in the run's folder: files of errors, one line per request that failed
LOOK_SECONDS, LONGEST_LOOK_SECONDS = 5.0, 60.0  # between two looks at the batches under way
_TURN = "batches"  # claimed in a shared store: one sampler sends


def sample_by_api(run: SampledRun, settle: Settle) -> list[str]:
    """Every sample that the models' batch APIs give, round after round; sentences about what was sent and read.

    Raises InputError, EndpointError; BudgetError before a round is sent that could cost more than max_usd leaves;
    KeyboardInterrupt with what is under way.
    """
    rounds = BatchRounds(run, settle)
    try:
        run_to_end(rounds.run_all())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{rounds.under_way}; the same command reads their results") from None
    return [*rounds.notes, *local_notes(run, "--batch")]


class BatchRounds:
    """The batches of a run, sent and read by one process."""

    def __init__(self, run: SampledRun, settle: Settle) -> None:
        self._run, self._settle = run, settle
        self._key = run.config.sampling.key
        self._endpoints = [endpoint for _, endpoint, _ in remote_sides(run)]
        self._reader = BatchReader(
            *(run.prompts, self._endpoints, run.config.sampling, run.store, read_left_out(run)),
            asks_again="the same command, with --batch or without it,",
        )
        self._tried: set[str] = set()  # custom_id of requests whose results this process has read, or missed
        self._said: list[str] = []
        self._apis: dict[str, BatchApi] = {}

    @property
    def notes(self) -> list[str]:
        """What was sent and read, one sentence each."""
        read = list(self._reader.notes()) if self._tried else []
        return [*self._said, *read]

    @property
    def under_way(self) -> str:
        """The requests that were sent and not read."""
        sent = [one for endpoint in self._endpoints for one in self._batches_of(endpoint)]
        requests = count_of(sum(len(one.asked) for one in sent), "request is", "requests are")
        return f"{requests} under way in {count_of(len(sent), 'batch', 'batches')}"

    async def run_all(self) -> None:
        """Read what is under way, send what is missing, until nothing is."""
        run = self._run
        async with AsyncExitStack() as stack:
            for endpoint in self._endpoints:
                self._apis[endpoint.name] = await stack.enter_async_context(BatchApi(endpoint))
                if not run.store.claim(endpoint.name, _TURN, self._key):
                    raise InputError(
                        f"{run.config.run}: another sampler on this store sends batches to {endpoint.model}; wait "
                        "for it to end"
                    )
                stack.callback(run.store.release, endpoint.name, _TURN, self._key)
            going_on = True
            while going_on:
                await self._wait()
                settle_prompts(run, self._settle)
                going_on = await self._send()

    def _batches_of(self, endpoint: Endpoint) -> list[SentBatch]:
        return self._run.store.sent_batches(endpoint.name, self._key)

    async def _send(self) -> bool:
        """Send what is missing and was not tried before; whether anything was."""
        run, budget = self._run, budget_of(self._run.config, self._run.pair, self._run.store)
        missing: list[tuple[Endpoint, list[BatchRequest]]] = []
        for _, endpoint, have in remote_sides(run):
            requests = [one for one in requests_for(run, endpoint, have) if one.custom_id not in self._tried]
            for one in requests:
                budget.reserve(one.prompt, len(one.indices), endpoint, run.config.sampling, batch=True)
            missing.append((endpoint, requests))
        for endpoint, requests in missing:
            files = 0
            for url, some in groupby(sorted(requests, key=lambda one: one.url), key=lambda one: one.url):
                by_line = {one.line: one.custom_id for one in some}
                for lines in in_files(by_line):
                    await self._send_file(endpoint, url, lines, tuple(by_line[line] for line in lines))
                    files += 1
            if files:
                samples = sum(len(one.indices) for one in requests)
                self._said.append(
                    f"{endpoint.model}: sent {count_of(len(requests), 'request')} for {count_of(samples, 'sample')} in "
                    f"{count_of(files, 'batch', 'batches')}{batch_words(endpoint, ', ')}"
                )
        return any(requests for _, requests in missing)

    async def _send_file(self, endpoint: Endpoint, url: str, lines: Sequence[str], asked: tuple[str, ...]) -> None:
        sent = SentBatch(await self._apis[endpoint.name].upload(lines), url, "", asked)
        self._run.store.keep_batch(endpoint.name, self._key, sent)  # before it is sent: it is then found by its file
        await self._create(endpoint, sent)

    async def _wait(self) -> None:
        """Read the results of every batch under way as it ends."""
        pause = LOOK_SECONDS
        sent = {
            one.name: [await self._identify(one, batch) for batch in self._batches_of(one)] for one in self._endpoints
        }
        while any(sent.values()):
            for endpoint in self._endpoints:
                done, total = 0, sum(len(one.asked) for one in sent[endpoint.name])
                for batch in list(sent[endpoint.name]):
                    state = await self._apis[endpoint.name].look(batch.batch)
                    done += len(batch.asked) if state is None or state.ended else state.done
                    self._run.progress(f"batches of {endpoint.model}", min(done, total), total)
                    if state is None or state.ended:
                        await self._read(endpoint, batch, state)
                        self._run.store.end_batch(endpoint.name, self._key, batch.file)
                        sent[endpoint.name].remove(batch)
            if any(sent.values()):
                await asyncio.sleep(pause)
                pause = min(1.5 * pause, LONGEST_LOOK_SECONDS)
        self._run.read_samples()

    async def _identify(self, endpoint: Endpoint, sent: SentBatch) -> SentBatch:
        """A batch with its id; one that may not have been created yet is looked for, and else created."""
        return sent if sent.batch else await self._create(endpoint, sent, look_first=True)

    async def _create(self, endpoint: Endpoint, sent: SentBatch, *, look_first: bool = False) -> SentBatch:
        store = self._run.store
        try:
            state = await self._apis[endpoint.name].create(sent.file, sent.url, look_first=look_first)
        except BatchRefusedError:
            store.end_batch(endpoint.name, self._key, sent.file)
            raise
        known = replace(sent, batch=state.id)
        store.keep_batch(endpoint.name, self._key, known)
        return known

    async def _read(self, endpoint: Endpoint, sent: SentBatch, state: BatchState | None) -> None:
        before = set(self._reader.left_out[endpoint.name])
        if state is None:
            self._said.append(f"{endpoint.model}: batch {sent.batch} is not known there; nothing is read of it")
        elif state.status != "completed":
            why = f" ({state.said})" if state.said else ""
            ended = f"ended as {state.status}{why}; what is done is taken"
            self._said.append(f"{endpoint.model}: batch {sent.batch} {ended}")
        for file in state.files if state else ():
            path = self._run.config.folder / FOLDER / f"{file}.jsonl"
            if await self._apis[endpoint.name].download(file, path):
                self._read_file(path)
        self._reader.read_missing(sent.asked, f"batch {sent.batch}")
        self._tried.update(sent.asked)
        if self._reader.left_out[endpoint.name] - before:  # the next requests are others
            self._tried.difference_update(sent.asked)
            keep_left_out(self._run, self._reader.left_out)

    def _read_file(self, path: Path) -> None:
        """Keep a file's samples; the file stays where a request of it failed."""
        before = self._reader.failures
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                self._reader.read(line, f"{path.name}:{number}")
        if self._reader.failures > before:
            self._said.append(f"requests that failed are in {path}")
        else:
            path.unlink()
