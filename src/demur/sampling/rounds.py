"""Samples in two rounds: a few of every prompt, and more of those that these do not settle.

What settles a prompt is up to the caller: it takes what answers mean, which sampling does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from demur.records import Prompt, SamplingSettings
from demur.sampling.packed_samples import PackedSamples
from demur.sampling.sample import Samples, SideSampling, raise_first

PROMPTS_AT_ONCE = 128  # of which the first round ends before the second begins: what is interrupted is mostly complete


@dataclass(frozen=True, slots=True)
class PairSamples:
    """Prompt id -> samples by index, of both models."""

    weak: Samples
    strong: Samples
    settled: frozenset[str] = field(default=frozenset(), kw_only=True)  # ids of prompts that need no more samples
    notes: tuple[str, ...] = field(default=(), kw_only=True)  # deviations from the requests
    between: tuple[Samples, ...] = field(default=(), kw_only=True)  # of the models between them, by rising price

    @property
    def all(self) -> tuple[Samples, ...]:
        """Of every model, the weak one first and the strong one last."""
        return (self.weak, *self.between, self.strong)

    def count(self, prompt: Prompt) -> int:
        """How many samples all models have given."""
        return min(len(side[prompt.id]) for side in self.all)

    def wanted_samples(self, prompt: Prompt, settings: SamplingSettings) -> int:
        """How many samples it takes of each model."""
        return settings.fewest if prompt.id in self.settled else settings.most

    def is_complete(self, prompt: Prompt, settings: SamplingSettings) -> bool:
        """True where all models have given all samples that it takes."""
        return self.count(prompt) >= self.wanted_samples(prompt, settings)

    def equal(self, settings: SamplingSettings) -> PairSamples:
        """The same with as many samples of both models for a settled prompt: the fewest, or the most of both."""

        def first_samples(side: Samples) -> Samples:
            return PackedSamples((id, one[: settings.fewest] if id in short else one) for id, one in side.items())

        short = {id for id in self.settled if min(len(side[id]) for side in self.all) < settings.most}
        between = tuple(map(first_samples, self.between))
        return PairSamples(
            first_samples(self.weak),
            first_samples(self.strong),
            settled=self.settled,
            notes=self.notes,
            between=between,
        )


# The ids of those prompts whose first samples, of both models, settle them.
Settle = Callable[[Sequence[Prompt], PairSamples], Set[str]]


def settle_none(prompts: Sequence[Prompt], samples: PairSamples) -> Set[str]:
    """Every prompt gets all samples."""
    return frozenset()


async def sample_in_rounds(
    weak: SideSampling,
    strong: SideSampling,
    prompts: Sequence[Prompt],
    settings: SamplingSettings,
    settle: Settle,
    *,
    settled: Set[str] = frozenset(),
    full: Set[str] = frozenset(),
    keep: Callable[[Sequence[Prompt]], None],
) -> frozenset[str]:
    """Ask both models; returns the ids of the prompts that are settled, those known before (``settled``) with them.

    Prompts in ``full`` (ids) get the most samples at once. ``keep`` records the prompts that this has settled. A prompt
    that a model refuses to answer is not asked again.
    """
    first = {prompt.id: settings.most if prompt.id in full else settings.fewest for prompt in prompts}
    everywhere = set(settled)
    for some in _some_at_a_time(prompts, settings):
        await _ask(weak, strong, some, first)
        answered = PairSamples({p.id: weak.of(p) for p in some}, {p.id: strong.of(p) for p in some})
        there = [prompt for prompt in some if answered.count(prompt) >= settings.fewest]
        unsure = [
            prompt for prompt in there if prompt.id not in full | everywhere and answered.count(prompt) < settings.most
        ]
        found = await asyncio.to_thread(settle, unsure, answered) if unsure else set()
        if fresh := [prompt for prompt in unsure if prompt.id in found]:
            keep(fresh)
            everywhere |= found
        for side in (weak, strong):
            side.skip([prompt for prompt in some if prompt.id in everywhere])
        rest = [prompt for prompt in there if prompt.id not in everywhere]
        await _ask(weak, strong, rest, dict.fromkeys(first, settings.most))
    return frozenset(everywhere)


async def _ask(weak: SideSampling, strong: SideSampling, prompts: Sequence[Prompt], n: Mapping[str, int]) -> None:
    """n samples of each prompt (id -> n) by both models, side by side."""
    raise_first(await asyncio.gather(*(side.ask(prompts, n) for side in (weak, strong)), return_exceptions=True))


def _some_at_a_time(prompts: Sequence[Prompt], settings: SamplingSettings) -> Iterator[Sequence[Prompt]]:
    """All of them where there is one round."""
    size = len(prompts) if settings.fewest == settings.most else PROMPTS_AT_ONCE
    return (prompts[start : start + size] for start in range(0, len(prompts), size))
