"""Statistics against known distributions, against scipy and scikit-learn, and what groups must keep together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from demur.records import BoolArray, FloatArray
from demur.statistics import (
    FOLDS,
    LEVEL,
    RESAMPLES,
    auroc,
    binomial_cdf,
    bootstrap,
    draw_counts,
    folds,
    held_out,
    interval,
    mean_interval,
    mean_ranks,
    normal_interval,
    percentile_interval,
)

whole_numbers = st.lists(st.integers(-3, 3), min_size=1, max_size=40)


def coverage(worlds: int, rows: int, *, drafts: int = 1) -> float:
    """In what share of worlds the interval of a mean holds the true one, 0; ``drafts`` rows of a group share its value.

    A group's value is normal; the rows beside it add hardly anything.
    """
    random, found = np.random.default_rng(0), []
    for _ in range(worlds):
        values = np.repeat(random.normal(size=rows), drafts) + random.normal(0, 0.1, rows * drafts)
        groups = np.repeat(np.arange(rows), drafts)
        low, high = interval(values, groups=groups, resamples=100)
        found.append(low <= 0 <= high)
    return float(np.mean(found))


def test_the_interval_of_a_normal_mean_covers_it_as_often_as_it_says() -> None:
    """Of 1,000 worlds 950 are expected, with a standard deviation of 7."""
    assert 0.92 <= coverage(1000, 80) <= 0.98


def test_rows_of_one_group_are_no_more_evidence_than_their_group() -> None:
    """Eight copies of each row: drawn one by one they would cover the mean in half of the worlds."""
    assert 0.92 <= coverage(300, 50, drafts=8) <= 0.98


def test_the_interval_is_the_middle_95_percent_of_the_draws() -> None:
    """Of the numbers 0 to 1,000 the middle 95 % are 25 to 975."""
    assert (LEVEL, RESAMPLES) == (0.95, 1000)
    assert percentile_interval(np.arange(1001)).tolist() == pytest.approx([25, 975])
    assert percentile_interval([*range(1001), math.nan]).tolist() == pytest.approx([25, 975])
    assert np.isnan(percentile_interval([math.nan] * 3)).all()
    columns = np.column_stack([np.arange(1001), np.arange(1001) / 1000])
    assert percentile_interval(columns) == pytest.approx(np.array([[25, 0.025], [975, 0.975]]))


def test_the_statistic_is_of_the_rows_drawn_however_many_arrays_it_takes() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 60))
    together = interval(np.column_stack([x, y]), lambda rows: float((rows[:, 0] * rows[:, 1]).mean()))
    by_number = interval(np.arange(60), lambda rows: float((x * y)[rows.astype(int)].mean()))
    assert together == pytest.approx(by_number)
    assert together == pytest.approx(interval(x * y))
    assert interval(x, np.sum) == pytest.approx([60 * end for end in interval(x)])


def test_the_interval_of_a_mean_does_not_depend_on_the_order_of_rows() -> None:
    values = np.random.default_rng(5).beta(0.3, 0.9, 200)
    found = mean_interval(values)
    assert found[0] == pytest.approx(values.mean())
    assert found[1:] == interval(np.sort(values))
    assert {mean_interval(np.random.default_rng(seed).permutation(values)) for seed in range(5)} == {found}
    assert len({interval(np.random.default_rng(seed).permutation(values)) for seed in range(5)}) == 5  # why it sorts


def test_the_interval_of_a_mean_is_the_normal_one_of_many_rows() -> None:
    values = np.random.default_rng(3).normal(5, 2, 4000)
    width = 1.96 * values.std() / math.sqrt(4000)
    assert interval(values) == pytest.approx((values.mean() - width, values.mean() + width), abs=0.1 * width)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=20))
def test_groups_are_drawn_together_and_as_many_as_there_are(groups: list[str]) -> None:
    names = np.array(groups)
    for counts in draw_counts(len(groups), groups=names, resamples=5):
        drawn = {name: set(counts[names == name].tolist()) for name in groups}
        assert all(len(times) == 1 for times in drawn.values())
        assert sum(times.pop() for times in drawn.values()) == len(drawn)


def test_equal_lengths_are_drawn_alike_so_that_differences_are_paired() -> None:
    values = np.random.default_rng(0).normal(size=40)
    assert (bootstrap(values + 1, np.mean) - bootstrap(values, np.mean)).tolist() == pytest.approx([1.0] * RESAMPLES)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.integers(0, 3))
def test_folds_never_split_a_group_and_are_of_nearly_equal_size(groups: list[int], seed: int) -> None:
    fold_of = folds(len(groups), groups=groups, seed=seed)
    of_group = {group: set(fold_of[np.array(groups) == group].tolist()) for group in groups}
    assert all(len(found) == 1 for found in of_group.values())
    sizes = np.bincount([found.pop() for found in of_group.values()])
    assert len(sizes) == min(FOLDS, len(of_group))
    assert sizes.max() - sizes.min() <= 1


def test_folds_are_drawn_by_their_seed() -> None:
    """A file that is sorted, by difficulty say, must not give folds of easy and of hard prompts."""
    assert folds(100).tolist() == folds(100).tolist() != folds(100, seed=1).tolist()
    assert sorted(folds(100).tolist()) != folds(100).tolist() != (np.arange(100) % FOLDS).tolist()


def test_what_is_held_out_is_predicted_by_the_others() -> None:
    """The mean of the other folds' values: row by row, and with several columns."""
    fold_of, values = np.array([0, 1, 0, 1, 2]), np.array([1.0, 2.0, 3.0, 4.0, 10.0])

    def mean_of_train(train: BoolArray, held: BoolArray) -> FloatArray:
        assert not (train & held).any()
        assert (train | held).all()
        return np.full(int(held.sum()), values[train].mean())

    assert held_out(fold_of, mean_of_train).tolist() == pytest.approx([16 / 3, 14 / 3, 16 / 3, 14 / 3, 2.5])
    columns = held_out(fold_of, lambda train, held: np.column_stack([values[held], -values[held]]))
    assert columns.tolist() == [[value, -value] for value in values]


