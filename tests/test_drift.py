"""Alarms: silent while nothing changes, on soon after a change, whatever the quantity's law."""

from __future__ import annotations

import math

import numpy as np
import pytest

from demur.measure.drift import Watch


def values_until_alarm(watch: Watch, values: np.ndarray) -> int | None:
    return next((i + 1 for i, value in enumerate(values) if watch.add(float(value))), None)


def test_false_alarms_are_as_rare_as_stated_at_a_low_level() -> None:
    # Mean number of values until a false alarm is at least the level, so over 20 x 2,000 values at most 40 at 1,000.
    alarms = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        watch = Watch.beside(random.normal(size=200), level=1000.0, seed=seed)
        for value in random.normal(size=2000):
            if watch.add(float(value)):
                alarms += 1
                watch.begin_again()
    assert 0 < alarms <= 40


@pytest.mark.parametrize("law", ["normal", "exponential", "few values"])
def test_ten_thousand_values_of_one_law_give_no_alarm(law: str) -> None:
    random = np.random.default_rng(0)
    drawn = {
        "normal": random.normal(size=10_300),
        "exponential": random.exponential(size=10_300),
        "few values": random.integers(0, 3, size=10_300).astype(float),
    }[law]
    assert values_until_alarm(Watch.beside(drawn[:300]), drawn[300:]) is None


@pytest.mark.parametrize(("shift", "within"), [(2.0, 60), (-2.0, 60), (1.0, 150)])
def test_a_change_is_noticed_soon_even_long_after_the_beginning(shift: float, within: int) -> None:
    random = np.random.default_rng(0)
    watch = Watch.beside(random.normal(size=300))
    assert values_until_alarm(watch, random.normal(size=3000)) is None
    found = values_until_alarm(watch, random.normal(size=1000) + shift)
    assert found is not None
    assert found <= within


def test_a_wider_spread_around_the_same_middle_is_a_change() -> None:
    random = np.random.default_rng(0)
    watch = Watch.beside(random.normal(size=300))
    assert values_until_alarm(watch, 4 * random.normal(size=1000)) is not None


def test_values_that_are_not_finite_are_left_out() -> None:
    watch = Watch.beside(np.random.default_rng(0).normal(size=100))
    before = sum(watch.counts)
    assert not watch.add(math.nan)
    assert not watch.add(math.inf)
    assert before == 100
    assert sum(watch.counts) == before


def test_after_it_begins_again_the_new_law_is_the_usual_one() -> None:
    random = np.random.default_rng(0)
    watch = Watch.beside(random.normal(size=300))
    values_until_alarm(watch, random.normal(size=500) + 3)
    watch.begin_again()
    assert values_until_alarm(watch, random.normal(size=3000) + 3) is None


def test_evidence_of_a_change_by_hand() -> None:
    """The first rank is bet on evenly. It fell into the last bin, so that one has density 8 (1 + 1.5) / (1 + 12)."""
    watch = Watch.beside(range(50))
    watch.add(1000.0)
    assert watch.evidence == pytest.approx(1.0)
    watch.add(2000.0)
    assert watch.evidence == pytest.approx((1 + 1) * 8 * 2.5 / 13)


def test_a_gateway_that_does_not_change_is_alarmed_once_in_100_000_requests() -> None:
    assert Watch().level == 100_000
    watch = Watch()
    watch.evidence = 100_000.0
    assert watch.alarmed
