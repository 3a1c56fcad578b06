"""The whole run, on a planted pair of endpoints and an encoder without a model: prompts in, a measured router out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from demur import pipeline, quickstart
from demur.cli import printing
from demur.cli.main import app
from demur.config import METHOD_NAMES, LabelConfig, RouterConfig, load_run
from demur.errors import ArtifactError, BudgetError, EndpointError, InputError
from demur.evaluation.report.headline_record import HeadlineBlock
from demur.gate.router import Router
from demur.labels.beliefs.unknown import saturation_of
from demur.labels.preference_files import read_preferences, write_preferences
from demur.methods import BY_NAME
from demur.models.encoders.encoder import LetterEncoder
from demur.records import FloatArray, dollars
from demur.routing.prompt_router import Decision, PromptRouter, TrainingPrompt
from demur.routing.train import train_router
from demur.runs import run as opened
from demur.runs.lineage import headline_of
from demur.runs.steps import first_share
from pairs import Pair, questions, running_pair, write_questions


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is fetched: prompts are embedded by their letters."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def sampled(tmp_path: Path, pair: Pair, *, gold: bool = True) -> str:
    prompts = write_questions(tmp_path / "prompts.jsonl", gold=gold)
    run = str(tmp_path / "run")
    demur.sample(prompts, **pair.names, run=run, n=4)
    return run


@pytest.mark.parametrize(
    "source",
    [
        *("entropy believed", "entropy support", "entropy combined", "entropy calibrated"),
        *("entropy margin", "entropy hard", "entropy auto"),
        *(
            "agreement",
            "judge",
            "preference",
            "accuracy hard",
            "accuracy soft",
            "quality-gap det",
            "quality-gap prob",
            "quality-gap trans",
        ),
    ],
)
def test_every_source_teaches_what_the_weak_model_cannot_do(tmp_path: Path, pair: Pair, source: str) -> None:
    run = sampled(tmp_path, pair)
    name, _, kind = source.partition(" ")
    given: dict[str, Any] = {"judge": pair.names["strong"]} if name == "judge" else {}
    if name == "preference":
        battles = [
            {"model_a": "large", "model_b": "small", "prompt": row["prompt"], "id": row["id"]}
            | {"winner": "model_a" if str(row["id"]).startswith("sum") else "tie"}
            for row in questions()
        ]
        (tmp_path / "battles.jsonl").write_text("".join(json.dumps(row) + "\n" for row in battles))
        given = {"file": str(tmp_path / "battles.jsonl")}
    labels = demur.label(run=run, source=name, kind=kind or None, entailment="exact", **given)
    by_kind = {
        name: [row.target for row in labels.preferences if row.id.startswith(name)] for name in ("sum", "colour")
    }
    assert min(by_kind["sum"]) > max(by_kind["colour"])
    demur.train(run=run, methods=("sw", "logistic"), serve="logistic")
    found = demur.evaluate(run=run)
    for row in found.rows:
        assert row.curve.apgr > 0.7  # half the prompts need it: the oracle reaches .75
        assert row.curve.cpt(0.8) < 0.45
    decision = demur.Router.load(f"{run}/router").route("What is 31 plus 17?")
    assert (decision.model, decision.role) == ("large", "strong")
    assert demur.Router.load(f"{run}/router").route("Which colour has the sea in picture 90?").role == "weak"
    assert all("plus" in near.prompt for near in decision.neighbours)
    record = PromptRouter.load(tmp_path / "run" / "router").record["labels"]
    assert record["source"] == name
    assert ("strong_weight" in record) == record["rows"].endswith(("believed", "support"))
    assert record["rows"].startswith(source.removesuffix(" auto").split()[0]) or source == "entropy auto"


@pytest.mark.slow
def test_one_command_does_all_and_the_second_time_asks_nothing(tmp_path: Path, pair: Pair) -> None:
    prompts = write_questions(tmp_path / "prompts.jsonl")
    (tmp_path / "run.toml").write_text(
        f'prompts = "{prompts}"\nrun = "{tmp_path}/run"\nstrong_share = 0.4\n'
        f'[weak]\nmodel = "small"\nbase_url = "{pair.weak.base_url}"\nusd_per_million_input = 0\n'
        "usd_per_million_output = 0\n"
        f'[strong]\nmodel = "large"\nbase_url = "{pair.strong.base_url}"\npriced_as = "gpt-4o"\n'
        '[sampling]\nn = 4\n[label]\nentailment = "exact"\n'
    )
    first = demur.run(tmp_path / "run.toml")
    asked = len(pair.weak.requests) + len(pair.strong.requests)
    stages: list[str] = []
    again = demur.run(tmp_path / "run.toml", progress=lambda stage, done, total: stages.append(stage))
    assert len(pair.weak.requests) + len(pair.strong.requests) == asked
    assert again.labels == first.labels
    assert again.spend == first.spend
    assert first.spend.usd is not None
    assert first.spend.usd > 0
    assert first.evaluation is not None
    names = [row.router for row in first.evaluation.rows]
    assert names == [*METHOD_NAMES, "paper preset, sw", "hard SE, sw", "kernel + gate"]
    assert any("the gate" in line.casefold() for line in first.evaluation.findings)
    assert any("against the paper's preset (Eqs. 2, 3 and 6, SW)" in line for line in first.evaluation.findings)
    assert "earned back after" in first.evaluation.payback
    assert first.evaluation.headline.usd is not None
    assert f"1,000 calls cost {dollars(first.evaluation.headline.usd)} as served" in first.evaluation.payback
    assert first.calibration.asked == "strong share 40%"
    assert PromptRouter.load(tmp_path / "run" / "router").calibration == first.calibration
    assert {"training routers", "measuring routers"} <= set(stages)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "gpt-4o" in page
    assert (tmp_path / "run" / "curve.png").stat().st_size > 5000


def test_scores_of_a_run_are_probabilities_where_its_samples_tell(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    router = demur.train(run=run, methods="sw", gate="off").prompt_router
    preferences = read_preferences(Path(run) / "preferences.jsonl")
    needed = [row.response_a != row.response_b for row in preferences]  # the planted strong model is always right
    assert router.curve is not None
    assert router.training_scores.mean() == pytest.approx(np.mean(needed), abs=0.06)
    found = demur.evaluate(run=run)
    assert found.reliability is not None
    assert found.reliability.ece < 0.3
    write_preferences(tmp_path / "battles.jsonl", preferences)
    demur.label(run=run, source="preference", file=str(tmp_path / "battles.jsonl"))
    assert demur.train(run=run, methods="sw", gate="off").prompt_router.curve is None


def test_a_prompt_in_another_language_goes_to_the_strong_model_unless_the_run_says_otherwise(
    tmp_path: Path, pair: Pair
) -> None:
    """Of a language that it has not learned from a router's score says nothing."""
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    german = "Wie viele Einwohner hat die Stadt, in der die meisten Menschen Deutschlands wohnen?"
    made = demur.train(run=run, methods="sw", gate="off").route(german, threshold=2.0)
    assert (made.role, made.stage) == ("strong", "unknown")
    assert "in a language that the router has not learned from" in made.reason
    by_score = demur.train(run=run, methods="sw", gate="off", unlike="score")
    assert by_score.route(german, threshold=2.0).role == "weak"


