"""Curves against brute force, against what must hold for every router, and against published outcomes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import SHARED, missing
from demur import cost_quality_curve
from demur.errors import InputError
from demur.records import FloatArray
from demur.statistics import RESAMPLES
from outcomes import outcomes

tables = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0]), st.sampled_from([0.0, 0.5, 1.0])),
    min_size=2,
    max_size=30,
).filter(lambda rows: sum(s - w for _, w, s in rows) > 0)


def columns(rows: list[tuple[int, float, float]]) -> tuple[FloatArray, FloatArray, FloatArray]:
    score, weak, strong = np.array(rows, dtype=float).T
    return score, weak, strong


@given(tables)
def test_every_point_is_what_its_threshold_gives(rows: list[tuple[int, float, float]]) -> None:
    score, weak, strong = columns(rows)
    curve = cost_quality_curve(score, weak, strong, weak_cost=weak + 1, strong_cost=strong + 5)
    for point in curve.points:
        chosen = score >= point.threshold
        assert point.strong_share == pytest.approx(chosen.mean())
        assert point.quality == pytest.approx(np.where(chosen, strong, weak).mean())
        assert point.cost == pytest.approx(np.where(chosen, strong + 5, weak + 1).mean())
    assert (curve.strong_shares[0], curve.strong_shares[-1]) == (0, 1)


@given(tables)
def test_cpt_is_the_least_share_that_recovers(rows: list[tuple[int, float, float]]) -> None:
    score, weak, strong = columns(rows)
    curve = cost_quality_curve(score, weak, strong)
    for recovered in (0.2, 0.5, 0.8):
        share, target = curve.cpt(recovered), weak.mean() + recovered * curve.gain

        def quality(at: FloatArray | float) -> FloatArray:
            return np.asarray(np.interp(at, curve.strong_shares, curve.qualities))

        assert quality(share) == pytest.approx(target)
        assert (quality(np.linspace(0, share, 500)[:-1]) < target + 1e-9).all()


@given(tables)
def test_nothing_beats_the_oracle_and_order_does_not_matter(rows: list[tuple[int, float, float]]) -> None:
    score, weak, strong = columns(rows)
    curve = cost_quality_curve(score, weak, strong)
    best = np.interp(curve.strong_shares, curve.oracle.strong_shares, curve.oracle.qualities)
    assert (curve.qualities <= best + 1e-12).all()
    assert curve.oracle.apgr >= curve.apgr - 1e-12
    assert curve.oracle.cpt(0.5) <= curve.cpt(0.5) + 1e-12
    again = cost_quality_curve(score[::-1], weak[::-1], strong[::-1])
    assert again.apgr == pytest.approx(curve.apgr)
    assert cost_quality_curve(np.exp(score), weak, strong).apgr == pytest.approx(curve.apgr)


def test_the_ends_are_both_models_and_what_is_recovered_stays_so() -> None:
    """The first two prompts gain everything; the oracle begins at the weak model's quality and ends at the best."""
    curve = cost_quality_curve([4, 3, 2, 1], [0, 0, 0.5, 0.5], [1, 1, 0.5, 0.5])
    assert (curve.qualities[0], curve.oracle.qualities[0], curve.oracle.qualities[-1]) == (0.25, 0.25, 0.75)
    assert curve.cpt(1.0) == curve.oracle.cpt(1.0) == 0.5
    costs = np.arange(5.0)
    dearer = curve.with_costs(costs)
    assert [point.cost for point in dearer.points] == costs.tolist()
    assert dearer.apgr == curve.apgr


def test_two_models_of_equal_quality_leave_nothing_to_recover() -> None:
    curve = cost_quality_curve([2, 1], [0, 1], [1, 0])
    assert curve.gain == 0
    assert all(math.isnan(value) for value in (curve.cpt(0.5), curve.apgr, curve.pgr(0.5), curve.oracle.cpt(0.5)))


