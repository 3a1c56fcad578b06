"""Similarity-weighted ranking (SW): a Bradley-Terry fit in which training prompts count by similarity (Eqs. 5-8).

For one pair the weighted fit IS the weighted mean of the outcomes, sum w_i y_i / sum w_i, so a decision is one
matrix-vector product and no optimisation. (The printed Eqs. 7 and 8 are both sign-reversed and cancel.)

Among more training prompts than `EXACT_ROWS` both sums are estimated. With a = ln gamma / largest cosine, a row at its
cell's mean mu + delta weighs exp(a q.mu) exp(a q.delta), and exp(t) = 1 + t + rest(t): of the first two terms a cell's
sums are known exactly by three values and two vectors; the rest is small, and is estimated from rows drawn once from
all cells. Cells near the query are read whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import Estimator, unit_rows
from demur.methods.groups.cells import EXACT_ROWS, Cells
from demur.records import FloatArray

ROWS_AT_ONCE = 256
READ_ROWS = 1024  # of the cells nearest to a query, read whole
DRAWN_ROWS = 2048  # from all cells, for the rest
STANDARD_ERRORS = 4.0  # of the drawn rows' estimate, in the stated bound
MISSED_QUERIES = 500  # training prompts that tell by how much the largest cosine is missed
MISSED_QUANTILE = 0.99


@dataclass(frozen=True)
class EstimatedScores:
    """``strong`` (m,): P(strong) of every query; ``bound`` (m,): how far from the exact value, for 99 % of queries."""

    strong: FloatArray
    bound: FloatArray


class SimilarityWeighted(Estimator):
    """P(strong) = sum w_i y_i / sum w_i with w_i = gamma^(1 + S_i), S_i from the cosine of query and training prompt i.

    ``weighting="routellm"``: S_i = cosine / max_j cosine(query, j) (Ong et al. 2024), plain cosine where the maximum is
    <= 0. ``"paper"``: Eq. 6, whose maximum runs over training prompts and includes i itself: it is 1, S is the cosine.
    ``exact_rows``: with more training prompts than these the sums are estimated; `estimate` says how well.
    """

    def __init__(
        self,
        gamma: float = 10.0,
        weighting: Literal["routellm", "paper"] = "routellm",
        exact_rows: int = EXACT_ROWS,
    ) -> None:
        self.gamma = gamma
        self.weighting = weighting
        self.exact_rows = exact_rows

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        if self.weighting not in ("routellm", "paper"):
            raise InputError(f"weighting {self.weighting!r} is neither routellm nor paper")
        # Outcomes beside a column of ones: one product gives numerator and denominator.
        self.outcomes_ = np.stack([weight * y, weight], axis=1).astype(X.dtype)
        self.rows_ = self.arrange("rows_", unit_rows(X))  # (n, d)
        if self._in_cells:
            self._fit_cells(Cells.of(self.rows_))

    def arrange(self, name: str, value: FloatArray) -> FloatArray:
        """Rows by columns, if all are read: a product takes two thirds of the time."""
        return np.asfortranarray(value) if name == "rows_" and len(value) <= self.exact_rows else value

    @property
    def _in_cells(self) -> bool:
        return len(self.rows_) > self.exact_rows

    def _fit_cells(self, cells: Cells) -> None:
        """What a cell is known by: its sums of the outcomes, their slope along the rows, and rows drawn from all."""
        self.order_, self.starts_ = cells.order, cells.starts
        totals, slopes = [], []
        for centre, a, b in zip(cells.centres, cells.starts[:-1], cells.starts[1:], strict=True):
            outcomes, deltas = self.outcomes_[cells.order[a:b]], self.rows_[cells.order[a:b]] - centre
            totals.append(outcomes.sum(axis=0, dtype=float))
            slopes.append(outcomes.T @ deltas)
        self.totals_ = np.stack(totals)  # (c, 2)
        random, n = np.random.default_rng(0), len(self.rows_)
        step = max(1, n // DRAWN_ROWS)
        firsts = np.arange(
            0, n - step + 1, step
        )  # one row of every `step` in the order of cells: each cell has its share
        places = firsts + random.integers(step, size=len(firsts))
        drawn, slope = cells.order[places], np.stack(slopes)
        self.drawn_cell_, self.drawn_outcomes_ = cells.cell_of_place(places), self.outcomes_[drawn]
        self.known_ = np.concatenate(
            [cells.centres, slope[:, 0], slope[:, 1], self.rows_[drawn]]
        )  # one product a query
        self.missed_ = np.array([self._shortfall(cells) if self.weighting == "routellm" else 0.0])

    def _shortfall(self, cells: Cells) -> float:
        """By how much the largest cosine among the rows read falls short of the largest of all, for 99 % of 500
        training prompts (themselves left out)."""
        chosen = np.random.default_rng(1).choice(len(self.rows_), min(MISSED_QUERIES, len(self.rows_)), replace=False)
        short = []
        for row in chosen:
            query = self.rows_[row]
            cosines = self.rows_ @ query
            cosines[row] = -1.0
            read = cells.members(cells.near(cells.centres @ query, READ_ROWS))
            short.append(max(0.0, float(cosines.max() - cosines[read].max())))
        return float(np.quantile(short, MISSED_QUANTILE))

    def _strong(self, X: FloatArray) -> FloatArray:
        queries = unit_rows(X.astype(self.rows_.dtype, copy=False))
        if self._in_cells:
            return np.array([self._estimate_one(query)[0] for query in queries])
        if len(queries) == 1:
            return self._weighted_mean((self.rows_ @ queries[0])[None, :])
        parts = [queries[i : i + ROWS_AT_ONCE] @ self.rows_.T for i in range(0, len(queries), ROWS_AT_ONCE)]
        return np.concatenate([self._weighted_mean(part) for part in parts])

    def _weighted_mean(self, cosines: FloatArray) -> FloatArray:
        """(m, n) cosines -> (m,); the largest exponent is taken off first, it cancels."""
        exponents = cosines
        if self.weighting == "routellm":
            largest = cosines.max(axis=1, keepdims=True)
            exponents = cosines / np.where(largest > 0, largest, 1.0).astype(cosines.dtype)
        exponents = exponents - exponents.max(axis=1, keepdims=True)
        weights = np.exp(exponents * cosines.dtype.type(np.log(self.gamma)))
        sums = weights @ self.outcomes_
        return np.asarray(sums[:, 0] / sums[:, 1])

    def estimate(self, X: FloatArray) -> EstimatedScores:
        """P(strong) of the rows of X (m, d), and a bound of its error: 0 where every training prompt was read."""
        strong = self.predict_proba(X)[:, 1]
        if not self._in_cells:
            return EstimatedScores(strong, np.zeros(len(strong)))
        queries = unit_rows(np.asarray(X).astype(self.rows_.dtype, copy=False))
        return EstimatedScores(strong, np.array([self._estimate_one(query)[1] for query in queries]))

    def _estimate_one(self, query: FloatArray) -> tuple[float, float]:
        """Estimated P(strong), and the bound of its error."""
        count, n = len(self.totals_), len(self.rows_)
        products = self.known_ @ query
        middle, slope, drawn = products[:count], products[count : 3 * count].reshape(2, count), products[3 * count :]
        cells = Cells(self.known_[:count], self.order_, self.starts_)
        near = cells.near(middle, READ_ROWS)
        read = cells.members(near)
        cosines, outcomes = self.rows_[read] @ query, self.outcomes_[read]
        largest = float(cosines.max())
        relative = self.weighting == "routellm" and largest > 0
        steepness = float(np.log(self.gamma)) / (largest if relative else 1.0)
        weights = np.exp(steepness * (cosines - largest))
        far = np.exp(steepness * (middle - largest))
        far[near] = 0.0
        shift = steepness * (drawn - middle[self.drawn_cell_])
        rest = far[self.drawn_cell_] * (np.exp(shift) - 1.0 - shift) * (n / len(drawn))
        up, total = weights @ outcomes + far @ self.totals_ + steepness * (slope @ far) + rest @ self.drawn_outcomes_
        strong = float(up / total)
        against = np.array([1.0, -strong])  # an outcome's part in numerator less its part in strong * denominator
        error = STANDARD_ERRORS * float(np.std(rest * (self.drawn_outcomes_ @ against))) * len(drawn) ** 0.5
        if relative:  # a larger cosine elsewhere would make the weights less steep
            flatter = steepness - float(np.log(self.gamma)) / (largest + float(self.missed_[0]))
            along = weights * cosines @ (outcomes @ against) + far * middle @ (self.totals_ @ against)
            error += flatter * abs(float(along))
        return strong, error / float(total)