@given(whole_numbers)
def test_ranks_are_scipys_scaled_to_one(values: list[int]) -> None:
    expected = (stats.rankdata(values) - 1) / (len(values) - 1) if len(set(values)) > 1 else np.full(len(values), 0.5)
    assert mean_ranks(values).tolist() == pytest.approx(expected.tolist())


def test_ranks_keep_the_shape_of_their_values() -> None:
    assert mean_ranks([[3.0, 1.0], [2.0, 1.0]]) == pytest.approx(np.array([[1.0, 0.5 / 3], [2 / 3, 0.5 / 3]]))


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_the_one_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    values, right = np.array([v for v, _ in rows], dtype=float), np.array([r for _, r in rows], dtype=float)
    if 0 < right.sum() < len(right):
        assert auroc(values, right) == pytest.approx(roc_auc_score(1 - right, values))
    else:
        assert math.isnan(auroc(values, right))


def test_a_mean_quality_counts_as_so_many_right_and_wrong_answers() -> None:
    doubled = auroc(np.array([0.1, 0.1, 0.5, 0.5, 0.9, 0.9]), np.array([1, 1, 1, 0, 0, 0.0]))
    assert auroc(np.array([0.1, 0.5, 0.9]), np.array([1.0, 0.5, 0.0])) == pytest.approx(doubled)


def test_scores_that_are_missing_are_left_out() -> None:
    assert auroc(np.array([0.1, np.nan, 0.9, 0.2]), np.array([1.0, 0.0, 0.0, 1.0])) == 1.0


@pytest.mark.parametrize(("n", "p"), [(10, 0.3), (500, 0.02), (3000, 0.4)])
def test_the_binomial_is_scipys(n: int, p: float) -> None:
    for k in (0, 1, n // 3, n - 1, n):
        assert binomial_cdf(k, n, p) == pytest.approx(stats.binom.cdf(k, n, p), rel=1e-8, abs=1e-12)


def test_the_normal_interval_is_students_but_for_its_tails() -> None:
    values = np.random.default_rng(0).normal(3, 2, 900)
    expected = stats.t.interval(0.95, 899, values.mean(), stats.sem(values))
    assert normal_interval(values) == pytest.approx(expected, rel=1e-3)


def test_many_intervals_together_err_no_more_often_than_one() -> None:
    """Twelve means of which none differs from 0: one of their intervals may leave it out in 5 % of 500 worlds.

    Without the correction it would in 46 % of them.
    """
    random = np.random.default_rng(0)
    ends = [[normal_interval(rows, 12) for rows in random.normal(size=(12, 200))] for _ in range(500)]
    wrong = np.mean([any(not low <= 0 <= high for low, high in world) for world in ends])
    assert 0.02 <= wrong <= 0.08


def test_an_interval_of_nothing_but_nan_keeps_its_columns() -> None:
    found = percentile_interval(np.full((4, 3, 5), np.nan))
    assert found.shape == (2, 3, 5)
    assert np.isnan(found).all()


def test_no_more_than_all_are_drawn() -> None:
    for n in range(1, 41):
        assert [binomial_cdf(k, n, 0.3) for k in (n, n + 1)] == [1.0, 1.0]
        assert binomial_cdf(n - 1, n, 0.3) == pytest.approx(1 - 0.3**n, abs=1e-12)
