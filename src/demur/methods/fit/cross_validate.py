"""Held-out scores of the training prompts, by cross-validation."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import ArrayLike

from demur.errors import InputError
from demur.mapping import Map
from demur.methods.fit.spread import fit_on
from demur.records import BoolArray, FloatArray, Method
from demur.statistics import folds, group_numbers, held_out


def held_out_scores(
    method: Method,
    X: FloatArray,
    y: FloatArray,
    *,
    groups: ArrayLike | None = None,
    apart: int = 0,
    mapping: Map = map,
) -> FloatArray:
    """(n,) scores of the training prompts by copies of the method that did not see them.

    Rows of one of the ``groups`` (n,) are held out together; without groups every row is one of its own. The last
    ``apart`` rows, of groups of their own, are divided into folds by themselves, so that the others' folds do not
    depend on them.
    A memorising method (SW, kNN) reproduces its own rows, so its in-sample scores do not apply to new prompts. Where
    the other folds teach nothing (one target only, fewer rows than k), a prompt's score is their mean target.
    """

    def predict(train: BoolArray, held: BoolArray) -> FloatArray:
        known = y[train] if train.any() else y
        constant = np.full(int(held.sum()), float(np.mean(known)))
        if len(np.unique(known)) == 1:
            return constant
        try:
            return fit_on(mapping, copy.deepcopy(method), X[train], y[train]).predict_proba(X[held])[:, 1]
        except InputError:  # such as k larger than the fold
            return constant

    number, first = group_numbers(len(X), groups), len(X) - apart
    fold_of = folds(first, groups=number[:first])
    return held_out(np.append(fold_of, folds(apart, groups=number[first:])) if apart else fold_of, predict)
