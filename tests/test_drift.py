"""Alarms: silent while nothing changes, on soon after a change, whatever the quantity's law."""

from __future__ import annotations

import math
from random import Random

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


class Fixed(Random):
    """Breaks every tie at one place."""

    def random(self) -> float:
        return 0.88


def test_earlier_values_are_counted_between_their_own_quantiles() -> None:
    """Of 0 to 49, in 64 parts of equal share: the edges are 49 k / 64."""
    watch = Watch.beside(range(50))
    assert watch.edges == pytest.approx([49 * k / 64 for k in range(1, 64)])
    assert (len(watch.counts), sum(watch.counts)) == (64, 50)
    assert watch.counts[0] == watch.counts[-1] == 1  # 0 below .77, 49 above 48.2


def test_a_value_is_bet_on_from_the_fifty_first_on() -> None:
    watch = Watch.beside([0.0] * 49)
    watch.add(0.0)
    assert (watch.evidence, list(watch.latest)) == (0.0, [])
    watch.add(0.0)
    assert watch.evidence == 1.0


def test_a_tie_is_broken_over_all_equal_values_and_the_new_one() -> None:
    """Between 50 equal values the rank is the drawn share itself, .88, in the last eighth."""
    watch = Watch.beside([0.0] * 50)
    watch.random = Fixed(0)
    watch.add(0.0)
    assert list(watch.latest) == [7]


def test_a_bet_gains_by_hand_and_the_alarm_is_on_at_the_level_itself() -> None:
    """Twelve uniform values count beside the latest: densities are 8 (1.5 / 12) = 1, then 8 (2.5 / 13)."""
    watch = Watch(level=1.0)
    watch.random = Fixed(0)
    for _ in range(50):
        watch.add(0.0)
    assert not watch.alarmed
    assert watch.add(0.0)
    assert watch.evidence == 1.0
    watch.add(0.0)
    assert watch.evidence == pytest.approx((1 + 1) * 8 * 2.5 / 13)


def test_a_bet_is_made_on_the_latest_sixty_ranks() -> None:
    watch = Watch.beside([0.0] * 50)
    watch.random = Fixed(0)
    for _ in range(60):
        watch.add(-1.0)  # below all: rank .88 of the values below 0 and itself, then more and more of them
    before = list(watch.crowd)
    oldest = watch.latest[0]
    watch.add(0.0)
    assert sum(watch.crowd) == 60 == len(watch.latest)
    assert watch.crowd[oldest] == before[oldest] - 1 + (watch.latest[-1] == oldest)


def test_edges_are_the_quantiles_of_the_first_values() -> None:
    """Each value once: of values that are all alike there is one edge, which is exactly that value."""
    random = Random(1)
    for values in ([random.random() for _ in range(50)], [float(random.randint(1, 9)) for _ in range(50)], [0.1] * 50):
        expected = np.unique(np.quantile(values, np.linspace(0, 1, 65)[1:-1]))
        edges = Watch.beside(values).edges
        assert edges == pytest.approx(expected.tolist(), rel=1e-12)
    assert edges == [0.1]
