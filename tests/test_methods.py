"""The methods: each finds a planted structure, keeps scikit-learn's contract, and learns from soft targets."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from demur.errors import InputError
from demur.labels.targets import hard_targets
from demur.methods import (
    BY_NAME,
    KNN,
    Estimator,
    KernelRidge,
    LogisticRegression,
    MatrixFactorization,
    SimilarityWeighted,
)
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import group_means
from demur.methods.pools import GraphRouter, RouterDC
from demur.methods.pools.pair_pools import POOLS
from demur.methods.pools.pool import pair_quality
from demur.methods.saved_method import learned_arrays, restore_method
from demur.records import FloatArray
from demur.statistics import folds
from worlds import planted

METHODS = pytest.mark.parametrize("kind", list(BY_NAME.values()), ids=list(BY_NAME))


def ranked(scores: FloatArray, y: FloatArray) -> float:
    """AUROC."""
    pairs = scores[y == 1][:, None] - scores[y == 0]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@METHODS
def test_finds_the_planted_direction(kind: type[Estimator]) -> None:
    X, y, _ = planted(600)
    fitted = kind().fit(X[:400], y[:400])
    best = ranked(planted(600)[2][400:], y[400:])
    assert ranked(fitted.predict_proba(X[400:])[:, 1], y[400:]) > 0.5 + 0.6 * (best - 0.5)


# KNN is left out: twice the rows are other neighbours, because the square root of n changes.
@pytest.mark.parametrize("kind", [kind for kind in BY_NAME.values() if kind is not KNN], ids=lambda kind: kind.__name__)
def test_a_soft_target_is_two_weighted_rows(kind: type[Estimator]) -> None:
    """y = .7 must teach what a strong row of weight .7 and a weak row of weight .3 teach."""
    X, _, p = planted(300)
    soft = kind().fit(X, p).predict_proba(X)[:, 1]
    doubled = kind().fit(
        np.repeat(X, 2, axis=0), np.tile([1.0, 0.0], len(X)), np.stack([p, 1 - p], axis=1).ravel() + 1e-12
    )
    assert np.corrcoef(soft, doubled.predict_proba(X)[:, 1])[0, 1] > 0.97


@METHODS
def test_swapping_the_models_mirrors_the_scores(kind: type[Estimator]) -> None:
    """Exactly; but factorization, which starts its two models at unlike random vectors, only nearly so."""
    X, y, _ = planted(200)
    forth, back = kind().fit(X, y).predict_proba(X)[:, 1], kind().fit(X, 1 - y).predict_proba(X)[:, 1]
    assert forth == pytest.approx(1 - back, abs=1e-3 if kind is MatrixFactorization else 1e-6)


@METHODS
def test_float32_stays_float32_and_one_row_scores_as_in_a_batch(kind: type[Estimator]) -> None:
    X, y, _ = planted(200)
    fitted = kind().fit(X, y)
    batch = fitted.predict_proba(X[:20])[:, 1]
    single = np.array([fitted.predict_proba(row[None])[0, 1] for row in X[:20]])
    np.testing.assert_allclose(single, batch, atol=2e-6)
    learned = {k: v.dtype for k, v in vars(fitted).items() if isinstance(v, np.ndarray) and v.dtype.kind == "f"}
    assert learned
    wide = {name for name, dtype in learned.items() if dtype != np.float32}
    assert wide == ({"outcomes_"} if kind is KNN else set())  # weights as they were given; two numbers per row


@METHODS
@pytest.mark.parametrize(
    ("X", "y", "named"),
    [
        (np.eye(3), np.ones(3), "only one class"),
        (np.eye(3), np.array([0, 1, 2.0]), "found 0 to 2"),
        (np.eye(3), np.array([0, 1]), "for 3 rows"),
        (np.full((3, 2), np.nan), np.array([0, 1, 0]), "NaN"),
        (np.eye(3)[0], np.array([0, 1, 0]), "Reshape"),
    ],
)
def test_bad_training_data_is_named(kind: type[Estimator], X: FloatArray, y: FloatArray, named: str) -> None:
    with pytest.raises(InputError) as raised:
        kind().fit(X, y)
    assert named in str(raised.value)


def bradley_terry(w: FloatArray, y: FloatArray) -> float:
    """P(strong beats weak) that maximises the weighted likelihood, found numerically."""

    def loss(rating: float) -> float:
        return float((w * (np.logaddexp(0, -rating) * y + np.logaddexp(0, rating) * (1 - y))).sum())

    best = minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-12})
    return float(1 / (1 + np.exp(-best.x)))


@pytest.mark.parametrize("weighting", ["paper", "routellm"])
def test_sw_is_the_weighted_bradley_terry_fit(weighting: Any) -> None:
    X, y, _ = planted(120)
    X = X.astype(float)
    fitted = SimilarityWeighted(weighting=weighting).fit(X, y)
    for query in X[:5] + 0.1:
        cosines = X @ query / np.linalg.norm(query)
        similarity = cosines / cosines.max() if weighting == "routellm" else cosines
        expected = bradley_terry(10 * 10**similarity, y)
        assert fitted.predict_proba(query[None])[0, 1] == pytest.approx(expected, abs=1e-6)


def test_sw_survives_a_query_that_is_like_nothing() -> None:
    X, y, _ = planted(50)
    scores = SimilarityWeighted().fit(np.abs(X), y).predict_proba(-np.abs(X))
    assert np.isfinite(scores).all()
    assert np.isfinite(SimilarityWeighted().fit(X, y).predict_proba(np.zeros((1, 16)))).all()


def test_one_neighbour_gives_its_own_outcome_and_k_is_checked() -> None:
    X, y, _ = planted(50)
    np.testing.assert_array_equal(KNN(k=1).fit(X, y).predict_proba(X)[:, 1], y)
    with pytest.raises(InputError, match="k = 51 neighbours of 50"):
        KNN(k=51).fit(X, y)


def test_methods_import_no_scikit_learn() -> None:
    heavy = "('sklearn', 'scipy', 'torch')"
    code = f"import sys, demur.methods; sys.exit(any(m.split('.')[0] in {heavy} for m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Targets are numbers in [0, 1] where 0 is weak and 1 strong: checks that train on other labels cannot pass, by design.
_LABELS = (
    *("check_estimators_dtypes", "check_sample_weights_not_an_array", "check_sample_weights_shape"),
    *("check_sample_weights_not_overwritten", "check_classifier_data_not_an_array", "check_classifiers_classes"),
    *("check_classifiers_regression_target", "check_classifier_not_supporting_multiclass", "check_fit2d_1feature"),
    "check_sample_weights_pandas_series",  # run where pandas is installed
)
BY_DESIGN = {
    **dict.fromkeys(_LABELS, "trains on labels other than 0 to 1"),
    "check_estimators_unfitted": "its NotFittedError lives in scikit-learn, which is no dependency; ours is InputError",
    "check_supervised_y_2d": "y of shape (n, 1) is refused rather than flattened with a warning",
}
WEIGHTED = "check_sample_weight_equivalence_on_dense_data"
WEIGHT_BY_DESIGN: dict[type[Estimator], dict[str, str]] = {
    KNN: {WEIGHTED: "a row twice is two neighbours, a weight is not"},
    KernelRidge: {WEIGHTED: "a row twice is two centres: equal but for the rounding of an ill-conditioned system"},
}


@pytest.mark.slow
@METHODS
def test_scikit_learns_own_checks(kind: type[Estimator]) -> None:
    from sklearn.utils.estimator_checks import check_estimator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = BY_DESIGN | WEIGHT_BY_DESIGN.get(kind, {})
        found = check_estimator(kind(), expected_failed_checks=expected, on_fail=None)
    failed = {row["check_name"]: row["exception"] for row in found if row["status"] == "failed"}
    assert not failed
    assert sum(row["status"] == "passed" for row in found) > 30


def test_a_weighting_or_delta_of_another_name_is_refused() -> None:
    with pytest.raises(InputError, match="weighting 'foo' is neither routellm nor paper"):
        SimilarityWeighted(weighting="foo").fit(np.eye(2), np.array([0, 1]))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="delta 'foo' is neither symmetric nor paper"):
        hard_targets(np.ones(2), np.zeros(2), delta="foo")  # type: ignore[arg-type]


def kernel_ridge(X: FloatArray, y: FloatArray, weight: FloatArray, centres: FloatArray) -> FloatArray:
    """(n,) scores before they are squashed, of the a that minimises sum w (y - m - K a)^2 + 6 a' C a, as least squares.

    K is the kernel of rows and centres, C that of the centres, m the weighted mean of y.
    """
    mean = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average(((X - mean) ** 2).sum(axis=1), weights=weight))

    def kernel(a: FloatArray, b: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-1.5 * (((a[:, None] - b[None]) / scale) ** 2).sum(axis=2)))

    K, C, m = kernel(X, centres), kernel(centres, centres), np.average(y, weights=weight)
    root = np.linalg.cholesky(C + 1e-9 * np.eye(len(centres))).T
    rows = np.vstack([np.sqrt(weight)[:, None] * K, np.sqrt(6.0) * root])
    targets = np.concatenate([np.sqrt(weight) * (y - m), np.zeros(len(centres))])
    return np.asarray(m + K @ np.linalg.lstsq(rows, targets, rcond=None)[0])


@pytest.mark.parametrize("centres", [12, 60])
def test_kernel_ridge_minimises_its_penalised_squares_with_few_centres_and_with_all(centres: int) -> None:
    """Above ``centres`` prompts it solves the normal equations of evenly spaced ones; up to there one exact system."""
    X, _, p = planted(60)
    X, weight = X.astype(float), np.where(np.arange(60) % 3, 1.0, 2.5)
    fitted = KernelRidge(centres=centres).fit(X, p, weight)
    assert fitted.centres_.shape == (centres, 16)
    middle = X[np.linspace(0, 59, centres).astype(int)]
    expected = 1 / (1 + np.exp(-4 * (kernel_ridge(X, p, weight, middle) - 0.5)))
    assert np.ptp(expected) > 0.2
    assert fitted.predict_proba(X)[:, 1] == pytest.approx(expected, abs=1e-4)


def test_half_the_weight_is_half_the_ridge() -> None:
    X, y, _ = planted(60)
    halves = KernelRidge(alpha=3.0).fit(X, y, np.full(60, 0.5))
    assert halves.predict_proba(X) == pytest.approx(KernelRidge().fit(X, y).predict_proba(X), abs=1e-5)


@METHODS
def test_they_work_inside_scikit_learn(kind: type[Estimator]) -> None:
    """cross_val_score, clone, Pipeline and GridSearchCV ask for no more than a classifier's contract (binary y)."""
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y, _ = planted(120)
    fitted = kind().fit(X, y)
    assert fitted.score(X, y) == np.mean(fitted.predict(X) == y)
    assert cross_val_score(kind(), X, y, cv=3).mean() > 0.55
    assert clone(fitted).get_params() == kind().get_params()
    assert make_pipeline(StandardScaler(), kind()).fit(X, y).predict(X[:3]).shape == (3,)
    name, value = next(iter(kind().get_params().items()))
    assert GridSearchCV(kind(), {name: [value]}, cv=3).fit(X, y).best_params_ == {name: value}
    with pytest.raises(InputError, match="it needs y of 0 and 1"):
        fitted.score(X, np.full(len(X), 0.3))


