"""A promise watched at any time: seldom false, granted when it is well kept, taken back when the world changes."""

from __future__ import annotations

import numpy as np
import pytest

from demur.measure.watched_promise import WatchedPromise


def test_one_loss_and_one_hit_change_the_wealth_as_computed_by_hand() -> None:
    promise = WatchedPromise(0.5, 0.05)
    # Before anything is seen the mean is taken as .25, so the bet is (.5 - .25) / .25 = 1, and a hit wins .5.
    promise.add(0.0)
    assert promise.wealth == pytest.approx(1.5)


def test_a_risk_just_above_what_is_promised_is_certified_in_few_of_many_runs() -> None:
    broken = 0
    for seed in range(300):
        promise = WatchedPromise(0.05, 0.05)
        losses = np.random.default_rng(seed).random(1000) < 0.0501
        broken += any(promise.add(float(loss)) for loss in losses)
    assert broken <= 0.05 * 300 + 11  # three standard errors


def test_no_losses_at_all_are_shown_after_about_as_many_prompts_as_a_binomial_test_needs() -> None:
    promise = WatchedPromise(0.05, 0.05)
    needed = next(i + 1 for i in range(1000) if promise.add(0.0))
    assert 58 <= needed <= 100  # ln 20 / -ln .95 = 58.4 is the least that any valid test needs


def test_a_promise_is_taken_back_soon_after_losses_come_three_times_as_often_as_promised() -> None:
    random = np.random.default_rng(0)
    promise = WatchedPromise(0.05)
    for loss in random.random(3000) < 0.02:
        promise.add(float(loss))
    assert promise.in_force
    after = next(i for i, loss in enumerate(random.random(3000) < 0.15) if not promise.add(float(loss)))
    assert after < 400
    assert promise.taken_back == 1
    assert "taken back so far: 1" in promise.sentence


def test_a_promise_that_is_kept_is_not_taken_back() -> None:
    for seed in range(10):
        promise = WatchedPromise(0.05)
        for loss in np.random.default_rng(seed).random(5000) < 0.03:
            promise.add(float(loss))
        assert promise.taken_back == 0


def test_the_sentence_says_how_many_graded_prompts_are_needed_at_least() -> None:
    assert "at least 59 graded prompts" in WatchedPromise(0.05).sentence


def test_evidence_against_a_promise_by_hand() -> None:
    """At a risk of .1 a loss is twice as likely at twice the risk, a hit .8 / .9 times: (0 + 1) 2, then (2 + 1) 8/9."""
    promise = WatchedPromise(0.1)
    promise.add(1.0)
    assert promise.against == pytest.approx(2.0)
    promise.add(0.0)
    assert promise.against == pytest.approx(3 * 8 / 9)


def test_a_bet_takes_three_quarters_of_the_wealth_at_most() -> None:
    """At a risk of .5 that is a bet of .75 / .5 = 1.5: means .25, .125, .083 would be worth 1, 1.5 and 1.67."""
    promise = WatchedPromise(0.5, 0.01)
    wealth = []
    for _ in range(3):
        assert not promise.add(0.0)
        wealth.append(promise.wealth)
    assert wealth == pytest.approx([1.5, 1.5 * 1.75, 1.5 * 1.75 * 1.75])
    assert (promise.n, promise.lost, promise.taken_back) == (3, 0.0, 0)


def test_a_loss_costs_what_was_bet_and_nothing_is_bet_while_the_mean_is_above_the_risk() -> None:
    """Risk .1: the mean is .05, the bet .05 / .09, a loss leaves 1 - .9 .05 / .09 = .5; then the mean is .525."""
    promise = WatchedPromise(0.1)
    promise.add(1.0)
    assert promise.wealth == pytest.approx(0.5)
    promise.add(0.0)
    promise.add(1.0)
    assert promise.wealth == pytest.approx(0.5)


def test_a_loss_lies_between_0_and_1() -> None:
    promise = WatchedPromise(0.1)
    promise.add(3.0)
    promise.add(-1.0)
    promise.add(0.5)
    assert (promise.n, promise.lost) == (3, 1.5)


def test_a_promise_is_in_force_from_the_wealth_on_that_its_confidence_asks_for() -> None:
    """One hit makes 1.5: just enough for an error of two thirds, too little for one of .66."""
    enough, too_little = WatchedPromise(0.5, 1 / 1.5), WatchedPromise(0.5, 0.66)
    assert enough.add(0.0)
    assert (enough.in_force, enough.against) == (True, 0.0)
    assert not too_little.add(0.0)


def test_at_a_risk_of_a_half_losses_double_the_evidence_and_a_hit_ends_it() -> None:
    promise = WatchedPromise(0.5)
    for loss, against in ((1.0, 2.0), (1.0, 6.0), (0.0, 0.0), (1.0, 2.0)):
        promise.add(loss)
        assert promise.against == against


def test_what_is_taken_back_begins_anew() -> None:
    """(4,999 + 1) 2 is 10,000, the level; a little less is not."""
    promise = WatchedPromise(0.5, n=40, lost=9.0, wealth=30.0, in_force=True, against=4999.0)
    assert not promise.add(1.0)
    assert (promise.in_force, promise.taken_back, promise.n, promise.lost) == (False, 1, 0, 0.0)
    assert (promise.wealth, promise.against) == (1.0, 0.0)
    other = WatchedPromise(0.5, in_force=True, against=4998.9)
    assert other.add(1.0)
    assert (other.taken_back, other.n, other.lost) == (0, 1, 1.0)


def test_what_a_promise_says_of_itself() -> None:
    promised = "at most 5.0% of better answers missed, 95% confidence"
    assert WatchedPromise(0.05).sentence == (
        f"{promised}: not shown (0 lost of 0 graded prompts; at least 59 graded prompts are needed)"
    )
    many = WatchedPromise(0.05, n=59, lost=2.5, taken_back=1)
    assert many.sentence == f"{promised}: not shown (2.5 lost of 59 graded prompts; taken back so far: 1)"
    assert WatchedPromise(0.05, n=58).sentence.endswith("of 58 graded prompts; at least 59 graded prompts are needed)")
    force = WatchedPromise(0.05, n=80, lost=1.0, in_force=True, taken_back=1)
    assert force.sentence == f"{promised}: in force (1 lost of 80 graded prompts)"
