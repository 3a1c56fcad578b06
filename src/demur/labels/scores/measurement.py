"""Measures both models' sureness about prompts from their samples: a portion of the prompts at a time, on any workers.

What is measured of a prompt depends on its own samples alone, so the portions may be computed anywhere. What is of all
prompts together (ranks, the slope of belief) is computed from these measures, in the prompts' order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import overload

import numpy as np

from demur.labels.beliefs.belief import Belief, belief_weight, believed_gains, confirmed_slope, pair_shares
from demur.labels.beliefs.belief import without_silence as apart_from_silence
from demur.labels.beliefs.unknown import why_unknown
from demur.labels.pair_meanings import pair_meanings
from demur.labels.scores.sureness import Sureness
from demur.labels.scores.uncertainty import agreement, consistency, coverage, uncertainty
from demur.mapping import Map, portion_size, portions_of
from demur.meaning.entailment import reader_of
from demur.meaning.meanings import Meanings
from demur.meaning.rules.declined_answers import says_nothing
from demur.records import BoolArray, FloatArray, IntArray, Progress, Prompt, Sample, no_progress

SHOWN_AT_ONCE = 32  # prompts, in one process: after each so many a progress bar moves
Side = Sequence[Sequence[Sample]]  # a model's samples of every prompt


class Clusters(Sequence[IntArray]):
    """Cluster ids of many lists of answers in one array: a list of small arrays takes ten times as much memory."""

    def __init__(self, lists: Sequence[IntArray]) -> None:
        self._ids = np.concatenate([*lists, np.empty(0, dtype=int)]).astype(np.int32)
        self._ends = np.cumsum([0, *map(len, lists)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, place: int) -> IntArray: ...
    @overload
    def __getitem__(self, place: slice) -> list[IntArray]: ...
    def __getitem__(self, place: int | slice) -> IntArray | list[IntArray]:
        if isinstance(place, slice):
            return [self[i] for i in range(*place.indices(len(self)))]
        if not -len(self) <= place < len(self):
            raise IndexError(place)
        place %= len(self)
        return self._ids[self._ends[place] : self._ends[place + 1]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Both models on n prompts."""

    weak: Sureness
    strong: Sureness
    weak_ids: Sequence[IntArray]  # clusters of each model's own answers
    strong_ids: Sequence[IntArray]
    joint: Sequence[IntArray] = ()  # clusters over both models' answers of a prompt, the strong model's half first
    heard: Sequence[IntArray] = ()  # the same, with every answer that says nothing apart from all others
    belief: Belief | None = None

    def of(self, told: BoolArray) -> Measured:
        """The same of those prompts alone, (n,) booleans."""
        lists = (self.weak_ids, self.strong_ids, self.joint, self.heard)
        weak_ids, strong_ids, joint, heard = (Clusters(list(compress(each, told))) for each in lists)
        belief = self.belief and replace(self.belief, gains=self.belief.gains[told])
        return Measured(self.weak.of(told), self.strong.of(told), weak_ids, strong_ids, joint, heard, belief)

    @property
    def weak_meanings(self) -> list[int]:
        """How many the weak model's answers have, a prompt each."""
        return [len(np.unique(ids)) for ids in self.weak_ids]

    @property
    def strong_meanings(self) -> list[int]:
        """How many the strong model's answers have."""
        return [len(np.unique(ids)) for ids in self.strong_ids]

    @property
    def gains(self) -> FloatArray:
        """(n,) what escalating gains, by agreement of both models' answers."""
        return np.array([agreement(ids[len(ids) // 2 :], ids[: len(ids) // 2]) for ids in self.joint])

    @property
    def believed_gains(self) -> FloatArray:
        """(n,) the same as believed, weighed by how much of the weak model's consistency the strong one confirms."""
        assert self.belief is not None, "the kind needs a belief, and none was formed"
        return self.belief.gains


@dataclass(frozen=True, slots=True)
class Portion:
    """Some prompts with both models' samples of them."""

    prompts: Sequence[Prompt]
    weak: Side
    strong: Side


@dataclass(frozen=True, slots=True)
class MeasuredPortion:
    """What was found of a portion."""

    measured: Measured
    reasons: list[str]  # why each prompt's samples do not tell, "" where they do
    pairs: int  # that the entailment model decided about


@dataclass(frozen=True, slots=True)
class Measuring:
    """The work on a portion: what is mapped."""

    meanings: Meanings
    entailment: str  # its name
    definition: str  # of the entropies
    joint: bool  # whether clusters over both models are needed
    tokens: bool  # whether all answers of the run have log-probs

    def __call__(self, portion: Portion) -> MeasuredPortion:
        """Cluster the answers, measure each model's sureness, and see which samples do not tell."""
        prompts, weak, strong = portion.prompts, portion.weak, portion.strong
        found = pair_meanings(prompts, weak, strong, self.meanings, joint=self.joint)
        of_weak = measure_sureness(found.weak, weak, self.definition, tokens=self.tokens)
        of_strong = measure_sureness(found.strong, strong, self.definition, tokens=self.tokens)
        joint, heard = Clusters(found.joint), Clusters(heard_apart(found.joint, weak, strong))
        measured = Measured(of_weak, of_strong, Clusters(found.weak), Clusters(found.strong), joint, heard)
        return MeasuredPortion(measured, self._reasons(portion, measured), found.pairs)

    def _reasons(self, portion: Portion, measured: Measured) -> list[str]:
        """Where no clusters over both models were asked for, what is equal within either model has to do."""
        reads, compared = reader_of(self.entailment), self.meanings.compared_samples
        apart = [np.concatenate([b, len(b) + a]) for a, b in zip(measured.weak_ids, measured.strong_ids, strict=True)]
        return [
            why_unknown(ids, compared(p.text, weak), compared(p.text, strong), p.text, reads)
            for p, ids, weak, strong in zip(
                portion.prompts, measured.joint or apart, portion.weak, portion.strong, strict=True
            )
        ]


def measure_prompts(
    prompts: Sequence[Prompt],
    sides: tuple[Side, Side],
    work: Measuring,
    *,
    mapping: Map = map,
    progress: Progress = no_progress,
) -> MeasuredPortion:
    """All prompts, by ``mapping``, a portion at a time; ``sides``: samples of the weak model, and of the strong one."""
    found: list[MeasuredPortion] = []
    done, size = 0, portion_size(mapping, len(prompts))
    progress("measuring samples", 0, len(prompts))
    for one in mapping(work, _portions(prompts, sides, min(size, SHOWN_AT_ONCE) if mapping is map else size)):
        found.append(one)
        done += len(one.reasons)
        progress("measuring samples", done, len(prompts))
    measured = [one.measured for one in found]
    whole = Measured(
        _together([one.weak for one in measured]),
        _together([one.strong for one in measured]),
        Clusters([ids for one in measured for ids in one.weak_ids]),
        Clusters([ids for one in measured for ids in one.strong_ids]),
        Clusters([ids for one in measured for ids in one.joint]),
        Clusters([ids for one in measured for ids in one.heard]),
    )
    reasons = [reason for one in found for reason in one.reasons]
    return MeasuredPortion(whole, reasons, sum(one.pairs for one in found))


def _portions(prompts: Sequence[Prompt], sides: tuple[Side, Side], size: int) -> Iterator[Portion]:
    for places in portions_of(range(len(prompts)), size):
        some = slice(places[0], places[-1] + 1)
        yield Portion(prompts[some], sides[0][some], sides[1][some])


def _together(parts: Sequence[Sureness]) -> Sureness:
    covered = [one.coverage for one in parts]
    whole = None if any(one is None for one in covered) else np.concatenate([c for c in covered if c is not None])
    entropy, own = (np.concatenate([getattr(one, name) for one in parts]) for name in ("entropy", "consistency"))
    return Sureness(entropy, own, whole)


def measure_sureness(clusters: Sequence[IntArray], samples: Side, definition: str, *, tokens: bool) -> Sureness:
    """One model's, from the meanings of its samples; ``definition`` is the entropy's, and without ``tokens`` there is
    no coverage. An empty answer has no tokens."""
    logprobs = [[one.logprobs or () for one in answers] for answers in samples]
    covered = [coverage([one.text for one in answers], each) for answers, each in zip(samples, logprobs, strict=True)]
    return Sureness(
        np.array([uncertainty(ids, each, definition) for ids, each in zip(clusters, logprobs, strict=True)]),
        np.array([consistency(ids) for ids in clusters]),
        np.array(covered) if tokens else None,
    )


def heard_apart(joint: Sequence[IntArray], weak: Side, strong: Side) -> list[IntArray]:
    """Clusters over both models' answers in which one that says nothing agrees with none."""
    if not joint:
        return []
    return [
        apart_from_silence(ids, np.array([says_nothing(one.text) for one in (*s, *w)]))
        for ids, w, s in zip(joint, weak, strong, strict=True)
    ]


def believe(heard: Sequence[IntArray], *, slope: float | None = None) -> Belief:
    """The believed gain of every prompt, from `heard_apart`'s clusters; ``slope``: where it is known already."""
    found = confirmed_slope(heard) if slope is None else slope
    weight = belief_weight(found)
    return Belief(believed_gains(pair_shares(heard), weight), found, weight)
