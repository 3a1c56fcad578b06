"""A run of which a person has graded some prompts: too few for a curve, or enough."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import load_run
from demur.evaluation.grades import grade_more
from demur.evaluation.held_out import evaluate_without_gold
from demur.evaluation.report.page import page
from demur.evaluation.report.tables import router_rows
from demur.evaluation.results import Evaluation
from demur.models.encoders.encoder import LetterEncoder
from demur.runs import run as opened
from demur.runs.lineage import GRADES_FILE
from demur.runs.run import open_run
from pairs import questions, running_pair, write_questions


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of 60 questions with a router and a threshold; the pair is not asked again."""
    folder = tmp_path_factory.mktemp("few")
    prompts, run = write_questions(folder / "prompts.jsonl", gold=False), folder / "run"
    with pytest.MonkeyPatch.context() as patch, running_pair() as pair:
        patch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
        demur.sample(prompts, **pair.names, run=str(run), n=4, weak_usd="0", strong_usd="10/10")
        demur.label(run=str(run), entailment="exact")
        demur.train(run=str(run), methods=("sw", "logistic"), serve="logistic")
        demur.calibrate(prompts, router=f"{run}/router", strong_share=0.5, anyway=True)
        yield run


def shown(run: Path) -> Evaluation:
    """What `demur report` draws."""
    with open_run(load_run(run)) as found:
        return evaluate_without_gold(found)


def grade(run: Path, texts: list[str], small: float) -> None:
    rows = ({"prompt": text, "weak_quality": small, "strong_quality": 1.0} for text in texts)
    (run / GRADES_FILE).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def asked(word: str) -> list[str]:
    return [str(row["prompt"]) for row in questions() if word in str(row["prompt"])]


def test_few_grades_stand_beside_what_is_believed_and_take_nothing_from_it(made: Path) -> None:
    """25 graded colours, which both models know, do not show which model is better."""
    (made / GRADES_FILE).unlink(missing_ok=True)
    before = shown(made)
    grade(made, asked("colour")[:25], 1.0)
    after = shown(made)
    assert (after.headline.by_grades, after.headline.judged) == (True, 25)
    assert after.headline.quality == (1.0, 1.0, 1.0)
    assert router_rows(after) == router_rows(before)
    assert "-" not in {cell for row in router_rows(after) for cell in row}
    assert (after.choices, after.n_test, after.believed, after.drawn) == (
        *(before.choices, before.n_test, True, before.headline),
    )
    text = page(after)
    assert "25 graded prompts are too few for the curve and the tables, so quality is believed" in text
    assert "measured on 25 graded prompts" in text


def test_grades_that_show_a_better_large_model_are_drawn_although_they_are_few(made: Path) -> None:
    grade(made, [*asked("plus")[:15], *asked("colour")[:5]], 0.0)
    found = shown(made)
    assert (found.believed, found.n_test, found.drawn) == (False, 20, found.headline)
    text = page(found)
    assert "Quality is that of one answer of each model, as a person graded it" in text
    assert "the mean over all samples" not in text