def test_a_judge_labels_without_gold_and_is_asked_once(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair, gold=False)
    with pytest.raises(InputError, match="needs a judge"):
        demur.label(run=run, source="judge")
    judged = partial(demur.label, run=run, source="judge", judge=pair.names["strong"])
    found = judged()
    targets = {name: {row.target for row in found.preferences if row.id.startswith(name)} for name in ("sum", "colour")}
    assert targets == {"sum": {1.0}, "colour": {0.5}}  # alike answers are not asked about
    assert "favour their own answers" in "".join(found.warnings)
    asked = len(pair.strong.requests)
    assert judged() == found
    assert len(pair.strong.requests) == asked
    demur.train(run=run, methods=("logistic",))
    assert demur.Router.load(f"{run}/router").route("What is 31 plus 17?").role == "strong"


def test_without_gold_everything_trains_and_nothing_is_measured(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair, gold=False)
    assert len(demur.label(run=run, entailment="exact").preferences) == 60
    demur.train(run=run, methods=("sw",))
    with pytest.raises(InputError, match="no prompt has gold answers"):
        demur.evaluate(run=run)
    found = demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", strong_share=0.5, anyway=True)
    assert found.strong_share == pytest.approx(0.5, abs=0.05)
    assert demur.Router.load(f"{run}/router").route("What is 3 plus 4?").role == "strong"