def test_equal_scores_are_the_chord() -> None:
    curve = cost_quality_curve(np.zeros(10), np.zeros(10), np.arange(10) / 10)
    assert curve.apgr == pytest.approx(0.5)
    assert curve.cpt(0.8) == pytest.approx(0.8)
    assert curve.pgr(0.3) == pytest.approx(0.3)


@pytest.mark.slow
def test_the_interval_holds_what_it_promises() -> None:
    """Over worlds with a known APGR, the 95 % interval covers it about 95 % of the time."""
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(150):
        needed = random.random(150) < 0.5
        score = needed + random.normal(0, 1, 150)
        low, high = cost_quality_curve(score, np.zeros(150), needed.astype(float)).interval("apgr")
        covered += low <= 0.5 + 0.5 * (0.7602 - 0.5) <= high  # AUROC of two normals one apart is .7602; half are needed
    assert covered >= 0.88 * 150


def test_a_strong_model_that_is_no_better_has_no_cpt() -> None:
    curve = cost_quality_curve([1, 2, 3], [1, 1, 1], [1, 0, 1])
    assert math.isnan(curve.cpt(0.5))
    assert math.isnan(curve.apgr)
    assert all(math.isnan(bound) for bound in curve.interval("apgr"))


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (([], [], []), "no values"),
        (([1, 2], [1], [1, 2]), "1 weak_quality"),
        (([1, math.nan], [1, 2], [1, 2]), "1 of 2 values"),
    ],
)
def test_bad_arrays_are_named(given: Any, named: str) -> None:
    with pytest.raises(InputError) as raised:
        cost_quality_curve(*given)
    assert named in str(raised.value)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(InputError, match="protocol 'half'"):
        cost_quality_curve([1, 2], [0, 0], [0, 1], protocol="half")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no interval is called 'auc'"):
        cost_quality_curve([1, 2], [0, 0], [0, 1]).interval("auc")


def test_routellm_protocol_by_hand() -> None:
    """Ten prompts, perfect order: strong shares 1, .9 ... at deciles, and interpolation between them."""
    curve = cost_quality_curve(np.arange(10), np.zeros(10), np.arange(10) >= 5, protocol="routellm")
    assert curve.strong_shares.tolist() == pytest.approx([0, *np.arange(1, 11) / 10])
    assert curve.cpt(0.8) == pytest.approx(0.4)


@pytest.mark.parametrize("metric", ["cpt50", "apgr"])
def test_the_interval_is_of_the_curves_of_prompts_drawn_again(metric: str) -> None:
    """Each draw as a curve of its own; qualities between 0 and 1, so that every draw has a gap."""
    random = np.random.default_rng(3)
    score = random.choice(random.random(20), 60)  # with equal scores
    weak, strong = random.random(60), 0.5 + random.random(60)
    draws, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = draws.integers(0, 60, 60)
        again = cost_quality_curve(score[rows], weak[rows], strong[rows])
        found.append(again.cpt(0.5) if metric == "cpt50" else again.apgr)
    expected = tuple(np.quantile(found, [0.025, 0.975]))
    assert cost_quality_curve(score, weak, strong).interval(metric) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["cpt50", "apgr"])
def test_the_routellm_interval_is_of_its_own_eleven_thresholds(metric: str) -> None:
    """The same draws, each sent through the protocol again: what the interval must be."""
    random = np.random.default_rng(3)
    score = random.choice(random.random(20), 60)  # with equal scores
    weak, strong = random.random(60), 0.2 + random.random(60)  # no two alike: np.interp's choice among equals is chance
    curve = cost_quality_curve(score, weak, strong, protocol="routellm")
    draws, found = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = draws.integers(0, 60, 60)
        again = cost_quality_curve(score[rows], weak[rows], strong[rows], protocol="routellm")
        found.append(again.cpt(0.5) if metric == "cpt50" else again.apgr)
    assert curve.interval(metric) == pytest.approx(tuple(np.nanquantile(found, [0.025, 0.975])))
    assert curve.interval(metric) != cost_quality_curve(score, weak, strong).interval(metric)


