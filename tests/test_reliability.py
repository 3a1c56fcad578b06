"""Whether probabilities are what they say: groups and errors counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from demur.measure.reliability import expected_calibration_error, reliability


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
