"""Thresholds by share, ties included."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.errors import InputError
from demur.measure.certificate import Certificate
from demur.measure.threshold import (
    Calibration,
    share_of_scored,
    threshold_for_quality,
    threshold_for_share,
    threshold_for_usd,
    threshold_from_certificate,
)


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


def test_a_budget_buys_as_many_strong_calls_as_it_can() -> None:
    scores, weak, strong = np.arange(10) / 10, np.full(10, 0.001), np.full(10, 0.011)

    def usd_at(threshold: float) -> float:
        return float(np.where(scores >= threshold, strong, weak).mean())

    found = threshold_for_usd(scores, usd_at, 5.0)
    assert 1000 * usd_at(found.threshold) == pytest.approx(5.0)
    with pytest.raises(InputError, match=r"\$0\.50 .* is not enough: .* costs least they cost \$1\.00, for a reason"):
        threshold_for_usd(scores, usd_at, 0.5, why=", for a reason")
    assert threshold_for_usd(scores, usd_at, 99).strong_share == 1


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
    with pytest.raises(InputError, match="none of 5 prompts have a score"):
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


def test_a_calibration_says_what_it_was_set_on() -> None:
    found = Calibration(0.5, 0.25, 1200, "strong share 30%")
    assert found.sentence == "asked for: strong share 30%; 25% of your prompts (1,200) go to the strong model"
    alone = Calibration(0.5, 0.25, 8, "x", on="them", gate=False, unknown=0.1)
    assert alone.sentence == (
        "asked for: x; 25% of them (8) go to the strong model; 10% of them are unknown and go where the setting "
        "`unknown` says, whatever the threshold; without the gate"
    )


def test_prompts_of_either_side_are_counted_by_themselves() -> None:
    """Two of eight are strong; with three more that are always strong five of eleven, with three weak two of eleven."""
    found = Calibration(0.5, 0.25, 8, "x")
    assert (found.beside(3, 0).strong_share, found.beside(3, 0).n) == (5 / 11, 11)
    assert (found.beside(0, 3).strong_share, found.beside(0, 3).unknown) == (2 / 11, 3 / 11)


def test_a_certificate_sets_its_threshold_without_the_gate() -> None:
    given = (0.5, 0.05, 0.9, "missed", 0.02, 0.25, 1200, "a test", "h")
    found = threshold_from_certificate(Certificate(*given))  # type: ignore[arg-type]
    assert found == Calibration(
        0.5, 0.25, 1200, "risk 5.0% with 90% confidence (missed)", "the graded prompts", gate=False
    )
    second = threshold_from_certificate(Certificate(*given, number=2))  # type: ignore[arg-type]
    assert second.on == "the graded prompts, promise 2 on them"
    assert second.wish == "risk 5.0% with 90% confidence (missed), promise 2 on them; without the gate"


def test_what_a_threshold_was_set_for_is_said_in_a_note_and_nothing_before_anything_is_learned() -> None:
    asked = threshold_for_share([0.1, 0.2], 0.5, on="your prompts, as the gate is expected to decide")
    assert asked.wish == "a strong share of 50%"
    assert Calibration(0.5, 1.0, 0, "nothing is learned yet").wish == ""


@pytest.mark.parametrize("keep", [0.0, 1.1, -0.5])
def test_a_quality_to_keep_is_a_fraction(keep: float) -> None:
    with pytest.raises(InputError, match="it is a fraction of the strong model's quality"):
        threshold_for_quality([0.1], [1.0], [1.0], keep, on="x")


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_is_a_fraction(share: float) -> None:
    with pytest.raises(InputError, match="it is a fraction, from 0 to 1"):
        threshold_for_share([0.1], share)


def test_quality_is_estimated_over_all_drafts() -> None:
    """Prompts of weak 0 and strong 1; three of the four drafts lie at .3 or above, so that many keep .75."""
    found = threshold_for_quality([[0.1, 0.3], [0.5, 0.7]], [0, 0], [1, 1], 0.75, on="x")
    assert (found.strong_share, found.n) == (0.75, 2)


def test_where_the_weak_model_is_as_good_no_prompt_goes_to_the_strong_one() -> None:
    assert threshold_for_quality([0.1, 0.2, 0.3], [1, 1, 1], [1, 1, 1], 1.0, on="x").strong_share == 0


def test_a_budget_is_tried_at_401_thresholds_at_most() -> None:
    """Each takes a pass over all prompts."""
    tried = []

    def usd_at(threshold: float) -> float:
        tried.append(threshold)
        return 1.0

    threshold_for_usd(np.arange(2000), usd_at, 1000.0)
    assert len(tried) == 401
    assert (tried[0], tried[-1]) == (0.0, np.nextafter(1999.0, math.inf))


@pytest.mark.parametrize(("keep", "said"), [(0.999, "99.9% of"), (0.95, "95% of"), (1.0, "100% of")])
def test_the_quality_that_was_asked_for_is_said_as_it_was_asked(keep: float, said: str) -> None:
    found = threshold_for_quality([0.1, 0.9], [0.0, 0.0], [1.0, 1.0], keep, on="your prompts")
    assert found.asked.startswith(said)


def test_a_quality_is_kept_on_the_prompts_that_it_is_believed_of() -> None:
    """Of four prompts the two with the lowest scores are not judged: to keep all quality the third has to go alone."""
    scores, weak, strong = [0.1, 0.2, 0.8, 0.9], [0.0, 0.0, 0.5, 1.0], [1.0, 1.0, 1.0, 1.0]
    judged = np.array([False, False, True, True])
    every = threshold_for_quality(scores, weak, strong, 1.0, on="prompts")
    some = threshold_for_quality(scores, weak, strong, 1.0, on="prompts", judged=judged)
    assert (every.strong_share, some.strong_share) == (1.0, 0.5)