def test_an_oracle_has_neither_band_nor_resamples() -> None:
    oracle = cost_quality_curve([1, 2, 3], [0, 0, 0], [0, 1, 1]).oracle
    assert all(math.isnan(bound) for bound in oracle.interval("apgr"))
    with pytest.raises(InputError, match="no band"):
        oracle.band(np.array([0.5]))


PUBLISHED = [
    ("mt_bench", 72, 8.28125, 9.21181, (8.18, 17.08, 0.967)),
    ("gsm8k", 1307, 0.637337, 0.857689, (11.02, 17.63, 1.133)),
    ("mmlu", 14037, 0.680915, 0.805870, (6.25, 10.00, 1.2965)),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "n", "weak", "strong", "oracle"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_outcomes_come_out(name: str, n: int, weak: float, strong: float, oracle: Any) -> None:
    if not (SHARED / "outcomes").exists():
        missing(str(SHARED / "outcomes"))
    _, a, b = outcomes(name)
    curve = cost_quality_curve(np.zeros(n), a, b)
    assert curve.weak_quality == pytest.approx(weak, rel=7e-7)
    assert curve.strong_quality == pytest.approx(strong, rel=7e-7)
    assert 100 * curve.oracle.cpt(0.5) == pytest.approx(oracle[0], abs=6e-3)
    assert 100 * curve.oracle.cpt(0.8) == pytest.approx(oracle[1], abs=6e-3)
    assert curve.oracle.apgr == pytest.approx(oracle[2], abs=6e-4)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"scores": 0.5}, r"scores: shape \(\)"),
        ({"scores": [[0.1], [0.9]]}, r"scores: shape \(2, 1\); give one value per prompt"),
        ({"scores": ["low", "high"]}, "scores: not an array of numbers, found list"),
        ({"weak_cost": [1.0, 2.0]}, "weak_cost alone is not a cost; give both"),
        ({"strong_cost": 1.0}, "strong_cost alone is not a cost; give both"),
        ({"weak_cost": [1.0], "strong_cost": 2.0}, "1 values of weak_cost for 2 prompts"),
        ({"groups": [0]}, r"groups of shape \(1,\) for 2 scores"),
    ],
)
def test_arrays_of_another_shape_are_named(given: dict[str, object], named: str) -> None:
    usual = {"scores": [0.1, 0.9], "weak_quality": [0.0, 0.0], "strong_quality": [1.0, 1.0]}
    with pytest.raises(InputError, match=named):
        cost_quality_curve(**(usual | given))  # type: ignore[arg-type]


def test_one_cost_stands_for_all_prompts() -> None:
    curve = cost_quality_curve([0.1, 0.9], [0, 0], [1, 1], weak_cost=1.0, strong_cost=[3.0, 5.0])
    assert curve.costs is not None
    assert curve.costs.tolist() == [1.0, 3.0, 4.0]


def test_the_band_stays_where_quality_can_be() -> None:
    """Both models' quality is drawn again, so a resample of right answers alone ends at 1 and not above."""
    random = np.random.default_rng(0)
    weak, strong = (random.random(40) < 0.5).astype(float), np.ones(40)
    band = cost_quality_curve(random.random(40), weak, strong).band(np.linspace(0, 1, 11))
    assert band.max() <= 1
    np.testing.assert_allclose(band[:, -1], 1)  # always strong is always right
    weak_band = cost_quality_curve(random.random(40), weak, weak).band(np.array([0.0, 1.0]))
    assert weak_band[1, 0] - weak_band[0, 0] > 0.2  # always weak is as uncertain as 40 coins


