"""Kernel ridge regression on the embedding (a Gaussian process's mean): smooth like a linear router, local like kNN.

Of all methods here it learns soft targets best on NQ-Open and on the local pair (benchmarks/routing_quality.py), on
which ``gamma`` and ``alpha`` were set by hand. Up to ``centres`` training prompts it is exact; of more, evenly spaced
ones are its centres (subset of regressors; Rasmussen and Williams 2006, section 8.3.1), so that a decision stays one
small matrix-vector product.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from demur.mapping import Map
from demur.methods.estimator import Estimator, centre_and_scale, sigmoid
from demur.methods.fit.threads import one_thread
from demur.records import FloatArray, IntArray

STEEPNESS = 4.0  # sigmoid(4 (f - 1/2)) is f near 1/2, and stays inside (0, 1) without making ties of the extremes
JITTER = 1e-6
LEAST_OF_KIND = 60  # prompts of each kind on average; of kinds with fewer than half as many none is learned apart
PER_KIND = ("scale_", "offset_")
STEPS = 30  # of k-means
ROWS_AT_ONCE = 2048  # of the training prompts, where there are more of them than centres
ROWS_TOGETHER = 8192  # whose sums a worker gives: 128 MB of 4,096 centres, for about 2 s of work


@dataclass(frozen=True, slots=True)
class Gaussian:
    """exp(-gamma |x - c|^2) of rows and ``centres`` (m, d), rows first moved by ``mean`` and divided by ``scale``."""

    gamma: float
    centres: FloatArray
    mean: FloatArray
    scale: FloatArray

    def __call__(self, X: FloatArray) -> FloatArray:
        """(n, m) similarity of rows to the centres."""
        return self.of_scaled((X - self.mean) / self.scale)

    def of_scaled(self, rows: FloatArray) -> FloatArray:
        """The same of rows that are scaled already, as the centres are."""
        found = rows @ self.centres.T
        found *= 2  # in place from here on: the array may be half of what training holds
        found -= (rows**2).sum(axis=1)[:, None]
        found -= (self.centres**2).sum(axis=1)
        np.minimum(found, 0.0, out=found)
        found *= self.gamma
        return np.asarray(np.exp(found, out=found))


@dataclass(frozen=True, slots=True)
class Rows:
    """Training prompts whose part of the normal equations is summed together: (n, d), (n,) and (n,)."""

    X: FloatArray
    y: FloatArray
    weight: FloatArray


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """K' W K, (m, m), and K' W y, (m,), of rows' kernel K (n, m); work for `demur.mapping`.

    A part's products are of the rows' own precision, a matrix by itself transposed, and added up in float64.
    """

    kernel: Gaussian

    def __call__(self, rows: Rows) -> tuple[FloatArray, FloatArray]:
        m = len(self.kernel.centres)
        system, right = np.zeros((m, m)), np.zeros(m)
        with one_thread():  # a worker of a cluster begins here
            for start in range(0, len(rows.X), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                root = np.sqrt(rows.weight[part]).astype(rows.X.dtype)
                weighted = root[:, None] * self.kernel(rows.X[part])
                system += weighted.T @ weighted
                right += weighted.T @ (root * rows.y[part])
        return system, right


class KernelRidge(Estimator):
    """Score = squashed sum_i a_i exp(-gamma |x - x_i|^2), on rows scaled to mean square length 1 around their mean.

    ``gamma``: inverse squared width. ``alpha``: ridge penalty. ``centres``: most prompts that carry a weight.
    ``kinds``: at most so many groups of near prompts are learned apart, each on its own mean and scale. Where prompts
    of two domains come together, one scale for both tells the domains apart, and little within either.
    """

    mean_: FloatArray  # (d,); of several kinds a row each, and so on
    scale_: FloatArray  # (1,)
    offset_: FloatArray  # (1,)
    centres_: FloatArray  # (m, d)
    coefficients_: FloatArray  # (m,)
    mapping: Map = map  # what sums over rows: `demur.methods.fit.spread` sets it for a fit

    def __init__(self, gamma: float = 1.5, alpha: float = 6.0, centres: int = 4096, kinds: int = 1) -> None:
        self.gamma = gamma
        self.alpha = alpha
        self.centres = centres
        self.kinds = kinds

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        vars(self).pop("means_", None)  # of an earlier fit
        means = group_means(X, min(self.kinds, len(X) // LEAST_OF_KIND))
        if len(means) < 2:
            self._fit_together(X, y, weight)
            return
        self.means_, kind = means, nearest(X, means)
        groups = [kind == one for one in range(len(means))]
        parts = [self._alone() for _ in groups]
        for part, rows in zip(parts, groups, strict=True):
            part._fit_together(X[rows], y[rows], weight[rows])
        self.mean_ = np.stack([part.mean_ for part in parts])
        self.scale_, self.offset_ = (np.concatenate([getattr(part, name) for part in parts]) for name in PER_KIND)
        self.centres_ = np.concatenate([part.centres_ for part in parts])
        self.coefficients_ = np.concatenate([part.coefficients_ for part in parts])
        self.kind_of_ = np.repeat(np.arange(len(parts)), [len(part.centres_) for part in parts])

    def _alone(self) -> KernelRidge:
        part = KernelRidge(self.gamma, self.alpha, self.centres)
        part.mapping = self.mapping
        return part

    def _part(self, kind: int) -> KernelRidge:
        """What was learned of one kind of prompts."""
        part, rows = self._alone(), self.kind_of_ == kind
        part.mean_, part.scale_, part.offset_ = self.mean_[kind], self.scale_[[kind]], self.offset_[[kind]]
        part.centres_, part.coefficients_ = self.centres_[rows], self.coefficients_[rows]
        return part

    def _fit_together(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        self.mean_, self.scale_ = centre_and_scale(X, weight)
        self.centres_ = (self._centre_rows(X) - self.mean_) / self.scale_
        self.offset_ = np.array([np.average(y, weights=weight)], dtype=X.dtype)
        if len(X) <= self.centres:  # exact: one n x n system, without its normal equations
            system = self._kernel.of_scaled(self.centres_).astype(float) + np.diag(self.alpha / weight + JITTER)
            self.coefficients_ = np.linalg.solve(system, y - self.offset_).astype(X.dtype)
            return
        system, right = self._normal_equations(X, y - self.offset_, weight)
        system += self.alpha * self._kernel.of_scaled(self.centres_)
        system[np.diag_indices_from(system)] += JITTER * (1 + self.alpha)
        self.coefficients_ = np.linalg.solve(system, right).astype(X.dtype)

    def _centre_rows(self, X: FloatArray) -> FloatArray:
        """(m, d) rows that become centres: all of them, or evenly spaced ones."""
        kept = np.unique(np.linspace(0, len(X) - 1, min(len(X), self.centres)).astype(int))
        return np.asarray(X[kept])

    def _normal_equations(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The sums over all rows: of so many rows together by ``mapping``, then one after another."""
        parts = iter(self.mapping(NormalEquations(self._kernel), rows_together(X, y, weight)))
        system, right = next(parts)
        for part, of_part in parts:
            system += part
            right += of_part
            del part  # 128 MB, which would be held while the next one is summed
        return system, right

    def _strong(self, X: FloatArray) -> FloatArray:
        if "means_" in vars(self):
            kind, found = nearest(X, self.means_), np.empty(len(X), dtype=X.dtype)
            for one in np.unique(kind):
                found[kind == one] = self._part(one)._strong(X[kind == one])
            return found
        fitted = self._kernel(X) @ self.coefficients_ + self.offset_
        return sigmoid(STEEPNESS * (fitted - 0.5))

    @property
    def _kernel(self) -> Gaussian:
        return Gaussian(self.gamma, self.centres_, self.mean_, self.scale_)


