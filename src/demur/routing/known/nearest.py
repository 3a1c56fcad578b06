"""The training prompts most similar to a prompt: all are read, or of a great many those of the nearest cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from demur.methods.groups.cells import EXACT_ROWS, Cells
from demur.records import BoolArray, FloatArray, IntArray
from demur.statistics import first_rows

READ_ROWS = 1024
NAMES = ("cells.centres", "cells.order", "cells.starts")  # of the arrays in a saved router


@dataclass(frozen=True, eq=False)
class NearestTraining:
    """``vectors`` (n, d): unit rows of the training prompts; ``cells``: where these are too many to read at each
    decision, and a prompt nearer than the one found may then stand in a cell that was not read."""

    vectors: FloatArray
    cells: Cells | None = None
    firsts: BoolArray | None = None  # (n,) those whose text no other one before has; None: no text repeats

    @classmethod
    def of(cls, vectors: FloatArray) -> Self:
        """With cells where there are more than `EXACT_ROWS` vectors."""
        return cls(vectors, Cells.of(vectors) if len(vectors) > EXACT_ROWS else None)

    @classmethod
    def restore(cls, vectors: FloatArray, arrays: Mapping[str, FloatArray]) -> Self:
        """As it was saved with a router. Raises ValueError for cells of other vectors."""
        if not all(name in arrays for name in NAMES):
            return cls(vectors)
        centres, order, starts = (arrays[name] for name in NAMES)
        if len(order) != len(vectors) or len(starts) != len(centres) + 1:
            raise ValueError(f"cells of {len(order)} training prompts, {len(vectors)} vectors")
        return cls(vectors, Cells(centres, order.astype(np.int64), starts.astype(np.int64)))

    def of_texts(self, texts: Iterable[str]) -> Self:
        """The same, which knows the prompts' texts: `most_similar_texts`."""
        return replace(self, firsts=firsts_of(texts))

    @property
    def arrays(self) -> dict[str, FloatArray]:
        """What is saved with the router, beside the vectors."""
        if self.cells is None:
            return {}
        parts: tuple[Any, ...] = (self.cells.centres, self.cells.order, self.cells.starts)
        return dict(zip(NAMES, parts, strict=True))

    def similarities(self, rows: FloatArray) -> FloatArray:
        """(m,) each unit row's similarity to its nearest training prompt; 1 where there is none to compare with."""
        if not len(self.vectors):
            return np.ones(len(rows))
        if self.cells is None:
            return np.asarray((rows @ self.vectors.T).max(axis=1))
        return np.array([self.most_similar(row, 1)[1][0] for row in rows])

    def to_others(self, chosen: IntArray) -> FloatArray:
        """(m,) the similarity of these training prompts to their nearest other one."""
        if self.cells is None:
            found = self.vectors[chosen] @ self.vectors.T
            found[np.arange(len(chosen)), chosen] = -np.inf
            return np.asarray(found.max(axis=1))
        pairs = [(row, *self.most_similar(self.vectors[row], 2)) for row in chosen]
        return np.array([max(s for i, s in zip(near, found, strict=True) if i != row) for row, near, found in pairs])

    def most_similar(self, row: FloatArray, count: int) -> tuple[IntArray, FloatArray]:
        """The ``count`` training prompts most similar to a unit row, and their similarities, most similar first."""
        read = self._read(row, count)
        best, found = most(self._similarities(read, row), count)
        return read[best], found

    def most_similar_texts(self, row: FloatArray, count: int) -> list[tuple[int, float]]:
        """The same of ``count`` different texts: of a prompt that repeats, one training prompt with its similarity."""
        read = self._read(row, count)
        while self.firsts is not None and self.firsts[read].sum() < min(count, self.firsts.sum()):
            read = self._read(row, 2 * len(read))
        first = np.ones(len(read), dtype=bool) if self.firsts is None else self.firsts[read]
        best, found = most(self._similarities(read, row)[first], count)
        return list(zip(read[first][best].tolist(), found.tolist(), strict=True))

    def _similarities(self, read: IntArray, row: FloatArray) -> FloatArray:
        return np.asarray((self.vectors if self.cells is None else self.vectors[read]) @ row)

    def _read(self, row: FloatArray, count: int) -> IntArray:
        """The numbers of the training prompts that are compared with a unit row."""
        if self.cells is None:
            return np.arange(len(self.vectors))
        return self.cells.members(self.cells.near(self.cells.centres @ row, max(READ_ROWS, count)))


def firsts_of(texts: Iterable[str]) -> BoolArray | None:
    """(n,) those of the texts that none before is equal to; None where none repeats."""
    rows = first_rows(list(texts))
    firsts = rows == np.arange(len(rows))
    return None if firsts.all() else firsts


def most(values: FloatArray, count: int) -> tuple[IntArray, FloatArray]:
    """The places of the ``count`` largest values, and these, largest first."""
    count = min(count, len(values))
    if not count:
        return np.empty(0, dtype=int), np.empty(0)
    best = np.argpartition(-values, count - 1)[:count]
    best = best[np.argsort(-values[best])]
    return best, values[best]
