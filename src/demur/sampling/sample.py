"""Sample a model n times per prompt, through the store: only missing samples are requested.


An answer is committed to the store before it is counted, so an interruption (Ctrl-C, kill -9, a failing endpoint) loses
nothing that was paid for, and the same call continues where the last one stopped. How a request is sent is up to the
`Completer`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from demur.errors import BudgetError, PromptRefusedError
from demur.mapping import portions_of
from demur.models.endpoint import Endpoint
from demur.models.prices import usd_paid
from demur.models.requests.useful_replies import TRIED, Wanted
from demur.records import ChatRequest, Progress, Prompt, Sample, SamplingSettings, count_of, dollars, no_progress
from demur.sampling.budget import Budget, prompt_tokens
from demur.sampling.claims import Claims, in_thread
from demur.sampling.earlier.answer_lengths import OBSERVED, AnswerLengths
from demur.sampling.packed_samples import PackedSamples
from demur.sampling.refused_prompts import Refusals, refused_prompts
from demur.store import Store

Samples = Mapping[str, Sequence[Sample]]  # prompt id -> samples, by index
UNSETTLED = 0.8  # of prompts, expected: two samples of each model left .82 open on NQ-Open, and .74 in the demo


class Completer(Protocol):
    """Anything that returns samples of a prompt: an EndpointClient, or a function of the user's own."""

    def sample(
        self, asked: str | ChatRequest, settings: SamplingSettings, indices: Sequence[int], /
    ) -> AsyncIterator[list[Sample]]: ...


READ_AT_ONCE = 1000  # prompts whose samples are read from the store


@dataclass(frozen=True, slots=True)
class Estimate:
    """What sampling will ask for, before it begins: at most, and as expected where prompts may be settled early."""

    prompts: int  # that miss samples
    missing: int  # samples, at most
    expected: float  # samples
    prompt_tokens: int  # guessed from the length of the text
    completion_tokens: int  # the bound: every answer as long as max_tokens allows
    usd: float | None  # at that bound; None when the price is unknown
    expected_usd: float | None  # of the expected samples, each as long as those so far, or as it can be
    least_usd: float | None = None  # the same, where those before were cut each as long as it was
    observed: bool = False  # there are enough answers to know how long they are
    earlier: AnswerLengths | None = None  # else, where the run has answers of other settings: by those

    @property
    def unknown_length(self) -> bool:
        """Whether it asks for answers that are paid for, and nothing tells how long they are."""
        return bool(self.missing and self.usd) and not self.observed and self.earlier is None

    def at(self, factor: float) -> Estimate:
        """The same at a share of the price."""
        usd, expected, least = (amount and factor * amount for amount in (self.usd, self.expected_usd, self.least_usd))
        return replace(self, usd=usd, expected_usd=expected, least_usd=least)


def stored_samples(prompts: Sequence[Prompt], endpoint: Endpoint, settings: SamplingSettings, store: Store) -> Samples:
    """The samples that are there already, at most n per prompt."""

    def read() -> Iterator[tuple[str, list[Sample]]]:
        for some in portions_of(prompts, READ_AT_ONCE):
            there = store.samples_of(endpoint.name, (prompt.key for prompt in some), settings.key)
            for prompt in some:
                yield prompt.id, [one for one in there[prompt.key] if one.index < settings.most]

    return PackedSamples(read())


def estimate(
    prompts: Sequence[Prompt],
    endpoint: Endpoint,
    settings: SamplingSettings,
    have: Samples,
    *,
    refused: Container[str] = (),
    settled: Container[str] = (),
    full: Container[str] = (),
    earlier: AnswerLengths | None = None,
) -> Estimate:
    """Requests, tokens and USD that are still to be spent on these prompts, beside the samples that are there.

    A prompt's next answers are expected to be as long as its own so far, else as all; where those are few, as
    ``earlier`` ones were. Equal prompts are asked once, those that the model ``refused`` (their ids) not at all, those
    ``settled`` for the fewest samples, and those in ``full`` for the most.
    """
    known = [one.completion_tokens for side in have.values() for one in side if one.completion_tokens]
    observed = len(known) >= OBSERVED
    least = most = sum(known) / len(known) if observed else settings.max_tokens
    if earlier and not observed:
        least, most = earlier.least, earlier.most
    asked = 0
    first = second = 0  # samples of the first round; of the second, at most
    likely, tokens, likely_tokens, shortest, longest = 0.0, 0, 0.0, 0.0, 0.0
    for prompt in distinct_prompts(prompts):
        there, in_full = len(have[prompt.id]), prompt.id in full
        wanted = settings.fewest if prompt.id in settled else settings.most
        if there >= wanted or prompt.id in refused:
            continue
        at_once = max(0, (wanted if in_full else settings.fewest) - there)
        later, chance = wanted - max(there, settings.fewest) if not in_full else 0, UNSETTLED
        asked, first, second = asked + 1, first + at_once, second + later
        likely += at_once + chance * later
        own = _mean_length(have[prompt.id]) if observed else None
        shortest += (at_once + chance * later) * (own or least)
        longest += (at_once + chance * later) * (own or most)
        requests = prompt_tokens(prompt, settings)  # each round sends the prompt once
        tokens += requests * ((at_once > 0) + (later > 0))
        likely_tokens += requests * ((at_once > 0) + chance * (later > 0))
    answered = (first + second) * settings.max_tokens
    price = endpoint.price
    return Estimate(
        prompts=asked,
        missing=first + second,
        expected=likely,
        prompt_tokens=tokens,
        completion_tokens=answered,
        usd=price.usd(tokens, answered) if price else None,
        expected_usd=price.usd(likely_tokens, longest) if price else None,
        least_usd=price.usd(likely_tokens, shortest) if price else None,
        observed=observed,
        earlier=None if observed else earlier,
    )


