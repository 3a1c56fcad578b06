"""Sample a model n times a prompt, through the store: only what is missing is asked, and what came is kept at once.

An answer is committed before it is counted, so Ctrl-C, kill -9 or a dead endpoint loses nothing that was paid for, and
the same call goes on where the last one ended. It asks; how to ask is the business of whatever completes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from demur.endpoints import Endpoint
from demur.errors import BudgetError
from demur.prices import paid
from demur.records import Progress, Prompt, Sample, SamplingSettings, no_progress
from demur.store import Store

CHARACTERS_PER_TOKEN = 4  # of English text, about

Samples = Mapping[str, Sequence[Sample]]  # prompt id -> samples, by index


class Completer(Protocol):
    """Whatever samples a prompt: an EndpointClient, or a function of the user's own."""

    async def complete(self, text: str, settings: SamplingSettings, indices: Sequence[int]) -> list[Sample]: ...


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
    """The samples that are there already, at most n a prompt."""
    return {
        prompt.id: [s for s in store.samples(endpoint.name, prompt.text, settings.key) if s.index < settings.n]
        for prompt in prompts
    }


def estimate(prompts: Sequence[Prompt], endpoint: Endpoint, settings: SamplingSettings, store: Store) -> Estimate:
    """Requests, tokens and USD that are still to be spent on these prompts."""
    have = stored_samples(prompts, endpoint, settings, store)
    lacking = [prompt for prompt in prompts if len(have[prompt.id]) < settings.n]
    overhead = len(settings.template) + len(settings.system)
    asked = sum((len(prompt.text) + overhead) // CHARACTERS_PER_TOKEN + 1 for prompt in lacking)
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
    max_usd: float | None = None,
    progress: Progress = no_progress,
) -> dict[str, list[Sample]]:
    """n samples of every prompt; returns prompt id -> samples by index.

    Asks ``completer`` for what the store lacks, ``endpoint.concurrency`` prompts at a time. Raises EndpointError, and
    BudgetError as soon as going on could cost more than ``max_usd``.
    """
    have = stored_samples(prompts, endpoint, settings, store)
    stage = f"sampling {endpoint.model}"
    done, spent = sum(len(samples) for samples in have.values()), 0.0
    total = settings.n * len(prompts)
    progress(stage, done, total)
    waiting = iter([prompt for prompt in prompts if len(have[prompt.id]) < settings.n])

    async def work() -> None:
        nonlocal done, spent
        for prompt in waiting:  # shared by all workers: each takes the next prompt
            missing = sorted(set(range(settings.n)) - {s.index for s in have[prompt.id]})
            _check_budget(spent, prompt, len(missing), endpoint, settings, max_usd)
            samples = await completer.complete(prompt.text, settings, missing)
            store.add_samples(endpoint.name, prompt.text, settings.key, samples)  # kept, then counted
            have[prompt.id] = sorted([*have[prompt.id], *samples], key=lambda s: s.index)
            done += len(samples)
            spent += paid(samples, endpoint.price) or 0.0
            progress(stage, done, total)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(endpoint.concurrency):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None  # the first failure stopped the others: it is the one to show
    return have


def _check_budget(
    spent: float,
    prompt: Prompt,
    missing: int,
    endpoint: Endpoint,
    settings: SamplingSettings,
    max_usd: float | None,
) -> None:
    """Raise BudgetError when the next request could go over the limit."""
    if max_usd is None:
        return
    price = endpoint.price
    if price is None:
        raise BudgetError(
            f"{endpoint.model}: its price is unknown, so max_usd {max_usd} cannot be kept; give usd_per_million_input "
            f"and usd_per_million_output in the run file"
        )
    next_usd = price.usd(len(prompt.text) / CHARACTERS_PER_TOKEN, missing * settings.max_tokens)
    if spent + next_usd > max_usd:
        raise BudgetError(
            f"{endpoint.model}: ${spent:.4f} spent, the next prompt may cost ${next_usd:.4f}, more than max_usd "
            f"{max_usd}; what was sampled is kept, raise --max-usd to go on"
        )
