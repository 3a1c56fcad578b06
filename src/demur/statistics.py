"""Statistics that several stages use: bootstrap intervals, ranks, folds, AUROC, the binomial distribution.

Pure functions on arrays; they know neither prompts nor models. Rows of one group, such as the drafts of one prompt and
rows that repeat a prompt, are not independent: intervals draw them together, and folds keep them together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from demur.records import BoolArray, FloatArray, IntArray

LEVEL = 0.95  # of every interval
RESAMPLES = 1000  # of every bootstrap
FOLDS = 5


def interval(
    values: ArrayLike,
    statistic: Callable[[Any], float] = np.mean,
    *,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a ``statistic`` of rows; ``values`` (n, ...), ``groups`` (n,) of them.

    For a statistic of several arrays, give row numbers (``np.arange(n)``) as values. (Efron and Tibshirani 1993, 13.3)
    """
    low, high = percentile_interval(bootstrap(values, statistic, groups=groups, resamples=resamples))
    return float(low), float(high)


def mean_interval(values: ArrayLike, groups: IntArray | None = None) -> tuple[float, float, float]:
    """Mean of (n,) values and the ends of its bootstrap interval, the same in whatever order the rows stand.

    Two commands that count the same prompts, one in a file's order and one in a router's, so give one interval.
    ``groups`` (n,): rows that are drawn together.
    """
    rows = np.asarray(values, dtype=float)
    number = group_numbers(len(rows), groups)
    sizes = np.bincount(number)
    means = np.bincount(number, rows) / sizes
    order = np.lexsort((rows, sizes[number], means[number]))
    return float(rows[order].mean()), *interval(rows[order], groups=first_rows(number[order].tolist()))


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[Any], float],
    *,
    groups: ArrayLike | None = None,
    resamples: int = RESAMPLES,
) -> FloatArray:
    """(resamples,) the statistic of rows drawn with replacement; the same rows for every array of equal length."""
    rows = np.asarray(values)
    draws = draw_counts(len(rows), groups=groups, resamples=resamples)
    return np.array([statistic(np.repeat(rows, counts, axis=0)) for counts in draws], dtype=float)


def draw_counts(n: int, *, groups: ArrayLike | None = None, resamples: int = RESAMPLES) -> Iterator[IntArray]:
    """(n,) how often each row is drawn, one resample after another; as many groups are drawn as there are."""
    number = group_numbers(n, groups)
    random, drawn = np.random.default_rng(0), int(number.max()) + 1
    for _ in range(resamples):
        yield np.bincount(random.integers(0, drawn, drawn), minlength=drawn)[number]


def group_numbers(n: int, groups: ArrayLike | None) -> IntArray:
    """(n,) groups numbered from 0; without groups every row is one of its own."""
    return np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]


def first_rows(labels: Sequence[Hashable]) -> IntArray:
    """(n,) for each row the first that has its label, such as its prompt's text: groups of the rows that repeat one.

    Where none repeats, every row is a group of its own, with the folds and draws that it has without groups.
    """
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(label, row) for row, label in enumerate(labels)], dtype=np.int64)


def percentile_interval(draws: ArrayLike) -> FloatArray:
    """(2, ...) the middle 95 % of ``draws`` (resamples, ...); draws that are nan are left out, nan where all are."""
    found = np.asarray(draws, dtype=float)
    if np.isnan(found).all():
        return np.full((2, *found.shape[1:]), math.nan)
    return np.asarray(np.nanquantile(found, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0))


def normal_interval(values: FloatArray, comparisons: int = 1) -> tuple[float, float]:
    """Interval of the mean of (n,) values, n >= 2, by the normal distribution: 95 % over all ``comparisons`` together.

    Bonferroni's correction, so the intervals may be of overlapping or dependent rows.
    """
    deviations = NormalDist().inv_cdf(1 - (1 - LEVEL) / 2 / comparisons)
    mean, width = float(np.mean(values)), deviations * float(np.std(values, ddof=1)) / len(values) ** 0.5
    return mean - width, mean + width


def mean_ranks(values: ArrayLike) -> FloatArray:
    """Rank of each value among all, scaled to [0, 1]; equal values share their mean rank, and a single one gives .5."""
    array = np.asarray(values)
    levels, places, counts = np.unique(array, return_inverse=True, return_counts=True)
    if len(levels) == 1:
        return np.full(array.shape, 0.5)
    middle = np.cumsum(counts) - (counts + 1) / 2  # mean rank of each block of equal values, from 0
    return np.asarray((middle / (array.size - 1))[places]).reshape(array.shape)


def folds(n: int, *, groups: ArrayLike | None = None, seed: int = 0) -> IntArray:
    """(n,) the fold of each row, drawn by ``seed``: FOLDS, or as many as there are groups; a group is in one fold."""
    number = group_numbers(n, groups)
    count = int(number.max()) + 1
    return (np.random.default_rng(seed).permutation(count) % min(FOLDS, count))[number]


def held_out(fold_of: IntArray, predict: Callable[[BoolArray, BoolArray], FloatArray]) -> FloatArray:
    """(n, ...) predictions of each row by a fit on the other folds.

    ``predict(train, held)``, two masks (n,), fits on the rows of the first and returns one prediction per row held out.
    """
    masks = [fold_of == fold for fold in np.unique(fold_of)]
    predictions = [predict(~held, held) for held in masks]
    found = np.empty((len(fold_of), *predictions[0].shape[1:]))
    for held, predicted in zip(masks, predictions, strict=True):
        found[held] = predicted
    return found


def auroc(scores: FloatArray, quality: FloatArray) -> float:
    """P(a wrong row has the larger score), ties half; each row is right with weight ``quality`` in [0, 1]; arrays (n,).

    Scores that are nan are left out; nan where nothing right, or nothing wrong, remains.
    """
    known = ~np.isnan(scores)
    levels, place = np.unique(scores[known], return_inverse=True)
    right = np.bincount(place, quality[known], len(levels))
    wrong = np.bincount(place, 1 - quality[known], len(levels))
    below = np.concatenate([[0.0], np.cumsum(right)[:-1]])
    total = right.sum() * wrong.sum()
    return float((wrong * (below + right / 2)).sum() / total) if total > 0 else math.nan


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k), summed in logarithms; 0 < p < 1."""
    if k >= n:
        return 1.0
    counts = np.arange(k + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    logs = factorials[n] - factorials[counts] - factorials[n - counts]
    return float(min(1.0, np.exp(logs + counts * math.log(p) + (n - counts) * math.log1p(-p)).sum()))