def test_gold_answers_that_all_train_are_not_called_missing(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    record = Path(run) / "run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"test_share": 0.0}))
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods="logistic", gate="off")
    with pytest.raises(InputError, match=r"60 prompts have gold answers, but none is kept for measuring .test_share 0"):
        demur.evaluate(run=run)


def test_an_encoder_of_ones_own_trains_and_measures(tmp_path: Path, pair: Pair) -> None:
    class Own:
        def encode(self, texts: Sequence[str], /) -> FloatArray:
            return LetterEncoder().encode(texts)

    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=" sw, logistic ", encoder=Own(), gate="off")
    assert [row.router for row in demur.evaluate(run=run, encoder=Own()).rows][:2] == ["sw", "logistic"]
    assert PromptRouter.load(f"{run}/router", encoder=Own()).route("What is 31 plus 17?").role == "strong"
    with pytest.raises(ArtifactError, match=r"an encoder of your own .*Own .*Router.load\(..., encoder=\)"):
        demur.evaluate(run=run)
    with pytest.raises(ArtifactError, match=r"this one is .letters"):
        demur.evaluate(run=run, encoder=LetterEncoder())


def test_saturation_is_still_known_when_routers_are_measured(tmp_path: Path) -> None:
    with running_pair() as pair:
        prompts = write_questions(tmp_path / "p.jsonl")
        run = str(tmp_path / "run")
        demur.sample(prompts, **pair.names, run=run, n=4)
        labels = demur.label(run=run, entailment="exact")
    rows = read_preferences(Path(run) / "preferences.jsonl")
    assert saturation_of(rows, labels.unknown) == labels.saturation
    assert labels.saturation.weak > 1 / 3  # the weak model guesses at every sum, which is no defect
    assert labels.saturation.strong < 1 / 3
    demur.train(run=run, methods="logistic", gate="off")
    assert not any("answers all differ" in line for line in demur.evaluate(run=run).warnings)


