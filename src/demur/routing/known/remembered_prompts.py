"""Prompts that could not be labelled, remembered with their embeddings: prompts like them are unknown, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from demur.labels.beliefs.unknown import UnknownPrompt
from demur.records import FloatArray

VECTORS = "unknown_vectors"  # name of the array in a saved router


@dataclass(frozen=True, eq=False)
class Remembered:
    """Unknown prompts and their unit rows, (m, d)."""

    prompts: tuple[UnknownPrompt, ...]
    vectors: FloatArray

    def reasons(self, vectors: FloatArray, known: FloatArray, familiar_similarity: float) -> list[str]:
        """Why each of some prompts is unknown, "" where it is not.

        ``vectors``: their unit rows, (n, d); ``known``: each one's similarity to its nearest training prompt, (n,). It
        is unknown where one of these is nearer, by at least ``familiar_similarity``.
        """
        similarities = vectors @ self.vectors.T
        nearest = similarities.argmax(axis=1)
        most = similarities[np.arange(len(vectors)), nearest]
        near = (most > known) & (most >= familiar_similarity)
        return [self.prompts[i].reason if each else "" for i, each in zip(nearest, near, strict=True)]

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
    return Remembered(tuple(UnknownPrompt(**row) for row in rows), arrays[VECTORS])
