"""Shares, thresholds and refusals of `demur.measure`, and readings of `demur.meaning`, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from demur.errors import InputError
from demur.meaning.dates import Date, parse_date
from demur.meaning.final_answer import final_answer
from demur.meaning.rules import same_meaning
from demur.measure.certificate import certify
from demur.measure.threshold import Calibration, share_of_scored, threshold_for_share


def test_prompts_that_go_whatever_their_score_count_in_the_share() -> None:
    """Of 8 scored prompts 2 are strong; 1 more is always strong and 1 always weak: 3 of 10."""
    found = Calibration(0.5, 0.25, 8, "strong share 30%").beside(1, 1)
    assert (found.strong_share, found.n, found.unknown) == (0.3, 10, 0.2)
    untouched = Calibration(0.5, 0.25, 8, "strong share 30%")
    assert untouched.beside(0, 0) is untouched


@pytest.mark.parametrize(
    ("share", "scored", "strong", "weak", "wanted"),
    [(0.3, 8, 1, 1, 0.25), (0.5, 10, 0, 0, 0.5), (0.1, 8, 2, 0, 0.0), (0.9, 5, 0, 5, 1.0)],
)
def test_the_scored_prompts_make_up_what_the_others_leave(
    share: float, scored: int, strong: int, weak: int, wanted: float
) -> None:
    assert share_of_scored(share, scored, strong, weak) == pytest.approx(wanted)


def test_without_a_scored_prompt_no_threshold_has_a_say() -> None:
    with pytest.raises(InputError, match="none of 5 prompts can be told"):
        share_of_scored(0.3, 0, 2, 3)


def test_a_threshold_lies_halfway_between_scores_and_at_the_ends_on_them() -> None:
    scores = [0.1, 0.3, 0.7]
    assert threshold_for_share(scores, 1 / 3).threshold == pytest.approx(0.5)
    assert threshold_for_share(scores, 2 / 3).threshold == pytest.approx(0.2)
    assert threshold_for_share(scores, 1.0).threshold == 0.1
    assert threshold_for_share(scores, 0.0).threshold == np.nextafter(0.7, math.inf)


@pytest.mark.parametrize("scores", [[0.1, math.nan], [math.inf, 0.2]])
def test_one_score_that_is_not_finite_is_refused(scores: list[float]) -> None:
    with pytest.raises(InputError, match="2 scores, 1 not finite"):
        threshold_for_share(scores, 0.3)
    with pytest.raises(InputError, match="scores must be finite"):
        certify(scores, [0.0, 1.0], [1.0, 1.0], [0.5], risk=0.1, confidence=0.9)


@pytest.mark.parametrize(("number", "said"), [(1, "95% confidence"), (2, "95% confidence as promise 2 on them")])
def test_a_second_promise_is_numbered(number: int, said: str) -> None:
    from demur.measure.certificate import _stated

    assert _stated(0.95, number) == said


def test_dates_money_and_times_by_hand() -> None:
    assert parse_date("4 sept 1999") == Date(1999, 9, 4)
    assert same_meaning("$2b", "2 billion dollars") is True
    assert same_meaning("$2b", "20 billion dollars") is False


def test_two_options_are_enough_to_choose_from() -> None:
    found = final_answer("B) no", "Is it open?\nA) yes\nB) no")
    assert found is not None
    assert found.text == "B"
