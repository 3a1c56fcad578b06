"""Training prompts in cells of like embeddings, so that a decision among a million reads a few thousand of them.

A cell is the rows nearest to one centre (an inverted file, as in FAISS's IVF). Rows far from a query are then known by
their cell alone; each method's docstring says how it uses that, and how large its error may be.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Self

import numpy as np

from demur.methods.groups.kmeans import spherical_kmeans
from demur.records import FloatArray, IntArray

EXACT_ROWS = 65_536  # up to so many training prompts every one of them is read: 10 ms with 384 numbers each
ROWS_PER_CENTRE = 32  # that k-means sees; more moves no centre by much
ROUNDS = 8
ROWS_AT_ONCE = 8192


@dataclass(frozen=True)
class Cells:
    """Rows grouped by their nearest centre.

    ``centres`` (c, d): the mean of each cell's rows, shorter than 1; ``order`` (n,): numbers of the rows, cell by cell;
    ``starts`` (c + 1,): where each cell begins in ``order``.
    """

    centres: FloatArray
    order: IntArray
    starts: IntArray

    @classmethod
    def of(cls, rows: FloatArray) -> Self:
        """Cells of unit rows (n, d), about 2 sqrt(n) of them; the same rows give the same cells."""
        random = np.random.default_rng(0)
        count = max(1, round(2 * len(rows) ** 0.5))
        seen = rows[np.sort(random.choice(len(rows), min(len(rows), ROWS_PER_CENTRE * count), replace=False))]
        _, centres = spherical_kmeans(seen, count, random, rounds=ROUNDS)
        parts = [np.argmax(rows[i : i + ROWS_AT_ONCE] @ centres.T, axis=1) for i in range(0, len(rows), ROWS_AT_ONCE)]
        cell = np.concatenate(parts)
        order = np.argsort(cell, kind="stable")
        _, first = np.unique(cell[order], return_index=True)
        starts = np.append(first, len(rows)).astype(np.int64)
        means = [rows[order[a:b]].mean(axis=0) for a, b in itertools.pairwise(starts)]
        return cls(np.stack(means).astype(rows.dtype), order.astype(np.int64), starts)

    @property
    def sizes(self) -> IntArray:
        """(c,) rows of each cell."""
        return np.diff(self.starts)

    def cell_of_place(self, places: IntArray) -> IntArray:
        """The cell of each of these places in ``order``."""
        return np.asarray(np.searchsorted(self.starts, places, side="right") - 1)

    def near(self, closeness: FloatArray, count: int) -> IntArray:
        """The cells of the largest ``closeness`` (c,) that hold ``count`` rows together, one at least."""
        candidates = np.argpartition(-closeness, min(len(closeness), 64) - 1)[:64]
        candidates = candidates[np.argsort(-closeness[candidates], kind="stable")]
        enough = int(np.searchsorted(np.cumsum(self.sizes[candidates]), count)) + 1
        return np.asarray(candidates[:enough])

    def members(self, cells: IntArray) -> IntArray:
        """The numbers of the rows of these cells."""
        return np.concatenate([self.order[self.starts[c] : self.starts[c + 1]] for c in cells])
