"""A second `demur run`: what a person did after the first one, a threshold, a guarantee, grades, is not lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.groups import show_path
from demur.cli.main import app
from demur.errors import InputError
from demur.evaluation.thresholds.criterion import Criterion
from demur.evaluation.thresholds.share_figures import calibration_of_run
from demur.gate.router import Router
from demur.measure.threshold import Calibration, KeptPoint
from demur.routing.artifact import CERTIFICATE, save_calibration
from demur.runs.lineage import GRADES_FILE, keep_advice, wish_of
from pairs import Pair, questions, running_pair, write_questions

RUNNER = CliRunner()


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def run_file(
    folder: Path,
    pair: Pair,
    *,
    share: float | None = 0.4,
    strong: str = "",
    name: str = "run.toml",
    gate: str = "auto",
) -> Path:
    file = folder / name
    prompts = write_questions(folder / "prompts.jsonl", gold=False)
    asked = "" if share is None else f"strong_share = {share}\n"
    file.write_text(
        f'prompts = "{prompts}"\nrun = "{folder}/run"\n{asked}'
        f'[weak]\nmodel = "small"\nbase_url = "{pair.weak.base_url}"\nusd_per_million_input = 0\n'
        "usd_per_million_output = 0\n"
        f'[strong]\nmodel = "large"\nbase_url = "{strong or pair.strong.base_url}"\nusd_per_million_input = 10\n'
        "usd_per_million_output = 10\n"
        '[sampling]\nn = 4\n[label]\nentailment = "exact"\n[router]\nmethods = ["logistic"]\nserve = "logistic"\n'
        f'gate = "{gate}"\n'
    )
    return file


def test_a_threshold_set_after_a_run_is_kept_while_the_router_is_the_same(tmp_path: Path, pair: Pair) -> None:
    file, router = run_file(tmp_path, pair), tmp_path / "run" / "router"
    assert demur.run(file).kept == ""
    save_calibration(router, Calibration(0.9, 0.1, 100, "risk 20.0% with 95% confidence (missed)", "graded", False))
    (router / CERTIFICATE).write_text('{"risk": 0.2}\n')
    said = RUNNER.invoke(app, ["run", str(file)])
    assert said.exit_code == 0, said.output
    assert "the certified threshold (0.9000, risk 20.0% with 95% confidence (missed)) is kept" in said.output
    assert f"report: {tmp_path}/run/report.html" in said.output
    assert json.loads((router / "router.json").read_text())["calibration"]["threshold"] == 0.9
    assert json.loads((router / CERTIFICATE).read_text()) == {"risk": 0.2}
    other = demur.run(run_file(tmp_path, pair, share=0.5))
    assert "is replaced, because the run asks for another strong share; its guarantee holds no more" in other.kept
    assert other.calibration.asked == "strong share 50%"
    assert not (router / CERTIFICATE).exists()


def test_a_run_without_a_strong_share_has_the_threshold_of_the_one_that_train_proposes(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was set for 30%, whatever that kept. The small model knows the colours, which are half of the prompts."""
    monkeypatch.chdir(tmp_path)
    file = run_file(tmp_path, pair, share=None)
    found = demur.run(file)
    assert found.headline.kept_here is not None
    assert found.headline.kept_here >= 0.95
    assert 0.4 < found.headline.strong_share < 0.7
    done = RUNNER.invoke(app, ["train"]).output
    told = re.fullmatch(r"strong share (\d+%), as training proposes", found.calibration.asked)
    assert told
    share = told[1]
    assert re.search(rf"^a strong share of {share} keeps \d+% of the large model's quality", done, re.M)
    assert done.splitlines()[-1] == f"next: demur calibrate prompts.jsonl --strong-share {int(share[:-1]) / 100:.2g}"
    assert "the run file asks for" not in done
    monkeypatch.setattr("demur.evaluation.thresholds.share_figures.keep_proposal", lambda *_: None)
    for point, why in (
        (KeptPoint(1.0, 1.0, 0.0), "since no share keeps 95%"),
        (KeptPoint(0.0, 1.02, 1.0), "since the small model alone keeps 102%"),
        (None, "since what a share keeps is not known"),
    ):
        keep_advice(Path("run"), point, least_share=0.0, scope="")
        asked = calibration_of_run(Router.load("run/router"), Path("run"), None).asked
        assert asked == f"strong share 30%, to begin with, {why}"


