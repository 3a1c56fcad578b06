"""Stores meanings, so that each list of answers is clustered once for all stages.

Clusters are stored by the question and its answers, and by what decided: the entailment model, the rules, and a hash of
the code that applies them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from demur.meaning.clusters import MeaningClusters, meaning_clusters
from demur.meaning.saturated_prompts import Saturated, find_saturated
from demur.records import Entailment, Progress, Sample, content_hash, no_progress
from demur.store import Answers, Store

KEPT = 10_000  # lists of answers whose clusters are in memory, beside those that are asked about at once


class Meanings:
    """Clusters answers by meaning (a `demur.meaning.clusters.Clustering`), and looks up those that it has clustered.

    ``identity`` identifies the entailment; "" for a function of the user's own, whose clusters are kept only as
    long as this object.
    """

    def __init__(
        self,
        entailment: Entailment,
        identity: str = "",
        *,
        rules: bool = True,
        store: Store | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self.entailment, self.rules = entailment, rules
        self._decided_by = f"{identity} rules {rules} {deciding_code()}"
        self._store = store if identity else None
        self._progress = progress
        self._known: dict[Answers, tuple[Sequence[int], int]] = {}
        self._stated: Mapping[tuple[str, str], str] = {}

    def stating(self, stated: Mapping[tuple[str, str], str]) -> Meanings:
        """The same, with answers compared by what their model ``stated`` of them, by question and answer."""
        found = copy.copy(self)
        found._stated = stated
        return found

    def quiet(self) -> Meanings:
        """The same without progress, for a portion of what there is to do."""
        found = copy.copy(self)
        found._progress = no_progress
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_known": {}, "_progress": no_progress}  # for a worker: what it lacks is in the store

    def compared_text(self, question: str, answer: str) -> str:
        """What is compared of an answer: the final answer that its model stated, or all of it."""
        return self._stated.get((question, answer), answer)

    def compared_samples(self, question: str, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with what is compared of each as their text."""
        return [replace(one, text=self.compared_text(question, one.text)) for one in samples]

    def __call__(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> MeaningClusters:
        """The clusters of every prompt's answers. ``calls`` counts those that were made now."""
        asked = self._compared_answers(questions, answers)
        missing = self._missing(asked)
        calls = self._cluster(missing) if missing else 0
        found = [self._known[one] for one in asked]
        ids = tuple(np.array(clusters, dtype=np.int64) for clusters, _ in found)
        return MeaningClusters(ids, tuple(pairs for _, pairs in found), calls)

    def saturated_prompts(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> Saturated:
        """Which prompts' answers all differ, as far as their likeliest pairs tell (`demur.meaning.saturated_prompts`).

        Such a list is kept as clustered: each of its answers is a meaning of its own.
        """
        asked = self._compared_answers(questions, answers)
        missing = self._missing(asked)
        if missing:
            found = find_saturated(
                *([question for question, _ in missing], [texts for _, texts in missing]),
                entailment=self.entailment,
                rules=self.rules,
                progress=self._progress,
            )
            pairs = dict(zip(missing, found.pairs, strict=True))
            self._keep({one: (range(len(one[1])), pairs[one]) for one in compress(missing, found.found)})
        apart = [one in self._known and len(set(self._known[one][0])) == len(one[1]) for one in asked]
        scored = [self._known[one][1] if known else 0 for one, known in zip(asked, apart, strict=True)]
        return Saturated(np.array(apart, dtype=bool), tuple(scored))

    def _compared_answers(self, questions: Sequence[str], answers: Sequence[Sequence[str]]) -> list[Answers]:
        """What is compared of every list of answers."""
        return [
            (question, tuple(self.compared_text(question, text) for text in texts))
            for question, texts in zip(questions, answers, strict=True)
        ]

    def _missing(self, asked: Sequence[Answers]) -> list[Answers]:
        """The lists that have not been clustered yet; those in the store are read."""
        if self._store is not None and len(self._known) > KEPT:
            self._known.clear()  # they are in the store, and this is a long run
        missing = list(dict.fromkeys(one for one in asked if one not in self._known))
        if self._store is not None and missing:
            self._known.update(self._store.meanings(self._decided_by, missing))
            missing = [one for one in missing if one not in self._known]
        return missing

    def _cluster(self, missing: Sequence[Answers]) -> int:
        """Cluster and keep what is missing; returns the calls of the entailment model."""
        questions, answers = zip(*missing, strict=True)
        found = meaning_clusters(
            questions, answers, entailment=self.entailment, rules=self.rules, progress=self._progress
        )
        self._keep(
            {one: (ids.tolist(), pairs) for one, ids, pairs in zip(missing, found.ids, found.pairs, strict=True)}
        )
        return found.calls

    def _keep(self, fresh: Mapping[Answers, tuple[Sequence[int], int]]) -> None:
        self._known.update(fresh)
        if self._store is not None:
            self._store.add_meanings(self._decided_by, fresh)


@cache
def deciding_code() -> str:
    """A hash of what decides here, so that stored meanings are not used again after a rule has changed."""
    return hash_of_code(Path(str(files("demur"))) / "meaning")


def hash_of_code(folder: Path) -> str:
    """A hash of the modules and word lists in a folder and those below it; models' files have hashes of their own."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".json"))
    return content_hash([path.read_text("utf-8") for path in paths if "weights" not in path.relative_to(folder).parts])
