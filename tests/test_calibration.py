"""Thresholds by share, ties and all; and when labelling is earned back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.calibration import payback, threshold_for_share
from demur.errors import InputError


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.floats(0, 1))
def test_the_share_reached_is_true_and_none_is_nearer(scores: list[int], asked: float) -> None:
    values = np.array(scores, dtype=float)
    found = threshold_for_share(values, asked)
    assert np.mean(values >= found.threshold) == pytest.approx(found.share_reached)
    possible = [np.mean(values >= level) for level in [*np.unique(values), math.inf]]
    assert abs(found.share_reached - asked) == pytest.approx(min(abs(share - asked) for share in possible))


def test_the_ends_are_always_weak_and_always_strong() -> None:
    assert threshold_for_share([0.1, 0.2], 0.0).share_reached == 0
    assert threshold_for_share([0.1, 0.2], 1.0).share_reached == 1


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
