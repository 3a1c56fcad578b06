"""Whether samples can tell at all: saturation, and noise as large as what there is to tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from demur.labels.unknown import can_tell, gain_errors

SATURATED = np.arange(8)
SAME = np.zeros(8, dtype=int)
STRONG_SURE = np.array([0, 0, 0, 0, 1, 2, 3, 4])
BY_CHANCE = np.array([0, 0, 1, 2, 3, 4, 5, 6])  # one pair of the strong model's six


def test_a_prompt_on_which_nothing_agrees_with_anything_cannot_be_told() -> None:
    assert can_tell([SATURATED, SAME, STRONG_SURE], 4, 0.75).tolist() == [False, True, True]
    across = np.array([0, 1, 2, 3, 0, 4, 5, 6])  # one weak answer is one of the strong model's
    assert can_tell([across, SAME, STRONG_SURE], 4, 0.5)[0]


def test_errors_by_hand() -> None:
    """lam 1/2, strong a a b c: SS is 1/6. Without an a it is 0, without b or c 1/3: jackknife variance 3 * 1/36."""
    errors = gain_errors([BY_CHANCE, STRONG_SURE, SATURATED], 4, 0.5)
    assert errors == pytest.approx([np.sqrt(3 / 36) / 2, 0.0, 0.0])


def test_agreement_by_chance_tells_nothing_where_prompts_differ_by_no_more() -> None:
    assert not can_tell([BY_CHANCE, BY_CHANCE, SATURATED, SATURATED], 4, 0.5).any()
    assert can_tell([BY_CHANCE, STRONG_SURE, SAME, np.array([1, 2, 3, 4, 0, 0, 0, 0])], 4, 0.5).all()


def test_with_two_samples_only_saturation_is_looked_at() -> None:
    assert can_tell([np.arange(4), np.array([0, 0, 1, 2])], 2, 0.5).tolist() == [False, True]