def rows_together(X: FloatArray, y: FloatArray, weight: FloatArray) -> Iterator[Rows]:
    """All rows in order, so many at a time."""
    for start in range(0, len(X), ROWS_TOGETHER):
        part = slice(start, start + ROWS_TOGETHER)
        yield Rows(X[part], y[part], weight[part])


def group_means(X: FloatArray, count: int) -> FloatArray:
    """(k, d) means of at most ``count`` groups of near rows, by k-means; small groups join others.

    The same rows give the same groups.
    """
    means = X[:1]
    while len(means) < count:  # the next one begins at the row that is furthest from all of them
        means = np.concatenate([means, X[[int(np.argmax(_squares(X, means).min(axis=1)))]]])
    for _ in range(STEPS if count > 1 else 0):
        kind = nearest(X, means)
        kept = [one for one in range(len(means)) if (kind == one).sum() >= min(LEAST_OF_KIND // 2, len(X) // 2)]
        means = np.stack([X[kind == one].mean(axis=0) for one in kept]) if kept else means[:1]
    return means


def nearest(X: FloatArray, means: FloatArray) -> IntArray:
    """(n,) which mean is nearest to each row."""
    return np.asarray(np.argmin(_squares(X, means), axis=1))


def _squares(X: FloatArray, means: FloatArray) -> FloatArray:
    return np.asarray((X**2).sum(axis=1)[:, None] + (means**2).sum(axis=1) - 2 * X @ means.T)