@pytest.mark.parametrize("gate", ["off", "on"])
def test_a_threshold_of_calibrate_stands_where_the_file_asks_for_no_share(
    tmp_path: Path, pair: Pair, gate: str
) -> None:
    """With a gate it was taken for the run's own, and replaced without a word."""
    file = run_file(tmp_path, pair, share=0.4, gate=gate)
    demur.run(file)
    prompts, router = tmp_path / "prompts.jsonl", str(tmp_path / "run" / "router")
    set_to = demur.calibrate(prompts, router=router, strong_share=0.6)
    found = demur.run(run_file(tmp_path, pair, share=None, gate=gate))
    assert "is kept, because the router is unchanged" in found.kept
    assert found.calibration.threshold == set_to.threshold


def test_grades_change_the_quality_alone(tmp_path: Path, pair: Pair) -> None:
    """24 graded colours, which both models know: quality is 1, and share and cost stay those of all 60 prompts."""
    file = run_file(tmp_path, pair)
    before = demur.run(file).headline
    colours = [str(row["prompt"]) for row in questions() if "colour" in str(row["prompt"])][:24]
    rows = ({"prompt": text, "weak_quality": 1.0, "strong_quality": 1.0} for text in colours)
    graded = [json.dumps(row) + "\n" for row in rows]
    (tmp_path / "run" / GRADES_FILE).write_text("".join(graded[:10]))
    few = RUNNER.invoke(app, ["run", str(file)])
    assert "of 20 prompts graded by hand 10 are there" in few.output
    assert f"`demur grade --run {tmp_path}/run`" in few.output
    (tmp_path / "run" / GRADES_FILE).write_text("".join(graded))
    said = RUNNER.invoke(app, ["run", str(file)])
    assert "measured on 24 graded prompts" in said.output
    assert "No test prompt has gold answers" not in said.output
    found = demur.evaluate(run=str(tmp_path / "run")).headline
    assert (found.prompts, found.strong_share, found.usd, found.usd_strong, found.saved) == (
        *(before.prompts, before.strong_share, before.usd, before.usd_strong, before.saved),
    )
    assert (found.prompts, found.judged, found.believed) == (60, 24, False)
    assert (found.quality, found.strong_quality) == ((1.0, 1.0, 1.0), 1.0)
    assert found.sentence in said.output
    table = RUNNER.invoke(app, ["evaluate", "--run", f"{tmp_path}/run"], env={"COLUMNS": "200"}).output
    assert "large (strong) / small (weak), 60 training prompts" in table  # by belief: 24 grades show no gap
    assert "24 graded prompts are too few to decide" in table
    (row,) = [line for line in table.splitlines() if "logistic (served)" in line]
    assert row.count("unknown") == 0  # both prices are given
    stay = f"{1 - (found.judged_share or 0):.0%}"
    assert dict(found.notes)["quality"] == f"measured on 24 graded prompts, {stay} of which stay local"
    page = (tmp_path / "run" / "report.html").read_text()
    assert found.sentence in page
    assert "always large: 1.00; measured on the 24 graded prompts</dd>" in page
    local = f"{1 - before.strong_share:.0%}"
    assert f"<dd>{local}</dd><dd>of 60 training prompts, each scored by a router that had not seen it</dd>" in page


