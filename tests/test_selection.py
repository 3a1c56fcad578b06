"""Judging without labels: the usual kind of target stays unless another is better beyond doubt."""

from __future__ import annotations

import numpy as np
import pytest

from demur.errors import InputError
from demur.labels.believed_gain import believed_area, choose_targets, halves
from worlds import planted


def test_the_area_is_the_gain_above_random_of_serving_the_highest_scores_first() -> None:
    """Of two prompts one gains 1: it goes first (1/4 above random over all shares), last, or tied with the other."""
    gains = np.array([1.0, 0.0])
    assert believed_area(np.array([0.9, 0.1]), gains) == 0.25
    assert believed_area(np.array([0.1, 0.9]), gains) == -0.25
    assert believed_area(np.array([0.5, 0.5]), gains) == 0.0


def test_another_kind_is_chosen_only_where_it_is_better_beyond_its_interval() -> None:
    X, y, p = planted(400)
    noise = np.random.default_rng(1).random(400)
    found = choose_targets({"usual": noise, "other": y}, p, X)
    assert found.kind == "other"
    assert found.areas["other"] > found.areas["usual"]
    nearly = np.where(np.arange(400) < 4, y, p)  # as good but for four prompts, whichever way that falls
    assert choose_targets({"usual": nearly, "other": p}, p, X).kind == "usual"
    assert choose_targets({"usual": p, "other": nearly}, p, X).kind == "usual"


def test_halves_need_two_samples_each() -> None:
    with pytest.raises(InputError, match="use n >= 4, or another kind"):
        halves([np.zeros(6, dtype=int)], 3)
