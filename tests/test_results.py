"""What an evaluation says in words about its figures."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import demur
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.tables import choice_rows, reference_rows, router_rows
from demur.evaluation.results import Evaluation, EvaluationRow, gap_warnings, verdict_by_grades
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.models.encoders.encoder import LetterEncoder
from demur.records import FloatArray
from demur.routing.verdict import RouterVerdict
from pairs import running_pair, strong, weak, write_questions

WEAK, STRONG = np.tile([0.0, 1.0], 30), np.ones(60)  # the strong model is needed for every other prompt


def row(scores: FloatArray) -> EvaluationRow:
    return EvaluationRow("kernel", cost_quality_curve(scores, WEAK, STRONG))


SAID = Headline(0.5, True, 24, "test prompts", 0.31, (0.34, 0.2, 0.5), 0.375, False, 0.07, 0.22, 0.06)
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


def test_a_pair_whose_strong_model_is_the_weaker_one_is_named_and_has_no_figures(tmp_path: Path) -> None:
    """Named the wrong way round: the one called weak is always right, the other one on half of the prompts."""
    run = str(tmp_path / "run")
    with running_pair(answers=(strong, weak)) as pair:
        demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=4)
    demur.label(run=run, source="accuracy", kind="soft")
    demur.train(run=run, methods="logistic", gate="off", encoder=LetterEncoder())
    found = demur.evaluate(run=run, encoder=LetterEncoder())
    (said,) = [one for one in found.warnings if "no better" in one]
    assert said.startswith("the strong model is no better than the weak one on these prompts (quality 0.")
    assert said.endswith("against 1.000): always use the weak model; CPT and APGR have no meaning")
    assert math.isnan(found.rows[0].curve.apgr)
    assert math.isnan(found.rows[0].curve.cpt(0.5))


def few_grades() -> CostQualityCurve:
    """24 prompts: on three the strong model alone is right, on two the weak one alone, on six both."""
    weak, strong = np.repeat([0.0, 1.0, 1.0, 0.0], [3, 2, 6, 13]), np.repeat([1.0, 0.0, 1.0, 0.0], [3, 2, 6, 13])
    return cost_quality_curve(np.arange(24.0), weak, strong, weak_cost=0.0, strong_cost=0.001)


def test_a_gap_within_chance_is_no_base_of_figures() -> None:
    """One answer of 24 is the gap: an APGR of -1.56 or 5.25 of it is noise."""
    curve = few_grades()
    assert curve.gain == pytest.approx(1 / 24)
    assert curve.gain_interval[0] < 0 < curve.gain_interval[1]
    (said,) = gap_warnings(curve)
    assert said.startswith("these prompts do not yet show that the strong model is better than the weak one: quality ")
    assert "0.375 against 0.333, +0.042 [" in said
    assert verdict_by_grades(EvaluationRow("sw", curve), 24, None) == ""
    found = SimpleNamespace(
        rows=[EvaluationRow("sw", curve)], served="sw", drawn=SAID, usd_alone=(0.0, 1.0), choices=()
    )
    assert [row[1:] for row in router_rows(found)] == [("-", "-", "-", "-")]  # type: ignore[arg-type]
    assert [row[0] for row in reference_rows(found)] == ["always weak", "always strong"]  # type: ignore[arg-type]
    assert {row[2] for row in choice_rows(found)} == {"-"}  # type: ignore[arg-type]
    assert not gap_warnings(row(1.0 - WEAK).curve)


def test_a_few_grades_by_hand_suggest_no_other_router() -> None:
    need = (np.arange(200) % 4 == 0).astype(float)
    guess = np.random.default_rng(1).random(200)
    assert "`demur train --serve mf` serves it" in shown(kernel=guess, mf=need)
    assert shown(kernel=guess, mf=need, graded=99) == ""
    assert "`demur train --serve mf` serves it" in shown(kernel=guess, mf=need, graded=100)


def shown(graded: int = 0, **scores: FloatArray) -> str:
    """What is said of routers with these scores, the first of which serves: 200 prompts, every fourth needs the strong
    model; by ``graded`` grades of a person where there are some.
    """
    weak = (np.arange(200) % 4 > 0).astype(float)
    rows = tuple(EvaluationRow(name, cost_quality_curve(each, weak, np.ones(200))) for name, each in scores.items())
    line = replace(SAID, by_grades=bool(graded))
    found = SimpleNamespace(rows=rows, served=next(iter(scores)), drawn=line, n_test=graded or 200)
    return Evaluation.passed_over.fget(found)  # type: ignore[attr-defined, no-any-return]


def test_why_a_router_with_a_higher_apgr_does_not_serve() -> None:
    """A single pair of 200 prompts in another order is chance; scores that know the answer are not."""
    need = (np.arange(200) % 4 == 0).astype(float)
    guess = np.random.default_rng(1).random(200)
    other = guess.copy()
    low, high = np.flatnonzero(need)[np.argsort(guess[need > 0])[0]], np.flatnonzero(need == 0)[0]
    other[[low, high]] = guess[[high, low]] if guess[high] > guess[low] else guess[[low, high]]
    said = shown(kernel=guess, knn=other)
    assert said.startswith("knn has a higher APGR than kernel, which serves: +0.0")
    assert said.endswith("on the same prompts, which cannot be told from chance")
    assert shown(kernel=guess, knn=need).endswith("on the same prompts; `demur train --serve knn` serves it")
    assert shown(kernel=need, knn=guess) == ""
    assert shown(**{"kernel": guess, "paper preset, sw": need}) == ""  # which is there to be compared with
