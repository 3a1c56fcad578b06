"""A target held over requests: shares, budgets in USD, changes of the traffic, and limits that are never passed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from demur.measure.pace import ALLOWANCE, OVERSHOOT, Pace, lowest_affordable


def served(pace: Pace, scores: np.ndarray, weak: float = 0.0, strong: float = 1.0) -> np.ndarray:
    """(n,) which requests go to the strong model, each paid for."""
    chosen = []
    for score in scores:
        chosen.append(pace.chooses_strong(float(score), weak, strong))
        pace.pay(strong if chosen[-1] else weak)
    return np.array(chosen)


def test_the_lowest_affordable_threshold_is_computed_by_hand() -> None:
    scores, weak, strong = np.array([0.9, 0.5, 0.1, 0.5]), np.full(4, 1.0), np.full(4, 3.0)
    # Means: none strong 1, the .9 alone 1.5, both .5 as well 2.5, all 3.
    assert [lowest_affordable(scores, weak, strong, rate) for rate in (0.9, 1.4, 1.5, 2.4, 2.5, 3.0)] == [
        *(math.inf, math.inf, 0.9, 0.9, 0.5, 0.1)
    ]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_share_is_held_on_average(share: float) -> None:
    random = np.random.default_rng(0)
    pace = Pace.begin(share, [(x, 0.0, 1.0) for x in random.normal(size=300)])
    assert served(pace, random.normal(size=4000)).mean() == pytest.approx(share, abs=0.01)


def test_a_share_is_held_again_after_the_scores_have_moved() -> None:
    random = np.random.default_rng(1)
    pace = Pace.begin(0.3, [(x, 0.0, 1.0) for x in random.normal(size=300)])
    served(pace, random.normal(size=1000))
    moved = served(pace, random.normal(size=3000) + 3)
    assert moved[500:].mean() == pytest.approx(0.3, abs=0.02)


def test_the_most_promising_prompts_are_the_ones_that_are_paid_for() -> None:
    random = np.random.default_rng(2)
    scores = random.normal(size=2000)
    chosen = served(Pace.begin(0.2, [(x, 0.0, 1.0) for x in random.normal(size=300)]), scores)
    best = scores >= np.quantile(scores, 0.8)
    assert (chosen & best).sum() / best.sum() > 0.9


def test_a_budget_is_never_passed_by_more_than_stated_whatever_arrives() -> None:
    pace = Pace.begin(0.1)
    served(pace, np.linspace(0, 1, 5000))  # every score is the highest so far
    assert pace.spent <= pace.target * (5000 * (1 + OVERSHOOT) + ALLOWANCE)


def test_without_earlier_prompts_the_first_ones_go_to_the_weak_model_until_a_threshold_is_known() -> None:
    assert not served(Pace.begin(0.0), np.ones(20)).any()
