"""Similarity-weighted ranking (SW): a Bradley-Terry fit in which training prompts count by similarity (Eqs. 5-8).

For one pair the weighted fit IS the weighted mean of the outcomes, sum w_i y_i / sum w_i, so a decision is one
matrix-vector product and no optimisation. (The printed Eqs. 7 and 8 are both sign-reversed and cancel.)
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import Estimator, unit_rows
from demur.records import FloatArray

ROWS_AT_ONCE = 256


class SimilarityWeighted(Estimator):
    """P(strong) = sum w_i y_i / sum w_i with w_i = gamma^(1 + S_i), S_i from the cosine of query and training prompt i.

    ``weighting="routellm"``: S_i = cosine / max_j cosine(query, j) (Ong et al. 2024), plain cosine where the maximum is
    <= 0. ``"paper"``: Eq. 6, whose maximum runs over training prompts and includes i itself: it is 1, S is the cosine.
    """

    def __init__(self, gamma: float = 10.0, weighting: Literal["routellm", "paper"] = "routellm") -> None:
        self.gamma = gamma
        self.weighting = weighting

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        if self.weighting not in ("routellm", "paper"):
            raise InputError(f"weighting {self.weighting!r} is neither routellm nor paper")
        self.rows_ = np.asfortranarray(unit_rows(X))  # (n, d); by columns a product takes two thirds of the time
        # Outcomes beside a column of ones: one product gives numerator and denominator.
        self.outcomes_ = np.stack([weight * y, weight], axis=1).astype(X.dtype)

    def _strong(self, X: FloatArray) -> FloatArray:
        queries = unit_rows(X.astype(self.rows_.dtype, copy=False))
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
