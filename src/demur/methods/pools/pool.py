"""What every pool router shares: the check of its input, pairs of models, and a pair's score."""

from __future__ import annotations

from itertools import combinations
from typing import Self

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import checked_rows
from demur.records import FloatArray, IntArray


class PoolRouter:
    """Base of the pool routers; parameters are the constructor's arguments, learned arrays end in ``_``."""

    def fit(self, X: FloatArray, quality: FloatArray, task: IntArray | None = None) -> Self:
        """Learn from embeddings (n, d) and each model's quality (n, M), NaN where unknown. Raises InputError.

        ``task`` (n,): the known task of every prompt, numbered from 0; GraphRouter alone has a use for it.
        """
        rows, known = checked_rows(X, None, ""), np.asarray(quality, dtype=float)
        if known.ndim != 2 or len(known) != len(rows) or known.shape[1] < 2:
            raise InputError(
                f"quality has shape {known.shape} for {len(rows)} prompts; expected ({len(rows)}, M), M >= 2"
            )
        useful = (~np.isnan(known)).sum(axis=1) >= 2
        if not useful.any():
            raise InputError("no prompt has the quality of two models; there is nothing to compare")
        if np.nanmax(np.nanmax(known[useful], axis=1) - np.nanmin(known[useful], axis=1)) == 0:
            raise InputError("the models never differ on these prompts: every row is a tie, nothing can be learned")
        self.models_ = known.shape[1]
        self.width_ = rows.shape[1]
        self._fit(rows[useful].astype(float), known[useful], None if task is None else _tasks(task, rows)[useful])
        return self

    def scores(self, X: FloatArray, task: IntArray | None = None) -> FloatArray:
        """(n, M) score of every model, larger = better; ``task`` as in fit. Raises InputError for another width."""
        rows = checked_rows(X, getattr(self, "width_", None), type(self).__name__).astype(float)
        return self._scores(rows, None if task is None else _tasks(task, rows))

    def strong_score(self, X: FloatArray) -> FloatArray:
        """(n,) score of the last model minus that of the first: a pair's need of the strong model."""
        scores = self.scores(X)
        return np.asarray(scores[:, -1] - scores[:, 0])

    def _fit(self, X: FloatArray, quality: FloatArray, task: IntArray | None) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it learns")

    def _scores(self, X: FloatArray, task: IntArray | None) -> FloatArray:
        raise TypeError(f"{type(self).__name__} does not say how it scores")


def _tasks(task: IntArray, rows: FloatArray) -> IntArray:
    numbers = np.asarray(task)
    if numbers.shape != (len(rows),) or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        raise InputError(f"task of shape {numbers.shape} and type {numbers.dtype}; give {len(rows)} numbers from 0")
    return numbers


def pair_quality(y: FloatArray) -> FloatArray:
    """(n, 2) quality of weak and strong that targets y stand for."""
    return np.stack([1.0 - np.asarray(y, dtype=float), np.asarray(y, dtype=float)], axis=1)


def quality_range(quality: FloatArray) -> FloatArray:
    """(n,) how far the best model of a prompt is above the worst: how much the choice matters there."""
    return np.asarray(np.nanmax(quality, axis=1) - np.nanmin(quality, axis=1))


def battles(quality: FloatArray) -> tuple[list[tuple[int, int]], FloatArray, FloatArray]:
    """All pairs (a, b) of models; who won, (n, pairs): 1 = a, .5 = tie; and which were fought, (n, pairs) in {0, 1}.

    A win by less than the largest gap is less of a win: 1/2 + gap / (2 largest).
    """
    pairs = list(combinations(range(quality.shape[1]), 2))
    left, right = ([pair[side] for pair in pairs] for side in (0, 1))
    gap = quality[:, left] - quality[:, right]
    fought = ~np.isnan(gap)
    won = 0.5 + np.nan_to_num(gap) / (2 * np.nanmax(np.abs(gap)))
    return pairs, np.where(fought, won, 0.0), fought.astype(float)
