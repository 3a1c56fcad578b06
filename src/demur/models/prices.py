"""What tokens cost in USD, and where that was looked up. An unknown price stays unknown: it never becomes $0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

from demur.records import Sample, dollars

LOCAL = "served on this machine"
GIVEN = "price as given"
COUNTED_PRIVATE = "a private address, counted as $0"
PRIVATE = f"{COUNTED_PRIVATE} (MODEL@URL#usd=IN/OUT if it costs)"
UNKNOWN = "price unknown"
UNPRICED = f"{UNKNOWN} (give MODEL@URL#usd=IN/OUT in USD per million tokens, or usd=0)"
CHARACTERS_PER_TOKEN = 4  # of English text, about

Like = Sequence[Sequence[str]]  # of each of n prompts, the prompts nearest to it of those that were sampled


LIST_TIERS = frozenset({"", "auto", "default", "standard"})  # names of the service tier that list prices are of


class Tokens(NamedTuple):
    """The tokens of one answer, as far as they are priced apart."""

    prompt: int  # all of them, with the cached and the written ones
    completion: int  # all of them, with the reasoning
    counted: bool = True  # by the upstream, both of them; else one is estimated
    cached: int = 0  # of the prompt's, read from the provider's cache
    written: int = 0  # of the prompt's, written to the provider's cache
    written_hour: int = 0  # of those, for an hour: they cost more
    reasoning: int = 0  # of the completion's
    tier: str = ""  # service tier that answered, as the provider names it; empty: not said


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token, and its source. A price that is None is that of any other token of its side."""

    usd_per_input_token: float
    usd_per_output_token: float
    source: str  # as text, with the date
    usd_per_cached_token: float | None = None  # of a prompt, read from the provider's cache
    usd_per_written_token: float | None = None  # of a prompt, written to the provider's cache
    usd_per_hour_written_token: float | None = None  # the same, kept for an hour; None: as the others written
    usd_per_reasoning_token: float | None = None
    tiers: Mapping[str, float] = field(default_factory=dict)  # service tier -> what these prices are multiplied by

    @property
    def batch_factor(self) -> float:
        """What an answer of a batch API costs, as a share of this price; 1 where that is not known."""
        return self.tiers.get("batch", 1.0)

    @property
    def told(self) -> str:
        """Where it comes from; of one that was given also what it is, since a single number is both prices."""
        if self.source != GIVEN:
            return self.source
        return f"{GIVEN}, {self.each} per million tokens"

    @property
    def each(self) -> str:
        """Of a million tokens that are read, and of as many that are written."""
        return f"{dollars(1e6 * self.usd_per_input_token)} in and {dollars(1e6 * self.usd_per_output_token)} out"

    @property
    def charges(self) -> bool:
        """False where tokens cost nothing."""
        return self.usd_per_input_token > 0 or self.usd_per_output_token > 0

    def usd(self, input_tokens: float, output_tokens: float) -> float:
        """What this many tokens cost, none of them cached, at the standard service tier."""
        return input_tokens * self.usd_per_input_token + output_tokens * self.usd_per_output_token

    def most_usd(self, input_tokens: float, output_tokens: float) -> float:
        """The most that this many tokens may cost, of whatever kind they are and at whatever service tier."""
        kinds = (self.usd_per_written_token, self.usd_per_hour_written_token)
        dearest = max(self.usd_per_input_token, *(usd or 0.0 for usd in kinds))
        answer = max(self.usd_per_output_token, self.usd_per_reasoning_token or 0.0)
        return max([1.0, *self.tiers.values()]) * (input_tokens * dearest + output_tokens * answer)

    def usd_of(self, tokens: Tokens) -> float | None:
        """What an answer costs, each kind of token at its own price; None at a service tier of unknown price."""
        factor = 1.0 if tokens.tier in LIST_TIERS or not self.charges else self.tiers.get(tokens.tier)
        if factor is None:
            return None
        usual = factor * self.usd(tokens.prompt, tokens.completion)
        if not (tokens.cached or tokens.written or tokens.written_hour or tokens.reasoning):
            return usual
        extra = tokens.cached * _above(self.usd_per_cached_token, self.usd_per_input_token)
        extra += tokens.written * _above(self.usd_per_written_token, self.usd_per_input_token)
        extra += tokens.written_hour * _above(
            self.usd_per_hour_written_token,
            self.usd_per_input_token if self.usd_per_written_token is None else self.usd_per_written_token,
        )
        extra += tokens.reasoning * _above(self.usd_per_reasoning_token, self.usd_per_output_token)
        return usual + factor * extra


