"""Sureness on each model's own scale, by hand; and the targets that it makes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from demur.labels.scores.sureness import Sureness, calibrated_targets, combined_targets
from demur.labels.scores.uncertainty import belief, consistency, coverage


def test_coverage_counts_each_distinct_answer_once() -> None:
    """Paris with probability 1/2 (sampled twice), Lyon with 1/4: three quarters are covered; the empty one has none."""
    halves, quarter = (math.log(0.5),), (math.log(0.5), math.log(0.5))
    found = coverage(["Paris", "Paris", "Lyon", ""], [halves, halves, quarter, ()])
    assert found == pytest.approx(-math.log(0.75))
    assert math.isnan(coverage([""], [()]))


def test_consistency_compares_no_answer_with_itself() -> None:
    """Of the three pairs among a, a, b one means the same; guesses at one of k meanings agree one time in k."""
    assert consistency([0, 0, 1]) == pytest.approx(1 / 3)
    assert consistency([5]) == 1.0
    random = np.random.default_rng(0)
    guesses = [random.integers(0, 3, 5) for _ in range(4000)]
    assert np.mean([consistency(ids) for ids in guesses]) == pytest.approx(1 / 3, abs=0.01)
    both = np.mean([belief(a, b) for a, b in zip(guesses[::2], guesses[1::2], strict=True)], axis=0)
    assert both == pytest.approx([1 / 3, 1 / 3], abs=0.02)  # of two models that guess alike neither is believed more


def test_doubt_is_a_rank_within_the_model_and_an_unknown_coverage_is_middling() -> None:
    model = Sureness(np.array([0.0, 0.0, 2.0]), np.ones(3), np.array([1.0, 9.0, math.nan]))
    assert model.doubt.tolist() == [0.0, 1.0, 0.5]  # entropy .25 .25 1, twice the coverage 0 2 1: sums .25 2.25 2
    scaled = Sureness(100 * model.entropy, model.consistency, model.coverage)
    assert (scaled.doubt == model.doubt).all()
    assert Sureness(np.array([1.0, 0.0]), np.ones(2)).doubt.tolist() == [1.0, 0.0]


def test_a_model_that_is_equally_sure_throughout_does_not_count() -> None:
    """The weak model wavers everywhere alike: the order of its entropies is noise, and the strong one's decides."""
    weak = Sureness(np.array([2.2, 2.3, 2.1]), np.zeros(3))
    strong = Sureness(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.0]))
    assert calibrated_targets(weak, strong).tolist() == [1.0, 0.5, 0.0]
    assert calibrated_targets(strong, weak).tolist() == [0.0, 0.5, 1.0]  # swapping the models turns y into 1 - y


def test_agreement_and_doubt_count_equally_and_either_may_be_silent() -> None:
    flat, wavering = Sureness(np.ones(3), np.ones(3)), Sureness(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.0]))
    gains = np.array([0.2, 0.1, 0.0])
    assert combined_targets(gains, flat, flat).tolist() == [1.0, 0.5, 0.0]
    assert combined_targets(np.zeros(3), wavering, flat).tolist() == [0.0, 0.5, 1.0]
    assert combined_targets(gains, wavering, flat).tolist() == [0.5, 0.5, 0.5]  # they pull apart with one force


def test_prompts_that_are_chosen_keep_their_own_values() -> None:
    model = Sureness(np.array([0.0, 1.0, 2.0]), np.array([1.0, 0.5, 0.0]), np.array([0.1, 0.2, 0.3]))
    some = model.of(np.array([True, False, True]))
    assert (some.entropy.tolist(), some.consistency.tolist()) == ([0.0, 2.0], [1.0, 0.0])
    assert some.coverage is not None
    assert some.coverage.tolist() == [0.1, 0.3]
    assert Sureness(model.entropy, model.consistency).of(np.array([True, False, False])).coverage is None


def test_coverage_weighs_twice_as_much_as_entropy() -> None:
    """A rank of coverage counts as much as two ranks of entropy."""
    model = Sureness(np.array([3.0, 0.0, 1.0, 2.0, 4.0]), np.ones(5), np.array([1.0, 3.0, 2.0, 0.0, 0.5]))
    # entropy ranks .75 0 .25 .5 1; coverage ranks .5 1 .75 0 .25: sums 1.75 2 1.75 .5 1.5
    assert model.doubt.tolist() == [0.625, 1.0, 0.625, 0.0, 0.25]
    unknown = Sureness(model.entropy, model.consistency, np.full(5, math.nan))
    assert unknown.doubt.tolist() == [0.75, 0.0, 0.25, 0.5, 1.0]
