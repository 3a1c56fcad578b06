"""A routing decision, and the training prompts that explain it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from demur.records import Role

MOST_PLACES = 9  # decimal places: where more are needed, most of them are 0 or 9
MOST_FIGURES = 17  # significant ones: they tell any two numbers apart


def apart(score: float, threshold: float, places: int = 3) -> tuple[str, str]:
    """Both in so many decimal places, or as many more as it takes to tell them apart.

    Where that would be too many to read, such as of 3e-20 and 5e-20, both in significant figures.
    """
    places = digits_apart((score, threshold), places)
    shown = f"{score:.{places}f}", f"{threshold:.{places}f}"
    if score == threshold or shown[0] != shown[1]:
        return shown
    pairs = ((f"{score:.{n}g}", f"{threshold:.{n}g}") for n in range(3, MOST_FIGURES + 1))
    return next((pair for pair in pairs if pair[0] != pair[1]), shown)


def digits_apart(values: Sequence[float], places: int = 3) -> int:
    """So many decimal places, or as many more, up to `MOST_PLACES`, as it takes for values that differ to be printed
    differently."""
    while places < MOST_PLACES and len({f"{one:.{places}f}" for one in values}) < len({*values}):
        places += 1
    return places


AS_ASKED = "as asked"  # basis of a threshold that a call or a request gives


@dataclass(frozen=True, slots=True)
class TrainingPrompt:
    """A training prompt, kept to explain decisions."""

    prompt: str
    target: float  # y in [0, 1]; 1 = the strong model was needed
    weak_entropy: float | None  # nats
    strong_entropy: float | None
    weak_answer: str = ""  # the first of those sampled
    strong_answer: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A training prompt near to the one that is routed."""

    training: TrainingPrompt
    similarity: float  # cosine
    untold_kind: str = ""  # its kind, where the samples of most prompts of that kind show nothing

    @property
    def prompt(self) -> str:
        """Its text."""
        return self.training.prompt


def kind_note(neighbours: Sequence[Neighbour]) -> str:
    """What the reason of a decision by score adds where little is known of prompts like the nearest one; else ""."""
    kind = neighbours[0].untold_kind if neighbours else ""
    return f"; little is known of its kind ({kind})" if kind else ""


@dataclass(frozen=True, slots=True)
class UnknownNeighbour:
    """The prompt that could not be labelled to which an unknown one is nearest."""

    prompt: str
    similarity: float  # cosine

    @property
    def about(self) -> str:
        """Why it stands beside the labelled ones."""
        return "could not be labelled, and this prompt is like it"


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a prompt goes, and why."""

    model: str  # name of the chosen model
    role: Role
    score: float  # P(the strong model is needed)
    threshold: float  # strong iff score >= threshold
    reason: str
    neighbours: tuple[Neighbour, ...]  # nearest first
    # False: further from every training prompt than 99 % of those from each other, over twice as long as 99 %, or in a
    # language of under 1 % of them
    familiar: bool = True
    # "gate": the weak answer is, or will be, part of the decision; "unknown": the setting decides
    stage: Literal["prompt", "gate", "unknown"] = "prompt"
    wants_samples: int = 0  # samples of the weak model that `Router.check` needs next; 0: the decision is final
    void: bool = False  # True: signals were missing, so the calibration does not hold for this decision
    unknown: bool = False  # True: nearest to a prompt whose samples could not tell
    untold: str = ""  # why those could not
    basis: str = ""  # of a threshold that is not the router's own: as asked, or what it is held for
    values: tuple[float, ...] = ()  # gains over the weak model of every tier; empty of a pair
    unknown_neighbour: UnknownNeighbour | None = None  # of an unknown prompt; None where neighbours were not looked for
