"""Cells of training prompts that a decision does not read: how many of their rows are near a query, and what they say.

Of a cell the number of its rows, the length of their mean, their mean outcome and their variance are kept. A query's
cosines with the rows of a cell are taken for normal around that with their mean, which lies in the direction of the
cell's centre; the directions of the variance are the same in all cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np

from demur.records import FloatArray, IntArray

VARIANCE_ROWS = 32_768  # from which the directions of the variance are told
LEAST_VARIANCE = 0.02  # of a cell, in all directions: a cell of one row has none
_STEPS = np.linspace(-8, 8, 1601)
_BEYOND = np.array([1 - NormalDist().cdf(step) for step in _STEPS])


@dataclass(frozen=True)
class UnreadCells:
    """What every cell is known by."""

    lengths: FloatArray  # (c,) of the mean of the cell's rows, along its centre
    sizes: FloatArray  # (c,) rows
    outcomes: FloatArray  # (c, 2) means of weight * target and of weight
    variances: FloatArray  # (c,) in all directions, as shares of the mean of all cells
    directions: FloatArray  # (d, d) variance within a cell, the mean of all cells

    @classmethod
    def of(cls, rows: FloatArray, outcomes: FloatArray, centres: FloatArray, members: Sequence[IntArray]) -> Self:
        """Of unit rows (n, d) with outcomes (n, 2); unit ``centres`` (c, d) and the numbers of the rows of each."""
        sizes = np.array([len(cell) for cell in members])
        means, said = (
            np.stack([values[cell].mean(axis=0) if len(cell) else np.zeros(values.shape[1]) for cell in members])
            for values in (rows, outcomes)
        )
        cell_of = np.empty(len(rows), dtype=int)
        for number, cell in enumerate(members):
            cell_of[cell] = number
        seen = np.random.default_rng(2).choice(len(rows), min(len(rows), VARIANCE_ROWS), replace=False)
        apart = rows[seen] - means[cell_of[seen]]
        directions = apart.T @ apart / len(apart)
        variances = np.maximum(1 - (means**2).sum(axis=1), LEAST_VARIANCE) / max(np.trace(directions), LEAST_VARIANCE)
        kept = ((means * centres).sum(axis=1), sizes, said, variances, directions)
        return cls(*(value.astype(rows.dtype) for value in kept))

    def beyond(self, query: FloatArray, cells: IntArray, closeness: FloatArray) -> Callable[[float], FloatArray]:
        """A function of a cosine: of each of these ``cells``, how many rows have a larger one with the query.

        ``closeness``: the query's cosines with the centres of the cells.
        """
        middle, sizes = closeness * self.lengths[cells], self.sizes[cells]
        width = np.sqrt(np.maximum(query @ self.directions @ query, 1e-12) * self.variances[cells])

        def count(cosine: float) -> FloatArray:
            return np.asarray(sizes * np.interp((cosine - middle) / width, _STEPS, _BEYOND))

        return count
