"""What an evaluation says in words about its figures."""

from __future__ import annotations

import numpy as np

from demur.evaluation.results import EvaluationRow, chance_warnings
from demur.measure.curve import cost_quality_curve
from demur.records import FloatArray

WEAK, STRONG = np.tile([0.0, 1.0], 30), np.ones(60)  # the strong model is needed for every other prompt


def row(scores: FloatArray) -> EvaluationRow:
    return EvaluationRow("kernel", cost_quality_curve(scores, WEAK, STRONG))


def test_a_router_that_knows_is_told_from_random() -> None:
    assert chance_warnings(row(1.0 - WEAK), 60) == ()


def test_a_router_that_guesses_is_not() -> None:
    (said,) = chance_warnings(row(np.random.default_rng(0).random(60)), 60)
    assert said.startswith("kernel cannot be distinguished from random here: its APGR is ")
    assert said.endswith("on 60 prompts, and random routing reaches .500")


def test_a_router_that_is_wrong_throughout_is_told_from_random_too() -> None:
    """Worse than random is not the same as random: the interval lies below .5, and the table shows it."""
    assert chance_warnings(row(WEAK), 60) == ()