@METHODS
def test_a_row_without_weight_changes_nothing(kind: type[Estimator]) -> None:
    X, y, _ = planted(60)
    odd = kind().fit(np.vstack([X, -X[:1]]), np.append(y, 1.0), np.append(np.ones(60), 0.0))
    np.testing.assert_array_equal(odd.predict_proba(X), kind().fit(X, y).predict_proba(X))


def test_scores_are_of_fits_that_did_not_see_the_prompt() -> None:
    """One neighbour knows every target of its own rows, and none of others where targets are coins."""
    X, _, _ = planted(200)
    coins = (np.random.default_rng(1).random(200) < 0.5).astype(float)
    scores = held_out_scores(KNN(k=1), X, coins)
    assert ranked(KNN(k=1).fit(X, coins).predict_proba(X)[:, 1], coins) == 1.0
    assert 0.4 < ranked(scores, coins) < 0.6


def test_where_the_others_teach_nothing_their_mean_target_is_the_score() -> None:
    """Without the only strong prompt all are weak; and eight rows are fewer than k."""
    X, _, _ = planted(10)
    fold_of = folds(10)
    alone = held_out_scores(LogisticRegression(), X, np.eye(10)[3])
    assert (alone[fold_of == fold_of[3]] == 0.0).all()
    assert (alone[fold_of != fold_of[3]] > 0).all()
    alternating = np.arange(10) % 2.0
    few = held_out_scores(KNN(k=9), X, alternating)
    assert few.tolist() == [alternating[fold_of != fold].mean() for fold in fold_of]
    assert held_out_scores(KNN(), X[:1], np.array([0.7])).tolist() == [0.7]


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_router_is_a_method_of_a_pair(name: str) -> None:
    """It finds the planted direction, has the pool router's own order, and is restored from its arrays alone."""
    X, y, _ = planted(600)
    fitted = POOLS[name]().fit(X[:400], y[:400])
    best = ranked(planted(600)[2][400:], y[400:])
    scores = fitted.predict_proba(X[400:])[:, 1]
    assert ranked(scores, y[400:]) > 0.5 + 0.6 * (best - 0.5)
    own = {"routerdc": RouterDC, "graphrouter": GraphRouter}[name]().fit(X[:400], pair_quality(y[:400]))
    assert np.corrcoef(np.argsort(np.argsort(own.strong_score(X[400:]))), np.argsort(np.argsort(scores)))[0, 1] > 0.999
    again = restore_method(name, fitted.get_params(), learned_arrays(fitted), dimension=X.shape[1])
    np.testing.assert_array_equal(again.predict_proba(X[400:])[:, 1], scores)


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_router_takes_no_weights(name: str) -> None:
    X, y, _ = planted(60)
    with pytest.raises(InputError, match="takes no sample_weight"):
        POOLS[name]().fit(X, y, np.linspace(1, 2, 60))


