"""Which prompts' answers all differ in meaning, judged by the pairs that are likeliest to mean the same.

Clusters of answers that all differ need every pair of them, and end in no label. Where no two answers are equal by
rule, the pairs that look most alike are asked first, some at a time. Where none of the likeliest means the same, or of
those just asked none comes near it, the prompt is taken as saturated and its other pairs are not asked. All other
prompts are clustered as before. How many prompts are taken as saturated that are not quite: docs/method.md, from
`benchmarks/saturated.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, compress

import numpy as np

from demur.meaning.clusters import ENTAILMENT, Scorer, read_lists, strictly_entails
from demur.meaning.distinct_answers import DistinctAnswers
from demur.records import BoolArray, Entailment, FloatArray, Progress, no_progress

LIKELIEST = 0.2  # of a prompt's pairs, that are asked before the others are given up
MOST_LIKELY = 30  # of them at most
AT_ONCE = 8  # of them: a prompt whose answers repeat mostly shows it in the first
HOPELESS = 0.05  # probability of entailment that some pair of those must reach for the next ones to be asked
FEWEST_PAIRS = 20  # below, the search saves nothing
LONGEST = 2000  # characters of an answer by which its likeness is judged
_Keys = tuple[object, object]


@dataclass(frozen=True, slots=True)
class Saturated:
    """Which prompts' answers all differ, and what it took to tell."""

    found: BoolArray  # (n,) of every prompt
    pairs: tuple[int, ...]  # (premise, hypothesis) pairs that the entailment model scored to tell, per prompt


def find_saturated(
    questions: Sequence[str],
    answers: Sequence[Sequence[str]],
    *,
    entailment: Entailment,
    rules: bool = True,
    progress: Progress = no_progress,
) -> Saturated:
    """Which of the prompts' lists of answers hold no two that mean the same, as far as the likeliest pairs tell.

    False wherever it would save nothing: two answers are equal by rule, or there are fewer than FEWEST_PAIRS pairs.
    Pairs are compared as `demur.meaning.clusters.meaning_clusters` does, in sampling order and both ways.
    """
    searches = [_Search(one) for one in read_lists(questions, answers, rules=rules)]
    scorer = Scorer(entailment)
    progress("looking for answers that agree", 0, len(searches))
    while active := [one for one in searches if one.waiting]:
        forward = iter(scorer.scores([pair for one in active for pair in one.forward_pairs()]))
        for one in active:
            one.keep_forward(forward)
        backward = scorer.holds([pair for one in active for pair in one.backward_pairs()])
        for one in active:
            one.close(backward)
        progress("looking for answers that agree", len(searches) - len(active), len(searches))
    return Saturated(np.array([one.saturated for one in searches], dtype=bool), tuple(one.pairs for one in searches))


class _Search:
    """One prompt's likeliest pairs, asked some at a time until one means the same."""

    def __init__(self, answers: DistinctAnswers) -> None:
        self._answers = answers
        likeliest = _likeliest(answers)
        self.saturated = bool(likeliest)
        self.waiting = [likeliest[start : start + AT_ONCE] for start in range(0, len(likeliest), AT_ONCE)]
        self._open: list[_Keys] = []
        self._hopeless = False
        self.pairs = 0

    def forward_pairs(self) -> Iterator[tuple[str, str]]:
        self._open = self.waiting.pop(0)
        self.pairs += len(self._open)
        return (self._answers.pair(one, other) for one, other in self._open)

    def keep_forward(self, scores: Iterator[FloatArray]) -> None:
        own = np.array([next(scores) for _ in self._open])
        self._hopeless = bool(own[:, ENTAILMENT].max() < HOPELESS)
        self._open = list(compress(self._open, strictly_entails(own)))
        self.pairs += len(self._open)

    def backward_pairs(self) -> Iterator[tuple[str, str]]:
        return (self._answers.pair(other, one) for one, other in self._open)

    def close(self, entailed: Iterator[bool]) -> None:
        decided = [next(entailed) for _ in self._open]
        if any(decided):
            self.saturated, self.waiting = False, []
        elif self._hopeless:
            self.waiting = []


def _likeliest(answers: DistinctAnswers) -> list[_Keys]:
    """The open pairs of a prompt that look most alike, most first; none where there is nothing to save."""
    if len(answers.distinct) < len(answers.keys):
        return []
    pairs = [keys for keys in combinations(answers.distinct, 2) if answers.is_open(*keys)]
    if len(pairs) < FEWEST_PAIRS:
        return []
    parts = {key: trigrams(answers.answer(key)) for key in answers.distinct}
    asked = min(MOST_LIKELY, round(LIKELIEST * len(pairs)))
    return sorted(pairs, key=lambda keys: -overlap(parts[keys[0]], parts[keys[1]]))[:asked]


def trigrams(text: str) -> set[str]:
    """All runs of three characters, whatever their case; of a shorter text itself."""
    letters = text[:LONGEST].casefold()
    return {letters[i : i + 3] for i in range(max(1, len(letters) - 2))}


def overlap(one: set[str], other: set[str]) -> float:
    """Jaccard index: what both share, of what either has."""
    return len(one & other) / max(1, len(one | other))