def _mean_length(samples: Sequence[Sample]) -> float | None:
    """Tokens of a prompt's answers; None where none is counted."""
    known = [one.completion_tokens for one in samples if one.completion_tokens]
    return sum(known) / len(known) if known else None


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
    doing: str = "",
    wanted: Wanted | None = None,
) -> dict[str, list[Sample]]:
    """The most samples of every prompt; returns prompt id -> samples by index.

    ``have`` is what the store holds, where that was read before; ``doing``: what is asked for, where that is no sample
    of a run, whose cost was told before: progress then names it and the most that it can cost; ``wanted``: which
    replies are of use.
    A prompt that the model refuses has fewer samples, or none; it is remembered in the store and not asked again.
    Raises EndpointError, BudgetError as soon as going on could cost more than the budget, and UselessRepliesError
    where none of the first replies is of use and others are missing.
    """
    have = stored_samples(prompts, endpoint, settings, store) if have is None else have
    if doing:
        progress = _under_name(progress, f"{doing}{_most_cost(estimate(prompts, endpoint, settings, have))}")
    side = SideSampling(prompts, completer, endpoint, settings, store, have=have, budget=budget, progress=progress)
    each = {prompt.id: settings.most for prompt in prompts}
    if wanted:
        await side.ask(distinct_prompts(prompts)[:TRIED], each)
        side.refuse_useless(wanted)
    await side.ask(prompts, each)
    side.finish()
    return side.samples


def _under_name(progress: Progress, stage: str) -> Progress:
    return lambda _, done, total: progress(stage, done, total)


def _most_cost(expected: Estimate) -> str:
    """What an estimate says of USD, after a comma; empty where nothing is paid."""
    if not expected.missing or expected.usd == 0:
        return ""
    return ", at unknown cost" if expected.usd is None else f", at most {dollars(expected.usd)}"


