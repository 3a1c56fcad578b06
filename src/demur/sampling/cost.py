"""What sampling a pair will cost, and what it has cost; one unknown price never hides what the other model costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from demur.config import RunConfig
from demur.config.names import LLM
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, parse_model
from demur.models.prices import COUNTED_PRIVATE, PRIVATE, UNKNOWN, UNPRICED, usd_paid
from demur.models.requests.cut_answers import CUT_SHARE, cut_answers, endpoint_words, limit_words, remedy_words
from demur.records import Fact, Prompt, Sample, count_of, dollars
from demur.sampling.earlier.answer_lengths import OBSERVED
from demur.sampling.sample import UNSETTLED, Estimate, Samples, distinct_prompts

ASKED_BESIDE = "questions beside the samples, as to a judge"
KEPT_LIMIT = "for this run in all, kept from an earlier command (--max-usd sets another)"


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
    prices: tuple[Fact, ...]  # of each model, who is asked later, and the system message that counts with each prompt
    models: tuple[str, ...]
    statements: tuple[Estimate, ...] = ()  # of final answers, of either model, where labels ask for them at any price
    usd_left: float | None = None  # of what the run may cost in all
    usd_spent: float = 0.0  # by the run so far
    between: tuple[Estimate, ...] = ()  # of the models between them
    swapped: str = ""  # that the weak model is the dearer one, a line of its own; empty where it is not
    swap: str = ""  # the command that changes them round
    first: str = ""  # what is asked before all else; empty: nothing
    kept_limit: float | None = None  # USD that the run may cost in all by an earlier command; None: no such limit

    @property
    def all(self) -> tuple[Estimate, ...]:
        """Of every model, as ``models`` names them."""
        return (self.weak, *self.between, self.strong)

    def by_batches(self, pair: PairEndpoints) -> PairEstimate:
        """What the same costs where the pair's models are asked by batch APIs; local models and statements are not."""
        factors = [batch_factor(endpoint) for endpoint in (pair.weak, pair.strong)]
        said = {one.model: batch_words(one, "; batches ") for one in (pair.weak, pair.strong)}
        prices = tuple((name, f"{price}{said.get(name, '')}") for name, price in self.prices)
        weak, strong = (side.at(by) for side, by in zip((self.weak, self.strong), factors, strict=True))
        return replace(self, weak=weak, strong=strong, prices=prices)

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
        """The result in one line: prompts, the expected number of answers, and what they cost."""
        missing, expected = self.missing, sum(side.expected for side in self.all)
        if not missing:
            return "every sample is in the store already: nothing to ask, nothing to pay"
        prompts = count_of(max(side.prompts for side in self.all), "prompt")
        answers = f"about {expected:,.0f} answers" if expected < missing else count_of(missing, "answer")
        cost = cost_words(self.models, [side.usd for side in self.all], most=True)
        return f"to sample {prompts}, {answers}: {self._expected_cost}{cost}"

    @property
    def _expected_cost(self) -> str:
        """What is expected, by the length of the answers so far or of earlier ones; empty where nothing tells it, or
        nothing is paid."""
        least, most = (_known_sum(getattr(side, name) for side in self.all) for name in ("least_usd", "expected_usd"))
        if not most or self._unknown_length:
            return ""
        low, high = dollars(least), dollars(most)
        return f"about {high}, " if low == high else f"about {low} to {high}, "

    @property
    def _unknown_length(self) -> bool:
        return any(side.unknown_length for side in self.all)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """What the estimate rests on: answers and tokens at most, each model's price, what is asked beside samples."""
        if not self.missing:
            return ()
        asked = [side for side in self.all if side.missing]
        longest = max(side.completion_tokens // side.missing for side in asked)
        settled = f"so many if {1 - UNSETTLED:.0%} of the prompts need few, at most {self.missing:,}; "
        most = settled if self._may_settle else ""
        tokens = [sum(each) for each in zip(*map(_tokens, self.all), strict=True)]
        return (
            *([("first", self.first)] if self.first else []),
            ("answers", f"{most}each of up to {longest:,} tokens (--max-tokens)"),
            ("tokens", f"about {tokens[0]:,} of prompts and at most {tokens[1]:,} of answers"),
            *([("expected", self._basis)] if any(side.usd for side in asked) else []),
            *([("paid so far", f"{dollars(self.usd_spent)} by this run")] if self.usd_spent else []),
            *([] if self.kept_limit is None else [("limit", f"{dollars(self.kept_limit)} {KEPT_LIMIT}")]),
            *self.prices,
            *self._of_statements,
        )

    @property
    def _basis(self) -> str:
        """What tells how long the answers will be."""
        if self._unknown_length:
            return f"less where answers end before that length; known after {OBSERVED} answers of each model"
        earlier = [side.earlier for side in self.all if side.earlier and side.missing and side.usd]
        if not earlier:
            return "by answers as long as those so far"
        by = f"by {sum(one.answers for one in earlier):,} answers under earlier settings"
        limit = max(one.cut_at for one in earlier)
        return f"{by}; those cut at {limit:,} tokens may be longer now" if limit else by

    @property
    def _may_settle(self) -> bool:
        return sum(side.expected for side in self.all) < self.missing

    @property
    def limit(self) -> str:
        """What max_usd allows of this, where it does not allow all."""
        left, most = self.usd_left, _sum(*(side.usd for side in self.all))
        if left is None or most is None or self.expected_usd is None or most <= left:
            return ""
        if left <= 0:
            return "--max-usd is spent: sampling goes on when it is raised"
        less = "less than it may cost" if self._unknown_length else "less than expected"
        allows = "enough for the expected cost, not for the largest" if self.expected_usd <= left else less
        return f"--max-usd leaves {dollars(left)}, {allows}: sampling stops there, and goes on when it is raised"

    @property
    def _of_statements(self) -> list[Fact]:
        if not self.statements:
            return []
        asked = sum(side.missing for side in self.statements)
        cost = cost_words((self.models[0], self.models[-1]), [side.usd for side in self.statements], most=True)
        return [("final answers", f"to state those of long texts, up to {asked:,} more requests: {cost}")]


@dataclass(frozen=True, slots=True)
class PairSpend:
    """What the samples of a run have cost, over all sessions."""

    prompts: int
    samples: int
    completion_tokens: int
    weak_usd: float | None
    strong_usd: float | None
    prices: tuple[Fact, ...]  # of each model
    uncounted: bool  # an endpoint that costs money gives no usage: what it cost is unknown
    models: tuple[str, ...]
    notes: tuple[str, ...] = ()  # answers cut, prompts refused, fields left out: one sentence each
    between_usd: tuple[float | None, ...] = ()  # of the models between them
    unused_usd: float = 0.0  # that the run paid for other answers: of earlier settings, models or prompts
    questions_usd: float = 0.0  # that it paid for what it asked beside the samples, such as a judge
    uncounted_models: tuple[str, ...] = ()  # who was asked so at an unknown price: not in any sum

    @property
    def all_usd(self) -> tuple[float | None, ...]:
        """Of every model, as ``models`` names them."""
        return (self.weak_usd, *self.between_usd, self.strong_usd)

    @property
    def usd(self) -> float | None:
        """Over all models; None when a price is unknown."""
        return _sum(*self.all_usd)

    @property
    def total_usd(self) -> float | None:
        """All that the run has paid, without ``uncounted_models``; None when a price of its own models is unknown."""
        return None if self.usd is None else self.usd + self.unused_usd + self.questions_usd

    @property
    def sentence(self) -> str:
        """The result in one line."""
        if not self.samples:
            return f"{count_of(self.prompts, 'prompt')}: no answers are there yet"
        cost = cost_words(self.models, self.all_usd)
        said = f", which {cost}" if "$" in cost else f"; {cost}"
        return f"sampled {count_of(self.prompts, 'prompt')}: {count_of(self.samples, 'answer')}{said}"

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Tokens, prices and what else was paid. How a private address is priced was said before anything was asked."""
        short = [
            (name, said.replace(PRIVATE, COUNTED_PRIVATE).replace(UNPRICED, UNKNOWN)) for name, said in self.prices
        ]
        other = {"answers that are not among these": self.unused_usd, ASKED_BESIDE: self.questions_usd}
        parts = " and ".join(f"{dollars(usd)} of it for {name}" for name, usd in other.items() if usd)
        said = f"{dollars(self.total_usd or 0.0)}{without_words(self.uncounted_models)}{', ' if parts else ''}{parts}"
        in_all = [("paid in all", said)] if parts or self.uncounted_models else []
        return (("tokens", f"{self.completion_tokens:,} of answers"), *in_all, *short)

    @property
    def cautions(self) -> tuple[str, ...]:
        """That what was paid is unknown, and the notes."""
        unknown = "an endpoint that costs money does not count its tokens: what it cost is unknown"
        return (*([unknown] if self.uncounted else []), *self.notes)

    @property
    def pricing(self) -> str:
        """The prices in one line."""
        return price_line(self.prices)

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {"pricing": self.pricing}


def price_samples(
    pair: PairEndpoints,
    prompts: Sequence[Prompt],
    weak: Samples,
    strong: Samples,
    prices: Sequence[Fact],
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
        prices=tuple(prices),
        uncounted=any(one is None and end.price is not None for one, end in zip(usd, endpoints, strict=True)),
        models=tuple(endpoint.model for endpoint in endpoints),
        notes=tuple(notes),
        between_usd=tuple(usd[1:-1]),
    )


def samples_in(side: Samples, prompts: Sequence[Prompt]) -> Iterator[Sample]:
    """A model's samples one after another: all at once, those of a large run do not fit into memory."""
    return (one for prompt in prompts for one in side[prompt.id])


def price_facts(pair: PairEndpoints) -> tuple[Fact, ...]:
    """Where the price of each model comes from, or that it is unknown."""
    return tuple(dict.fromkeys((one.model, one.price.told if one.price else UNPRICED) for one in pair.all))


def asked_beside(config: RunConfig) -> dict[str, Endpoint]:
    """Role -> who is asked beside the samples of a run as its record stands; nobody on this machine, who is free."""
    label, test = config.label, config.test
    named = {
        "entailment": label.entailment.removeprefix(LLM) if label.entailment.startswith(LLM) else "",
        "judge": (label.judge if label.needs("judge") else "") or "",
        "judge of test sets": (test.judge if test.prompts else "") or "",
    }
    models = {role: parse_model(spec) for role, spec in named.items() if spec}
    return {role: endpoint_of(one) for role, one in models.items() if one.base_url}


def asked_later_facts(config: RunConfig) -> tuple[Fact, ...]:
    """Who is asked beside the samples and is paid for: what no estimate of sampling has, and what no limit counts."""
    asked = asked_beside(config)
    counted = [f"{one.model} as {role}" for role, one in asked.items() if one.price and one.price.charges]
    later = [("asked later", f"{' and '.join(counted)}: not in this estimate; the run's limit counts it")]
    unknown = [(role, one) for role, one in asked.items() if one.price is None]
    costs = (("not counted", f"what {one.model} costs as {role}: {UNPRICED}") for role, one in unknown)
    return (*(later if counted else ()), *costs)


def uncounted_sentences(config: RunConfig, *roles: str) -> list[str]:
    """That what a model in one of these roles costs is in no sum, nor within the limit, where its price is unknown."""
    limit = config.max_usd
    counts = "no sum counts" if limit is None else f"the limit of {dollars(limit)} does not count"
    asked = asked_beside(config)
    return [
        f"the price of {asked[role].model} is unknown, so {counts} what it costs; give it as MODEL@URL#usd=IN/OUT (USD "
        "per million tokens)"
        for role in roles
        if role in asked and asked[role].price is None
    ]


def without_words(models: Sequence[str]) -> str:
    """After an amount: whose unknown cost is not in it; empty where all is."""
    return f" without {' and '.join(models)}, whose price is unknown" if models else ""


def price_line(prices: Sequence[Fact]) -> str:
    """The same in one line."""
    return "; ".join(f"{name}: {price}" for name, price in prices)


def cost_words(models: Sequence[str], usd: Sequence[float | None], *, most: bool = False) -> str:
    """What several models cost in all, or those whose price is known, and which is not."""
    known = [amount for amount in usd if amount is not None]
    before = "at most " if most else "cost "
    if not known:
        return "the cost is unknown"
    unknown = [model for model, amount in zip(models, usd, strict=True) if amount is None]
    without = f" without {' and '.join(unknown)}, whose cost is unknown" if unknown else ""
    return f"{before}{dollars(sum(known))}{without}"


def cut_sentences(
    models: Sequence[str], sides: Sequence[Iterable[Sample]], max_tokens: int, own: Sequence[int] = ()
) -> list[str]:
    """A sentence on the models whose answers were often cut at the longest that was asked for, and one on each whose
    endpoint cuts them itself; none where few were cut. ``own``: limits of the endpoints that larger ones showed, or 0.
    """
    ours, theirs = list[str](), list[str]()
    for model, samples, seen in zip(models, sides, own or [0] * len(models), strict=True):
        cut = cut_answers(samples)
        of = f"{cut.share:.0%} of {model}'s"
        if cut.share >= CUT_SHARE and cut.by_endpoint(max_tokens):
            theirs.append(f"{of} answers were {endpoint_words(cut.tokens)}")
        elif cut.share >= CUT_SHARE and seen:
            theirs.append(f"{of} answers were {limit_words(max_tokens, seen)}")
        elif cut.share >= CUT_SHARE:
            ours.append(of)
    if not ours:
        return theirs
    of = " and ".join([f"{ours[0]} answers", *ours[1:]])
    return [f"{of} were cut at {max_tokens:,} tokens: {remedy_words(max_tokens)}", *theirs]


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


def _tokens(side: Estimate) -> tuple[int, int]:
    return side.prompt_tokens, side.completion_tokens


def _known_sum(amounts: Iterable[float | None]) -> float:
    return sum(amount for amount in amounts if amount is not None)


def _sum(*amounts: float | None) -> float | None:
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if len(known) == len(amounts) else None
