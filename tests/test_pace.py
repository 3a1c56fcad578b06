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


def test_the_price_is_set_at_the_first_request_and_with_every_fourth() -> None:
    pace, set_at = Pace(0.5, every=4), []
    for number in range(1, 10):
        pace.price = 99.0
        pace.see((0.0, 0.5), (0.0, 1.0))
        if pace.price != 99.0:
            set_at.append(number)
    assert set_at == [1, 4, 8]
    assert pace.requests == len(pace.seen) == 9
    assert Pace.begin(0.5).every == 8
    assert Pace.begin(0.5, every=3).every == 3


def test_the_latest_512_requests_count() -> None:
    arms = by_score(np.arange(600) / 600)
    pace = Pace.begin(0.5, arms)
    assert len(pace.seen) == 512
    assert pace.seen[0] == arms[88]
    assert (pace.requests, pace.spent) == (0, 0.0)
    assert Pace(0.5).seen.maxlen == 512


def test_four_requests_worth_may_be_spent_in_advance() -> None:
    pace = Pace(0.25)
    assert pace.limit == 1.0
    assert pace.affords(1.0)
    assert not pace.affords(1.001)
    pace.pay(0.75)
    assert (pace.spent, pace.affords(0.25), pace.affords(0.26)) == (0.75, True, False)
    for _ in range(4):
        pace.see((0.0, 0.5), (0.0, 1.0))
    assert pace.limit == 2.0


def test_what_is_not_affordable_goes_to_the_cheapest_model() -> None:
    pace = Pace(0.25, every=1000)
    pace.seen.append(((0.0, 0.9), (0.0, 1.0)))
    assert pace.choose((0.0, 0.9), (0.0, 1.0)) == 1
    pace.pay(1.0)
    assert pace.choose((0.0, 0.9), (0.0, 1.0)) == 0


def test_a_choice_weighs_value_against_price_times_cost() -> None:
    pace = Pace(10.0, price=0.5, requests=1, every=100)
    pace.seen.append(((0.0, 0.0), (0.0, 1.0)))
    assert pace.choose((0.0, 0.45), (0.0, 1.0)) == 0
    assert pace.choose((0.0, 0.55), (0.0, 1.0)) == 1
    assert pace.choose((0.0, 0.5), (0.0, 1.0)) == 0  # of equal ones the cheaper
    assert pace.threshold(1.0) == np.nextafter(0.5, 1)
    assert pace.threshold(0.5) == np.nextafter(0.25, 1)


def test_a_deviation_is_made_up_over_256_requests() -> None:
    """100 requests at .25 may have cost 25; 12.2 were spent, so the next ones may cost 12.8 / 256 = .05 more each."""
    assert Pace(0.25, requests=100, spent=12.2).rate == pytest.approx(0.3)
    assert Pace(0.25, requests=100, spent=37.8).rate == pytest.approx(0.2)
    assert Pace(0.25, requests=100, spent=1000.0).rate == 0.0


def test_a_rate_of_now_takes_the_targets_place() -> None:
    """Scores .1 to .9, one strong call in ten: the price lies below .9; five in ten: below .5."""
    arms = by_score(np.arange(10) / 10)
    pace = Pace(0.1, every=1000)
    pace.seen.extend(arms)
    pace.set_price()
    assert pace.price == pytest.approx(0.8, abs=1e-6)
    pace.set_price(0.5)
    assert pace.price == pytest.approx(0.4, abs=1e-6)
    pace.every = 1
    pace.see((0.0, 0.0), (0.0, 1.0), 0.0)
    assert pace.price == pytest.approx(0.9, abs=1e-6)
    empty = Pace(0.5, price=3.0)
    empty.set_price()
    assert empty.price == 0.0


def test_a_budget_below_the_cheapest_model_has_a_price_that_nothing_is_worth() -> None:
    """Twice the most that a unit of cost is worth; a model that costs no more than the cheapest is worth nothing."""
    values, costs = np.array([[0, 0.9], [0, 0.5]]), np.tile([1.0, 3.0], (2, 1))
    assert lowest_price(values, costs, 0.5) == pytest.approx(0.9)
    assert lowest_price(values, np.tile([1.0, 1.0], (2, 1)), 0.5) == pytest.approx(2e-12)
    assert lowest_price(values, costs, 3.0) == 0.0