def two_domains(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two domains far apart; within each what is needed depends on a direction of its own, at a small scale."""
    random = np.random.default_rng(seed)
    domain = np.arange(n) % 2
    within = random.normal(size=(n, 2))
    X = np.concatenate([0.03 * within, np.stack([domain, 1 - domain], axis=1)], axis=1).astype(np.float32)
    return X, (np.where(domain == 0, within[:, 0], within[:, 1]) > 0).astype(float), domain


def test_kernel_ridge_of_kinds_learns_within_two_domains_what_one_scale_for_both_does_not() -> None:
    X, y, _ = two_domains(600)
    fresh, needed, of = two_domains(400, seed=1)
    right = {
        kinds: [
            float(np.mean((fitted.predict_proba(fresh[of == one])[:, 1] > 0.5) == needed[of == one])) for one in (0, 1)
        ]
        for kinds, fitted in ((kinds, KernelRidge(kinds=kinds).fit(X, y)) for kinds in (1, 2))
    }
    assert min(right[2]) > 0.9
    assert min(right[1]) < 0.9


def test_of_one_kind_and_of_few_prompts_the_kernel_is_the_same_as_without_kinds() -> None:
    X, y, _ = two_domains(100)
    assert "means_" not in vars(KernelRidge(kinds=4).fit(X, y))
    alone, apart = KernelRidge().fit(X, y), KernelRidge(kinds=4).fit(X, y)
    np.testing.assert_array_equal(alone.predict_proba(X), apart.predict_proba(X))


def test_each_kind_is_fitted_as_if_it_were_alone_and_a_later_fit_forgets_it() -> None:
    X, y, domain = two_domains(400)
    both, first = KernelRidge(kinds=2).fit(X, y), KernelRidge().fit(X[domain == 0], y[domain == 0])
    found = both.predict_proba(X[domain == 0])[:, 1]
    np.testing.assert_allclose(found, first.predict_proba(X[domain == 0])[:, 1], rtol=1e-4, atol=1e-5)
    assert both.means_.shape == (2, 4)
    both.set_params(kinds=1).fit(X, y)
    np.testing.assert_array_equal(both.predict_proba(X), KernelRidge().fit(X, y).predict_proba(X))


def test_a_kernel_of_kinds_survives_saving() -> None:
    X, y, _ = two_domains(400)
    fitted = KernelRidge(kinds=2).fit(X, y)
    again = restore_method("kernel", fitted.get_params(), learned_arrays(fitted), dimension=X.shape[1])
    np.testing.assert_array_equal(again.predict_proba(X), fitted.predict_proba(X))


def test_a_small_group_of_prompts_joins_the_others() -> None:
    X = two_domains(400)[0]
    X[-5:] += 5.0  # five prompts unlike all others
    means = group_means(X, 3)
    assert len(means) == 2
    assert np.abs(means).max() < 1.2  # near those of the two domains
