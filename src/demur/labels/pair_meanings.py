"""What both models' answers to the same prompts mean: each model's by themselves, and over both.

Prompts whose answers all differ are not clustered: no label comes of them (`demur.meaning.saturated_prompts`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from demur.meaning.clusters import MeaningClusters
from demur.meaning.meanings import Meanings
from demur.records import BoolArray, IntArray, Prompt, Sample

_Side = Sequence[Sequence[Sample]]  # a model's samples of every prompt


@dataclass(frozen=True, slots=True)
class PairMeanings:
    """Clusters of both models' answers to n prompts."""

    weak: Sequence[IntArray]
    strong: Sequence[IntArray]
    joint: Sequence[IntArray]  # over both models' answers, the strong model's first; none where they were not asked for
    pairs: int  # that the entailment model decided about


def pair_meanings(
    prompts: Sequence[Prompt], weak: _Side, strong: _Side, meanings: Meanings, *, joint: bool
) -> PairMeanings:
    """Cluster the answers of both models, each model's by themselves, and over both where ``joint``.

    The pairs of all of them share the batches. Each answer of a saturated prompt is a meaning of its own.
    """
    questions = [prompt.text for prompt in prompts]
    both = _both(weak, strong)
    search = meanings.saturated_prompts(questions, both)
    n = len(prompts)
    own = [[one.text for one in answers] for answers in (*weak, *strong)]
    found = _clusters(questions * 2, own, meanings, np.tile(search.found, 2))
    across = _clusters(questions, both, meanings, search.found) if joint else MeaningClusters((), (), 0)
    # Where all of a prompt's answers differ, the pairs within either model are among those of both: they are not asked
    # about again when it is labelled again, so they are not counted the first time either.
    apart = np.array([len(np.unique(ids)) == len(ids) for ids in across.ids]) if joint else search.found
    own_pairs = sum(compress(found.pairs, np.tile(~apart, 2)))
    return PairMeanings(found.ids[:n], found.ids[n:], across.ids, sum(search.pairs) + own_pairs + across.pairs_scored)


def joint_clusters(prompts: Sequence[Prompt], weak: _Side, strong: _Side, meanings: Meanings) -> MeaningClusters:
    """Clusters over both models' answers of every prompt, the strong model's first."""
    return meanings([prompt.text for prompt in prompts], _both(weak, strong))


def _both(weak: _Side, strong: _Side) -> list[list[str]]:
    return [[one.text for one in (*s, *w)] for w, s in zip(weak, strong, strict=True)]


def _clusters(
    questions: Sequence[str], answers: Sequence[Sequence[str]], meanings: Meanings, apart: BoolArray
) -> MeaningClusters:
    """The clusters of every prompt's answers; those ``apart`` are not asked about."""
    asked = np.flatnonzero(~apart).tolist()
    found = meanings([questions[i] for i in asked], [answers[i] for i in asked])
    ids: list[IntArray] = [np.arange(len(one)) for one in answers]
    pairs = [0] * len(answers)
    for i, clusters, count in zip(asked, found.ids, found.pairs, strict=True):
        ids[i], pairs[i] = clusters, count
    return MeaningClusters(tuple(ids), tuple(pairs), found.calls)