def test_as_many_grades_as_are_asked_for_are_drawn(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grade(made, asked("colour")[:25], 1.0)
    monkeypatch.setattr("demur.evaluation.held_out.USUAL_GRADES", 25)
    assert (shown(made).believed, shown(made).n_test) == (False, 25)


def test_one_number_of_grades_is_advised_everywhere(made: Path) -> None:
    grade(made, asked("colour")[:25], 1.0)
    said = CliRunner().invoke(app, ["evaluate", "--run", str(made)], env={"COLUMNS": "300"}).output
    command = f"demur grade --run {made}"
    assert said.count("demur grade") == said.count(command) == 2  # the warning, and the next command
    assert "--number" not in said
    assert f"next: {command}" in said
    grade(made, asked("colour")[:28], 1.0)
    assert grade_more(made) == command


def test_the_next_hundred_is_advised_where_a_hundred_do_not_tell(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 60 prompts 28 are graded: in steps of 20 the next one is 40."""
    grade(made, asked("colour")[:28], 1.0)
    monkeypatch.setattr("demur.evaluation.grades.USUAL_GRADES", 20)
    assert grade_more(made) == f"demur grade --run {made} --number 40"
    grade(made, [*asked("colour"), *asked("plus")], 1.0)
    assert grade_more(made) == ""


def test_training_and_replay_say_what_the_grades_measure(made: Path) -> None:
    """As `demur calibrate` and `evaluate` do on the same prompts; the share that is proposed goes by belief."""
    grade(made, asked("colour")[:25], 1.0)
    prompts, measured = str(made.parent / "prompts.jsonl"), "measured on 25 graded prompts"
    for command in (("replay", prompts), ("replay", prompts, "--threshold", "0.5"), ("train",)):
        said = CliRunner().invoke(app, [*command, "--run", str(made)]).output
        assert measured in said
    assert "keeps 95% of the large model's quality (believed)" in said


def test_grades_do_not_change_a_forecast_and_it_says_so(made: Path) -> None:
    """Of new prompts; on the run's own prompts nothing is forecast."""
    others = made.parent / "others.jsonl"
    others.write_text("".join(json.dumps({"prompt": f"What is {i} plus {i + 70}?"}) + "\n" for i in range(20)))
    said = {}
    for file in (str(others), str(made.parent / "prompts.jsonl")):
        (made / GRADES_FILE).unlink(missing_ok=True)
        before = CliRunner().invoke(app, ["replay", file, "--run", str(made)], env={"COLUMNS": "300"}).output
        grade(made, asked("colour")[:25], 1.0)
        said[file] = (
            before,
            CliRunner().invoke(app, ["replay", file, "--run", str(made)], env={"COLUMNS": "300"}).output,
        )
    (new, graded), (own, measured) = said.values()
    assert new == graded and "no answers or grades" in new
    assert "no answers or grades" not in own + measured


def test_evaluate_says_by_whom_the_prompts_were_graded(made: Path) -> None:
    """A row may name a judge; one without a name is counted apart, and a file without any says nothing."""
    grade(made, asked("colour")[:25], 1.0)
    assert shown(made).graded_by == ""
    rows = [json.loads(line) for line in (made / GRADES_FILE).read_text().splitlines()]
    marks: list[dict[str, str]] = [*[{"by": "judge wise"}] * 12, *[{"by": "hand"}] * 8, *[{}] * 5]
    (made / GRADES_FILE).write_text("".join(json.dumps(row | by) + "\n" for row, by in zip(rows, marks, strict=True)))
    said = CliRunner().invoke(app, ["evaluate", "--run", str(made)], env={"COLUMNS": "300"}).output
    assert "graded       12 by judge wise, 8 by hand, 5 not recorded by whom" in said


def test_a_report_is_older_than_grades_that_came_after_it(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, the end of grading and `demur evaluate` say so; one of an earlier version tells nothing of grades."""
    monkeypatch.chdir(made.parent)

    def said(*command: str, keys: str = "") -> str:
        return CliRunner().invoke(app, command, input=keys, env={"COLUMNS": "300"}).output

    grade(made, asked("colour")[:24], 1.0)
    said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway")
    said("report")
    assert "[x] report     run/report.html" in said("status")
    assert "newer" not in said("evaluate")
    graded = said("grade", "--number", "26", keys="bb")
    again = "or:   demur report   (run/report.html is older than the grades)"
    assert graded.endswith(f"next: demur evaluate\n{again}\n")
    shown = said("status")
    assert "[ ] report     run/report.html, older than the grades" in shown
    assert "next: demur report\n" in shown
    evaluated = said("evaluate")
    assert "the grades are newer than run/report.html; make that again with `demur report`\n" in evaluated
    assert evaluated.endswith(f"next: demur grade --run run\n{again}\n")
    kept = json.loads((made / "made.json").read_text())
    del kept["report"]["grades"]
    (made / "made.json").write_text(json.dumps(kept))
    assert "[x] report     run/report.html" in said("status")
    assert "newer" not in said("evaluate")
    said("report")
    assert "[x] report     run/report.html" in said("status")
