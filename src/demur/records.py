"""The records that flow through demur, in the order in which they are made.

Prompt -> Sample -> Preference; the rest of the pipeline is arrays. Records are frozen and hold no derived
number that a property can compute. They do not know files, models or networks.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from demur.errors import InputError

FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.integer[Any]]

# "weak", "strong", or the name of a tier between them.
Role = str
Side = Literal["weak", "strong"]  # of a pair
# Where an unknown prompt goes; score: by its score; strong-unless-guessed: so where both guess at a question.
OnUnknown = Literal["strong", "strong-unless-guessed", "weak", "score"]
ON_UNKNOWN: OnUnknown = "strong-unless-guessed"
# What a prompt unlike any training prompt is; score: like all others; language: unknown where its language is.
OnUnlike = Literal["language", "score", "unknown"]
Winner = Literal["model_a", "model_b", "tie"]

# (premise, hypothesis) pairs -> probabilities of contradiction, neutral, entailment; an (n, 3) array or n triples.
Entailment = Callable[[Sequence[tuple[str, str]]], ArrayLike]
EntailmentModel = Callable[[Sequence[tuple[str, str]]], FloatArray]  # demur's own: always the array

# (prompt, answer) -> quality in [0, 1].
Grader = Callable[["Prompt", str], float]

# (stage, done, total) as work goes on; the command line draws it, the library only calls it.
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Ignore progress (the default of every function that reports it)."""


class Encoder(Protocol):
    """Anything that embeds texts; sentence-transformers and model2vec objects fit unchanged."""

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """Embed ``texts``; shape (n, d)."""
        ...


class Method(Protocol):
    """scikit-learn's contract; ``predict_proba(X)[:, 1]`` is P(the strong model is needed)."""

    def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> Method: ...

    def predict_proba(self, X: FloatArray) -> FloatArray: ...


def content_hash(value: object) -> str:
    """A hash of a JSON-like value (32 hex digits); equal content gives an equal hash on every machine."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()[:32]  # half an emoji is a text too


def encodable(text: str) -> str:
    """The text with "?" for lone surrogates, which JSON can spell but UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def count_of(number: int, one: str, more: str = "") -> str:
    """A number and what it counts: ``1 prompt``, ``2,000 prompts``; ``more`` where an s does not make it plural."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def percent(share: float) -> str:
    """A share in whole percent; a loss that is rounded to nothing has no sign."""
    return f"{round(share, 2) + 0.0:.0%}"


def dollars(usd: float) -> str:
    """An amount of USD to three significant digits or to the cent, whichever shows more: ``$0.0704``, ``$12.50``.

    Zero is ``$0``. Zeros beyond the cent that only pad are left out. It is the one form for people, in the terminal,
    the report and the dashboard (its own money() does the same).
    """
    size = abs(float(f"{usd:.3g}"))
    places = max(2, 2 - math.floor(math.log10(size))) if size else 0
    shown = f"{abs(usd):,.{places}f}"
    whole, _, part = shown.partition(".")
    return f"{'-' if usd < 0 else ''}${whole}{'.' if part else ''}{part[:2]}{part[2:].rstrip('0')}"


Fact = tuple[str, str]  # a name and what there is to say of it; an empty name goes on with the one before


def fact_lines(facts: Sequence[Fact]) -> list[str]:
    """Facts as a person reads them under a result: one a line, after a name padded to the longest one."""
    width = max((len(name) for name, _ in facts), default=0)
    return [f"  {name:<{width}}  {fact}" for name, fact in facts]


def on_one_line(text: str, length: int) -> str:
    """The text without line breaks, its end cut where it has more characters than ``length``."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat request that is asked as it stands, rather than as a prompt in a template."""

    body: str  # JSON: messages, and the tools or the response format that come with them


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt, with its gold answers, if any are known."""

    id: str
    text: str
    answers: tuple[str, ...] = ()  # gold answers, any of which is right; empty when unknown
    choices: tuple[str, ...] = ()  # the options of a multiple-choice prompt, in order A, B, C, ...
    source: str = ""  # the set that it came from
    request: ChatRequest | None = None  # what the models are asked instead of the text; the router sees the text
    later: tuple[str, ...] = ()  # the user's further turns, which test sets ask after a model's own answers
    references: tuple[str, ...] = ()  # an answer to each turn for a judge to see; no gold answer
    system: str = ""  # the system message that its request came with; a run's settings say which one is sent

    @property
    def asked(self) -> str | ChatRequest:
        """What the models are asked."""
        return self.request or self.text

    @property
    def key(self) -> str:
        """Its samples are kept by this: prompts that are asked alike share them."""
        return key_of(self.asked)


def key_of(asked: str | ChatRequest) -> str:
    """The text by which samples of what is asked are kept."""
    return asked if isinstance(asked, str) else asked.body


@dataclass(frozen=True, slots=True)
class SamplingSettings:
    """How answers are sampled. All settings but ``n`` are part of a sample's identity. Raises InputError for ``n``."""

    # equal for both models: every definition of entropy is biased by n
    n: int | str = field(
        default="2..5",
        metadata={
            "at_least": 1,
            "flag": "-n --n",
            "help": "Samples per prompt, for each model: a number, or FEWEST..MOST, where prompts that the first ones "
            "settle get no more.",
        },
    )
    temperature: float = field(default=1.0, metadata={"at_least": 0, "help": "Of sampling."})
    top_p: float = field(default=1.0, metadata={"above": 0, "at_most": 1, "about": "Nucleus; 1 is off."})
    top_k: int = field(  # llama.cpp would default to 40
        default=0, metadata={"at_least": -1, "about": "Most likely tokens to draw from; 0 is off (vLLM: -1 too)."}
    )
    min_p: float = field(  # llama.cpp would default to .05
        default=0.0, metadata={"at_least": 0, "at_most": 1, "about": "Least share of the likeliest token; 0 is off."}
    )
    max_tokens: int = field(default=64, metadata={"at_least": 1, "help": "Longest answer, in tokens."})
    stop: tuple[str, ...] = field(default=(), metadata={"help": "Stop string; repeat for more.", "repeated": True})
    seed: int = field(default=0, metadata={"help": "Of the first sample of every prompt."})
    template: str = field(default="{prompt}", metadata={"help": "What is sent; {prompt} is replaced by its text."})
    system: str = field(
        default="",
        metadata={"help": "System message; only with chat. Without it, the one that most prompts of a log come with."},
    )
    chat: bool = field(default=True, metadata={"help": "Chat completions, or plain completions of the template."})
    reasoning_effort: str = field(  # empty: not sent, and no part of the identity of samples
        default="", metadata={"about": "How long a reasoning model thinks, such as low; empty: its own default."}
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _counts(self.n)[2])

    @property
    def fewest(self) -> int:
        """Samples that every prompt gets from each model."""
        return _counts(self.n)[0]

    @property
    def most(self) -> int:
        """Samples of a prompt that the first ones do not settle."""
        return _counts(self.n)[1]

    @property
    def key(self) -> str:
        """Content hash of everything that changes what is sampled (not ``n``)."""
        fields = asdict(self)
        del fields["n"]
        if not self.reasoning_effort:
            del fields["reasoning_effort"]
        return content_hash(fields)


