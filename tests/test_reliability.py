"""Whether probabilities are what they say: groups and errors counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from demur.measure.reliability import Reliability, expected_calibration_error, reliability


def test_groups_of_twenty_prompts_by_hand() -> None:
    """Ten groups of two: .0 and .05, ... ; only the last group's outcomes differ from what was said, by .5."""
    said = np.arange(20) / 20
    came = said.copy()
    came[18:] -= 0.5
    found = reliability(said, came)
    assert found.said == pytest.approx(np.arange(10) / 10 + 0.025)
    assert found.came[-1] == pytest.approx(0.425)
    assert found.counts.tolist() == [2.0] * 10
    assert found.ece == pytest.approx(0.05)
    assert found.ece_low <= found.ece <= found.ece_high
    assert found.ece_low < found.ece_high
    assert "ECE 0.050" in found.sentence
    assert "20 graded prompts" in found.sentence


def test_the_order_of_prompts_does_not_matter_and_few_are_enough() -> None:
    said, came = np.array([0.9, 0.1, 0.5]), np.array([1.0, 0.0, 0.5])
    assert expected_calibration_error(said, came) == pytest.approx(0.2 / 3)
    assert expected_calibration_error(said[::-1], came[::-1]) == pytest.approx(0.2 / 3)
    assert reliability(said[:1], came[:1]).ece == pytest.approx(0.1)


def test_groups_count_by_their_prompts() -> None:
    """Eleven prompts: the first group has two of them. It is .1 off, the others are right: .1 x 2 / 11."""
    said = np.arange(11) / 20
    came = said.copy()
    came[:2] += 0.1
    assert expected_calibration_error(said, came) == pytest.approx(0.2 / 11)


def test_bands_are_intervals_of_each_groups_outcomes_and_one_prompt_tells_nothing() -> None:
    """Ten groups of ten: half of each came true, so the mean's interval is about .5 +- 1.96 sqrt(.25 / 10)."""
    said, came = np.repeat(np.arange(10) / 10, 10), np.tile([0.0, 1.0], 50)
    found = reliability(said, came)
    assert found.low == pytest.approx(np.full(10, 0.2), abs=0.11)
    assert found.high == pytest.approx(np.full(10, 0.8), abs=0.11)
    few = reliability(np.array([0.2, 0.7]), np.array([0.0, 1.0]))
    assert (few.low.tolist(), few.high.tolist(), few.counts.tolist()) == ([0.0, 0.0], [1.0, 1.0], [1.0, 1.0])
    assert few.said.tolist() == [0.2, 0.7]
    assert few.came.tolist() == [0.0, 1.0]
    assert few.ece == pytest.approx((0.2 + 0.3) / 2)


def test_the_sentence_says_error_interval_and_prompts() -> None:
    one = np.array([0.5])
    found = Reliability(one, one, one, one, np.array([30.0]), 0.1234, 0.0567, 0.2)
    assert found.sentence == ("scores as P(strong right and weak wrong): ECE 0.123 [0.057, 0.200] on 30 graded prompts")
