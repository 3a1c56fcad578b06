"""Meaning clusters by bidirectional entailment: first-fit leader, with the fewest calls to the entailment model.

An answer joins the first cluster whose *first member* it entails and is entailed by (Kuhn et al. 2023; section 3.2 of
Zhang et al. 2025). Entailment need not be transitive, so the order of the answers matters; it is the sampling order.
Entailment itself is decided by the callable that is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from demur.errors import InputError
from demur.meaning.distinct_answers import DistinctAnswers, Pair
from demur.prompts.pictures import words_of
from demur.records import Entailment, FloatArray, IntArray, Progress, no_progress

BATCH_SIZE = 256  # pairs per call
SLACK = 0.01  # tolerance of the sum of a row of probabilities
CONTRADICTION, NEUTRAL, ENTAILMENT = range(3)


@dataclass(frozen=True, slots=True)
class MeaningClusters:
    """The clusters of many prompts' answers, and what they cost."""

    ids: tuple[IntArray, ...]  # per prompt: cluster of every answer, numbered by first appearance
    pairs: tuple[int, ...]  # per prompt: (premise, hypothesis) pairs that the entailment model scored
    calls: int  # calls of the entailment model, each of a batch of pairs

    @property
    def pairs_scored(self) -> int:
        """Pairs of all prompts."""
        return sum(self.pairs)


# (questions, answers to each) -> their meanings
Clustering = Callable[[Sequence[str], Sequence[Sequence[str]]], MeaningClusters]


def meaning_clusters(
    questions: Iterable[str] | None,
    answers: Iterable[Iterable[str]],
    *,
    entailment: Entailment,
    rules: bool = True,
    batch_size: int = BATCH_SIZE,
    progress: Progress = no_progress,
) -> MeaningClusters:
    """Cluster every prompt's answers by meaning, their pairs batched across prompts.

    ``questions`` (or None) are put before both sides, one space between. With ``rules``, an answer of more than a few
    words is compared by the final answer that it states, where one can be read (`demur.meaning.rules.final_answer`),
    and numbers, dates and units are decided by rule first; without, only identical answers are merged without the
    model. Calls of tools are compared by structure either way: no language model reads them.
    Empty answers are one meaning of their own. Each round peels off one cluster per prompt: its leader is the first
    answer left, so exactly the pairs of first-fit are compared. Raises InputError for an entailment that returns
    anything but probabilities of shape (n, 3), or for questions and answers that are not texts.
    """
    lists = read_lists(questions, answers, rules=rules)
    tasks = [_Peeling(one) for one in lists]
    scorer = Scorer(entailment, batch_size)
    active = [task for task in tasks if task.left]
    progress("clustering by meaning", 0, len(tasks))
    while active:
        forward = scorer.holds([pair for task in active for pair in task.forward_pairs()])
        for task in active:
            task.keep_forward(forward)
        backward = scorer.holds([pair for task in active for pair in task.backward_pairs()])
        for task in active:
            task.close_cluster(backward)
        active = [task for task in active if task.left]
        progress("clustering by meaning", len(tasks) - len(active), len(tasks))
    return MeaningClusters(tuple(task.ids() for task in tasks), tuple(task.pairs for task in tasks), scorer.calls)


def read_lists(
    questions: Iterable[str] | None, answers: Iterable[Iterable[str]], *, rules: bool
) -> list[DistinctAnswers]:
    """Every prompt's answers as they are compared; raises InputError as `meaning_clusters` does."""
    questions = None if questions is None else as_texts(questions, "questions")
    if isinstance(answers, str):
        raise InputError(f"answers is one text, {answers[:40]!r}; give a list of answers for each prompt")
    lists = [as_texts(one, "answers") for one in answers]
    if questions is not None and len(questions) != len(lists):
        raise InputError(f"{len(questions)} questions for {len(lists)} lists of answers; give one question per list")
    given = map(words_of, questions or [""] * len(lists))
    return [DistinctAnswers(question, texts, rules=rules) for question, texts in zip(given, lists, strict=True)]


