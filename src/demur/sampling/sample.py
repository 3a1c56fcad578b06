"""Sample a model n times per prompt, through the store: only missing samples are requested.


An answer is committed to the store before it is counted, so an interruption (Ctrl-C, kill -9, a failing endpoint) loses
nothing that was paid for, and the same call continues where the last one stopped. How a request is sent is up to the
`Completer`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from demur.errors import PromptRefusedError
from demur.models.endpoint import Endpoint
from demur.models.prices import usd_paid
from demur.records import ChatRequest, Progress, Prompt, Sample, SamplingSettings, no_progress
from demur.sampling.budget import Budget, prompt_tokens
from demur.sampling.refused import Refusals, refused_prompts
from demur.store import Store

Samples = Mapping[str, Sequence[Sample]]  # prompt id -> samples, by index


class Completer(Protocol):
    """Anything that returns samples of a prompt: an EndpointClient, or a function of the user's own."""

    def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int], /
    ) -> AsyncIterator[list[Sample]]: ...


@dataclass(frozen=True, slots=True)
class Estimate:
    """What sampling will ask for, before it begins."""

    prompts: int  # that miss samples
    missing: int  # samples
    prompt_tokens: int  # guessed from the length of the text
    completion_tokens: int  # the bound: every answer as long as max_tokens allows
    usd: float | None  # at that bound; None when the price is unknown


def stored_samples(
    prompts: Sequence[Prompt], endpoint: Endpoint, settings: SamplingSettings, store: Store
) -> dict[str, list[Sample]]:
    """The samples that are there already, at most n per prompt."""
    found = store.samples_of(endpoint.name, (prompt.key for prompt in prompts), settings.key)
    return {prompt.id: [one for one in found[prompt.key] if one.index < settings.n] for prompt in prompts}


def estimate(
    prompts: Sequence[Prompt],
    endpoint: Endpoint,
    settings: SamplingSettings,
    have: Samples,
    *,
    refused: Container[str] = (),
) -> Estimate:
    """Requests, tokens and USD that are still to be spent on these prompts, beside the samples that are there.

    Equal prompts are asked once, those that the model ``refused`` (their ids) not at all.
    """
    lacking = [
        prompt for prompt in distinct_prompts(prompts) if len(have[prompt.id]) < settings.n and prompt.id not in refused
    ]
    asked = sum(prompt_tokens(prompt, settings) for prompt in lacking)
    missing = sum(settings.n - len(have[prompt.id]) for prompt in lacking)
    answered = missing * settings.max_tokens
    usd = endpoint.price.usd(asked, answered) if endpoint.price else None
    return Estimate(len(lacking), missing, asked, answered, usd)


async def sample_prompts(
    prompts: Sequence[Prompt],
    completer: Completer,
    endpoint: Endpoint,
    settings: SamplingSettings,
    store: Store,
    *,
    have: Samples | None = None,
    budget: Budget | None = None,
    progress: Progress = no_progress,
) -> dict[str, list[Sample]]:
    """n samples of every prompt; returns prompt id -> samples by index.

    Asks ``completer`` for what the store lacks, ``endpoint.concurrency`` prompts at a time; ``have`` is what the store
    holds, where that was read before. A prompt that the model refuses has fewer samples, or none; it is remembered in
    the store and not asked again. Raises EndpointError, and BudgetError as soon as going on could cost more than the
    budget.
    """
    have = stored_samples(prompts, endpoint, settings, store) if have is None else have
    money = budget or Budget()
    stage = f"sampling {endpoint.model}"
    asked = distinct_prompts(prompts)
    done, total = sum(len(have[prompt.id]) for prompt in asked), settings.n * len(asked)
    progress(stage, done, total)
    known = refused_prompts(asked, endpoint, settings, store)
    waiting = deque(prompt for prompt in asked if len(have[prompt.id]) < settings.n and prompt.id not in known)
    refusals = Refusals(endpoint, settings, store, answered=any(have[prompt.id] for prompt in asked))
    fresh: dict[str, list[Sample]] = {}  # by key

    async def ask(prompt: Prompt) -> None:
        nonlocal done
        missing = sorted(set(range(settings.n)) - {s.index for s in have[prompt.id]})
        reserved = money.reserve(prompt, len(missing), endpoint, settings)
        came: list[Sample] = []
        try:
            async for samples in completer.sample(prompt.asked, settings, missing):
                store.add_samples(endpoint.name, prompt.key, settings.key, samples)  # kept, then counted
                came += samples
                fresh.setdefault(prompt.key, []).extend(samples)
                done += len(samples)
                progress(stage, done, total)
                if samples:
                    refusals.answer()
        except PromptRefusedError as error:
            refusals.add(prompt, error)
        finally:
            money.settle(reserved, usd_paid(came, endpoint.price))

    async def ask_next() -> None:
        while waiting and not money.closed:  # shared by all workers: each takes the next prompt
            await ask(waiting.popleft())

    async def work() -> None:
        try:
            await ask_next()
        except BaseException:
            money.closed = True
            raise

    raise_first(await asyncio.gather(*(work() for _ in range(endpoint.concurrency)), return_exceptions=True))
    refusals.finish()
    return {prompt.id: _by_index(have[prompt.id], fresh.get(prompt.key, [])) for prompt in prompts}


def _by_index(have: Sequence[Sample], fresh: Sequence[Sample]) -> list[Sample]:
    """Both, in order; a sample that was there stays, as in the store."""
    found = {one.index: one for one in (*fresh, *have)}
    return [found[index] for index in sorted(found)]


def distinct_prompts(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The first of the prompts that are asked alike: they share their samples."""
    return list({prompt.key: prompt for prompt in reversed(prompts)}.values())[::-1]


def raise_first(results: Sequence[object]) -> None:
    """Raise the first error among results that were gathered with their errors."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