def test_training_says_that_a_guarantee_was_of_the_router_before(tmp_path: Path, pair: Pair) -> None:
    demur.run(run_file(tmp_path, pair))
    folder = tmp_path / "run"
    (folder / "router" / CERTIFICATE).write_text("{}")
    said = "the earlier threshold and its guarantee were of the router before\n"
    assert said in RUNNER.invoke(app, ["train", "--run", str(folder), "--quiet"]).output
    assert not (folder / "router" / CERTIFICATE).exists()
    assert "earlier" not in RUNNER.invoke(app, ["train", "--run", str(folder)]).output  # there is no threshold now


def test_what_was_wished_for_is_the_next_step_after_training_again(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The prompts and options of the last `calibrate`, whatever they were; of a run file its strong share. The line
    that says so names them."""
    monkeypatch.chdir(tmp_path)
    demur.run(run_file(tmp_path, pair))
    again = RUNNER.invoke(app, ["train"]).output
    assert again.splitlines()[-1] == "next: demur calibrate prompts.jsonl --strong-share 0.4"
    wishes = {"--keep-quality 0.9": "", "--usd-per-1k 0.02": "", "--strong-share 0.25": "25%"}
    for wish, asked in wishes.items():
        done = RUNNER.invoke(app, ["calibrate", "prompts.jsonl", *wish.split()])
        assert done.exit_code == 0, done.output
        again = RUNNER.invoke(app, ["train"]).output
        assert "the earlier threshold was of the router before\n" in again
        *_, command = lines = again.splitlines()
        assert command == f"next: demur calibrate prompts.jsonl {wish}"
        assert f"the command below asks for {asked or wish}, as for the router before" in map(str.strip, lines)
    dry = RUNNER.invoke(app, ["calibrate", "prompts.jsonl", "--strong-share", "0.7", "--dry-run"])
    assert dry.exit_code == 0
    assert wish_of(Path("run")) == ("prompts.jsonl", "--strong-share 0.25")


@pytest.mark.parametrize(
    ("given", "options"),
    [
        ({}, "--strong-share 0.3"),
        ({"strong_share": 0.0}, "--strong-share 0.0"),
        ({"risk": 0.05}, "--risk 0.05"),
        ({"risk": 0.1, "confidence": 0.9, "loss": "difference"}, "--risk 0.1 --confidence 0.9 --loss difference"),
        ({"keep_quality": 0.95, "confidence": 0.9}, "--keep-quality 0.95"),  # which has no confidence
    ],
)
def test_a_wish_as_options(given: dict[str, float | str], options: str) -> None:
    assert Criterion(**given).options == options  # type: ignore[arg-type]


def test_another_run_is_told_by_what_its_command_takes(tmp_path: Path, pair: Pair) -> None:
    run = demur.run(run_file(tmp_path, pair)).folder
    with pytest.raises(InputError, match=r"name another folder with `run = \"\.\.\.\"` in the run file, or begin"):
        demur.run(run_file(tmp_path, pair, strong=f"{pair.strong.base_url}/else"))
    with pytest.raises(InputError, match="name another folder with --run, or begin"):
        demur.sample(tmp_path / "prompts.jsonl", pair.names["weak"], f"{pair.names['strong']}/else", run=run, n=4)


def test_a_model_that_never_answered_does_not_tie_the_folder(tmp_path: Path, pair: Pair) -> None:
    """The weak model has answered, the strong one's address was wrong: corrected, the run goes on."""
    with pytest.raises(demur.DemurError):
        demur.run(run_file(tmp_path, pair, strong=f"{pair.strong.base_url}/nowhere"))
    found = demur.run(run_file(tmp_path, pair))
    assert found.headline.prompts == 60


def test_an_interrupted_run_goes_on_by_its_run_file(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "sampling small" and done > 20:
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    file = run_file(tmp_path, pair)
    with pytest.raises(KeyboardInterrupt):
        demur.run(file, progress=stop)
    show_path()
    said = capsys.readouterr().out
    assert re.search(r"\[ \] sample .* not finished", said)
    assert "next: demur run run.toml\n" in said
    demur.run(file)
    show_path()
    said = capsys.readouterr().out
    assert "[x] sample" in said
    assert "next: demur serve" in said