def test_a_run_file_names_the_source_and_the_report_says_so(
    tmp_path: Path, pair: Pair, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = write_questions(tmp_path / "prompts.jsonl")
    (tmp_path / "run.toml").write_text(
        f'prompts = "{prompts}"\nrun = "{tmp_path}/run"\n'
        f'[weak]\nmodel = "small"\nbase_url = "{pair.weak.base_url}"\n'
        f'[strong]\nmodel = "large"\nbase_url = "{pair.strong.base_url}"\n'
        '[sampling]\nn = 4\n[label]\nsource = "accuracy"\nkind = "soft"\nentailment = "exact"\n'
        '[router]\nmethods = ["logistic"]\ngate = "off"\n'
    )
    found = demur.run(tmp_path / "run.toml")
    printing.outcome(found)
    share = f"{first_share(tmp_path / 'run'):.0%}"  # the file asks for none
    assert f"{found.calibration.threshold:.4f}, for a strong share of {share}" in capsys.readouterr().out
    assert {row.kind for row in found.labels.preferences} == {"accuracy soft"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Targets (accuracy soft): " in page
    assert "Semantic entropy" not in page


def test_the_demo_ends_in_the_headline(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the next command follows it: what it was found by stands above, and so do the three answers."""
    run = sampled(tmp_path, pair)
    config = replace(load_run(run), label=LabelConfig(entailment="exact"), router=RouterConfig(methods=("logistic",)))
    monkeypatch.setattr(quickstart, "demo", lambda **given: pipeline.run_config(config))
    said = CliRunner().invoke(app, ["demo", "--run", run])
    block = HeadlineBlock.from_record(headline_of(Path(run)))
    assert block
    above, below = said.stdout.split("\n".join(block.of_router(Path(run) / "router").lines))
    assert not below.strip()
    for known in ("APGR", "always strong", "60 prompts", f"report: {run}", *quickstart.EXAMPLES):
        assert known in above
    assert said.stderr.endswith("next: demur serve --demo\n")


def test_a_source_that_fails_leaves_the_record_and_the_labels_alone(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair, gold=False)
    demur.label(run=run, entailment="exact")
    before = [(Path(run) / name).read_bytes() for name in ("run.json", "preferences.jsonl")]
    with pytest.raises(InputError, match="60 prompts have no gold answers"):
        demur.label(run=run, source="accuracy")
    assert [(Path(run) / name).read_bytes() for name in ("run.json", "preferences.jsonl")] == before


def test_a_model_without_logprobs_makes_both_discrete(tmp_path: Path) -> None:
    with running_pair(weak_logprob=None) as pair:
        run = sampled(tmp_path, pair)
    labels = demur.label(run=run, entailment="exact")
    assert labels.definition == "discrete"
    assert {row.definition for row in read_preferences(Path(run) / "preferences.jsonl")} == {"discrete"}
    assert dict(labels.details)["log-probs"].startswith("no log-probs of small, so entropy by discrete instead of ")


def test_stages_out_of_order_name_the_next_step(tmp_path: Path, pair: Pair) -> None:
    with pytest.raises(InputError, match=r"no run here yet; start with `demur sample`"):
        demur.label(run=str(tmp_path / "none"))
    run = sampled(tmp_path, pair)
    with pytest.raises(InputError, match="make them with `demur label`"):
        demur.train(run=run)
    with pytest.raises(InputError, match="kind 'soft' does not fit source 'entropy'"):
        demur.label(run=run, kind="soft")
    with pytest.raises(InputError, match="report on one answer"):
        demur.label(run=run, definition="p_true")
    demur.label(run=run, entailment="exact")
    with pytest.raises(InputError, match="no routing method is called 'forest'"):
        demur.train(run=run, methods=("forest",), serve="forest")
    with pytest.raises(InputError, match=r"router.serve is 'mlp'"):
        demur.train(run=run, methods=("sw",), serve="mlp")


def test_the_same_model_twice_and_one_sample_are_refused(tmp_path: Path, pair: Pair) -> None:
    prompts = write_questions(tmp_path / "p.jsonl")
    same = pair.names["weak"]
    with pytest.raises(InputError, match="two different models"):
        demur.sample(prompts, same, same, run=str(tmp_path / "r"))
    with pytest.raises(InputError, match="n is 1: entropy needs at least two"):
        demur.sample(prompts, **pair.names, run=str(tmp_path / "r"), n=1)
    with pytest.raises(InputError, match=r"has no \{prompt\} in it"):
        demur.sample(prompts, **pair.names, run=str(tmp_path / "r"), template="Q:")


def test_a_broken_line_loses_nothing_that_was_sampled(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    prompts = tmp_path / "prompts.jsonl"
    whole = prompts.read_text()
    prompts.write_text(whole + '{"prompt": ')
    with pytest.raises(InputError, match=r"prompts\.jsonl:61: not valid JSON"):
        demur.sample(prompts, **pair.names, run=run, n=4)
    prompts.write_text(whole)
    asked = len(pair.strong.requests)
    demur.sample(prompts, **pair.names, run=run, n=4)
    assert len(pair.strong.requests) == asked


def test_where_no_model_has_answered_no_run_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a new folder, whatever it stands in; a folder that was there keeps what is in it."""
    monkeypatch.setattr("demur.models.requests.client.backoff_seconds", lambda attempt: 0.001)
    prompts, new, old = write_questions(tmp_path / "p.jsonl"), tmp_path / "new", tmp_path / "old"
    old.mkdir()
    (old / "notes.txt").write_text("mine")
    with running_pair() as pair:
        for one in (pair.weak, pair.strong):
            one.raw = "<html>down</html>"
        for folder in (new, old):
            with pytest.raises(EndpointError, match="not JSON"):
                demur.sample(prompts, **pair.names, run=str(folder), n=4)
    assert not new.exists()
    assert (old / "notes.txt").read_text() == "mine"


def test_one_dead_side_keeps_what_the_other_has_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.models.requests.client.backoff_seconds", lambda attempt: 0.001)
    prompts = write_questions(tmp_path / "p.jsonl")
    with running_pair() as pair:
        pair.strong.raw = "<html>down</html>"
        with pytest.raises(EndpointError, match=r"large at .* not JSON"):
            demur.sample(prompts, **pair.names, run=str(tmp_path / "r"), n=4)
        before = len(pair.weak.requests)
        pair.strong.raw = None
        demur.sample(prompts, **pair.names, run=str(tmp_path / "r"), n=4)
        assert len(pair.weak.requests) == 60  # none of its prompts was asked twice
        assert before <= 60


def test_a_budget_covers_both_models(tmp_path: Path, pair: Pair) -> None:
    prompts = write_questions(tmp_path / "p.jsonl")
    (tmp_path / "run.yaml").write_text(
        f"prompts: {prompts}\nrun: {tmp_path}/run\nmax_usd: 0.01\nsampling: {{n: 4}}\n"
        + "".join(
            f"{side}: {{model: {name}, base_url: '{url}', usd_per_million_input: 10, usd_per_million_output: 10}}\n"
            for side, name, url in (
                ("weak", "small", pair.weak.base_url), ("strong", "large", pair.strong.base_url)
            )
        )
    )  # fmt: skip
    with pytest.raises(BudgetError, match=r"raise max_usd to go on \(the rest of these"):
        demur.run(tmp_path / "run.yaml")


TRAINING = [TrainingPrompt("zzz", 1.0, None, None), TrainingPrompt("aaa", 0.0, None, None)] * 5


def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demur.cli.main", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("sample", "none.jsonl", "--weak", "smollm2-135m", "--strong", "minilm"), "none.jsonl: no such file"),
        (("route", "  ", "--router", "none"), "no saved router here"),
        (("run", "none.toml"), "no such run file"),
        (("models", "fetch", "gpt-9"), "no model is called 'gpt-9'"),
        (("label", "--run", "none"), "no run here yet"),
        (("doctor", "what"), "is not a model: give a catalogue name"),
        (("run", "folder.toml"), "folder.toml: cannot be read as a run file: Is a directory"),
        (("calibrate", "x" * 5000, "--router", "none"), "no saved router here"),
        (("label", "--run", "file"), "no run here yet"),
        (("sample", "p.jsonl", "--weak", "a@http://h", "--strong", "b@http://h", "--run", "file"), "file: File exists"),
        (("entail", "x" * 5000, "a", "b", "--entailment", "x" * 5000), "xxx"),
        (("train", "--run", "x" * 5000), "File name too long"),
        pytest.param(("doctor", "m@http://127.0.0.1:9/v1"), "does not answer", marks=pytest.mark.slow),  # it retries
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "p.jsonl").write_text('{"prompt": "x"}\n')
    done = cli(*arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_bytes_that_are_no_text_are_refused_in_one_line(tmp_path: Path, pair: Pair) -> None:
    train_router(LetterEncoder(), BY_NAME["sw"](), TRAINING, weak="s", strong="l").save(tmp_path / "router")
    for prompt, said in ((b"Z\xfcrich", "not UTF-8 text"), (b"-", "standard input: byte 0xfc is not UTF-8")):
        for command in ("route", "explain"):
            done = subprocess.run(
                [sys.executable, "-m", "demur", command, prompt, "--router", str(tmp_path / "router")],
                input=b"Z\xfcrich", capture_output=True, check=False,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip
            assert done.returncode == 2
            assert said in done.stderr.decode()
            assert len(done.stderr.splitlines()) == 1


def test_what_fails_leaves_the_record_and_the_routers_of_what_is_there(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic", "sw"))
    before = (Path(run) / "run.json").read_bytes()
    with pytest.raises(InputError, match="no routing method"):
        demur.train(run=run, methods=("svm",))
    with pytest.raises(InputError, match="is not an entailment"):
        demur.label(run=run, kind="hard", entailment="nope")
    nowhere = f"{pair.names['weak']}/nowhere"
    with pytest.raises(InputError, match=r"another run: weak.base_url .* \(now .*nowhere'\); name another folder"):
        demur.sample(tmp_path / "prompts.jsonl", nowhere, pair.names["strong"], run=run, n=4)
    assert (Path(run) / "run.json").read_bytes() == before
    assert [row.router for row in demur.evaluate(run=run).rows][:2] == ["logistic", "sw"]


def test_the_gate_of_the_router_before_does_not_stand_in_the_way(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",), gate="on")

    def dead(*given: object, **named: object) -> None:
        raise EndpointError("judge: gone")

    monkeypatch.setattr(pipeline, "train_gate", dead)
    with pytest.raises(EndpointError, match="gone"):
        demur.train(run=run, methods=("sw",))
    assert demur.Router.load(f"{run}/router").route("What is 31 plus 17?").stage == "prompt"


def test_a_decision_that_waits_for_an_answer_says_so_and_shows_its_score_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    close = "score 0.524 >= threshold 0.509; within 0.020 of it, so the weak model's answer is checked"
    checked = Decision("small", "weak", 0.524, 0.509, close, (), stage="gate", wants_samples=1)
    printing.decision("Why?", checked)
    shown = capsys.readouterr().out
    assert "  -> weak: small, whose answer is then checked\n" in shown
    assert (shown.count("0.524"), shown.count("0.509")) == (1, 1)
    printing.decision("Why?", replace(checked, reason="score 0.300 < threshold 0.509", score=0.3, wants_samples=0))
    assert "  -> weak: small\n" in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_takes_no_record(tmp_path: Path, pair: Pair) -> None:
    run = Path(sampled(tmp_path, pair))
    before = (run / "run.json").read_bytes()
    limited = (
        "import resource, demur.cli.main as cli; resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200)); cli.main()"
    )
    arguments = ("label", "--run", str(run), "--from", "accuracy")
    done = subprocess.run([sys.executable, "-c", limited, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "free some" in done.stderr
    assert (run / "run.json").read_bytes() == before
    assert not (run / "preferences.jsonl").exists()


@pytest.mark.slow
def test_the_command_line_samples_labels_and_prints_json(tmp_path: Path, pair: Pair) -> None:
    prompts = write_questions(tmp_path / "prompts.jsonl", 20)
    names = [part for side, name in pair.names.items() for part in (f"--{side}", name)]
    run = str(tmp_path / "run")
    spent = json.loads(cli("sample", str(prompts), *names, "--run", run, "--n", "3", "--json").stdout)
    assert (spent["samples"], spent["weak_usd"], spent["strong_usd"]) == (2 * 20 * 3, 0.0, 0.0)
    labels = json.loads(cli("label", "--run", run, "--entailment", "exact", "--json").stdout)
    assert labels["definition"] == "rao_blackwell"
    said = cli("sample", str(prompts), *names, "--run", run, "--n", "3")
    assert "nothing to ask, nothing to pay" in said.stderr
    assert "a private address, counted as $0" in " ".join(said.stdout.split())
    doctored = cli("doctor", pair.names["weak"])
    for feature in ("n ", "logprobs", "seeds", "streaming", "embeddings"):
        assert f"  {feature}" in doctored.stdout


class Apart(LetterEncoder):
    """Letters, and as much again of each text's own: no two prompts are near duplicates."""

    identity = "apart"

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        own = np.stack([np.random.default_rng(list(text.encode())).normal(size=64) for text in texts])
        return np.hstack([super().encode(texts), own / np.linalg.norm(own, axis=1, keepdims=True)]).astype(np.float32)


APART = Apart()


def test_calibration_by_budget_and_with_a_promise(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.models.endpoint.is_private", lambda url: False)  # as if the pair were on public hosts
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",), serve="logistic", encoder=APART)
    demur.evaluate(run=run, encoder=APART)
    router = f"{run}/router"
    with pytest.raises(InputError, match="a price is unknown"):
        demur.calibrate(tmp_path / "prompts.jsonl", router=router, encoder=APART, usd_per_1k=1.0, anyway=True)
    with pytest.raises(InputError, match="different criteria"):
        demur.calibrate(
            tmp_path / "prompts.jsonl", router=router, encoder=APART, usd_per_1k=1.0, strong_share=0.2, anyway=True
        )
    graded = Path(run) / "graded.jsonl"
    with pytest.raises(InputError, match=r"graded prompts cannot certify a risk of 0\.05"):
        demur.calibrate(graded, router=router, encoder=APART, risk=0.05)
    found = demur.calibrate(graded, router=router, encoder=APART, risk=0.3)
    kept = demur.Router.load(router, encoder=APART).prompt_router.calibration
    assert kept == found
    assert "risk 30.0% with 95% confidence" in kept.sentence
    certificate = Path(router) / "certificate.json"
    promise = json.loads(certificate.read_text())
    assert promise["threshold"] == found.threshold
    assert (
        promise["router_hash"]
        == json.loads((Path(router) / "router.json").read_text())["sha256"]["weights.safetensors"]
    )
    assert len(promise["prompts_hash"]) == 32
    twice = graded.read_text() * 2
    graded.write_text(twice)
    demur.calibrate(graded, router=router, encoder=APART, risk=0.3)
    assert json.loads(certificate.read_text())["m"] == promise["m"]  # a prompt twice is one prompt
    demur.calibrate(tmp_path / "prompts.jsonl", router=router, encoder=APART, strong_share=0.5, anyway=True)
    assert not certificate.exists()  # its threshold is gone
    with pytest.raises(InputError, match="trained this router"):
        rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
        text = "\n".join(json.dumps(row | {"weak_quality": 1, "strong_quality": 1}) for row in rows)
        (tmp_path / "all.jsonl").write_text(text)
        demur.calibrate(tmp_path / "all.jsonl", router=router, encoder=APART, risk=0.3)


def test_quality_is_kept_by_the_strong_models_own_belief(tmp_path: Path, pair: Pair) -> None:
    """Half of the questions need the strong model; the other half of its quality is kept without asking it."""
    run = sampled(tmp_path, pair)
    demur.label(run=run)
    demur.train(run=run, methods=("logistic",))
    found = demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", keep_quality=0.99, anyway=True)
    assert "estimated without labels" in found.sentence
    assert 0.3 < found.strong_share < 0.8
    all_of_it = demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", keep_quality=1.0, anyway=True)
    assert all_of_it.strong_share >= found.strong_share
    with pytest.raises(InputError, match="strong_share and keep_quality"):
        demur.calibrate(
            tmp_path / "prompts.jsonl", router=f"{run}/router", keep_quality=0.9, strong_share=0.3, anyway=True
        )
    with pytest.raises(InputError, match="keep_quality is 2"):
        demur.calibrate(tmp_path / "prompts.jsonl", router=f"{run}/router", keep_quality=2.0, anyway=True)


def test_a_gate_switched_off_leaves_the_router_alone(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run)
    demur.train(run=run, methods=("logistic",), gate="off")
    assert demur.Router.load(f"{run}/router").route("What is 31 plus 17?").stage == "prompt"
    demur.train(run=run, methods=("logistic",), gate="on", extra_samples=1)
    router = Router.load(Path(run) / "router")
    assert router.active
    assert router.gate is not None
    assert router.gate.samples == 1


def test_what_is_graded_is_one_answer_as_it_would_be_served(tmp_path: Path, pair: Pair) -> None:
    """A guess at a sum is right once in a thousand: each prompt's quality is 0 or 1, not the share of its samples."""
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",))
    demur.evaluate(run=run)
    rows = [json.loads(line) for line in (Path(run) / "graded.jsonl").read_text().splitlines()]
    assert {row["weak_quality"] for row in rows} == {0.0, 1.0}
    assert {row["strong_quality"] for row in rows} == {1.0}


def test_the_papers_own_entropies_are_measured_against_the_papers_recipe(tmp_path: Path, pair: Pair) -> None:
    """Eq. 2 is negative here; the paper's relative difference takes that, the symmetric one does not."""
    run = sampled(tmp_path, pair)
    labels = demur.label(run=run, definition="paper", entailment="exact")
    assert min(row.entropy_a or 0.0 for row in labels.preferences) < 0
    demur.train(run=run, methods=("logistic",))
    assert "hard SE, sw" in [row.router for row in demur.evaluate(run=run).rows]


def test_extra_samples_that_cannot_be_are_named(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    for wrong in (-1, 9):
        with pytest.raises(InputError, match=f"extra_samples is {wrong}; it must be at least 0 and at most 8"):
            demur.train(run=run, methods=("logistic",), extra_samples=wrong)
    demur.train(run=run, methods=("logistic",), extra_samples=8)
    assert "of 8 extra samples only 3 were there" in " ".join(Router.load(Path(run) / "router").lines)


def test_the_demos_examples_are_answered_live_and_never_asked_twice(tmp_path: Path, pair: Pair) -> None:
    run = sampled(tmp_path, pair)
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("logistic",))
    first = quickstart.answer_examples(run)
    assert [one.prompt for one in first] == list(quickstart.EXAMPLES)
    assert all(one.answer for one in first)
    asked = len(pair.weak.requests) + len(pair.strong.requests)
    assert quickstart.answer_examples(run) == first
    assert len(pair.weak.requests) + len(pair.strong.requests) == asked