def as_texts(values: Iterable[str], name: str) -> list[str]:
    """A list of texts from any iterable of them; raises InputError for a single text, which would be read as
    letters.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InputError(f"{name}: expected a list of texts, found {str(values)[:40]!r}")
    texts = list(values)
    strange = [one for one in texts if not isinstance(one, str)]
    if strange:
        raise InputError(f"{name}: expected a list of texts, found {str(strange[0])[:40]!r} in it")
    return texts


class _Peeling:
    """One prompt's answers while clusters are peeled off: `left` holds the answers without one, in order."""

    def __init__(self, answers: DistinctAnswers) -> None:
        self._answers = answers
        self._cluster_of: dict[object, int] = {}
        self.left: list[object] = list(answers.distinct)
        self._candidates: list[object] = []
        self.pairs = 0  # that the entailment model was asked about

    def forward_pairs(self) -> Iterator[Pair]:
        """Leader -> every answer left that might join it."""
        self._candidates = [key for key in self.left[1:] if self._answers.is_open(self.left[0], key)]
        self.pairs += len(self._candidates)
        return (self._answers.pair(self.left[0], key) for key in self._candidates)

    def keep_forward(self, entailed: Iterator[bool]) -> None:
        self._candidates = [key for key in self._candidates if next(entailed)]
        self.pairs += len(self._candidates)

    def backward_pairs(self) -> Iterator[Pair]:
        """The reverse, only of those where forward held."""
        return (self._answers.pair(key, self.left[0]) for key in self._candidates)

    def close_cluster(self, entailed: Iterator[bool]) -> None:
        """The leader and all that hold both ways are a cluster."""
        members = {self.left[0], *(key for key in self._candidates if next(entailed))}
        number = len(set(self._cluster_of.values()))
        self._cluster_of |= dict.fromkeys(members, number)
        self.left = [key for key in self.left if key not in members]

    def ids(self) -> IntArray:
        """Cluster of every answer, in sampling order."""
        return np.array([self._cluster_of[key] for key in self._answers.keys], dtype=np.int64)


class Scorer:
    """Sends pairs to the entailment model in batches."""

    def __init__(self, entailment: Entailment, batch_size: int = BATCH_SIZE) -> None:
        self._entailment, self._batch_size = entailment, batch_size
        self.calls = 0

    def holds(self, pairs: Sequence[Pair]) -> Iterator[bool]:
        """For each pair, whether entailment is strictly the most likely of the three."""
        return iter(strictly_entails(self.scores(pairs)).tolist())

    def scores(self, pairs: Sequence[Pair]) -> FloatArray:
        """Probabilities of contradiction, neutral, entailment; shape (n, 3)."""
        found: list[FloatArray] = [np.empty((0, 3))]
        for start in range(0, len(pairs), self._batch_size):
            batch = pairs[start : start + self._batch_size]
            found.append(checked_probabilities(self._entailment(batch), len(batch)))
            self.calls += 1
        return np.concatenate(found)


def strictly_entails(probabilities: FloatArray) -> FloatArray:
    """Boolean (n,): entailment is likelier than contradiction and than neutral."""
    return np.asarray(probabilities[:, ENTAILMENT] > probabilities[:, :ENTAILMENT].max(axis=1))


def checked_probabilities(probabilities: ArrayLike, n: int) -> FloatArray:
    """The entailment's answer as probabilities of shape (n, 3); raises InputError for anything else."""
    try:
        found = np.asarray(probabilities, dtype=float)
    except (TypeError, ValueError) as error:  # words, rows of different lengths
        raise InputError(f"the entailment returned no numbers for {n} pairs, expected shape ({n}, 3)") from error
    if found.shape != (n, 3):
        raise InputError(f"the entailment returned shape {found.shape} for {n} pairs, expected ({n}, 3)")
    if np.isnan(found).any():
        raise InputError(f"the entailment returned NaN for {int(np.isnan(found).any(axis=1).sum())} of {n} pairs")
    bad = np.flatnonzero((found < 0).any(axis=1) | ~(np.abs(found.sum(axis=1) - 1) <= SLACK))
    if len(bad):
        raise InputError(
            f"the entailment returned {found[bad[0]].tolist()} for a pair, expected three probabilities that sum to 1; "
            f"turn logits into probabilities (softmax)"
        )
    return found
