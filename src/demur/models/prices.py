"""What tokens cost in USD, and where that was looked up. An unknown price stays unknown: it never becomes $0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.metadata import version

from demur.records import Sample

LOCAL = "served on this machine"
PRIVATE = "a private address, counted as $0 (MODEL@URL#usd=IN/OUT if it costs)"
CHARACTERS_PER_TOKEN = 4  # of English text, about


@dataclass(frozen=True, slots=True)
class Price:
    """USD per token, and its source."""

    usd_per_input_token: float
    usd_per_output_token: float
    source: str  # as text, with the date
    usd_per_cached_token: float | None = None  # of a prompt, read from the provider's cache; None: as any other

    @property
    def charges(self) -> bool:
        """False where tokens cost nothing."""
        return self.usd_per_input_token > 0 or self.usd_per_output_token > 0

    def usd(self, input_tokens: float, output_tokens: float, cached_tokens: float = 0) -> float:
        """What this many tokens cost; ``cached_tokens`` of the input were read from the provider's cache."""
        full = input_tokens * self.usd_per_input_token + output_tokens * self.usd_per_output_token
        if self.usd_per_cached_token is None:
            return full
        return full - cached_tokens * (self.usd_per_input_token - self.usd_per_cached_token)


@cache
def price_of(model: str) -> Price | None:
    """Look a model's price up by name (such as ``gpt-4o`` or ``openai/gpt-4o``); None when unknown."""
    from genai_prices import Usage, calc_price

    provider, _, name = model.rpartition("/")
    tokens = 1000  # few enough that no long-context tier applies
    try:
        cost, cached = (
            calc_price(
                Usage(input_tokens=tokens, output_tokens=tokens, cache_read_tokens=read),
                model_ref=name,
                provider_id=provider or None,
            )
            for read in (0, tokens)
        )
    except LookupError:
        return None
    return Price(
        float(cost.input_price) / tokens,
        float(cost.output_price) / tokens,
        f"{cost.provider.id}/{cost.model.id} list price on {date.today()}, genai-prices {version('genai-prices')}",
        float(cached.input_price) / tokens,
    )


def usd_paid(samples: Iterable[Sample], price: Price | None) -> float | None:
    """USD that these samples cost when they were asked for; prompt tokens are shared by a request's choices.

    None when the price is unknown, or a sample's tokens (an endpoint without ``usage``): never $0 for want of a count.
    """
    asked = list(samples)
    if price is None or (price.charges and any(s.prompt_tokens == 0 for s in asked)):
        return None
    return sum(price.usd(s.prompt_tokens / s.choices, s.completion_tokens) for s in asked)


@dataclass(frozen=True, slots=True)
class ServingCost:
    """What a call costs before it is made: priced tokens, as the labelling samples counted them."""

    usd_per_input_token: float
    usd_per_output_token: float
    added_tokens: float  # of the template and what the endpoint adds, a prompt
    answer_tokens: float  # mean of the sampled answers
    source: str

    def usd(self, prompt: str) -> float:
        """Expected USD of one answer to a prompt."""
        tokens = len(prompt) / CHARACTERS_PER_TOKEN + self.added_tokens
        return tokens * self.usd_per_input_token + self.answer_tokens * self.usd_per_output_token


def serving_cost(samples: Mapping[str, Sequence[Sample]], price: Price | None) -> ServingCost | None:
    """Expected cost a call from samples by prompt text; None when the price is unknown or nothing was sampled."""
    counted = [(text, one) for text, answers in samples.items() for one in answers]
    if price is None or not counted or (price.charges and any(one.prompt_tokens == 0 for _, one in counted)):
        return None
    added = sum(one.prompt_tokens - len(text) / CHARACTERS_PER_TOKEN for text, one in counted) / len(counted)
    answer = sum(one.completion_tokens for _, one in counted) / len(counted)
    return ServingCost(price.usd_per_input_token, price.usd_per_output_token, max(0.0, added), answer, price.source)


def usd_of_serving(samples: Iterable[Sample], price: Price | None) -> float | None:
    """USD of serving one answer to the prompt of these samples: its tokens once, and a mean answer's."""
    counted = list(samples)
    if price is None or not counted or (price.charges and counted[0].prompt_tokens == 0):
        return None
    answer = sum(s.completion_tokens for s in counted) / len(counted)
    return price.usd(counted[0].prompt_tokens, answer)
