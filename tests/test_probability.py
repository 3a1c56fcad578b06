"""Scores as probabilities: the curve, what it is fitted to, and that it leaves the order and old routers alone."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from demur.errors import ArtifactError
from demur.labels.beliefs.belief import believed_need
from demur.measure.probability import LEAST_SLOPE, ProbabilityCurve, fit_curve
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.prompt_router import PromptRouter, TrainingPrompt
from demur.routing.train import train_router, with_probabilities


def test_the_curve_finds_the_probabilities_that_made_the_outcomes() -> None:
    """20,000 outcomes of P = 1 / (1 + exp(-(-1 + 40 (s - .5)))), scores in [.45, .55]."""
    drawn = np.random.default_rng(0)
    scores = drawn.uniform(0.45, 0.55, 20_000)
    truth = 1 / (1 + np.exp(-(-1 + 40 * (scores - 0.5))))
    curve = fit_curve(scores, (drawn.random(20_000) < truth).astype(float))
    assert np.abs(curve(scores) - truth).max() < 0.03
    low, high = curve.interval(float(curve(np.array([0.5]))[0]))
    assert low < 1 / (1 + np.e) < high
    assert high - low < 0.03


def test_an_interval_covers_as_often_as_it_says() -> None:
    """Of 200 draws of 200 outcomes 95 % hold the truth: within 3 standard deviations, .046."""
    held = 0
    for seed in range(200):
        drawn = np.random.default_rng(seed)
        scores = drawn.normal(0.5, 0.02, 200)
        truth = 1 / (1 + np.exp(-(-0.5 + 30 * (scores - 0.5))))
        curve = fit_curve(scores, (drawn.random(200) < truth).astype(float))
        low, high = curve.interval(float(curve(np.array([0.52]))[0]))
        held += low < 1 / (1 + np.exp(-0.1)) < high
    assert abs(held / 200 - 0.95) <= 0.046


def test_scores_that_tell_nothing_keep_their_order_at_the_mean() -> None:
    scores = np.linspace(0.4, 0.6, 50)
    curve = fit_curve(scores, 1 - scores)  # they tell the opposite
    found = curve(scores)
    assert curve.slope == LEAST_SLOPE
    assert (np.diff(found) > 0).all()
    assert found == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("believed", [0.0, 1.0])
def test_a_pair_that_never_differs_has_a_finite_curve(believed: float) -> None:
    """One success and one failure beside n equal targets: the mean is (n believed + 1) / (n + 2)."""
    found = fit_curve(np.linspace(0, 1, 8), np.full(8, believed))(np.array([0.5]))
    assert found[0] == pytest.approx((8 * believed + 1) / 10, abs=0.01)


def test_the_believed_need_by_hand() -> None:
    """Strong a a a b, weak a b: a is truth and answer 6 of 12 times and half of the weak answers miss it; b never is
    both."""
    assert believed_need(np.array([0, 0, 0, 1]), np.array([0, 1])) == pytest.approx(0.25)
    assert believed_need(np.array([0, 0]), np.array([0, 0])) == 0
    assert believed_need(np.array([0, 0]), np.array([1, 2])) == 1
    assert believed_need(np.array([0]), np.array([1])) == 1


ROWS = [TrainingPrompt(f"{w} {w}?", float("z" in w), None, None) for w in ("zzz", "aaa", "zaz", "aza", "zz", "a b")]


def trained() -> PromptRouter:
    return train_router(LetterEncoder(), SimilarityWeighted(), ROWS, weak="small", strong="large")


def test_a_routers_scores_become_probabilities_in_the_same_order(tmp_path: Path) -> None:
    plain = trained()
    believed = np.array([0.9, 0.1, 0.6, 0.4, 0.8, 0.2])
    router = with_probabilities(plain, believed)
    texts = [row.prompt for row in ROWS] + ["zb?", "zzzaaa"]
    assert (np.argsort(router.score(texts)) == np.argsort(plain.score(texts))).all()
    assert router.training_scores.mean() == pytest.approx(believed.mean(), abs=0.02)
    assert router.threshold == pytest.approx(float(np.median(router.training_scores)))
    router.save(tmp_path / "r")
    loaded = PromptRouter.load(tmp_path / "r")
    assert loaded.curve == router.curve
    assert loaded.score(texts) == pytest.approx(router.score(texts))
    assert "strong right and weak wrong" in loaded.describe()["scores"]


def test_a_router_of_the_first_format_keeps_its_scores(tmp_path: Path) -> None:
    plain = trained()
    plain.save(tmp_path / "r")
    path = tmp_path / "r" / "router.json"
    kept = json.loads(path.read_text())
    assert "curve" not in kept
    path.write_text(json.dumps(kept | {"demur_format": 1}))
    loaded = PromptRouter.load(tmp_path / "r")
    assert loaded.curve is None
    assert loaded.score(["zb?"]) == plain.score(["zb?"])
    assert "not known" in loaded.describe()["scores"]


@pytest.mark.parametrize("wrong", [{"slope": -1.0}, {"spread": 0.0}, {"offset": float("nan")}, {"n": None, "x": 1}])
def test_a_curve_that_does_not_rise_is_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    curve = ProbabilityCurve(0.5, 0.1, 0.0, 1.0, (0.1, 0.0, 0.1), 6)
    replace(trained(), curve=curve).save(tmp_path / "r")
    path = tmp_path / "r" / "router.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"curve": kept["curve"] | wrong}))
    with pytest.raises(ArtifactError, match="router"):
        PromptRouter.load(tmp_path / "r")


def test_an_interval_by_hand() -> None:
    """At z = 2 the logit's variance is .01 + 2 x .002 x 2 + .04 x 4 = .178."""
    curve = ProbabilityCurve(0.0, 1.0, 0.5, 0.75, (0.01, 0.002, 0.04), 9)
    low, high = curve.interval(1 / (1 + math.exp(-2.0)))  # .5 + .75 z is 2
    half = 1.959964 * math.sqrt(0.178)
    assert (low, high) == pytest.approx((1 / (1 + math.exp(half - 2)), 1 / (1 + math.exp(-half - 2))))


def test_the_curve_and_its_covariance_are_those_of_a_general_optimiser() -> None:
    """Six scores, one success and one failure at their middle; the sandwich from its definition."""
    scores, believed = np.array([0.1, 0.2, 0.3, 0.5, 0.6, 0.9]), np.array([0.0, 0.25, 0.5, 0.25, 1.0, 0.75])
    middle, spread = scores.mean(), scores.std()
    X = np.column_stack([np.ones(8), np.append((scores - middle) / spread, [0.0, 0.0])])
    y = np.append(believed, [0.0, 1.0])

    def loss(at: np.ndarray) -> float:
        return float(np.sum(np.log1p(np.exp(X @ at)) - y * (X @ at)))

    best = minimize(loss, np.zeros(2), tol=1e-14).x
    p = 1 / (1 + np.exp(-X @ best))
    bread = np.linalg.inv(sum(w * np.outer(row, row) for w, row in zip(p * (1 - p), X, strict=True)))
    meat = sum(r * r * np.outer(row, row) for r, row in zip(y - p, X, strict=True))
    expected = bread @ meat @ bread
    found = fit_curve(scores, believed)
    assert (found.middle, found.spread, found.n) == (middle, spread, 6)
    assert (found.offset, found.slope) == pytest.approx(tuple(best), abs=1e-5)
    assert found.covariance == pytest.approx((expected[0, 0], expected[0, 1], expected[1, 1]), rel=1e-4)
    assert fit_curve(np.full(4, 0.5), np.full(4, 0.5)).spread == 1.0
