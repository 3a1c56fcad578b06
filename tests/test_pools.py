"""Pool routers on planted worlds, their gradients against finite differences, and the frontier."""

from __future__ import annotations

import numpy as np
import pytest

from demur.errors import InputError
from demur.measure.frontier import choices, earn, frontier, frontier_intervals, hull, oracle_frontier
from demur.methods import SimilarityWeighted
from demur.methods.estimator import unit_rows
from demur.methods.pools import BY_NAME
from demur.methods.pools.contrastive import (
    RouterDC,
    extremes,
    near_and_far,
    sample_llm_gradient,
    sample_sample_gradient,
)
from demur.methods.pools.estimate import estimate_quality
from demur.methods.pools.factorization import PoolFactorization
from demur.methods.pools.graph import GraphRouter, GraphWeights, _initial, edge_gradients, model_nodes
from demur.methods.pools.pair_pools import PairGraphRouter, PairRouterDC, PoolPair, fit_pairs
from demur.methods.pools.pool import pair_quality
from demur.methods.pools.ranking import PoolRanking
from demur.records import FloatArray
from worlds import planted


def specialists(n: int = 600, models: int = 4, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Prompts around one direction a model; a model is right on its own direction, and rarely elsewhere."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, models, n)
    X = random.normal(0, 0.25, (n, 12)) + 1.5 * np.eye(12)[kind]
    right = random.random((n, models)) < np.where(np.arange(models) == kind[:, None], 0.95, 0.1)
    return X, right.astype(float)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_router_finds_each_prompts_specialist(name: str) -> None:
    X, quality = specialists()
    router = BY_NAME[name]().fit(X[:400], quality[:400])
    chosen = np.argmax(router.scores(X[400:]), axis=1)
    earned = quality[400:][np.arange(200), chosen].mean()
    assert earned > 0.85, earned  # the best single model earns about .31


@pytest.mark.parametrize("name", BY_NAME)
def test_an_estimate_is_in_units_of_quality_and_trusts_nothing_where_prompts_tell_nothing(name: str) -> None:
    X, quality = specialists(900)
    expected = estimate_quality(BY_NAME[name](), X[:700], quality[:700])(X[700:])
    chosen = np.argmax(expected, axis=1)
    assert quality[700:][np.arange(200), chosen].mean() > 0.8
    assert abs(expected.mean() - quality.mean()) < 0.05  # about .31: no logits
    random = np.random.default_rng(1)
    noise = (random.random((900, 4)) < [0.3, 0.4, 0.5, 0.8]).astype(float)
    found = estimate_quality(BY_NAME[name](), X, noise)
    assert np.mean(np.argmax(found(X), axis=1) == 3) > 0.95  # the best single model


def test_aiq_has_a_95_percent_interval_over_prompts() -> None:
    """The cheap model is always wrong, the dear one right on 30 %: AIQ is half of that, and so is its interval."""
    right = (np.random.default_rng(0).random(600) < 0.3).astype(float)
    quality, cost = np.column_stack([np.zeros(600), right]), np.tile([1.0, 2.0], (600, 1))
    scores = np.tile([0.0, 1.0], (600, 1))
    aiq, width = frontier(scores, quality, cost).aiq, 1.96 * right.std() / 600**0.5 / 2
    assert aiq == pytest.approx(right.mean() / 2)
    found = frontier_intervals(scores, quality, cost)
    assert found.aiq == pytest.approx((aiq - width, aiq + width), abs=0.1 * width)
    assert found.best == pytest.approx((2 * aiq - 2 * width, 2 * aiq + 2 * width), abs=0.2 * width)


@pytest.mark.parametrize("name", BY_NAME)
def test_where_the_choice_hardly_matters_hardly_anything_is_learned(name: str) -> None:
    X, y, p = planted(800)
    strong_wins_by = np.where(y > 0, 0.5, 0.005)  # the strong model is always ahead, and half the time by a hair
    router = BY_NAME[name]().fit(X[:600], pair_quality(0.5 + strong_wins_by[:600]))
    assert np.corrcoef(router.strong_score(X[600:]), p[600:])[0, 1] > 0.6


@pytest.mark.parametrize("name", BY_NAME)
def test_a_pair_is_a_pool_of_two(name: str) -> None:
    X, y, p = planted(800)
    router = BY_NAME[name]().fit(X[:600], pair_quality(y[:600]))
    assert np.corrcoef(router.strong_score(X[600:]), p[600:])[0, 1] > 0.75


@pytest.mark.parametrize("pair", [PairRouterDC(), PairGraphRouter()])
def test_the_pairs_of_a_pool_say_what_its_one_router_says(pair: PoolPair) -> None:
    X, quality = specialists(300, models=3)
    pairs, _ = fit_pairs(pair, X, quality)
    scores = pair.pool().fit(X, quality).scores(X)
    unit = RouterDC().temperature if isinstance(pair, PairRouterDC) else 1.0
    for at, one in enumerate(pairs, start=1):
        np.testing.assert_allclose(unit * one.differences(X), scores[:, at] - scores[:, 0], atol=1e-6)
        gains = 2 * one.predict_proba(X)[:, 1] - 1
        assert gains.mean() == pytest.approx((quality[:, at] - quality[:, 0]).mean(), abs=0.02)


@pytest.mark.parametrize("pair", [PairRouterDC(), PairGraphRouter()])
def test_a_pools_gains_are_of_prompts_that_its_fits_have_not_seen(pair: PoolPair) -> None:
    """Of prompts that tell who is right they are near the truth, and of others each model's mean gain."""
    X, quality = specialists(400, models=3)
    pairs, held = fit_pairs(pair, X, quality)
    truth = quality - quality[:, :1]
    assert [float(np.corrcoef(held[:, at], truth[:, at])[0, 1]) > 0.7 for at in (1, 2)] == [True, True]
    shuffled = np.random.default_rng(1).permutation(quality)
    pairs, held = fit_pairs(pair, X, shuffled)
    assert np.abs(held - (shuffled - shuffled[:, :1]).mean(axis=0)).mean() < 0.06
    assert np.ptp(pairs[-1].predict_proba(X)[:, 1]) < 0.2


def test_a_given_task_tells_what_the_prompt_does_not() -> None:
    """Two tasks with a specialist each, and embeddings that say nothing of either."""
    random = np.random.default_rng(0)
    task = random.integers(0, 2, 400)
    X, quality = random.normal(size=(400, 8)), np.stack([task == 0, task == 1], axis=1).astype(float)
    router = GraphRouter().fit(X[:300], quality[:300], task[:300])
    assert (np.argmax(router.scores(X[300:], task[300:]), axis=1) == task[300:]).mean() > 0.95
    blind = GraphRouter().fit(X[:300], quality[:300])
    assert (np.argmax(blind.scores(X[300:]), axis=1) == task[300:]).mean() < 0.7
    assert np.isfinite(router.scores(X[:2], np.array([7, 0]))).all()  # a task that fit did not see
    with pytest.raises(InputError, match="fitted with tasks"):
        router.scores(X)
    with pytest.raises(InputError, match="give 400 numbers from 0"):
        GraphRouter().fit(X, quality, task[:3])


@pytest.mark.parametrize("name", BY_NAME)
def test_models_that_never_differ_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="never differ"):
        BY_NAME[name]().fit(np.eye(4), np.ones((4, 3)))


