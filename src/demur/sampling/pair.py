"""Both models' samples of the same prompts: sampled side by side, within one budget, and what they cost.

Local models are started only when samples are missing, so a run whose samples are all there needs no model at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from demur.config import ModelConfig, RunConfig
from demur.errors import InputError
from demur.event_loop import run_to_end
from demur.limits import check_limits
from demur.models.client import EndpointClient
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, running_endpoint
from demur.models.prices import usd_paid
from demur.records import Progress, Prompt, SamplingSettings, no_progress
from demur.sampling.sample import (
    Budget,
    Estimate,
    Samples,
    distinct_prompts,
    estimate,
    raise_first,
    sample_prompts,
    stored_samples,
)
from demur.store import Store


@dataclass(frozen=True, slots=True)
class PairSamples:
    """Prompt id -> samples by index, of both models."""

    weak: Samples
    strong: Samples


@dataclass(frozen=True, slots=True)
class PairEndpoints:
    """Both models, with the identity of their samples and their prices; a local one does not run yet."""

    weak: Endpoint
    strong: Endpoint


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """What sampling both models will ask for, before it begins."""

    weak: Estimate
    strong: Estimate
    pricing: str

    @property
    def usd(self) -> float | None:
        """At most, over both; None when a price is unknown."""
        return _sum(self.weak.usd, self.strong.usd)

    @property
    def sentence(self) -> str:
        """In plain words."""
        missing = self.weak.missing + self.strong.missing
        if not missing:
            return "every sample is in the store already: nothing to ask, nothing to pay"
        tokens = [sum(pair) for pair in zip(_tokens(self.weak), _tokens(self.strong), strict=True)]
        cost = "the cost is unknown" if self.usd is None else f"at most ${self.usd:.4f}"
        return (
            f"to sample: {missing:,} answers on {max(self.weak.prompts, self.strong.prompts):,} prompts, about "
            f"{tokens[0]:,} prompt tokens and at most {tokens[1]:,} answer tokens; {cost} ({self.pricing})"
        )


@dataclass(frozen=True, slots=True)
class PairSpend:
    """What the samples of a run have cost, over all sessions."""

    prompts: int
    samples: int
    completion_tokens: int
    weak_usd: float | None
    strong_usd: float | None
    pricing: str
    uncounted: bool  # an endpoint that costs money gives no usage: what it cost is unknown

    @property
    def usd(self) -> float | None:
        """Over both models; None when a price is unknown."""
        return _sum(self.weak_usd, self.strong_usd)

    @property
    def sentence(self) -> str:
        """In plain words."""
        cost = "cost unknown" if self.usd is None else f"cost ${self.usd:.4f}"
        cost += ", an endpoint does not count its tokens" if self.uncounted else ""
        return (
            f"{self.samples:,} samples of {self.prompts:,} prompts, {self.completion_tokens:,} answer tokens, {cost} "
            f"({self.pricing})"
        )


def endpoints_of(config: RunConfig) -> PairEndpoints:
    """Both models of a run."""
    return PairEndpoints(endpoint_of(config.weak), endpoint_of(config.strong))


def sample_pair(
    config: RunConfig,
    pair: PairEndpoints,
    prompts: Sequence[Prompt],
    have: PairSamples,
    store: Store,
    *,
    announce: Callable[[PairEstimate], None] | None = None,
    progress: Progress = no_progress,
) -> PairSamples:
    """n samples of every prompt by both models, side by side; what there is (``have``) is not asked again.

    Raises EndpointError, BudgetError.
    """
    weak, strong = (
        estimate(prompts, endpoint, config.sampling, samples)
        for endpoint, samples in ((pair.weak, have.weak), (pair.strong, have.strong))
    )
    if announce:
        announce(PairEstimate(weak, strong, pricing(pair, config.label.entailment)))
    budget = Budget(config.max_usd)

    async def both() -> PairSamples:
        work = [
            _sample_side(side, config, prompts, samples, store, budget, progress)
            if expected.missing
            else _ready(samples)
            for side, samples, expected in ((config.weak, have.weak, weak), (config.strong, have.strong, strong))
        ]
        results = await asyncio.gather(*work, return_exceptions=True)
        raise_first(results)
        return PairSamples(*results)  # type: ignore[arg-type]  # no error is among them

    return run_to_end(both())


def check_pair(config: RunConfig) -> None:
    """Raise InputError for what could only fail after something was paid for: numbers, URLs, a pair of one model."""
    check_limits(config)
    check_settings(config.sampling)
    for side in (config.weak, config.strong):
        if side.base_url is not None and not side.base_url.startswith(("http://", "https://")):
            raise InputError(f"{side.model}: base_url {side.base_url!r} is no URL; write it as https://HOST/v1")
    pair = endpoints_of(config)
    if pair.weak.name == pair.strong.name:
        raise InputError(f"weak and strong are both {config.weak.model}; a router needs two different models")


def check_settings(settings: SamplingSettings) -> None:
    """Raise InputError for settings under which no two prompts, or no two answers, could differ."""
    if settings.n < 2:
        raise InputError(f"n is {settings.n}: entropy needs at least two samples a prompt, ten are usual")
    if "{prompt}" not in settings.template:
        raise InputError(f"template {settings.template[:60]!r} has no {{prompt}} in it; every prompt would be the same")


async def _ready(samples: Samples) -> Samples:
    return samples


async def _sample_side(
    side: ModelConfig,
    config: RunConfig,
    prompts: Sequence[Prompt],
    have: Samples,
    store: Store,
    budget: Budget,
    progress: Progress,
) -> Samples:
    try:
        async with (
            running_endpoint(
                side, parallel=config.sampling.n, max_tokens=config.sampling.max_tokens, progress=progress
            ) as endpoint,
            EndpointClient(endpoint) as asked,
        ):
            return await sample_prompts(
                prompts, asked, endpoint, config.sampling, store, have=have, budget=budget, progress=progress
            )
    except BaseException:
        budget.closed = True  # the other side ends what it has under way, and stops
        raise


def stored_pair(
    pair: PairEndpoints, settings: SamplingSettings, prompts: Sequence[Prompt], store: Store
) -> PairSamples:
    """What is in the store, at most n samples per prompt and model."""
    return PairSamples(*(stored_samples(prompts, one, settings, store) for one in (pair.weak, pair.strong)))


def is_complete(prompt: Prompt, samples: PairSamples, settings: SamplingSettings) -> bool:
    """True where both models have answered a prompt n times."""
    return min(len(samples.weak[prompt.id]), len(samples.strong[prompt.id])) >= settings.n


def spend_of(pair: PairEndpoints, prompts: Sequence[Prompt], samples: PairSamples, pricing: str) -> PairSpend:
    """What the samples of these prompts have cost; prompts with one text were asked once."""
    asked = distinct_prompts(prompts)
    both = [[one for prompt in asked for one in side[prompt.id]] for side in (samples.weak, samples.strong)]
    weak_usd, strong_usd = (
        usd_paid(side, endpoint.price) for side, endpoint in zip(both, (pair.weak, pair.strong), strict=True)
    )
    return PairSpend(
        prompts=len(asked),
        samples=sum(map(len, both)),
        completion_tokens=sum(one.completion_tokens for side in both for one in side),
        weak_usd=weak_usd,
        strong_usd=strong_usd,
        pricing=pricing,
        uncounted=any(
            usd is None and endpoint.price is not None
            for usd, endpoint in ((weak_usd, pair.weak), (strong_usd, pair.strong))
        ),
    )


def pricing(pair: PairEndpoints, entailment: str) -> str:
    """Where the prices of both models come from, or that they are unknown; and what is not in the sum."""
    sources = [_price_source(endpoint) for endpoint in (pair.weak, pair.strong)]
    judge = [f"what {entailment} costs as entailment is not in this"] if "llm:" in entailment else []
    return "; ".join([*sources, *judge])


def _price_source(endpoint: Endpoint) -> str:
    return f"{endpoint.model}: {endpoint.price.source if endpoint.price else 'price unknown'}"


def _tokens(side: Estimate) -> tuple[int, int]:
    return side.prompt_tokens, side.completion_tokens


def _sum(*amounts: float | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
