"""k nearest neighbours (Eqs. 11-12): the mean outcome of the training prompts most similar to the query.

The paper prints k = 1 (its argmin of a similarity is meant as argmax); one neighbour gives scores that no threshold can
tune, so the default is the square root of the number of training prompts.

Among more training prompts than `EXACT_ROWS` the neighbours are sought by FAISS's inverted file, where that is
installed (extra ``index``): codes of 4 bits for two numbers each, in the cells nearest to the query.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import Estimator, unit_rows
from demur.methods.groups.cells import EXACT_ROWS
from demur.records import FloatArray

ROWS_AT_ONCE = 256
CELLS_READ = 32  # of 2 sqrt(n)
ADDED_AT_ONCE = 65_536
TRAINING_ROWS = 40  # of a cell, for faiss's k-means
CHECKED_QUERIES = 500  # training prompts that tell how far off a score is
CHECKED_QUANTILE = 0.99


class KNN(Estimator):
    """P(strong) = weighted mean target of the k training prompts with the largest cosine; ties in order of training.

    ``exact_rows``: with more training prompts than these, and faiss, the k are the index's; `bound_` is then how far a
    score is from the exact one, for 99 % of 500 training prompts (themselves left out). Without faiss all are read.
    """

    def __init__(self, k: int | None = None, exact_rows: int = EXACT_ROWS) -> None:
        self.k = k
        self.exact_rows = exact_rows

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        if self.k is not None and not 1 <= self.k <= len(X):
            raise InputError(f"k = {self.k} neighbours of {len(X)} training prompts; use 1 to {len(X)}, or k=None")
        self.rows_ = unit_rows(X)
        self.outcomes_ = np.stack([weight * y, weight], axis=1)
        self._index: Any = None
        if len(X) > self.exact_rows and (faiss := import_faiss()):
            self._index = build_index(faiss, self.rows_)
            self.index_ = np.asarray(faiss.serialize_index(self._index))
            self.bound_ = np.array([self._error()])

    def _error(self) -> float:
        chosen = np.random.default_rng(1).choice(len(self.rows_), min(CHECKED_QUERIES, len(self.rows_)), replace=False)
        errors = []
        for row in chosen:
            cosines = self.rows_ @ self.rows_[row]
            cosines[row] = -np.inf
            exact = self._mean_of_nearest(cosines[None, :], self.outcomes_)[0]
            errors.append(abs(float(exact) - self._by_index(self.rows_[row], without=row)))
        return float(np.quantile(errors, CHECKED_QUANTILE))

    def _by_index(self, query: FloatArray, without: int = -1) -> float:
        """The score by the rows that the index finds; ``without``: a row left out."""
        found = self._index.search(query[None].astype(np.float32), self._neighbours + int(without >= 0))[1][0]
        found = found[(found >= 0) & (found != without)][: self._neighbours]
        if not len(found):
            return float(self._mean_of_nearest((self.rows_ @ query)[None, :], self.outcomes_)[0])
        up, total = self.outcomes_[found].sum(axis=0)
        return float(up / total) if total > 0 else 0.5

    def _has_index(self) -> bool:
        """Whether the neighbours are sought by an index; one that was saved is read at the first decision."""
        if getattr(self, "_index", None) is None and len(self.rows_) > self.exact_rows and hasattr(self, "index_"):
            faiss = import_faiss()
            self._index = faiss.deserialize_index(np.ascontiguousarray(self.index_)) if faiss else None
        return getattr(self, "_index", None) is not None

    @property
    def _neighbours(self) -> int:
        return self.k or max(1, round(len(self.rows_) ** 0.5))

    def _strong(self, X: FloatArray) -> FloatArray:
        queries = unit_rows(X.astype(self.rows_.dtype, copy=False))
        if self._has_index():
            return np.array([self._by_index(query) for query in queries])
        parts = [queries[i : i + ROWS_AT_ONCE] @ self.rows_.T for i in range(0, len(queries), ROWS_AT_ONCE)]
        return np.concatenate([self._mean_of_nearest(part, self.outcomes_) for part in parts])

    def _mean_of_nearest(self, cosines: FloatArray, outcomes: FloatArray) -> FloatArray:
        """(m, n) cosines of queries and rows, (n, 2) outcomes of the rows -> (m,)."""
        k = self._neighbours
        nearest = np.argpartition(-cosines, min(k, cosines.shape[1] - 1), axis=1)[:, :k]
        sums = outcomes[nearest].sum(axis=1)
        total = np.where(sums[:, 1] > 0, sums[:, 1], 1.0)  # neighbours of weight 0 only: no evidence, a tie
        return np.where(sums[:, 1] > 0, sums[:, 0] / total, 0.5)


def import_faiss() -> Any:
    """The faiss package, None where it is not installed."""
    try:
        import faiss
    except ImportError:
        return None
    return faiss


def build_index(faiss: Any, rows: FloatArray) -> Any:
    """An inverted file of 4-bit codes over unit rows (n, d); the same rows give the same index."""
    n, width = rows.shape
    cells = round(2 * n**0.5)
    parts = next(parts for parts in range(max(1, width // 2), 0, -1) if width % parts == 0)
    index = faiss.index_factory(width, f"IVF{cells},PQ{parts}x4fs", faiss.METRIC_INNER_PRODUCT)
    seen = np.random.default_rng(0).choice(n, min(n, TRAINING_ROWS * cells), replace=False)
    index.train(np.ascontiguousarray(rows[np.sort(seen)], dtype=np.float32))
    for first in range(0, n, ADDED_AT_ONCE):
        index.add(np.ascontiguousarray(rows[first : first + ADDED_AT_ONCE], dtype=np.float32))
    index.nprobe = min(CELLS_READ, cells)
    return index
