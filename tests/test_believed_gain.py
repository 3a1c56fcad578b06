"""Judging without labels: the usual kind of target stays unless another is better beyond doubt."""

from __future__ import annotations

import numpy as np
import pytest

from demur.errors import InputError
from demur.labels.beliefs.believed_gain import (
    KindChoice,
    area_interval,
    believed_area,
    caught_within_folds,
    choose_targets,
    halves,
)
from worlds import planted


def test_the_area_is_the_gain_above_random_of_serving_the_highest_scores_first() -> None:
    """Of two prompts one gains 1: it goes first (1/4 above random over all shares), last, or tied with the other."""
    gains = np.array([1.0, 0.0])
    assert believed_area(np.array([0.9, 0.1]), gains) == 0.25
    assert believed_area(np.array([0.1, 0.9]), gains) == -0.25
    assert believed_area(np.array([0.5, 0.5]), gains) == 0.0


def test_what_one_score_catches_more_than_another_has_a_95_percent_interval_over_prompts() -> None:
    """One order puts the prompts that gain first, the other last: what is caught more is the gain, weighed by ranks."""
    gains = (np.random.default_rng(0).random(400) < 0.3).astype(float)
    order = gains + np.linspace(0, 0.1, 400)
    low, high = area_interval(order, -order, gains)
    each = gains * (2 * np.argsort(np.argsort(order)) / 399 - 1)
    width = 1.96 * each.std() / 20
    assert (low, high) == pytest.approx((each.mean() - width, each.mean() + width), abs=0.1 * width)
    drafts = [np.repeat(values[:, None], 8, axis=1) for values in (order, -order, gains)]
    assert area_interval(*drafts) == pytest.approx((low, high), abs=0.02 * width)  # eight like drafts are one prompt


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
        halves([np.zeros(6, dtype=int)])


def test_halves_are_of_either_models_own_samples() -> None:
    """Strong 0 0 | 1 2 2 and weak 0 3 | 2 2 2: the second half's G is 1/3 (1/3 - 0) + 2/3 (2/3 - 1)."""
    first, judged = halves([np.array([0, 0, 1, 2, 2, 0, 3, 2, 2, 2])])
    assert (first[0].tolist(), judged.tolist()) == ([0, 0, 0, 3], pytest.approx([-1 / 9]))
    joint = [
        np.array([0, 0, 1, 1, 2, 2, 1, 1]),
        np.array([0, 0, 1, 1]),
    ]  # four samples are just enough; two of a settled
    first, judged = halves(joint)
    assert [each.tolist() for each in first] == [[0, 0, 2, 2], [0, 1]]
    assert judged.tolist() == [0.0, 1.0]


def test_the_choice_says_what_every_kind_captures() -> None:
    _, said = KindChoice("margin", {"margin": 0.125, "hard": -0.5}).fact
    assert said == "the believed gain on held-out samples: margin 0.1250, hard -0.5000"


@pytest.mark.parametrize(("low", "kind"), [(0.0, "usual"), (1e-9, "other")])
def test_a_lead_whose_interval_begins_at_zero_is_none(monkeypatch: pytest.MonkeyPatch, low: float, kind: str) -> None:
    X, y, p = planted(60)
    monkeypatch.setattr("demur.labels.beliefs.believed_gain.area_interval", lambda *_: (low, 1.0))
    assert choose_targets({"usual": 1 - y, "other": y}, p, X).kind == kind


def test_what_is_caught_within_folds_is_of_each_folds_own_mean_and_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folds of two and three: gains less their means, +-1/2 and 0, .3, -.3; ranks 0 and 1, then 0, 1, 1/2."""
    monkeypatch.setattr("demur.labels.beliefs.believed_gain.folds", lambda n, groups: np.array([0, 1, 0, 1, 1])[:n])
    found = caught_within_folds(np.array([0.2, 5.0, 0.9, 7.0, 6.0]), np.array([1.0, 0.3, 0.0, 0.6, 0.0]))
    assert found == pytest.approx([-0.25, 0.0, -0.25, 0.15, 0.0])
    tied = caught_within_folds(np.array([0.5, 1.0, 0.5, 1.0, 1.0]), np.array([1.0, 0.3, 0.0, 0.6, 0.0]))
    assert tied == pytest.approx([0.0] * 5)


def test_within_folds_of_one_prompt_each_nothing_is_caught() -> None:
    assert caught_within_folds(np.arange(3.0), np.array([1.0, 0.0, -1.0])).tolist() == [0.0] * 3


def test_three_samples_cannot_be_halved_and_the_largest_number_counts() -> None:
    with pytest.raises(InputError, match=r"^n is 3: choosing targets label-free holds out half of the samples"):
        halves([np.zeros(6, dtype=int), np.zeros(4, dtype=int)])
    assert len(halves([np.zeros(4, dtype=int), np.zeros(8, dtype=int)])[0]) == 2
