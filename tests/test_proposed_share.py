"""Each strong share that a command proposes comes with why, and with what it keeps and saves, as calibration by it
then says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.config import ModelConfig, RunConfig
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.thresholds.calibrate import calibrate_and_measure
from demur.evaluation.thresholds.criterion import Criterion
from demur.gate.router import Router
from demur.gateway.app import Gateway
from demur.gateway.reload import uncalibrated_note
from demur.gateway.settings import GatewaySettings
from demur.models.encoders.encoder import LetterEncoder
from demur.records import OnUnknown
from demur.runs import run as opened
from demur.runs.lineage import GRADES_FILE, keep_advice, keep_made, keep_wish
from demur.runs.proposed_share import share_notes
from demur.runs.steps import next_command, share_command
from pairs import questions
from test_headline import with_open_ended

RUNNER = CliRunner()
PROPOSED = re.compile(r"^(?:next|or, as it is): (demur calibrate .* --strong-share (\S+).*)$", re.M)


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.chdir(tmp_path)


def train_again(run: str, unknown: OnUnknown) -> tuple[str, float]:
    """What training says, and the strong share that it proposes."""
    done = RUNNER.invoke(app, ["train", "--run", run, "--unknown", unknown], env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    found = PROPOSED.search(done.output)
    assert found, done.output
    return done.output, float(found[2])


def set_by(prompts: Path, run: str, share: float) -> Headline:
    """What calibration by a share does."""
    return calibrate_and_measure(prompts, Criterion(share), router=f"{run}/router", anyway=True)[1]


@pytest.mark.parametrize(("count", "unknown"), [(100, "strong"), (20, "strong"), (20, "strong-unless-guessed")])
def test_training_says_what_the_share_that_it_proposes_keeps_and_saves(
    tmp_path: Path, count: int, unknown: OnUnknown
) -> None:
    """Of 160 prompts 100 cannot be judged and go to the large model: 62.5 %, and three tenths of the others beside
    them are 74 %; of 80 quality is believed. Asked for the second time, the share is that of the router before."""
    prompts, run = with_open_ended(tmp_path, unknown, count=count)
    for again in (False, True):
        said, share = train_again(run, unknown)
        line = set_by(prompts, run, share)
        saves = f"saves {line.saved:.0%} of "
        if count == 100:
            assert share == 0.74
            assert line.quality is None
            assert "what a share keeps is not known: only 38% of these prompts can be judged by samples" in said
            why = "as for the router before" if again else "to begin with: 62% of the prompts are unknown"
            assert re.search(rf"74%(?: is a share|,) {why}.*\n  it {saves}the large model's cost\n", said), said
        elif not again:
            assert line.quality
            assert line.strong_quality
            kept = line.quality[0] / line.strong_quality
            assert f"a strong share of {share:.0%} keeps {kept:.0%} of the large model's quality (believed)" in said


def test_another_share_than_the_least_that_keeps_quality_says_what_it_keeps(tmp_path: Path) -> None:
    """The share of the router before is asked for again; it is said beside the one that keeps 95 %."""
    prompts, run = with_open_ended(tmp_path, "strong-unless-guessed")
    set_by(prompts, run, 0.2)
    said, share = train_again(run, "strong-unless-guessed")
    assert share == 0.2
    line = set_by(prompts, run, share)
    assert line.quality
    assert line.strong_quality
    kept = f"it keeps {line.quality[0] / line.strong_quality:.0%} of the large model's quality (believed)"
    assert "the command below asks for 20%, as for the router before\n" in said
    assert f"  {kept} and saves {line.saved:.0%} of its cost\n" in said


def test_where_samples_do_not_judge_grades_say_what_a_share_keeps(tmp_path: Path) -> None:
    """The 60 questions and 40 of the 100 texts are graded; the large model is always right."""
    prompts, run = with_open_ended(tmp_path, "strong", count=100)
    texts = [str(row["prompt"]) for row in questions()] + [f"Which text is {i}?" for i in range(40)]
    rows = ({"prompt": one, "weak_quality": float("letter" in one), "strong_quality": 1.0} for one in texts)
    (Path(run) / GRADES_FILE).write_text("".join(json.dumps(one) + "\n" for one in rows))
    said, share = train_again(run, "strong")
    line = set_by(prompts, run, share)
    assert line.by_grades
    assert line.quality
    assert line.strong_quality
    kept = f"it keeps {line.quality[0] / line.strong_quality:.0%} of the large model's quality (by 100 graded prompts)"
    assert f"  {kept} and saves {line.saved:.0%} of its cost\n" in said
    assert "not known" not in said.partition("gate ")[2]


def test_a_share_that_was_asked_for_before_is_named_where_quality_is_not_known(tmp_path: Path) -> None:
    """It said "the same" of 75 %, and nothing of 75 % where 50 % were asked for before."""
    run = Path("run")
    (run / "router").mkdir(parents=True)
    (run / "router" / "router.json").write_text('{"record": {"models": {"weak": {}, "strong": {}}}}')
    weak, strong = ModelConfig("w", "http://gpu:8000/v1"), ModelConfig("s", "https://api.example/v1")
    RunConfig("prompts.jsonl", weak, strong).save()
    (run / "preferences.jsonl").write_text("{}\n")
    keep_made(run, "samples", "these")
    keep_made(run, "labels", "these", "these")
    keep_made(run, "routers", "these", "these")
    keep_advice(run, None, least_share=0.64, scope="")
    for wish, says in ((0.5, "75% is a share to begin with: 64% of the prompts are unknown"), (0.75, "asks for 75%")):
        keep_wish(run, "prompts.jsonl", f"--strong-share {wish}")
        command = next_command(run)
        assert command == "demur calibrate prompts.jsonl --strong-share 0.75"
        assert any(says in line for line in share_notes(run, command))


def test_a_gateway_that_loads_a_router_without_a_threshold_names_the_share_that_training_proposed(
    tmp_path: Path,
) -> None:
    """It named PROMPTS and a share of .3, whatever training had said just before."""
    _, run = with_open_ended(tmp_path, "strong")
    said, _ = train_again("run", "strong")
    proposed = PROPOSED.search(said)
    assert proposed
    decider = SimpleNamespace(router=Router.load(f"{run}/router"))
    gateway = SimpleNamespace(settings=GatewaySettings(router="run/router"), decider=decider, target=None)
    note = uncalibrated_note(cast("Gateway", gateway))
    assert note == f", the middle of the training scores until one is set: {proposed[1]}"


@pytest.mark.parametrize(("share", "asked"), [(137 / 480, "0.286"), (0.5, "0.5"), (0.7642, "0.764"), (0.2, "0.2")])
def test_a_proposed_share_is_not_rounded_below_what_a_threshold_can_give(share: float, asked: str) -> None:
    """137 of 480 prompts go to the large model whatever the threshold: 28.54 %."""
    folder = Path("run")
    folder.mkdir()
    keep_made(folder, "routers", "")
    keep_advice(folder, None, least_share=137 / 480, scope="")
    assert share_command(folder, share).endswith(f"--strong-share {asked}")