class SideSampling:
    """One model's samples of a run's prompts, asked for in rounds; ``have``: those that the store holds."""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        completer: Completer,
        endpoint: Endpoint,
        settings: SamplingSettings,
        store: Store,
        *,
        have: Samples,
        budget: Budget | None = None,
        progress: Progress = no_progress,
    ) -> None:
        asked = distinct_prompts(prompts)
        self._prompts = prompts
        self._completer, self._endpoint, self._settings, self._store = completer, endpoint, settings, store
        self._budget, self._progress = budget or Budget(), progress
        self._samples = {prompt.key: list(have[prompt.id]) for prompt in asked}
        self._expected = dict.fromkeys(self._samples, settings.most)  # samples, by prompt
        self._done, self._total = sum(map(len, self._samples.values())), sum(self._expected.values())
        self._refusals = Refusals(endpoint, settings, store, answered=any(self._samples.values()))
        self._progress(self._stage, self._done, self._total)

    @property
    def samples(self) -> dict[str, list[Sample]]:
        """Prompt id -> samples by index, as many as there are."""
        return {prompt.id: self.of(prompt) for prompt in self._prompts}

    def of(self, prompt: Prompt) -> list[Sample]:
        """The samples of a prompt, by index."""
        return sorted(self._samples[prompt.key], key=lambda one: one.index)

    async def ask(self, prompts: Sequence[Prompt], n: Mapping[str, int]) -> None:
        """So many samples of each of these prompts (id -> n), `endpoint.concurrency` prompts at a time.

        What is there is not asked for again, nor a prompt that the model has refused.
        """
        asked = distinct_prompts(prompts)
        known = refused_prompts(asked, self._endpoint, self._settings, self._store)
        waiting = [one for one in asked if len(self._samples[one.key]) < n[one.id] and one.id not in known]
        for one in waiting:
            self._expect(one, max(n[one.id], self._expected[one.key]))  # a copy of one that was skipped may need more
        claims = Claims(waiting, (self._endpoint.name, self._settings.key), self._store, self._budget)

        async def work() -> None:
            try:
                going_on = True
                while going_on:
                    async with claims.next() as prompt:  # shared by all workers: each takes the next prompt
                        going_on = prompt is not None
                        if prompt is not None:
                            await self._ask(prompt, n[prompt.id])
            except BaseException:
                self._budget.closed = True
                raise

        raise_first(await asyncio.gather(*(work() for _ in range(self._endpoint.concurrency)), return_exceptions=True))

    def skip(self, prompts: Sequence[Prompt]) -> None:
        """Expect no more samples of these prompts."""
        for prompt in prompts:  # copies of one may be skipped at different times
            self._expect(prompt, len(self._samples[prompt.key]))
        self._progress(self._stage, self._done, self._total)

    def _expect(self, prompt: Prompt, number: int) -> None:
        self._total += number - self._expected[prompt.key]
        self._expected[prompt.key] = number

    def refuse_useless(self, wanted: Wanted) -> None:
        """Raise UselessRepliesError where samples are missing and none of those that are there is of use."""
        if self._done < self._total:
            there = [(one, sample) for one in distinct_prompts(self._prompts) for sample in self.of(one)]
            wanted.refuse(there, self._endpoint, self._rest)

    def finish(self) -> None:
        """Raise EndpointError where the model has refused every prompt that it was asked."""
        self._refusals.finish()

    @property
    def _stage(self) -> str:
        return f"sampling {self._endpoint.model}"

    def _read_others(self, prompt: Prompt) -> bool:
        """Take over what others have kept of a prompt since it was read; whether the model has not refused it."""
        kept, settings = self._samples[prompt.key], self._settings
        there = {one.index for one in kept}
        found = self._store.samples(self._endpoint.name, prompt.key, settings.key)
        fresh = [one for one in found if one.index < settings.most and one.index not in there]
        if fresh:
            kept += fresh
            self._done += len(fresh)
            self._refusals.answer()
        self._budget.read_others()
        return not refused_prompts([prompt], self._endpoint, settings, self._store)

    @property
    def _rest(self) -> str:
        """What all that is missing can cost, as the end of an error; empty where the price is unknown."""
        if self._endpoint.price is None:
            return ""
        asked, settings, price = distinct_prompts(self._prompts), self._settings, self._endpoint.price
        missing = [(one, settings.most - len(self._samples[one.key])) for one in asked]
        usd = sum(price.usd(prompt_tokens(one, settings), n * settings.max_tokens) for one, n in missing if n > 0)
        return f" (the rest of these {count_of(len(asked), 'prompt')} can cost {dollars(usd)} at most)"

    async def _ask(self, prompt: Prompt, n: int) -> None:
        endpoint, settings, kept = self._endpoint, self._settings, self._samples[prompt.key]
        if self._store.shared and not await asyncio.to_thread(self._read_others, prompt):
            return None
        missing = sorted(set(range(n)) - {one.index for one in kept})
        if not missing:
            return self._progress(self._stage, self._done, self._total)
        try:
            reserved = self._budget.reserve(prompt, len(missing), endpoint, settings)
        except BudgetError as error:
            raise BudgetError(f"{error}{self._rest}") from None
        came: list[Sample] = []
        try:
            async for samples in self._completer.sample(prompt.asked, settings, missing):
                key = (endpoint.name, prompt.key, settings.key)
                await in_thread(self._store, self._store.add_samples, *key, samples)  # kept, then counted
                came += samples
                kept += samples
                self._done += len(samples)
                self._progress(self._stage, self._done, self._total)
                if samples:
                    self._refusals.answer()
        except PromptRefusedError as error:
            self._refusals.add(prompt, error)
        finally:
            self._budget.settle(reserved, usd_paid(came, endpoint.price), endpoint)


def distinct_prompts(prompts: Sequence[Prompt]) -> list[Prompt]:
    """The first of the prompts that are asked alike: they share their samples."""
    return list({prompt.key: prompt for prompt in reversed(prompts)}.values())[::-1]


def raise_first(results: Sequence[object]) -> None:
    """Raise the first error among results that were gathered with their errors."""
    for result in results:
        if isinstance(result, BaseException):
            raise result
