"""Prompts that could not be labelled, remembered with their embeddings: prompts like them are unknown, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from demur.labels.beliefs.unknown import UnknownPrompt
from demur.records import FloatArray, IntArray
from demur.routing.decision import UnknownNeighbour
from demur.routing.known.nearest import NearestTraining

# Names of the arrays in a saved router; its scores are of the prompts that were learned, all of them without LEARNED.
VECTORS, SCORES, LEARNED = "unknown_vectors", "unknown_scores", "unknown_learned"


@dataclass(frozen=True, eq=False)
class Remembered:
    """Unknown prompts and their unit rows, (m, d)."""

    prompts: tuple[UnknownPrompt, ...]
    vectors: FloatArray
    scores: FloatArray | None = None  # (m,) by fits without the prompt, NaN where none learned from it; None: of all

    def look(self, vectors: FloatArray, known: FloatArray, familiar_similarity: float) -> tuple[list[str], FloatArray]:
        """Why each of some prompts is unknown, "" where it is not; and (n,) by how much similarities decide that.

        ``vectors``: their unit rows, (n, d); ``known``: each one's similarity to its nearest training prompt, (n,). It
        is unknown where one of these is nearer, by at least ``familiar_similarity``, and for the reason of that one.
        """
        similarities = vectors @ self.vectors.T
        by_reason = np.column_stack([similarities[:, rows].max(axis=1) for rows in self._rows_of.values()])
        most, reasons = by_reason.max(axis=1), [*self._rows_of]
        near = (most > known) & (most >= familiar_similarity)
        found = [reasons[i] if each else "" for i, each in zip(by_reason.argmax(axis=1), near, strict=True)]
        margins = np.abs(np.minimum(most - known, most - familiar_similarity))
        if len(reasons) > 1:
            second = np.partition(by_reason, -2, axis=1)[:, -2]
            margins = np.where(near, np.minimum(margins, most - second), margins)
        return found, margins

    @cached_property
    def _rows_of(self) -> dict[str, IntArray]:
        """The prompts of each reason."""
        reasons = np.array([one.reason for one in self.prompts])
        return {str(reason): np.flatnonzero(reasons == reason) for reason in np.unique(reasons)}

    def held_out_scores(self, seen: FloatArray) -> FloatArray:
        """(m,) by fits that did not see the prompt; ``seen``, (m,), of those that the router did not learn from."""
        return seen if self.scores is None else np.where(np.isnan(self.scores), seen, self.scores)

    def most_similar(self, row: FloatArray, count: int) -> list[UnknownNeighbour]:
        """Of different prompts the ``count`` most similar to a unit row, (d,), most similar first."""
        found = self._nearest.most_similar_texts(row, count)
        return [UnknownNeighbour(self.prompts[i].prompt, similarity) for i, similarity in found]

    @cached_property
    def _nearest(self) -> NearestTraining:
        return NearestTraining(self.vectors).of_texts(one.prompt for one in self.prompts)

    @property
    def held_out(self) -> dict[str, float]:
        """Scores by fits that did not see the prompt, of the prompts that the router learned from."""
        scores = [] if self.scores is None else self.scores.tolist()
        return {one.prompt: score for one, score in zip(self.prompts, scores, strict=False) if not np.isnan(score)}

    @property
    def arrays(self) -> dict[str, FloatArray]:
        """What a saved router keeps beside its prompts, by name; all of it finite."""
        if self.scores is None:
            return {VECTORS: self.vectors}
        learned = np.flatnonzero(~np.isnan(self.scores))
        return {VECTORS: self.vectors, SCORES: self.scores[learned], LEARNED: learned.astype(np.float64)}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its prompts as JSON objects."""
        return [asdict(one) for one in self.prompts]


def recall(rows: Sequence[Mapping[str, Any]], arrays: Mapping[str, FloatArray]) -> Remembered | None:
    """What a saved router remembers; None where it was saved without. Raises ValueError where parts do not fit."""
    if not rows:
        return None
    if len(rows) != len(arrays[VECTORS]):
        raise ValueError(f"{len(rows)} unknown prompts, {len(arrays[VECTORS])} vectors")
    scores = arrays.get(SCORES)
    if scores is not None:
        learned = arrays.get(LEARNED, np.arange(len(rows))).astype(int)
        if len(scores) != len(learned):
            raise ValueError(f"{len(learned)} unknown prompts that were learned, {len(scores)} of their scores")
        of_all = np.full(len(rows), np.nan)
        of_all[learned] = scores
        scores = of_all
    return Remembered(tuple(UnknownPrompt(**row) for row in rows), arrays[VECTORS], scores)