def _counts(n: int | str) -> tuple[int, int, int | str]:
    """The fewest and the most samples that a setting asks for, and the setting as it is kept."""
    if isinstance(n, int):
        return n, n, n
    fewest, dots, most = n.replace(" ", "").partition("..")
    try:
        low, high = int(fewest), int(most if dots else fewest)
    except ValueError:
        low, high = 1, 0
    if low > high:
        raise InputError(f"n is {n!r}; give a number of samples such as 10, or FEWEST..MOST such as 2..5")
    return low, high, low if low == high else f"{low}..{high}"


SERVED = "served"  # finish_reason of an answer that a gateway had served: it was paid for there


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled answer, as it was paid for."""

    index: int  # 0 .. n - 1 within its prompt, model and settings
    text: str  # may be empty: an empty answer is a meaning of its own
    logprobs: tuple[float, ...] | None  # per token, nats; None when the endpoint gives none
    finish_reason: str
    prompt_tokens: int  # of the whole request, as billed; 0 when unknown
    completion_tokens: int  # of this answer
    choices: int = 1  # answers that came with the request: they share what its prompt tokens cost
    batch: bool = False  # paid at the price of a batch API


@dataclass(frozen=True, slots=True)
class Preference:
    """One training row: which model is preferred for a prompt, and what that was derived from.

    ``model_a`` is the weak model and ``model_b`` the strong one in every row that demur makes; readers of
    foreign sets reorder rows accordingly.
    """

    id: str
    model_a: str
    model_b: str
    prompt: str
    response_a: str
    response_b: str
    target: float  # y in [0, 1]: 1 = the strong model is needed, 0 = it is not, .5 = tie
    winner: Winner
    kind: str  # where the target comes from: source and kind, such as "entropy margin", "agreement", "accuracy soft"
    entropy_a: float | None = None  # nats
    entropy_b: float | None = None
    definition: str = ""  # of the entropies
    margin: float | None = None  # entropy_a - entropy_b, nats
    n: int = 0  # samples per model
    meanings_a: int | None = None  # that its n samples have; n of n: saturated, the entropy is at its maximum
    meanings_b: int | None = None
    slope: float | None = None  # kind believed: of what the strong model confirms on what the weak one agrees about
    strong_weight: float | None = None  # kind believed: of the strong model's belief, as the slope set it
