"""What is believed of a run whose labels are not from its samples, such as those of a judge, who labels any prompt."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.config import load_run
from demur.evaluation.report.cautions import cautions_of
from demur.evaluation.report.headline import training_headline
from demur.evaluation.report.kinds_table import columns_of, kinds_table, meaning_of
from demur.evaluation.thresholds.calibrate import calibrate_and_measure
from demur.evaluation.thresholds.criterion import Criterion
from demur.gate.quality.believed_quality import believed_at, believed_of_learned, shown_by_samples
from demur.gate.router import Router
from demur.labels.beliefs.unknown import GUESSED, told_by
from demur.labels.label_run import believed_needs
from demur.labels.preference_files import read_preferences
from demur.models.encoders.encoder import LetterEncoder
from demur.records import OnUnknown
from demur.routing.known.unknown_setting import UnknownSetting
from demur.runs import run as opened
from demur.testing import Answerer, fake_endpoint, in_a_thread
from pairs import running_pair, strong, weak, write_questions
from test_prompt_kinds import preference

WORDS = " and so on" * 10


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.chdir(tmp_path)


def with_texts(tmp_path: Path) -> tuple[Path, str]:
    """60 questions, 20 texts that are asked for, of which no two answers are the same, and a run trained on them."""
    prompts = write_questions(tmp_path / "prompts.jsonl", gold=False)
    with prompts.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps({"prompt": f"Write the text {i}"}) + "\n" for i in range(20))

    def texts(answers: Answerer, name: str) -> Answerer:
        return lambda prompt, seed: f"{name} {seed}{WORDS}" if prompt.startswith("Write") else answers(prompt, seed)

    run = str(tmp_path / "run")
    with running_pair(answers=(texts(weak, "a"), texts(strong, "b"))) as pair:
        demur.sample(prompts, **pair.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",), serve="logistic")
    return prompts, run


def judged_again(run: str) -> Router:
    """The router after a judge, who finds both answers equally good, or the first one, has labelled every prompt."""
    with in_a_thread(fake_endpoint(lambda prompt, seed: "LLM 1" if "plus" in prompt else "LLM 2")) as judge:
        demur.label(run=run, source="judge", judge=f"wise@{judge.base_url}")
    return demur.train(run=run)


def test_a_judge_changes_neither_of_which_prompts_quality_is_believed_nor_what_the_large_model_is_worth(
    tmp_path: Path,
) -> None:
    """The 20 texts counted as answered right by neither model."""
    prompts, run = with_texts(tmp_path)
    before = training_headline(Router.load(f"{run}/router"))
    router = judged_again(run)
    after = training_headline(router)
    assert len(read_preferences(Path(run) / "preferences.jsonl")) == after.prompts == before.prompts == 80
    assert (before.judged, after.judged) == (60, 60)
    assert after.strong_quality == pytest.approx(before.strong_quality)
    assert after.scope() == "the 75% that could be judged by samples"
    notes = [fact for name, fact in after.notes if name == "quality"]
    assert notes[0].startswith("believed, from how the answers agree, not from the labels; of the 75% of the prompts ")
    assert dict(after.notes)["labels"] == "by the judge wise"
    assert "labels" not in dict(before.notes)
    line = calibrate_and_measure(prompts, Criterion(0.5), router=f"{run}/router", anyway=True)[1]
    assert line.judged == 60
    assert line.strong_quality == pytest.approx(before.strong_quality)


def test_the_kinds_of_prompts_are_counted_by_the_samples_whoever_labels_them(tmp_path: Path) -> None:
    _, run = with_texts(tmp_path)
    before = kinds_table(Router.load(f"{run}/router"))
    router = judged_again(run)
    after = kinds_table(router)
    assert before and after
    assert [row[:5] for row in after.rows] == [row[:5] for row in before.rows]
    assert [row[6] == "not known" for row in after.rows] == [row[6] == "not known" for row in before.rows]
    assert (columns_of(before)[2], columns_of(after)[2]) == ("labelled", "shown")
    assert meaning_of(before).startswith("Labelled: the answers agree")
    assert meaning_of(after).startswith(
        "All have a label by the judge wise; the counts are by the samples alone. Shown:"
    )
    caution = next(one for one in cautions_of(router) if "Samples rarely show" in one)
    assert re.match(r"Trust it on .* \(\d+% of the training prompts\).* no further than the judge wise\. ", caution)


def test_a_score_is_a_chance_by_those_prompts_alone(tmp_path: Path) -> None:
    """Prompts whose samples show nothing counted as answered right by the small model as often: the more of them, the
    smaller every score became."""
    _, run = with_texts(tmp_path)
    router = judged_again(run).prompt_router
    with opened.open_run(load_run(run)) as found:
        needs = believed_needs(found, [one.prompt for one in router.training])
    assert needs is not None
    shown = np.array([not one.prompt.startswith("Write") for one in router.training])
    assert needs[~shown].max() == 0
    assert router.training_scores[shown].mean() == pytest.approx(needs[shown].mean(), abs=0.08)


def test_new_prompts_are_believed_by_those_that_samples_can_judge(tmp_path: Path) -> None:
    """Those whose samples show nothing are believed 0 by both models, and are no estimate of other prompts."""
    _, run = with_texts(tmp_path)
    router = judged_again(run)
    shown = shown_by_samples(router)
    assert shown.sum() == 60
    assert router.beliefs is not None
    strong = believed_at(router, router.prompt_router.training_scores)[1]
    assert strong.min() > router.beliefs[1][~shown].max() == 0
    assert len(believed_of_learned(router)[0]) == 60


@pytest.mark.parametrize(("unknown", "told"), [("strong-unless-guessed", 3), ("strong", 2), ("weak", 2)])
def test_a_question_on_which_both_models_guess_counts_as_before(unknown: OnUnknown, told: int) -> None:
    """As one that neither answers where the score decides on such; not where the setting does."""
    rows = [preference(one) for one in ("What is 1?", "Which 2?", "Who is 3?", "Write 4")]
    record = told_by(rows, (), ["", GUESSED, "", GUESSED])
    assert (record["shown"], record["share"]) == ("1g10", 0.5)
    first = SimpleNamespace(record={"told": record}, training=rows, unknown_setting=UnknownSetting(unknown))
    assert shown_by_samples(cast("Router", SimpleNamespace(prompt_router=first))).sum() == told


def test_the_gain_over_random_is_said_to_be_by_the_judge(tmp_path: Path) -> None:
    _, run = with_texts(tmp_path)
    judged_again(run)
    said = CliRunner().invoke(app, ["train", "--run", run], env={"COLUMNS": "400"}).output
    assert "by the judge wise, mean over all shares)" in said
    assert "believed without labels" not in said
