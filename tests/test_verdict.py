"""One line on what a router has learned, and what follows from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from demur.errors import InputError
from demur.evaluation.calibrate import calibrate
from demur.methods import BY_NAME
from demur.models.encoder import LetterEncoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from demur.routing.verdict import KEY, Verdict, check_learned, recorded, verdict_of


def test_gain_by_hand() -> None:
    """Gains 1 and -1 in the order of the scores: ranks 1 and 0 catch half of 1 and half of 1."""
    found = verdict_of(np.array([0.9, 0.1] * 50), np.array([1.0, 0.0] * 50))
    assert found.gain == pytest.approx(0.25 / 99 * 100)  # equal scores share a rank: 74.25 and 24.75 of 99
    assert found.learned
    assert found.sentence.startswith("the router catches +0.253 [")


def test_scores_that_have_nothing_to_do_with_the_targets_are_not_told_from_random() -> None:
    random = np.random.default_rng(1)
    found = verdict_of(random.random(40), random.random(40))
    assert not found.learned
    assert found.sentence.startswith("NOT told from random")


def test_how_many_prompts_would_show_a_gain_of_this_size() -> None:
    """An interval twice as wide as the gain to either side needs four times the prompts."""
    found = Verdict(gain=0.01, low=-0.01, high=0.03, n=50)
    assert found.needed == 200
    assert "50 prompts are too few; about 200 would show a gain of this size" in found.sentence
    assert Verdict(gain=-0.01, low=-0.03, high=0.01, n=50).needed is None


def test_labels_that_are_all_alike_teach_nothing() -> None:
    assert not verdict_of(np.linspace(0, 1, 20), np.full(20, 0.5)).learned


def test_a_router_that_was_not_told_from_random_is_saved_and_refused_until_it_is_wanted(tmp_path: Path) -> None:
    training = [TrainingPrompt(f"question {i}", float(i % 2), None, None) for i in range(20)]
    router = train_router(LetterEncoder(), BY_NAME["kernel"](), training, weak="small", strong="large")
    router.save(tmp_path / "router")
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"prompt": "two"}\n')
    with pytest.raises(InputError, match=r"NOT told from random.*--anyway"):
        calibrate(tmp_path / "p.jsonl", router=str(tmp_path / "router"))
    assert calibrate(tmp_path / "p.jsonl", router=str(tmp_path / "router"), anyway=True).n == 2


def test_a_router_saved_before_verdicts_were_written_is_not_refused() -> None:
    assert recorded({}) is None
    check_learned({}, "router", anyway=False)
    check_learned({KEY: {"gain": 0.1, "low": 0.05, "high": 0.15, "n": 9}}, "router", anyway=False)