def test_one_model_alone_is_refused() -> None:
    quality = np.array([[1.0, np.nan], [np.nan, 0.0]])
    with pytest.raises(InputError, match="two models"):
        PoolFactorization().fit(np.eye(2), quality)


def test_ranking_of_two_models_is_the_weighted_mean() -> None:
    X, y, p = planted(200)
    y = (y + p) / 2  # soft
    ours = PoolRanking(ridge=1e-9).fit(X, pair_quality(y)).strong_score(X[:20])
    closed = SimilarityWeighted().fit(X, y).predict_proba(X[:20])[:, 1]
    assert np.allclose(1 / (1 + np.exp(-ours)), closed, atol=1e-4)


def test_contrastive_gradients_are_those_of_the_printed_losses() -> None:
    random = np.random.default_rng(0)
    rows, W, K = random.normal(size=(6, 5)), random.normal(size=(5, 4)), random.normal(size=(5, 4))
    best, worst = extremes(random.random((6, 5)), 2, 2)
    near = np.array([[1, 3, 4], [0, 3, 5], [1, 4, 5]])
    batch = np.arange(3)

    def unit(a: FloatArray) -> FloatArray:
        return np.asarray(a / np.linalg.norm(a, axis=-1, keepdims=True))

    def llm(W: FloatArray, K: FloatArray) -> float:
        e = np.exp(unit(rows @ W) @ unit(K).T / 0.5)
        against = (worst * e).sum(axis=1, keepdims=True)
        return float((best * -np.log(e / (e + against))).sum() / 6)

    def sample(W: FloatArray) -> float:
        e = np.exp(np.einsum("bh,bkh->bk", unit(rows[batch] @ W), unit(rows[near] @ W)) / 0.5)
        return float(-np.log(e[:, 0] / e.sum(axis=1)).mean())

    to_map, to_models = sample_llm_gradient(rows, W, K, best, worst, 0.5)
    assert np.allclose(to_map, numeric(lambda w: llm(w, K), W), atol=1e-5)
    assert np.allclose(to_models, numeric(lambda k: llm(W, k), K), atol=1e-5)
    assert np.allclose(sample_sample_gradient(rows, batch, near, W, 0.5), numeric(sample, W), atol=1e-5)


