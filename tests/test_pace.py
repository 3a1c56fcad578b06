"""A target held over requests: shares, budgets in USD, changes of the traffic, and limits that are never passed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from demur.measure.pace import ALLOWANCE, Arms, Pace, lowest_price, mean_cost

Share = Sequence[Arms]


def by_score(scores: np.ndarray) -> Share:
    return [((0.0, float(score)), (0.0, 1.0)) for score in scores]


def served(pace: Pace, arms: Share) -> np.ndarray:
    """(n,) which model gets each request; each is paid for."""
    chosen = []
    for values, costs in arms:
        chosen.append(pace.choose(values, costs))
        pace.pay(costs[chosen[-1]])
    return np.array(chosen)


def test_the_lowest_price_is_computed_by_hand() -> None:
    values, costs = np.array([[0, 0.9], [0, 0.5], [0, 0.1], [0, 0.5]]), np.tile([1.0, 3.0], (4, 1))
    # A dearer answer costs 2 more, so prompts are worth .45, .25, .05 and .25 a unit; all strong cost 3, none 1.
    expected = {3.0: 0.0, 2.5: 0.05, 2.4: 0.25, 1.5: 0.25, 1.4: 0.45, 1.0: 0.45}
    for rate, price in expected.items():
        assert lowest_price(values, costs, rate) == pytest.approx(price, abs=1e-6)
        assert mean_cost(values, costs, lowest_price(values, costs, rate)) <= rate


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_a_share_is_held_on_average(share: float) -> None:
    random = np.random.default_rng(0)
    pace = Pace.begin(share, by_score(random.random(300)))
    assert served(pace, by_score(random.random(3000))).mean() == pytest.approx(share, abs=0.012)


def test_a_share_is_held_again_after_the_scores_have_moved() -> None:
    random = np.random.default_rng(1)
    pace = Pace.begin(0.3, by_score(0.5 * random.random(300)))
    served(pace, by_score(0.5 * random.random(1000)))
    moved = served(pace, by_score(0.5 + 0.5 * random.random(3000)))
    assert moved[500:].mean() == pytest.approx(0.3, abs=0.02)


def test_the_most_promising_prompts_are_the_ones_that_are_paid_for() -> None:
    random = np.random.default_rng(2)
    scores = random.random(2000)
    chosen = served(Pace.begin(0.2, by_score(random.random(300))), by_score(scores))
    best = scores >= np.quantile(scores, 0.8)
    assert (chosen & best).sum() / best.sum() > 0.9


def test_of_equal_scores_the_cheaper_requests_are_upgraded() -> None:
    pace = Pace.begin(1.0, [((0.0, 0.5), (0.0, cost)) for cost in (1.0, 3.0)] * 50)
    chosen = served(pace, [((0.0, 0.5), (0.0, cost)) for cost in (1.0, 3.0)] * 200)
    assert chosen[0::2].mean() > chosen[1::2].mean()


def test_of_three_models_each_takes_the_prompts_that_are_worth_it() -> None:
    hard, middling, easy = ((0.1, 0.2, 0.9), (0.3, 0.8, 0.9), (0.9, 0.9, 0.9))
    arms = [(values, (0.0, 1.0, 4.0)) for values in (hard, middling, easy)] * 100
    pace = Pace.begin((4 + 1 + 0) / 3, arms)  # just enough for this
    assert served(pace, arms)[150:].tolist() == [2, 1, 0] * 50


def test_the_sum_never_passes_its_limit_whatever_arrives() -> None:
    pace = Pace.begin(0.1)
    served(pace, by_score(np.linspace(0, 1, 5000)))  # every score is the highest so far
    assert 0 < pace.spent <= pace.target * (5000 + ALLOWANCE)


def test_without_any_budget_nothing_is_upgraded() -> None:
    assert not served(Pace.begin(0.0), by_score(np.ones(20))).any()
