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
