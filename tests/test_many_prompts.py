"""Decisions among so many training prompts that not all of them are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demur.methods import KNN, SimilarityWeighted
from demur.methods import neighbours as neighbours_module
from demur.methods.estimator import unit_rows
from demur.methods.groups.cells import Cells
from demur.methods.saved_method import learned_arrays, restore_method
from demur.records import FloatArray
from demur.routing.known.nearest import NearestTraining

TOPICS, WIDTH = 40, 24


def world(rows: int, seed: int = 0) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Prompts of topics, each with its own share of strong wins; outcomes; queries of the same topics."""
    random = np.random.default_rng(seed)
    topics = random.normal(size=(TOPICS, WIDTH))
    topic = random.integers(TOPICS, size=rows + 300)
    X = (topics[topic] + random.normal(0, 0.7, (rows + 300, WIDTH)) + 0.8).astype(np.float32)
    y = (random.random(rows + 300) < random.random(TOPICS)[topic]).astype(float)
    return X[:rows], y[:rows], X[rows:]


def test_every_row_is_in_one_cell_and_that_is_the_nearest_of_its_rows() -> None:
    rows = unit_rows(world(3000)[0])
    cells = Cells.of(rows)
    assert sorted(cells.order) == list(range(3000))
    assert cells.sizes.sum() == 3000 and cells.sizes.min() >= 1
    for cell in (0, len(cells.sizes) - 1):
        np.testing.assert_allclose(cells.centres[cell], rows[cells.members(np.array([cell]))].mean(axis=0), atol=1e-6)


def test_near_cells_are_the_closest_ones_that_hold_enough_rows() -> None:
    cells = Cells(np.zeros((4, 2)), np.arange(10), np.array([0, 2, 5, 6, 10]))  # of 2, 3, 1 and 4 rows
    closeness = np.array([0.9, 0.1, 0.8, 0.5])
    assert list(cells.near(closeness, 2)) == [0]
    assert list(cells.near(closeness, 3)) == [0, 2]
    assert list(cells.near(closeness, 4)) == [0, 2, 3]
    assert list(cells.members(np.array([0, 2]))) == [0, 1, 5]


@pytest.mark.parametrize("weighting", ["routellm", "paper"])
def test_where_all_cells_are_read_an_estimate_is_exact(weighting: str) -> None:
    X, y, queries = world(900)  # fewer than the 1,024 rows that are read
    exact = SimilarityWeighted(weighting=weighting).fit(X, y)  # type: ignore[arg-type]
    estimated = SimilarityWeighted(weighting=weighting, exact_rows=10).fit(X, y)  # type: ignore[arg-type]
    np.testing.assert_allclose(estimated.predict_proba(queries), exact.predict_proba(queries), atol=1e-5)


@pytest.mark.parametrize("weighting", ["routellm", "paper"])
def test_an_estimate_is_within_its_bound_and_far_nearer_than_scores_are_apart(weighting: str) -> None:
    X, y, queries = world(20_000)
    exact = SimilarityWeighted(weighting=weighting).fit(X, y).predict_proba(queries)[:, 1]  # type: ignore[arg-type]
    estimate = SimilarityWeighted(weighting=weighting, exact_rows=10).fit(X, y).estimate(queries)  # type: ignore[arg-type]
    error = np.abs(estimate.strong - exact)
    assert np.mean(error <= estimate.bound) >= 0.98
    assert np.median(error) < exact.std() / 30
    assert np.median(estimate.bound) < exact.std()
    assert np.abs(np.argsort(np.argsort(exact)) - np.argsort(np.argsort(estimate.strong))).mean() < 6  # of 300


def test_a_weight_of_two_counts_as_the_row_twice_in_an_estimate_too() -> None:
    X, y, queries = world(2000)
    weight = np.where(np.arange(2000) < 500, 2.0, 1.0)
    weighted = SimilarityWeighted(exact_rows=10).fit(X, y, weight)
    repeated = SimilarityWeighted().fit(np.concatenate([X, X[:500]]), np.concatenate([y, y[:500]]))
    error = np.abs(weighted.predict_proba(queries)[:, 1] - repeated.predict_proba(queries)[:, 1])
    assert np.mean(error <= weighted.estimate(queries).bound) >= 0.98


def test_exact_scores_have_the_bound_zero() -> None:
    X, y, queries = world(500)
    estimate = SimilarityWeighted().fit(X, y).estimate(queries)
    assert (estimate.bound == 0).all()


def test_a_second_fit_on_fewer_rows_reads_all_of_them() -> None:
    X, y, queries = world(3000)
    method = SimilarityWeighted(exact_rows=1000).fit(X, y).fit(X[:900], y[:900])
    np.testing.assert_array_equal(
        method.predict_proba(queries), SimilarityWeighted().fit(X[:900], y[:900]).predict_proba(queries)
    )


@pytest.mark.parametrize("method", [SimilarityWeighted(exact_rows=10), KNN(exact_rows=10)])
def test_a_restored_method_of_many_rows_scores_the_same(method: SimilarityWeighted | KNN) -> None:
    X, y, queries = world(3000)
    name = "sw" if isinstance(method, SimilarityWeighted) else "knn"
    method.fit(X, y)
    arrays = {key: np.array(value) for key, value in learned_arrays(method).items()}
    again = restore_method(name, method.get_params(), arrays, dimension=WIDTH)
    np.testing.assert_array_equal(again.predict_proba(queries), method.predict_proba(queries))


