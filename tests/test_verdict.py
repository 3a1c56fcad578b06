"""One line on what a router has learned, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.evaluation.thresholds.calibrate import calibrate
from demur.methods import BY_NAME
from demur.methods.estimator import unit_rows
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.routing.verdict import KEY, RouterVerdict, check_learned, recorded_verdict, verdict_of
from demur.statistics import folds


def in_every_fold(first: float, second: float, n: int = 10) -> np.ndarray:
    """(n,) values of which each fold of two has one of both."""
    found = np.empty(n)
    for fold in range(n // 2):
        found[folds(n) == fold] = first, second
    return found


def test_gain_by_hand() -> None:
    """Gains 1 and -1 in the order of the scores of each fold: ranks 1 and 0, half of 1 is caught on either prompt."""
    found = verdict_of(in_every_fold(0.9, 0.1), in_every_fold(1.0, 0.0))
    assert found.gain == pytest.approx(0.5)
    assert found.learned
    assert found.sentence.startswith("The router gains +50.00 [")


def test_scores_are_compared_within_their_fold_alone() -> None:
    """Each fold's fit may lie higher or lower as a whole: it says nothing about the fold's prompts."""
    scores, targets = in_every_fold(0.9, 0.1), in_every_fold(1.0, 0.0)
    assert verdict_of(scores + folds(10), targets).gain == pytest.approx(0.5)


def test_where_there_is_nothing_to_learn_one_verdict_in_forty_says_otherwise() -> None:
    """Cross-validated scores of noise: a one-sided test at 2.5 %, three standard errors for 80 worlds."""
    wrong = 0
    for seed in range(80):
        random = np.random.default_rng(seed)
        X, y = unit_rows(random.normal(size=(40, 8))).astype(np.float32), random.random(40)
        wrong += verdict_of(held_out_scores(KernelRidge(), X, y), y).learned
    assert wrong <= 0.025 * 80 + 4


def test_a_weak_relation_is_told_with_few_prompts() -> None:
    """Ranked over all folds at once, half of these worlds would be called random: their scores lie lower as a whole in
    folds whose targets are high.
    """
    told = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        X = unit_rows(random.normal(size=(150, 8))).astype(np.float32)
        y = np.clip(0.5 + 0.6 * X[:, 0] + 0.25 * random.normal(size=150), 0, 1)
        told += verdict_of(held_out_scores(KernelRidge(), X, y), y).learned
    assert told >= 18


def test_scores_that_have_nothing_to_do_with_the_targets_are_not_told_from_random() -> None:
    random = np.random.default_rng(1)
    found = verdict_of(random.random(40), random.random(40))
    assert not found.learned
    assert found.sentence.startswith("NOT shown to beat random")


def test_how_many_prompts_would_show_a_gain_of_this_size() -> None:
    """An interval twice as wide as the gain to either side needs four times the prompts."""
    found = RouterVerdict(gain=0.01, low=-0.01, high=0.03, n=50)
    assert found.needed == 200
    assert "50 prompts are too few; about 200 would show a gain of this size" in found.sentence
    assert RouterVerdict(gain=-0.01, low=-0.03, high=0.01, n=50).needed is None


def test_labels_that_are_all_alike_teach_nothing() -> None:
    assert not verdict_of(np.linspace(0, 1, 20), np.full(20, 0.5)).learned


def test_a_router_that_was_not_told_from_random_is_saved_and_refused_until_it_is_wanted(tmp_path: Path) -> None:
    targets = np.random.default_rng(0).integers(0, 2, 20)  # of nothing that the texts show
    training = [TrainingPrompt(f"question {i}", float(target), None, None) for i, target in enumerate(targets)]
    router = train_router(LetterEncoder(), BY_NAME["kernel"](), training, weak="small", strong="large")
    router.save(tmp_path / "router")
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    with pytest.raises(InputError, match=r"NOT shown to beat random.*--anyway"):
        calibrate(tmp_path / "p.jsonl", router=str(tmp_path / "router"))
    assert calibrate(tmp_path / "p.jsonl", router=str(tmp_path / "router"), anyway=True).n == 2


def test_a_router_saved_before_verdicts_were_written_is_not_refused() -> None:
    assert recorded_verdict({}) is None
    check_learned({}, "router", anyway=False)
    check_learned({KEY: {"gain": 0.1, "low": 0.05, "high": 0.15, "n": 9}}, "router", anyway=False)
