"""What sampling a pair will cost, and what it has cost; one unknown price never hides what the other model costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from demur.models.endpoint import Endpoint
from demur.models.prices import COUNTED_PRIVATE, PRIVATE, UNKNOWN, UNPRICED, usd_paid
from demur.records import Prompt, Sample, count_of, dollars
from demur.sampling.sample import OBSERVED, Estimate, Samples, distinct_prompts

CUT_SHARE = 0.02  # of a model's answers: from here on it is said that they were cut


@dataclass(frozen=True, slots=True)
class PairEndpoints:
    """Both models, with the identity of their samples and their prices; a local one does not run yet."""

    weak: Endpoint
    strong: Endpoint
    between: tuple[Endpoint, ...] = ()  # by rising price

    @property
    def all(self) -> tuple[Endpoint, ...]:
        """Every model, the weak one first and the strong one last."""
        return (self.weak, *self.between, self.strong)


@dataclass(frozen=True, slots=True)
class PairEstimate:
    """What sampling both models will ask for, before it begins."""

    weak: Estimate
    strong: Estimate
    pricing: str
    models: tuple[str, ...]
    statements: tuple[Estimate, ...] = ()  # of final answers, of either model, where labels ask for them at any price
    usd_left: float | None = None  # of what the run may cost in all
    between: tuple[Estimate, ...] = ()  # of the models between them
    swapped: str = ""  # that the weak model is the dearer one, a line of its own; empty where it is not
    swap: str = ""  # the command that changes them round

    @property
    def all(self) -> tuple[Estimate, ...]:
        """Of every model, as ``models`` names them."""
        return (self.weak, *self.between, self.strong)

    def by_batches(self, pair: PairEndpoints) -> PairEstimate:
        """What the same costs where the pair's models are asked by batch APIs; local models and statements are not."""
        factors = [batch_factor(endpoint) for endpoint in (pair.weak, pair.strong)]
        said = [(one.model, batch_words(one, "batches ")) for one in (pair.weak, pair.strong)]
        notes = [f"{model}: {words}" for model, words in said if words]
        weak, strong = (side.at(by) for side, by in zip((self.weak, self.strong), factors, strict=True))
        return replace(self, weak=weak, strong=strong, pricing="; ".join([self.pricing, *notes]))

    @property
    def usd(self) -> float | None:
        """At most, over all models and statements; None when a price is unknown."""
        return _sum(*(side.usd for side in (*self.all, *self.statements)))

    @property
    def expected_usd(self) -> float | None:
        """As expected, without statements; answers as long as those so far, or as they can be. None when a price is
        unknown."""
        return _sum(*(side.expected_usd for side in self.all))

    @property
    def missing(self) -> int:
        """Answers at most, over all models."""
        return sum(side.missing for side in self.all)

    @property
    def sentence(self) -> str:
        """The result as one sentence: the expected number of answers, where the first may settle a prompt, and the
        largest.
        """
        missing, expected = self.missing, sum(side.expected for side in self.all)
        if not missing:
            return "every sample is in the store already: nothing to ask, nothing to pay"
        tokens = [sum(each) for each in zip(*map(_tokens, self.all), strict=True)]
        cost = cost_words(self.models, [side.usd for side in self.all], most=True)
        answers = count_of(missing, "answer")
        if expected < missing:
            answers = f"about {expected:,.0f} answers ({missing:,} if the first ones settle no prompt)"
        cost += self._by_length if "$" in cost else ""
        return (
            f"to sample: {answers} on {count_of(max(side.prompts for side in self.all), 'prompt')}, about "
            f"{tokens[0]:,} prompt tokens and at most {tokens[1]:,} answer tokens; {cost} ({self.pricing})"
            f"{self._of_statements}{self._limit}"
        )

    @property
    def _by_length(self) -> str:
        """What is expected: by the length of the answers so far, or, before there are any, a range."""
        expected, least = (
            _known_sum(getattr(side, name) for side in self.all) for name in ("expected_usd", "least_usd")
        )
        if all(side.observed for side in self.all if side.missing):
            return f", {dollars(expected)} expected with answers as long as those so far"
        longest = max(side.completion_tokens // side.missing for side in self.all if side.missing)
        return (
            f", between {dollars(least)} and {dollars(expected)} expected, by the length of the answers (up to "
            f"{longest:,} tokens, --max-tokens); {OBSERVED} answers of each model make the estimate closer"
        )

    @property
    def _limit(self) -> str:
        """What max_usd allows of this, where it does not allow all."""
        left, most = self.usd_left, _sum(*(side.usd for side in self.all))
        if left is None or most is None or self.expected_usd is None or most <= left:
            return ""
        allows = "the expected number, not the largest" if self.expected_usd <= left else "less than expected"
        return (
            f"; the limit (--max-usd) leaves {dollars(left)}, which allows {allows}: sampling stops there, and "
            "goes on when it is raised"
        )

    @property
    def _of_statements(self) -> str:
        if not self.statements:
            return ""
        asked = sum(side.missing for side in self.statements)
        cost = cost_words((self.models[0], self.models[-1]), [side.usd for side in self.statements], most=True)
        return f"; to state final answers of long texts: at most {asked:,} more requests, {cost}"


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
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()  # answers cut, prompts refused, fields left out: one sentence each
    between_usd: tuple[float | None, ...] = ()  # of the models between them

    @property
    def all_usd(self) -> tuple[float | None, ...]:
        """Of every model, as ``models`` names them."""
        return (self.weak_usd, *self.between_usd, self.strong_usd)

    @property
    def usd(self) -> float | None:
        """Over all models; None when a price is unknown."""
        return _sum(*self.all_usd)

    @property
    def sentence(self) -> str:
        """The result as one sentence. How a private address gets a price was said before anything was asked."""
        cost = cost_words(self.models, self.all_usd)
        cost += ", an endpoint does not count its tokens" if self.uncounted else ""
        return (
            f"{count_of(self.samples, 'sample')} of {count_of(self.prompts, 'prompt')}, "
            f"{self.completion_tokens:,} answer tokens, {cost} "
            f"({self.pricing.replace(PRIVATE, COUNTED_PRIVATE).replace(UNPRICED, UNKNOWN)})"
        )


def price_samples(
    pair: PairEndpoints,
    prompts: Sequence[Prompt],
    weak: Samples,
    strong: Samples,
    pricing: str,
    notes: Sequence[str],
    between: Sequence[Samples] = (),
) -> PairSpend:
    """What the samples of these prompts have cost; prompts with one text were asked once."""
    asked = distinct_prompts(prompts)
    sides = (weak, *between, strong)
    endpoints = pair.all if between else (pair.weak, pair.strong)
    usd = [usd_paid(samples_in(side, asked), end.price) for side, end in zip(sides, endpoints, strict=True)]
    return PairSpend(
        prompts=len(asked),
        samples=sum(len(side[prompt.id]) for side in sides for prompt in asked),
        completion_tokens=sum(one.completion_tokens for side in sides for one in samples_in(side, asked)),
        weak_usd=usd[0],
        strong_usd=usd[-1],
        pricing=pricing,
        uncounted=any(one is None and end.price is not None for one, end in zip(usd, endpoints, strict=True)),
        models=tuple(endpoint.model for endpoint in endpoints),
        notes=tuple(notes),
        between_usd=tuple(usd[1:-1]),
    )


def samples_in(side: Samples, prompts: Sequence[Prompt]) -> Iterator[Sample]:
    """A model's samples one after another: all at once, those of a large run do not fit into memory."""
    return (one for prompt in prompts for one in side[prompt.id])


def pricing(pair: PairEndpoints, entailment: str) -> str:
    """Where the prices of both models come from, or that they are unknown; and what is not in the sum."""
    sources = [_price_source(endpoint) for endpoint in pair.all]
    judge = [f"what {entailment} costs as entailment is not in this"] if "llm:" in entailment else []
    return "; ".join([*sources, *judge])


def cost_words(models: Sequence[str], usd: Sequence[float | None], *, most: bool = False) -> str:
    """What several models cost in all, or those whose price is known, and which is not."""
    known = [amount for amount in usd if amount is not None]
    before = "at most " if most else "cost "
    if not known:
        return "the cost is unknown"
    unknown = [model for model, amount in zip(models, usd, strict=True) if amount is None]
    without = f" without {' and '.join(unknown)}, whose cost is unknown" if unknown else ""
    return f"{before}{dollars(sum(known))}{without}"


def cut_sentences(models: Sequence[str], sides: Sequence[Iterable[Sample]], max_tokens: int) -> list[str]:
    """A sentence on the models whose answers were often cut at the longest that was asked for; none where none were."""
    shares = dict[str, float]()
    for model, samples in zip(models, sides, strict=True):
        ends = Counter(one.finish_reason == "length" for one in samples)
        shares[model] = ends[True] / max(ends.total(), 1)
    cut = [f"{share:.0%} of {model}'s" for model, share in shares.items() if share >= CUT_SHARE]
    if not cut:
        return []
    of = " and ".join([f"{cut[0]} answers", *cut[1:]])
    return [f"{of} were cut at {max_tokens:,} tokens: sample with a larger --max-tokens"]


def batch_factor(endpoint: Endpoint) -> float:
    """The share of its price that a model's answers cost by a batch API; 1 of a local one, which has none."""
    return endpoint.price.batch_factor if endpoint.price and not endpoint.local else 1.0


def batch_words(endpoint: Endpoint, before: str) -> str:
    """At what share of its price a model's batches are counted, after the words ``before``; empty where they cost
    nothing, or nobody knows.
    """
    price = endpoint.price
    if price is None or not price.charges or endpoint.local:
        return ""
    if price.batch_factor == 1.0:
        return f"{before}at its usual price (service_tiers = {{batch = 0.5}} in the run file names a share of it)"
    return f"{before}at {price.batch_factor:g} of its price"


def _price_source(endpoint: Endpoint) -> str:
    return f"{endpoint.model}: {endpoint.price.told if endpoint.price else UNPRICED}"


def _tokens(side: Estimate) -> tuple[int, int]:
    return side.prompt_tokens, side.completion_tokens


def _known_sum(amounts: Iterable[float | None]) -> float:
    return sum(amount for amount in amounts if amount is not None)


def _sum(*amounts: float | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