def test_an_index_finds_nearly_the_neighbours_and_says_how_far_off_a_score_is() -> None:
    pytest.importorskip("faiss")
    X, y, queries = world(20_000)
    exact = KNN().fit(X, y).predict_proba(queries)[:, 1]
    method = KNN(exact_rows=10).fit(X, y)
    error = np.abs(method.predict_proba(queries)[:, 1] - exact)
    assert np.mean(error <= method.bound_[0]) >= 0.96
    assert np.median(error) < exact.std() / 8


def test_the_more_cells_are_read_the_nearer_a_score_is_to_the_exact_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the stated bound says so. The 50 neighbours lie in several of 100 cells."""
    pytest.importorskip("faiss")
    X, y, queries = world(2500)
    exact = KNN().fit(X, y).predict_proba(queries)[:, 1]
    errors, bounds = [], []
    for read in (1, 8):
        monkeypatch.setattr(neighbours_module, "CELLS_READ", read)
        method = KNN(exact_rows=10).fit(X, y)
        errors.append(float(np.mean(np.abs(method.predict_proba(queries)[:, 1] - exact))))
        bounds.append(float(method.bound_[0]))
    assert errors[0] > 1.5 * errors[1]
    assert bounds[0] > 1.5 * bounds[1]
    assert errors[1] < exact.std() / 6


def test_a_row_that_is_left_out_is_not_its_own_neighbour() -> None:
    """As the bound is measured: with itself as its one neighbour, a prompt's score would be its own target."""
    pytest.importorskip("faiss")
    random = np.random.default_rng(0)
    one = random.normal(size=(200, WIDTH)).astype(np.float32)
    X, y = np.concatenate([one, one + 1e-3]), np.repeat([0.0, 1.0], 200)  # each beside one of the other outcome
    method = KNN(k=1, exact_rows=10).fit(X, y)
    left_out = [method._by_index(method.rows_[i], without=i) for i in range(0, 400, 20)]
    assert np.mean(np.array(left_out) == 1 - y[::20]) > 0.7


def test_without_an_index_all_neighbours_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "import_faiss", lambda: None)
    X, y, queries = world(2000)
    np.testing.assert_array_equal(
        KNN(exact_rows=10).fit(X, y).predict_proba(queries), KNN().fit(X, y).predict_proba(queries)
    )


def test_similar_training_prompts_are_found_in_the_cells_read() -> None:
    rows = unit_rows(world(3000)[0])
    every = NearestTraining(rows)
    in_cells = NearestTraining(rows, Cells.of(rows))
    found, exact = in_cells.similarities(rows[:200]), every.similarities(rows[:200])
    assert (found <= exact + 1e-6).all()  # nothing is nearer than the nearest
    assert np.mean(found > exact - 1e-6) > 0.95
    others = in_cells.to_others(np.arange(200))
    assert (others < 0.9999).all() and np.mean(np.abs(others - every.to_others(np.arange(200))) < 1e-6) > 0.8


def test_cells_are_saved_beside_the_vectors_and_those_of_others_are_refused() -> None:
    rows = unit_rows(world(3000)[0])
    kept = NearestTraining(rows, Cells.of(rows))
    again = NearestTraining.restore(rows, kept.arrays)
    index, similarity = again.most_similar(rows[7], 3)
    assert index[0] == 7 and similarity[0] == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="cells of 3000 training prompts, 10 vectors"):
        NearestTraining.restore(rows[:10], kept.arrays)


def test_a_router_of_many_prompts_is_saved_and_routes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from demur.routing.decision import TrainingPrompt
    from demur.routing.known import nearest
    from demur.routing.prompt_router import PromptRouter
    from demur.routing.train import train_router

    class Lengths:
        """Texts as vectors: their letters' counts."""

        def encode(self, texts: list[str]) -> FloatArray:
            return np.array([[text.count(letter) + 0.1 for letter in "abcdefgh"] for text in texts], dtype=np.float32)

    monkeypatch.setattr(nearest, "EXACT_ROWS", 100)
    random = np.random.default_rng(0)
    texts = ["".join(random.choice(list("abcdefgh"), 12)) + f" {i}" for i in range(400)]
    targets = [min(1.0, text.count("a") / 4) for text in texts]
    training = [TrainingPrompt(text, target, 0.0, 0.0) for text, target in zip(texts, targets, strict=True)]
    encoder = Lengths()
    method = SimilarityWeighted(gamma=1e4, exact_rows=100)
    router = train_router(encoder, method, training, weak="w", strong="s")  # type: ignore[arg-type]
    assert router.nearest is not None and router.nearest.cells is not None
    router.save(tmp_path)
    again = PromptRouter.load(tmp_path, encoder=encoder)  # type: ignore[arg-type]
    decision = again.route(texts[5])
    assert decision.neighbours[0].training.prompt == texts[5]
    assert again.route("aaaaaaaaaaaa").score > again.route("bbbbbbbbbbbb").score
