"""Thresholds by share, ties and all; and when labelling is earned back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import InputError
from demur.measure.threshold import payback, threshold_for_quality, threshold_for_share, threshold_for_usd


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.floats(0, 1))
def test_the_share_reached_is_true_and_none_is_nearer(scores: list[int], asked: float) -> None:
    values = np.array(scores, dtype=float)
    found = threshold_for_share(values, asked)
    assert np.mean(values >= found.threshold) == pytest.approx(found.strong_share)
    possible = [np.mean(values >= level) for level in [*np.unique(values), math.inf]]
    assert abs(found.strong_share - asked) == pytest.approx(min(abs(share - asked) for share in possible))


def test_the_ends_are_always_weak_and_always_strong() -> None:
    assert threshold_for_share([0.1, 0.2], 0.0).strong_share == 0
    assert threshold_for_share([0.1, 0.2], 1.0).strong_share == 1


@pytest.mark.parametrize(
    ("scores", "share", "named"), [([], 0.3, "0 scores"), ([math.nan], 0.3, "1 not finite"), ([1.0], 30, "is 30")]
)
def test_bad_calibration_is_named(scores: list[float], share: float, named: str) -> None:
    with pytest.raises(InputError) as raised:
        threshold_for_share(scores, share)
    assert named in str(raised.value)


def test_payback_by_hand() -> None:
    """A call saves .7 x (.010 - .000) = .007; two dollars are back after 286 calls."""
    assert "after 286 calls" in payback(2.0, 0.0, 0.01, 0.3)
    assert "never" in payback(2.0, 0.02, 0.01, 0.3)
    assert "unknown" in payback(None, 0.0, 0.01, 0.3)


def test_a_budget_buys_as_many_strong_calls_as_it_can() -> None:
    scores, weak, strong = np.arange(10) / 10, np.full(10, 0.001), np.full(10, 0.011)

    def usd_at(threshold: float) -> float:
        return float(np.where(scores >= threshold, strong, weak).mean())

    found = threshold_for_usd(scores, usd_at, 5.0, 0.001)
    assert 1000 * usd_at(found.threshold) == pytest.approx(5.0)
    with pytest.raises(InputError, match=r"the weak model alone costs \$1\.0"):
        threshold_for_usd(scores, usd_at, 0.5, 0.001)
    assert threshold_for_usd(scores, usd_at, 99, 0.001).strong_share == 1


def test_a_share_counts_every_draft_that_a_prompt_may_meet() -> None:
    """Two prompts, each with a draft that lifts its score and one that lowers it: half of the drafts are strong."""
    found = threshold_for_share(np.array([[0.4, 0.8], [0.3, 0.7]]), 0.5)
    assert (found.strong_share, found.n, found.gate) == (0.5, 2, True)
    assert "without the gate" not in found.sentence
    assert 0.4 < found.threshold < 0.7


def test_estimated_quality_is_kept_with_the_fewest_strong_calls() -> None:
    scores, weak, strong = np.arange(10) / 10, np.repeat([1.0, 0.0], 5), np.ones(10)
    found = threshold_for_quality(scores, weak, strong, 0.9, on="the training prompts")
    assert found.strong_share == pytest.approx(0.4)
    assert threshold_for_quality(scores, weak, strong, 1.0, on="x").strong_share == pytest.approx(0.5)
    with pytest.raises(InputError, match="keep_quality is 95"):
        threshold_for_quality(scores, weak, strong, 95, on="x")