def test_graph_gradients_are_those_of_the_cross_entropy() -> None:
    random = np.random.default_rng(1)
    weights = GraphWeights(*(array.astype(float) for array in _initial(random, 5, 3, 2, 4).arrays))
    rows, seen, edges = random.normal(size=(6, 5)), random.normal(size=(7, 5)), random.random((7, 3))
    task, wanted = random.integers(0, 2, 6), np.eye(3)[random.integers(0, 3, 6)]

    def loss(w: GraphWeights) -> float:
        logits = (rows @ w.prompt + w.task[task]) @ model_nodes(w, seen, edges)[0].T
        return float((np.log(np.exp(logits).sum(axis=1)) - (wanted * logits).sum(axis=1)).mean())

    found = edge_gradients(weights, rows, task, wanted, seen, edges)
    for place, array in enumerate(weights.arrays):

        def at(value: FloatArray, place: int = place) -> float:
            arrays = list(weights.arrays)
            arrays[place] = value
            return loss(GraphWeights(*arrays))

        assert np.allclose(found[place], numeric(at, array), atol=1e-5)


def numeric(loss: object, at: FloatArray) -> FloatArray:
    """Central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = 1e-6
        found[place] = (loss(at + step) - loss(at - step)) / 2e-6  # type: ignore[operator]
    return found


def test_the_oracle_is_never_beaten() -> None:
    _, quality = specialists(200)
    cost = np.tile([1.0, 2.0, 3.0, 4.0], (200, 1))
    reached = frontier(np.random.default_rng(0).random((200, 4)), quality, cost)
    assert reached.aiq <= oracle_frontier(quality, cost).aiq
    assert (np.diff(reached.qualities) >= 0).all()


def test_the_hull_by_hand() -> None:
    found = hull([(0.0, 0.0), (1.0, 0.2), (2.0, 1.0), (3.0, 0.5)], 0.0, 4.0)
    assert found.costs.tolist() == [0.0, 2.0]
    assert found.aiq == pytest.approx((0.5 * 2 + 1.0 * 2) / 4, abs=0.005)


def test_a_point_just_above_or_on_the_line_of_its_neighbours() -> None:
    """From (1, .4) to (3, .8) the line is at .6: a point on it adds nothing, one above it is kept."""
    on, above = ([(1.0, 0.4), (2.0, y), (3.0, 0.8)] for y in (0.6, 0.65))
    assert hull(on, 1.0, 3.0).costs.tolist() == [1.0, 3.0]
    assert hull(above, 1.0, 3.0).qualities.tolist() == [0.4, 0.65, 0.8]
    assert hull([(1.0, 0.4), (1.0, 0.5)], 1.0, 3.0).qualities.tolist() == [0.5]  # of one cost the better one


def test_near_is_of_the_own_cluster_and_far_of_others() -> None:
    group = np.array([2, 0, 1, 0, 2, 2, 1])
    batch = np.arange(7)
    for seed in range(20):
        found = near_and_far(group, batch, 3, np.random.default_rng(seed))
        assert (group[found[:, 0]] == group).all()
        assert (group[found[:, 1:]] != group[:, None]).all()


def test_graphrouter_routes_to_a_new_model_from_a_few_graded_prompts() -> None:
    """Eight models, none of them good at the fourth topic; a ninth, which fit has not seen, is good at it alone.

    Forty graded prompts of it, of which about ten are on its topic, recover a good part of what fitting again gives.
    """
    without, grown, again = np.zeros(3), np.zeros(3), np.zeros(3)
    for seed in range(3):
        random = np.random.default_rng(seed)
        topic = random.integers(0, 4, 600)
        X = 0.5 * unit_rows(random.normal(size=(600, 16))) + np.eye(16)[topic]
        skill = 0.15 + 0.7 * (random.random((9, 4)) < 0.35)
        skill[:8, 3], skill[8] = 0.15 + 0.3 * (random.random(8) < 0.5), [0.15, 0.15, 0.15, 0.95]
        right = (random.random((600, 9)) < skill[:, topic].T).astype(float)
        known = GraphRouter(hidden=0.5).fit(X[:400], right[:400, :8])
        more = known.with_model(X[400:440], right[400:440, 8])
        scores = known.scores(X[440:]), more.scores(X[440:]), GraphRouter().fit(X[:400], right[:400]).scores(X[440:])
        np.testing.assert_array_equal(scores[1][:, :8], scores[0])
        chosen = [right[440:][np.arange(160), one.argmax(axis=1)].mean() for one in scores]
        without[seed], grown[seed], again[seed] = chosen
    assert grown.mean() - without.mean() > 0.35 * (again.mean() - without.mean()) > 0


def test_a_new_model_needs_a_router_fitted_for_it() -> None:
    X, y, _ = planted(100)
    with pytest.raises(InputError, match=r"fit with hidden=0\.5"):
        GraphRouter().fit(X, pair_quality(y)).with_model(X[:9], y[:9])
    with pytest.raises(InputError, match="9 values from 0 to 1"):
        GraphRouter(hidden=0.5, steps=5).fit(X, pair_quality(y)).with_model(X[:9], 5 * y[:9])


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_number_that_is_missing_is_named_wherever_it_is(place: int, value: float) -> None:
    given = [np.zeros((4, 2)) for _ in range(3)]
    given[place][3, 1] = value
    with pytest.raises(InputError, match="score, quality or cost is missing"):
        frontier(*given)


def test_every_price_of_a_dollar_is_tried_from_none_to_a_hundred_times_the_spread() -> None:
    """The dear model gains 1 for 1 more, so it is chosen below a price of 1: at 0 and at 10^(6k/199 - 4), k <= 132."""
    chosen = choices(np.array([[0.0, 1.0]]), np.array([[1.0, 2.0]]))
    assert chosen.shape == (202, 1)
    assert chosen[:, 0].tolist() == [1] * 134 + [0] * 68
    scaled = choices(np.array([[0.0, 3.0]]), np.array([[5.0, 5.5]]))  # prices are in spreads of score over cost
    assert scaled[:, 0].tolist() == chosen[:, 0].tolist()
    equal = choices(np.zeros((2, 2)), np.array([[2.0, 1.0]] * 2))
    assert equal[0].tolist() == [0, 0]  # for nothing, and of equal scores, the first
    assert (equal[1:] == 1).all()


def test_what_is_earned_and_its_hull_by_hand() -> None:
    values = np.array([[0.25, 1.0], [0.5, 0.0]])
    assert earn(np.array([[0, 1], [1, 0]]), values).tolist() == [[0.25, 0.0], [1.0, 0.5]]
    found = frontier(values, values, np.array([[1.0, 3.0]] * 2))  # all dear: .5; dear where it is better: .75
    assert found.costs.tolist() == [1.0, 2.0]
    assert found.qualities.tolist() == [0.375, 0.75]
    assert (found.low, found.high) == (1.0, 3.0)
    assert found.aiq == pytest.approx((0.5625 + 0.75) / 2, abs=1e-3)
    same = np.tile(values[:1], (5, 1))
    cost = np.array([[1.0, 3.0]] * 5)
    assert frontier_intervals(same, same, cost).aiq == pytest.approx((frontier(same, same, cost).aiq,) * 2)


@pytest.mark.parametrize("shapes", [((4, 2), (4, 2), (4, 3)), ((4, 2), (3, 2), (4, 2)), ((4,), (4,), (4,))])
def test_arrays_of_other_shapes_are_named(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(InputError, match=r"scores \(4,.*give \(n, M\) of each"):
        frontier(*(np.zeros(shape) for shape in shapes))