def _above(own: float | None, other: float) -> float:
    """By how much a token of its own price costs more than another; negative where it costs less."""
    return 0.0 if own is None else own - other


_APART = {  # field of Price -> (kinds of token as genai-prices names them, the side that they are of)
    "usd_per_cached_token": (("cache_read_tokens",), "input_price"),
    "usd_per_written_token": (("cache_write_tokens",), "input_price"),
    "usd_per_hour_written_token": (("cache_write_tokens", "cache_write_1h_tokens"), "input_price"),
    "usd_per_reasoning_token": (("output_reasoning_tokens",), "output_price"),
}


@cache
def price_of(model: str) -> Price | None:
    """Look a model's price up by name (such as ``gpt-4o`` or ``openai/gpt-4o``); None when unknown."""
    from genai_prices import Usage, calc_price

    provider, _, name = model.rpartition("/")
    tokens = 1000  # few enough that no long-context tier applies

    def cost_of(**apart: int) -> Any:
        usage = Usage(input_tokens=tokens, output_tokens=tokens, **apart)
        return calc_price(usage, model_ref=name, provider_id=provider or None)

    try:
        cost, apart = cost_of(), dict[str, Any]()
        for field_name, (kinds, side) in _APART.items():
            apart[field_name] = float(getattr(cost_of(**dict.fromkeys(kinds, tokens)), side)) / tokens
    except LookupError:
        return None
    return Price(
        float(cost.input_price) / tokens,
        float(cost.output_price) / tokens,
        f"{cost.provider.id}/{cost.model.id} list price on {date.today()}, genai-prices {version('genai-prices')}",
        **apart,
    )


def usd_paid(samples: Iterable[Sample], price: Price | None) -> float | None:
    """USD that these samples cost when they were asked for; prompt tokens are shared by a request's choices.

    None when the price is unknown, or a sample's tokens (an endpoint without ``usage``): never $0 for want of a count.
    """
    if price is None:
        return None
    usd = 0.0
    for s in samples:
        if price.charges and s.prompt_tokens == 0:
            return None
        usd += (price.batch_factor if s.batch else 1.0) * price.usd(s.prompt_tokens / s.choices, s.completion_tokens)
    return usd


@dataclass(frozen=True, slots=True)
class ServingCost:
    """What a call costs before it is made: priced tokens, as the labelling samples counted them."""

    usd_per_input_token: float
    usd_per_output_token: float
    added_tokens: float  # of the template and what the endpoint adds, a prompt
    answer_tokens: float  # mean of the sampled answers
    source: str

    def times(self, answers: int) -> ServingCost:
        """The same of so many requests, each of which sends the prompt and pays for an answer."""
        return replace(
            self,
            usd_per_input_token=answers * self.usd_per_input_token,
            usd_per_output_token=answers * self.usd_per_output_token,
        )

    def usd(self, prompt: str, like: Sequence[str] = ()) -> float:
        """Expected USD of one answer to a prompt; ``like``: the prompts nearest to it of those that were sampled."""
        asked, answered = self.prompt_tokens(prompt), self.answer_length(prompt, like)
        return asked * self.usd_per_input_token + answered * self.usd_per_output_token

    def usd_of_each(self, prompts: Sequence[str], like: Like = ()) -> list[float]:
        """The same of n prompts; ``like`` is empty where the nearest ones were not looked for."""
        return [self.usd(*one) for one in zip(prompts, like or [()] * len(prompts), strict=True)]

    def prompt_tokens(self, prompt: str) -> float:
        """Tokens that a request of this prompt alone is expected to have."""
        return len(prompt) / CHARACTERS_PER_TOKEN + self.added_tokens

    def answer_length(self, prompt: str, like: Sequence[str] = ()) -> float:
        """Tokens that an answer is expected to have."""
        return self.answer_tokens


