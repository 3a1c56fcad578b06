"""What an evaluation says in words about its figures."""

from __future__ import annotations

import numpy as np

from demur.evaluation.results import EvaluationRow, verdict_by_grades
from demur.measure.curve import cost_quality_curve
from demur.records import FloatArray
from demur.routing.verdict import RouterVerdict

WEAK, STRONG = np.tile([0.0, 1.0], 30), np.ones(60)  # the strong model is needed for every other prompt


def row(scores: FloatArray) -> EvaluationRow:
    return EvaluationRow("kernel", cost_quality_curve(scores, WEAK, STRONG))


NOT_LEARNED = RouterVerdict(0.02, -0.03, 0.07, 43)


def test_a_router_that_knows_is_better_than_random() -> None:
    """Every other prompt needs the strong model, and all of them come first: three quarters of the gap on average."""
    said = verdict_by_grades(row(1.0 - WEAK), 60, None)
    assert said.startswith("kernel is better than random: APGR 0.750 [")
    assert said.endswith("] on 60 graded prompts, random .500")


def test_one_verdict_is_said_where_grades_and_training_differ() -> None:
    said = verdict_by_grades(row(1.0 - WEAK), 60, NOT_LEARNED)
    assert said.startswith("kernel is better than random: ")
    assert "its 43 training prompts alone, without grades, do not show it: +2.00 [-3.00, +7.00] right answers" in said
    assert "--anyway" in said
    assert "cannot" not in said


def test_a_router_that_guesses_is_not() -> None:
    said = verdict_by_grades(row(np.random.default_rng(0).random(60)), 60, None)
    assert said.startswith("kernel cannot be distinguished from random: APGR ")
    assert "on 60 graded prompts, random .500" in said


def test_a_router_that_is_wrong_throughout_is_worse_than_random() -> None:
    assert "worse than random: APGR 0.250" in verdict_by_grades(row(WEAK), 60, None)


def test_without_a_gap_there_is_no_verdict() -> None:
    flat = EvaluationRow("kernel", cost_quality_curve(np.arange(60.0), STRONG, STRONG))
    assert verdict_by_grades(flat, 60, NOT_LEARNED) == ""
