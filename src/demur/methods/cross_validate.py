"""Scores of training prompts by fits that did not see them."""

from __future__ import annotations

import copy
import math

import numpy as np

from demur.errors import InputError
from demur.records import FloatArray, Method


def held_out_scores(method: Method, X: FloatArray, y: FloatArray, *, folds: int = 5) -> FloatArray:
    """(n,) scores of the training prompts by copies of the method that did not see them.

    A memorising method (SW, kNN) knows its own rows, so its in-sample scores say nothing about new prompts.
    """
    folds = min(folds, len(X))
    fold_of = np.random.default_rng(0).permutation(len(X)) % folds
    scores = np.full(len(X), math.nan)
    for fold in range(folds):
        train = fold_of != fold
        if len(np.unique(y[train])) > 1:
            fitted = _fitted_copy(copy.copy(method), X[train], y[train])
            scores[~train] = fitted.predict_proba(X[~train])[:, 1]
    return np.where(np.isnan(scores), float(np.mean(y)), scores)


def _fitted_copy(method: Method, X: FloatArray, y: FloatArray) -> Method:
    try:
        return method.fit(X, y)
    except InputError:  # such as k larger than the fold
        return _Constant(float(np.mean(y)))


class _Constant:
    """Scores every prompt alike."""

    def __init__(self, value: float) -> None:
        self.value = value

    def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> Method:
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        return np.tile([1 - self.value, self.value], (len(X), 1))