@dataclass(frozen=True, slots=True)
class KnownServingCost(ServingCost):
    """The same where the lengths of answers to some prompts are known: texts cost several times what short answers
    do, so that a mean over all prompts would overstate what is saved where short ones stay local."""

    lengths: Mapping[str, float]  # tokens, by prompt

    def answer_length(self, prompt: str, like: Sequence[str] = ()) -> float:
        """That of a prompt whose length is known, else the mean of those that it is like, else the mean of all."""
        near = [self.lengths[one] for one in ((prompt,) if prompt in self.lengths else like) if one in self.lengths]
        return sum(near) / len(near) if near else self.answer_tokens


def serving_cost(samples: Mapping[str, Sequence[Sample]], price: Price | None) -> ServingCost | None:
    """Expected cost per call, from samples by prompt text; None when the price is unknown or nothing was sampled."""
    counted = [(text, one) for text, answers in samples.items() for one in answers]
    if price is None or not counted or (price.charges and any(one.prompt_tokens == 0 for _, one in counted)):
        return None
    added = sum(one.prompt_tokens - len(text) / CHARACTERS_PER_TOKEN for text, one in counted) / len(counted)
    answer = sum(one.completion_tokens for _, one in counted) / len(counted)
    return ServingCost(price.usd_per_input_token, price.usd_per_output_token, max(0.0, added), answer, price.source)


@dataclass(frozen=True, slots=True)
class LengthRatio:
    """Tokens of a strong answer per token of a weak answer to the same prompt, from the labelling samples."""

    ratio: float  # sum of the strong answers' mean lengths over that of the weak ones'
    error: float  # standard error of the ratio, by the spread over prompts
    spread: float  # standard deviation of one strong answer's length about the ratio's guess, as a share of the mean
    prompts: int


def length_ratio(weak: Sequence[Sequence[float]], strong: Sequence[Sequence[float]]) -> LengthRatio | None:
    """From the answer lengths of each prompt's samples in tokens: `ratio_of`."""
    return ratio_of(list(map(sum, zip(*map(length_sums, weak, strong), strict=True))))


def length_sums(weak: Sequence[float], strong: Sequence[float]) -> tuple[float, ...]:
    """What `ratio_of` adds up over prompts, of one prompt's answers; zeros where a model has not answered it."""
    if not weak or not strong:
        return (0.0,) * 10
    w, s = sum(weak) / len(weak), sum(strong) / len(strong)
    pairs = list(zip(weak, strong, strict=False))
    singles = (len(pairs), *(float(sum(products)) for products in zip(*map(_products, pairs), strict=True)))
    return (1.0, w, s, *_products((w, s)), *singles)


def _products(pair: tuple[float, float]) -> tuple[float, float, float]:
    return pair[0] * pair[0], pair[0] * pair[1], pair[1] * pair[1]


def ratio_of(sums: Sequence[float]) -> LengthRatio | None:
    """The ratio estimator and its error by linearisation (Cochran, Sampling Techniques, 1977, ch. 6), from the sums of
    `length_sums` over prompts. None with fewer than two prompts that both models answered, or where an endpoint does
    not count.
    """
    prompts, weak, strong, *of_means, answers, _, _, _ = sums or (0.0,) * 10
    if prompts < 2 or weak <= 0 or strong <= 0:
        return None
    ratio = strong / weak
    error = math.sqrt(_squared_residuals(ratio, of_means) / (prompts * (prompts - 1))) / (weak / prompts)
    spread = math.sqrt(_squared_residuals(ratio, sums[-3:]) / answers) / (strong / prompts)
    return LengthRatio(ratio, error, spread, int(prompts))


def _squared_residuals(ratio: float, products: Sequence[float]) -> float:
    """Sum of (s - ratio w)^2, from the sums of w^2, w s and s^2."""
    weak, both, strong = products
    return max(0.0, strong - 2 * ratio * both + ratio * ratio * weak)


def usd_of_serving(samples: Iterable[Sample], price: Price | None) -> float | None:
    """USD of serving one answer to the prompt of these samples: its tokens once, and a mean answer's."""
    counted = list(samples)
    if price is None or not counted or (price.charges and counted[0].prompt_tokens == 0):
        return None
    answer = sum(s.completion_tokens for s in counted) / len(counted)
    return price.usd(counted[0].prompt_tokens, answer)