def test_without_a_gap_there_is_no_interval() -> None:
    for strong in ([1, 0], [0, 0]):  # equal in mean, and worse
        curve = cost_quality_curve([2, 1], [0, 1], strong)
        assert all(math.isnan(bound) for bound in curve.interval("cpt50"))
        assert math.isnan(curve.pgr(0.5))
        assert math.isnan(curve.apgr)


@pytest.mark.parametrize("metric", ["xyz50", "cptx", "cpt", "50"])
def test_only_apgr_and_percentages_have_intervals(metric: str) -> None:
    with pytest.raises(InputError, match=f"no interval is called '{metric}'"):
        cost_quality_curve([1, 2], [0, 0], [0, 1]).interval(metric)


def test_every_percentage_has_its_own_interval() -> None:
    """All prompts gain alike: whichever are drawn, p % of the gap takes p % of the calls."""
    curve = cost_quality_curve(np.arange(20), np.zeros(20), np.ones(20))
    for percentage in (20, 50, 80):
        assert curve.interval(f"cpt{percentage}") == pytest.approx((percentage / 100, percentage / 100))
        assert curve.cpt(percentage / 100) == pytest.approx(percentage / 100)
    assert curve.interval("apgr") == pytest.approx((0.5, 0.5))
    assert curve.cpt(0.0) == 0.0


def test_a_resample_that_never_recovers_so_much_counts_as_all_calls() -> None:
    """Twenty prompts gain and one loses, so 105 % of the gap can be recovered; one resample in three lacks that one."""
    gains = np.repeat([1.0, 0.0, -1.0], [20, 19, 1])
    curve = cost_quality_curve(gains, (gains < 0).astype(float), (gains > 0).astype(float))
    assert curve.cpt(1.04) == pytest.approx(0.494)
    assert curve.interval("cpt104")[1] == 1.0


def test_one_prompt_has_a_curve_under_both_protocols() -> None:
    assert cost_quality_curve([0.5], [0], [1]).strong_shares.tolist() == [0, 1]
    assert cost_quality_curve([0.5], [0], [1], protocol="routellm").strong_shares.tolist() == [0] + [1] * 10


def test_deciles_lie_between_scores_as_numpys_quantiles_do() -> None:
    scores = np.random.default_rng(0).random(23)
    curve = cost_quality_curve(scores, np.zeros(23), np.ones(23), protocol="routellm")
    assert curve.thresholds[1:] == pytest.approx(np.quantile(scores, np.arange(10) / 10)[::-1])
    assert curve.thresholds[0] == np.nextafter(scores.max(), math.inf)


def test_prompts_of_one_group_are_drawn_together() -> None:
    """Both drafts of a prompt gain alike: the interval is as wide as that of 40 prompts, and wider than that of 80."""
    random = np.random.default_rng(0)
    score, gains = random.random(40), (random.random(40) < 0.5).astype(float)
    alone = cost_quality_curve(score, np.zeros(40), gains).interval("apgr")
    pairs = [np.repeat(values, 2) for values in (score, np.zeros(40), gains)]
    grouped = cost_quality_curve(*pairs, groups=np.repeat(np.arange(40), 2)).interval("apgr")
    loose = cost_quality_curve(*pairs).interval("apgr")
    assert grouped == pytest.approx(alone)
    assert loose[1] - loose[0] < 0.85 * (alone[1] - alone[0])


def test_without_a_gap_routellms_protocol_has_no_cpt() -> None:
    assert math.isnan(cost_quality_curve([2, 1], [0, 1], [1, 0], protocol="routellm").cpt(0.5))


def test_a_resample_without_a_gap_is_left_out_of_an_interval() -> None:
    """Of two prompts one gains: drawn once, half the gain comes at share .25; drawn twice, at .5; never, no gain."""
    curve = cost_quality_curve([1.0, 0.0], [0.0, 1.0], [1.0, 1.0])
    assert curve.interval("cpt50") == pytest.approx((0.25, 0.5))
    assert curve.interval("apgr") == pytest.approx((0.5, 0.75))  # of the whole gain from the first half on: .75
