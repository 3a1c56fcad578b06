"""The cascade on a planted world: answers that hedge are wrong."""

from __future__ import annotations

import numpy as np
import pytest

from demur.errors import InputError
from demur.models.encoders.encoder import LetterEncoder
from demur.paper.cascade import AnswerScorer, cascade_curve


def test_the_cascade_finds_the_hedged_answers() -> None:
    random = np.random.default_rng(0)
    right = (random.random(300) < 0.6).astype(float)
    answers = ["paris" if r else "zzz hmm" for r in right]
    questions = [f"question {i}" for i in range(300)]
    scorer = AnswerScorer(LetterEncoder()).fit(questions[:200], answers[:200], right[:200])
    curve = cascade_curve(
        scorer.right(questions[200:], answers[200:]), right[200:], np.ones(100), (np.full(100, 1.0), np.full(100, 9.0))
    )
    assert curve.cpt(1.0) == pytest.approx(1 - right[200:].mean(), abs=0.02)
    assert curve.costs is not None
    assert curve.costs[-1] == 10.0  # both models are paid for where the strong one answers


def test_answers_graded_alike_teach_nothing() -> None:
    with pytest.raises(InputError, match="alike"):
        AnswerScorer(LetterEncoder()).fit(["a"], ["b"], np.ones(1))
