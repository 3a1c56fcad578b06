"""What a newcomer is told: the path, the next command after each, what a dry run would do, and how hints end."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from demur import quickstart
from demur.cli import printing
from demur.cli.advice import advice_lines
from demur.cli.commands.inspect import router_of
from demur.cli.examples import EXAMPLES
from demur.cli.groups import GROUPS, every_command, leaves
from demur.cli.main import app
from demur.config import ModelConfig, RunConfig
from demur.errors import InputError, MissingExtraError
from demur.evaluation.graded_file import read_graded
from demur.evaluation.report.headline_record import FREE, HeadlineBlock
from demur.gateway.ledger.ledger import Ledger, open_backend
from demur.measure.threshold import KeptPoint
from demur.models.encoders.encoder import LetterEncoder
from demur.models.requests.cut_answers import remedy_words
from demur.records import SamplingSettings
from demur.runs import run as opened
from demur.runs.lineage import keep_advice, keep_made, keep_run_file, keep_wish
from demur.runs.lock import lock_run
from demur.runs.proposed_share import share_notes
from demur.runs.steps import after_replay, first_share, next_command, serve_command, steps_of
from demur.serving_file import serving_file
from gateways import RECORD
from pairs import Pair, running_pair, strong, write_questions

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No encoder is fetched, and each test has a folder of its own."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def said(*command: str) -> str:
    done = RUNNER.invoke(app, list(command))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def sample_of(pair: Pair, *more: str) -> tuple[str, ...]:
    write_questions(Path("prompts.jsonl"), gold=False)
    names = ("--weak", pair.names["weak"], "--strong", pair.names["strong"])
    return ("sample", "prompts.jsonl", *names, "--n", "3", *more)


def test_the_first_sentence_of_every_help_fits_the_list_of_commands() -> None:
    """In 80 columns the list cuts a longer one short with "..."."""
    commands = dict(leaves(typer.main.get_command(app)))
    assert [path for path, one in commands.items() if "..." in one.get_short_help_str(60)] == []
    for group in ([], ["export"], ["key"], ["models"]):
        assert [line for line in said(*group, "--help").splitlines()[1:] if line.endswith("...")] == []


def test_the_path_leads_from_an_empty_folder_to_a_served_router(pair: Pair) -> None:
    """Each command's last line is the next one, and following them does all."""
    bare = said()
    assert "next: demur sample prompts.jsonl --weak MODEL@" in bare
    assert "demur demo" in bare
    output, ran = said(*sample_of(pair)), ["sample"]
    while not output.splitlines()[-1].startswith("next: demur serve"):
        command = output.splitlines()[-1].removeprefix("next: demur ").split()
        ran.append(command[0])
        assert len(ran) < 9, ran
        extra = {"label": ["--entailment", "exact"], "train": ["--methods", "logistic"], "calibrate": ["--anyway"]}
        output = said(*command, *extra.get(command[0], []))
    assert ran == ["sample", "label", "train", "calibrate", "report"]
    shown = said()
    assert shown.count("[x]") == 5
    assert "small and large on prompts.jsonl" in shown
    assert "60 preferences" in shown
    line = "the router or its threshold is newer than run/report.html; make that again with `demur report`"
    set_again = said("calibrate", "prompts.jsonl", "--strong-share", "0.6", "--anyway")
    assert line in set_again
    assert set_again.endswith("next: demur report\n")
    assert "[ ] report     run/report.html, older than the router or its threshold" in said()
    assert "newer" not in said("report") + (Path("run") / "report.html").read_text()
    assert "[x] report     run/report.html" in said()


def facts(output: str) -> dict[str, str]:
    """The notes under a headline, by name."""
    return dict(re.findall(r"^  (\S.*?)  +(\S.*)$", output, re.MULTILINE))


def test_training_calibrating_replaying_and_the_status_say_the_same_of_one_router(pair: Pair) -> None:
    """The status says it without asking or loading anything, and nothing of an earlier router, threshold or label."""
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    trained = said("train", "--methods", "logistic", "--gate", "off").splitlines()
    (first,) = [line for line in trained if line.startswith("At the threshold before calibration ")]
    assert first in said("status").splitlines()
    set_to = ("calibrate", "prompts.jsonl", "--strong-share", "0.3", "--anyway")
    told = [said(*command).splitlines() for command in (set_to, ("replay", "prompts.jsonl"), ("status",), ())]
    (now,) = [line for line in told[0] if line.startswith("At this threshold ")]
    assert [[line for line in lines if line.startswith("At th")] for lines in told] == [[now]] * 4
    assert {facts("\n".join(lines))["measured on"] for lines in told} == {
        "60 training prompts, each scored by a router that had not seen it"
    }
    said("calibrate", "prompts.jsonl", "--strong-share", "0.6", "--anyway", "--dry-run")
    said("replay", "prompts.jsonl", "--threshold", "0.01")
    assert now in said("status").splitlines()
    saved = Path("run/router/router.json")
    before = saved.read_text()
    saved.write_text(before.replace('"threshold": ', '"threshold": 1'))  # set by something that keeps no headline
    assert "of calls stay local" not in said("status")
    saved.write_text(before)
    assert now in said("status").splitlines()
    said("label", "--entailment", "exact", "--kind", "margin")  # the router learned from earlier labels
    assert "of calls stay local" not in said("status")


def test_training_advises_the_share_that_the_status_does_and_calibrate_takes_the_run_and_tells_a_running_gateway(
    pair: Pair,
) -> None:
    said(*sample_of(pair, "--run", "mine"))
    said("label", "--entailment", "exact", "--run", "mine")
    trained = said("train", "--methods", "logistic", "--run", "mine")
    keeps = re.search(r"a strong share of (\d+)% keeps (\d+)% of the large model's quality \(believed\)", trained)
    assert keeps is not None
    assert int(keeps[2]) >= 95
    advised = re.search(r"--strong-share (\S+) --run mine", trained.splitlines()[-1])
    assert advised is not None
    assert float(advised[1]) == int(keeps[1]) / 100
    assert keeps[0] in said("status", "--run", "mine")
    assert trained.splitlines()[-1] in said("status", "--run", "mine").splitlines()
    assert "The large model counts as $0, because its address is private" in trained
    output = said("calibrate", "prompts.jsonl", "--strong-share", ".2", "--run", "mine", "--anyway")
    assert facts(output)["saved in"] == "mine/router"
    assert facts(output)["threshold"].endswith(", for a strong share of 20%")
    assert "kill -HUP" not in output  # no gateway runs
    with serving_file(Path("mine"), "http://127.0.0.1:8111", lambda: Path("mine/router"), 4, operator="http://h:9"):
        output = said("calibrate", "prompts.jsonl", "--strong-share", ".3", "--run", "mine", "--anyway")
    assert (
        "http://127.0.0.1:8111 keeps its threshold until it is told: kill -HUP 4, or POST http://h:9/admin/reload"
        in (" ".join(output.split()))
    )
    address = "http://127.0.0.1:8111"
    with serving_file(Path("mine"), address, lambda: Path("mine/router"), 4, target="quality 95%"):
        output = " ".join(
            said("calibrate", "prompts.jsonl", "--strong-share", ".2", "--run", "mine", "--anyway").split()
        )
    assert "keeps its threshold until it is told" not in output
    assert (
        "the gateway on http://127.0.0.1:8111 holds the target quality 95%, which decides in place of this threshold, "
        "also after kill -HUP 4; to use this one, serve without the target"
    ) in output
    with pytest.raises(InputError, match="--run mine and --router other both name a router; give one of them"):
        router_of("mine", "other")


def test_without_a_gate_training_advises_a_share_all_the_same(pair: Pair) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    trained = said("train", "--methods", "logistic", "--gate", "off")
    assert facts(trained)["gate"] == "switched off"
    assert re.search(r"a strong share of \d+% keeps \d+% of the large model's quality \(believed\)", trained)


def test_without_prompts_the_threshold_is_set_on_the_runs_own_and_that_is_said(pair: Pair) -> None:
    """As with the file of the run, whose training prompts are counted in the words of `demur train`."""
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    trained = said("train", "--methods", "logistic", "--gate", "off")
    named = said("calibrate", "prompts.jsonl", "--strong-share", ".2", "--anyway").splitlines()
    own = said("calibrate", "--strong-share", ".2", "--anyway").splitlines()
    assert " ".join(own).startswith(
        "no prompts are given, so the threshold is set on the run's own, prompts.jsonl; those"
    )
    assert named[0] in own
    assert named[0].startswith("At this threshold")
    assert facts("\n".join(named)) == facts("\n".join(own))
    assert facts("\n".join(named))["measured on"] == facts(trained)["measured on"]
    refused = RUNNER.invoke(app, ["calibrate", "--risk", ".05", "--anyway"])
    assert "--risk needs graded prompts that have not trained the router" in str(refused.exception)
    shutil.copytree("run/router", "elsewhere")
    refused = RUNNER.invoke(app, ["calibrate", "--strong-share", ".2", "--router", "elsewhere"])
    assert "elsewhere is of no run, whose prompts could be taken" in str(refused.exception)
    refused = RUNNER.invoke(app, ["calibrate", "--strong-share", ".2", "--router", "nowhere"])
    assert "nowhere/router.json: no saved router here" in str(refused.exception)


def test_what_a_file_of_prompts_leaves_out_is_said_once(pair: Pair, caplog: pytest.LogCaptureFixture) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic", "--gate", "off")
    texts = [json.loads(line)["prompt"] for line in Path("prompts.jsonl").read_text().splitlines()]
    records = [asdict(replace(RECORD, id=str(i), prompt=text)) for i, text in enumerate([*texts, ""])]
    Path("ledger.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    caplog.clear()
    said("calibrate", "ledger.jsonl", "--strong-share", ".2", "--anyway")
    assert caplog.text.count("holds no prompt and is left out") == 1


def test_a_promise_on_prompts_that_nobody_has_graded_names_the_command_that_grades(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_text('{"prompt": "Why?"}\n')
    with pytest.raises(InputError, match=r"mine\.jsonl:1: this prompt is not graded") as refused:
        read_graded(tmp_path / "mine.jsonl")
    assert "demur sample OTHER.jsonl --n 2 --run unseen" in str(refused.value)
    assert "demur docs report" in str(refused.value)
    assert len(str(refused.value).removeprefix(str(tmp_path)).split()) <= 40


def test_a_stage_that_is_older_than_what_it_was_made_from_is_next(pair: Pair) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic", "--gate", "off")
    assert next_command(Path("run")).startswith("demur calibrate ")
    said("label", "--entailment", "exact", "--kind", "margin")
    assert next_command(Path("run")) == "demur train"


def test_another_folder_stands_in_the_commands(tmp_path: Path) -> None:
    commands = [step.command for step in steps_of(Path("other"))]
    assert commands[1:3] == ["demur label --run other", "demur train --run other"]
    assert commands[3].endswith("--run other")
    assert commands[5] == "demur serve other/router"


def test_a_dry_run_of_sampling_says_what_it_costs_and_changes_nothing(pair: Pair) -> None:
    asked = len(pair.weak.requests)
    output = said(*sample_of(pair, "--dry-run", "--strong-usd", "10/10", "--weak-usd", "0"))
    assert "dry run; to sample 60 prompts, 360 answers: " in output
    prices = [line.split(maxsplit=1) for line in output.splitlines()]
    assert ["small", "price as given, $0 in and $0 out per million tokens"] in prices  # one number is both, and said
    assert ["large", "price as given, $10.00 in and $10.00 out per million tokens"] in prices
    assert "at most $" in output
    assert "swapped" not in output
    assert output.splitlines()[0].startswith("dry run; ")
    swapped = said(*sample_of(pair, "--dry-run", "--strong-usd", "0", "--weak-usd", "2.5/10"))
    small, large = pair.names["weak"], pair.names["strong"]
    command = f"demur sample prompts.jsonl --weak {large} --weak-usd 0/0 --strong {small} --strong-usd 2.5/10 --n 3"
    first, what_helps, after = swapped.splitlines()[:3]  # before the estimate, in lines of its own
    assert first.startswith("the weak model small costs more than the strong model large: $2.50 in and $10.00 out ")
    assert first.endswith(" against $0 in and $0 out, per million tokens.")
    assert what_helps.startswith(f"  If they are swapped: {command} --again")
    assert after.startswith("dry run; ")
    assert len(pair.weak.requests) == asked
    assert not Path("run").exists()


def unsteady(prompt: str, seed: int) -> str:
    """Wrong about sums with every third seed."""
    return str(seed) if "plus" in prompt and seed % 3 == 0 else strong(prompt, seed)


def after(part: str, output: str) -> str:
    """The line after the only one that has this part."""
    lines = output.splitlines()
    (at,) = [at for at, line in enumerate(lines) if part in line]
    return lines[at + 1]


def test_models_that_may_be_swapped_are_named_until_the_command_that_is_said_has_changed_them_round() -> None:
    with running_pair(None, (unsteady, strong)) as pair:
        small, large = f"small@{pair.weak.base_url}", f"large@{pair.strong.base_url}"
        write_questions(Path("prompts.jsonl"), gold=False)
        models = ("--weak", large, "--strong", small, "--weak-usd", "10/10", "--strong-usd", "1/2")
        sampled = said("sample", "prompts.jsonl", *models, "--n", "3", "--max-tokens", "32")
        dearer = "the weak model large costs more than the strong model small: $10.00 in and $10.00 out against "
        assert after(dearer, sampled).startswith(
            "  If they are swapped, stop (Ctrl-C) before more is paid, and say: demur sample "
        )
        assert dearer in said("status")
        for output in (said("label", "--entailment", "exact"), said("train", "--methods", "logistic"), said("status")):
            better = "by the labels the weak model large is the better one: it is preferred on 50% of 60 prompts, the "
            assert f"{better}strong model small on 0%.\n" in output
            line = after(dearer, output)
        command = shlex.split(line.partition("If they are swapped: ")[2])
        changed = ("--weak", small, "--weak-usd", "1/2", "--strong", large, "--strong-usd", "10/10")
        assert command[1:] == ["sample", "prompts.jsonl", *changed, "--n", "3", "--max-tokens", "32", "--again"]
        asked = len(pair.weak.requests) + len(pair.strong.requests)
        outputs = [said(*command[1:]), said("label", "--entailment", "exact"), said("status")]
        assert len(pair.weak.requests) + len(pair.strong.requests) == asked
        assert "swapped" not in "".join(outputs)


def test_a_second_labelling_says_how_many_pairs_of_answers_were_known() -> None:
    answers = (lambda _, seed: ("a tall building", "an oak tree")[seed % 2], lambda _, seed: "an oak tree")
    with running_pair(None, answers) as pair:
        said(*sample_of(pair))
        first, again = (said("label", "--verbose") for _ in range(2))
    asked = re.search(r"about (\d+) pairs of answers by the entailment model, (\d+) of them now", first)
    assert asked is not None
    assert int(asked[1]) > 0
    assert asked[1] == asked[2]
    assert f"about {asked[1]} pairs of answers by the entailment model, 0 of them now" in again


def test_a_dry_run_of_calibration_keeps_the_threshold(pair: Pair) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic", "--gate", "off")
    said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway")
    before = Path("run/router/router.json").read_bytes()
    output = said("calibrate", "prompts.jsonl", "--strong-share", "0.1", "--anyway", "--dry-run")
    assert "dry run" in facts(output)["saved in"]
    assert output.startswith("At this threshold 90% of calls stay local")
    assert Path("run/router/router.json").read_bytes() == before
    refused = RUNNER.invoke(app, ["calibrate", "prompts.jsonl", "--risk", "0.1", "--dry-run"])
    assert "prompts.jsonl:1: this prompt is not graded" in str(refused.exception), "what is missing first"
    row = {"prompt": "Why?", "weak_quality": 1, "strong_quality": 1}
    Path("graded.jsonl").write_text(json.dumps(row) + "\n")
    refused = RUNNER.invoke(app, ["calibrate", "graded.jsonl", "--risk", "0.1", "--dry-run"])
    assert "leave out --dry-run" in str(refused.exception)


def test_calibrate_without_a_wish_shows_what_is_set_and_sets_nothing(pair: Pair) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic", "--gate", "off")
    refused = RUNNER.invoke(app, ["calibrate", "prompts.jsonl"])
    assert "no threshold is set yet; say what you wish" in str(refused.exception)
    said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway")
    before = Path("run/router/router.json").read_bytes()
    again = RUNNER.invoke(app, ["calibrate", "prompts.jsonl"])
    assert "(asked for: strong share 50%; 50% of your prompts (" in str(again.exception)
    assert Path("run/router/router.json").read_bytes() == before


def test_quiet_leaves_results_alone(pair: Pair) -> None:
    done = RUNNER.invoke(app, [*sample_of(pair), "--quiet"])
    assert done.stderr == ""
    assert done.stdout.startswith("sampled 60 prompts: 360 answers")
    assert RUNNER.invoke(app, ["models", "--quiet"]).stderr == ""
    assert RUNNER.invoke(app, ["models"]).stderr


def test_results_are_on_stdout_and_next_steps_are_not(pair: Pair) -> None:
    done = RUNNER.invoke(app, list(sample_of(pair)))
    assert "next: demur label" in done.stderr
    assert "next:" not in done.stdout


def test_every_command_is_in_a_group_of_the_help() -> None:
    output = said("--help")
    assert "Others" not in output
    assert [title for title in GROUPS if f"{title}:" in output] == list(GROUPS)
    assert "Exit codes: 0 done; 2 an error" in output


def test_the_demo_says_what_it_does_before_it_does_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(**given: object) -> None:
        raise InputError("nothing is fetched in a test")

    monkeypatch.setattr(quickstart, "demo", stop)
    assert "Two small local models answer 116 questions" in RUNNER.invoke(app, ["demo"]).stderr
    assert RUNNER.invoke(app, ["demo", "--quiet"]).stderr == ""


@pytest.mark.parametrize("missing", ["xllamacpp", "matplotlib"])
def test_the_demo_names_what_it_needs_before_anything_is_fetched(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.setattr(quickstart, "run_config", pytest.fail)
    with pytest.raises(
        MissingExtraError, match=rf"needs {missing}.*'demur\[demo\]', or uvx --from 'demur\[demo\]' demur"
    ):
        quickstart.demo()


def test_the_demo_can_begin_its_folder_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that another installation's demo began is refused with advice to say --again."""
    given: list[object] = []

    def stop(config: RunConfig, *, again: bool, **more: object) -> None:
        given.append(again)
        raise InputError("nothing is fetched in a test")

    monkeypatch.setattr(quickstart, "run_config", stop)
    for words in (["demo"], ["demo", "--again"]):
        RUNNER.invoke(app, words)
    assert given == [False, True]


def test_every_commands_help_ends_in_an_example_that_it_takes() -> None:
    for path, command in every_command(typer.main.get_command(app)):
        assert path in EXAMPLES, f"{path}: no example"
        words = shlex.split(EXAMPLES[path].partition(" > ")[0], comments=True)
        assert words[: 1 + len(path.split())] == ["demur", *path.split()]
        command.make_context(path, words[1 + len(path.split()) :])  # parses, and runs nothing
        assert said(*path.split(), "--help").endswith(f"Example: {EXAMPLES[path]}\n") or len(EXAMPLES[path]) > 60


def run_cli(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demur", *command],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def test_an_error_is_one_line_and_exit_code_2() -> None:
    done = run_cli("label", "--run", "nosuch")
    assert done.returncode == 2
    assert done.stderr.startswith("demur: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_shell_completes_commands() -> None:
    script = Path(sys.executable).with_name("demur")
    typed = {"_DEMUR_COMPLETE": "complete_bash", "COMP_WORDS": "demur cal", "COMP_CWORD": "1"}
    done = subprocess.run(
        [script], capture_output=True, text=True, env={**os.environ, **typed}, timeout=60, check=False
    )
    assert done.stdout.split() == ["calibrate"]


def test_json_has_no_next_step(pair: Pair) -> None:
    done = RUNNER.invoke(app, [*sample_of(pair), "--json"])
    assert json.loads(done.stdout)["samples"] == 360
    assert "next:" not in done.stderr


def test_the_gateways_command_names_what_a_saved_router_may_ask(tmp_path: Path) -> None:
    """A router names no remote host and no key by itself: without them its gateway is refused, or answers 401."""
    weak, strong = ModelConfig("w", "http://gpu:8000/v1"), ModelConfig("s", "https://api.example/v1", "BIG_KEY")
    RunConfig("prompts.jsonl", weak, strong, run=str(tmp_path)).save()
    asked = " --allow-endpoint gpu:8000 --allow-endpoint api.example#BIG_KEY"
    assert steps_of(tmp_path)[-1].command == f"demur serve {tmp_path / 'router'}{asked}"
    told = SamplingSettings(system="Be brief.")
    RunConfig("prompts.jsonl", weak, strong, run=str(tmp_path), sampling=told).save()
    assert steps_of(tmp_path)[-1].command.endswith(f"{asked} --as-labelled")
    (tmp_path / "router").mkdir()
    for low, said in ((0.01, ""), (-0.01, " --anyway")):  # a router that was not told from random is refused without
        (tmp_path / "router" / "router.json").write_text(json.dumps({"record": {"verdict": {"low": low}}}))
        assert serve_command(tmp_path / "router").endswith(f" --as-labelled{said}")
        assert steps_of(tmp_path)[3].command.endswith(f" --run {tmp_path}{said}")
    (tmp_path / "router" / "router.json").unlink()
    plain = SamplingSettings(chat=False)  # a chat can be asked so of models that demur starts itself
    for base_url in (None, "http://127.0.0.1:8000/v1"):
        pair = ModelConfig("smollm2-135m"), ModelConfig("qwen2.5-coder-1.5b", base_url)
        RunConfig("prompts.jsonl", *pair, run=str(tmp_path), sampling=plain).save()
        assert ("--as-labelled" in steps_of(tmp_path)[-1].command) == (base_url is None)
    weak, strong = ModelConfig("smollm2-135m"), ModelConfig("s", "http://127.0.0.1:8000/v1")
    RunConfig("prompts.jsonl", weak, strong, run=str(tmp_path)).save()
    assert steps_of(tmp_path)[-1].command == f"demur serve {tmp_path / 'router'}"


def test_a_ledger_without_a_gateway_leaves_the_last_step_open(tmp_path: Path) -> None:
    """A run's folder that was copied holds the ledger of a gateway that serves another one, or none any more."""
    with closing(Ledger(open_backend(str(tmp_path / "ledger.sqlite")))) as ledger:
        for i in range(3):
            ledger.add(replace(RECORD, id=f"id{i}"))
    serve = steps_of(tmp_path)[-1]
    assert not serve.finished
    assert serve.command.startswith("demur serve")
    assert "3 requests" in serve.about
    (tmp_path / "ledger.sqlite").write_text("not a database, although it is called one " * 50)
    assert not steps_of(tmp_path)[-1].finished


def test_evaluate_says_once_that_no_threshold_is_set_and_exports_say_what_comes_next(pair: Pair) -> None:
    names = ("--weak", pair.names["weak"], "--strong", pair.names["strong"])
    said("sample", str(write_questions(Path("prompts.jsonl"))), *names, "--n", "3")
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic", "--gate", "off")
    evaluated = " ".join(said("evaluate").split())
    assert evaluated.count("set its threshold: `demur calibrate`") == 1
    exported = said("export", "preferences", "--to", "mine.jsonl")
    assert exported.splitlines()[-1].startswith("next: demur label --from preference --file mine.jsonl ")
    assert said("export", "routellm").splitlines()[-1].startswith(("next: demur calibrate ", "or, as it is: "))


def test_a_folder_without_learned_routers_says_how_to_begin() -> None:
    begin = "demur serve --learn --weak MODEL@http://HOST/v1 --strong MODEL@https://HOST/v1"
    assert said("routers").splitlines() == ["run/learn: no router was learned yet", f"next: {begin}"]


def test_before_a_router_that_was_not_told_from_random_is_used_anyway_more_prompts_are_advised(tmp_path: Path) -> None:
    weak, strong = ModelConfig("w", "http://gpu:8000/v1"), ModelConfig("s", "https://api.example/v1", "BIG_KEY")
    run, router = tmp_path / "it", tmp_path / "it/router"
    RunConfig("prompts.jsonl", weak, strong, run=str(run)).save()
    router.mkdir()
    (run / "made.json").write_text('{"samples": {"content": "", "source": ""}}')
    (run / "preferences.jsonl").write_text("{}\n")
    record = {"verdict": {"gain": 0.02, "low": -0.02, "high": 0.06, "n": 33}}
    (router / "router.json").write_text(json.dumps({"record": record}))
    pair = "--weak w@http://gpu:8000/v1 --strong 's@https://api.example/v1#BIG_KEY'"
    sample = f"demur sample prompts.jsonl {pair} --run {run}"
    for command in (next_command(run), serve_command(router)):
        assert command.endswith(" --anyway")
        more, first, *_, second = advice_lines(command, router)
        assert "to about 132 to prompts.jsonl" in more  # 33 (.04 / .02)^2
        assert first == f"next: {sample}"
        assert second == f"or, as it is: {command}"
    assert f"next: {sample}" in said("status", "--run", str(run)).splitlines()
    (router / "router.json").write_text(json.dumps({"record": {"verdict": record["verdict"] | {"low": 0.01}}}))
    assert advice_lines(serve_command(router), router) == (f"next: {serve_command(router)}",)


def test_route_explain_and_replay_take_the_run_and_pass_the_router_on(pair: Pair) -> None:
    said(*sample_of(pair, "--run", "first"))
    said("label", "--run", "first")
    trained = said("train", "--run", "first")
    assert re.search(r"next: demur calibrate prompts.jsonl --strong-share \S+ --run first", trained)
    routed = said("route", "What is 34 plus 61?", "--run", "first")
    assert routed.splitlines()[-1] == "next: demur explain 'What is 34 plus 61?' --run first"
    explained = said("explain", "What is 34 plus 61?", "--run", "first")
    assert explained.splitlines()[-1] == trained.splitlines()[-1]  # no threshold is set
    assert "set its threshold: `demur calibrate --run first`" in explained
    replayed = said("replay", "prompts.jsonl", "--run", "first")
    assert "next: demur calibrate prompts.jsonl --strong-share " in replayed
    assert " --run first" in replayed.splitlines()[-1]
    tried = said("replay", "prompts.jsonl", "--run", "first", "--threshold", "0")
    assert "to keep the threshold that gives this share:" in tried
    refused = RUNNER.invoke(app, ["route", "x", "--run", "first", "--router", "second"])
    assert "--run first and --router second both name a router" in str(refused.exception)


def test_a_replay_on_prompts_of_another_kind_sets_the_share_that_was_asked_for(
    tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of arithmetic alone more goes to the strong model than of all prompts; of these as much as was asked for."""
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic", "--gate", "off")
    said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway")
    assert said("replay", "prompts.jsonl").splitlines()[-1].startswith("next: demur serve")
    few = "\n".join(Path("prompts.jsonl").read_text().splitlines()[:3]) + "\n"  # of three, 50 % may well be 0 or 100 %
    Path("few.jsonl").write_text(few)
    assert said("replay", "few.jsonl").splitlines()[-1].startswith("next: demur serve")
    hard = [line for line in Path("prompts.jsonl").read_text().splitlines() if "colour" not in line]
    Path("hard.jsonl").write_text("\n".join(hard) + "\n")
    replayed = said("replay", "hard.jsonl")
    assert "the threshold was set so that 50% of other prompts go to the strong model; of these it is " in replayed
    assert replayed.splitlines()[-1].startswith("next: demur calibrate hard.jsonl --strong-share 0.5")


def test_another_folder_of_samples_can_measure_the_router_that_is_there(pair: Pair) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    before = said(*sample_of(pair, "--run", "early"))
    assert "to measure" not in before  # there is no router yet
    said("train", "--methods", "logistic", "--gate", "off")
    again = said(*sample_of(pair, "--run", "again"))
    assert "to measure" not in again  # they trained the router
    sample = list(sample_of(pair, "--run", "unseen"))
    rows = [json.loads(line) for line in Path("prompts.jsonl").read_text().splitlines()]
    Path("new.jsonl").write_text("".join(json.dumps({"prompt": f"{row['prompt']} Now?"}) + "\n" for row in rows))
    sample[1] = "new.jsonl"
    after = said(*sample)
    assert "to measure run/router on these prompts: demur grade --run unseen; to train another" in after
    assert after.splitlines()[-1] == "next: demur label --run unseen"


def test_status_is_of_any_folder_and_names_the_runs_beside_one_that_is_not_there(pair: Pair) -> None:
    said(*sample_of(pair, "--run", "mine"))
    assert "[x] sample     small and large on prompts.jsonl" in said("status", "--run", "mine")
    assert said("status") == said()
    nothing = said("status", "--run", "mein")
    assert "in the folder mein, which is not there yet:" in nothing
    assert "runs beside it: mine; see one by demur status --run mine" in nothing
    refused = RUNNER.invoke(app, ["label", "--run", "mein"])
    assert str(refused.exception).endswith("or `demur run FILE`; the runs beside it: mine")


def test_sampling_says_once_how_a_private_address_gets_a_price(pair: Pair) -> None:
    done = RUNNER.invoke(app, list(sample_of(pair)))
    assert " ".join(done.output.split()).count("#usd=IN/OUT if it costs") == 2  # once for each model
    assert "small   a private address, counted as $0\n" in done.stdout


def test_a_missing_key_is_said_before_the_other_model_is_asked(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    asked = len(pair.weak.requests)
    refused = RUNNER.invoke(app, [*sample_of(pair), "--strong", f"{pair.names['strong']}#NO_SUCH_KEY"])
    assert "large: the variable NO_SUCH_KEY is not set or empty" in str(refused.exception)
    assert len(pair.weak.requests) == asked


def test_a_report_of_an_earlier_router_is_outdated_before_the_next_calibration_too(pair: Pair) -> None:
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    for methods in ("logistic", "knn"):
        said("train", "--methods", methods)
        assert "[x] report" not in said()
        said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway")
        said("report")
        assert "[x] report     run/report.html" in said()


def test_a_run_that_is_begun_again_and_fails_is_not_shown_as_sampled(pair: Pair) -> None:
    """The folder's record names the other model already; its answers are not there."""
    said(*sample_of(pair))
    assert "[x] sample     small and large on prompts.jsonl" in said("status")
    other = ("--strong", f"{pair.names['strong']}/nowhere")
    failed = RUNNER.invoke(app, [*sample_of(pair), *other, "--again"])
    assert failed.exit_code != 0
    interrupted = said("status")
    assert "[ ] sample     small and large on prompts.jsonl, not finished" in interrupted
    priced = (*sample_of(pair), *other, "--again", "--max-usd", "2", "--strong-usd", "1/1", "--weak-usd", "0")
    assert RUNNER.invoke(app, priced).exit_code != 0
    assert "on prompts.jsonl, at most $2.00 in all, not finished" in said("status")
    assert f"next: demur sample prompts.jsonl --weak {pair.names['weak']}" in interrupted
    said(*sample_of(pair, "--again"))
    assert "[x] sample     small and large on prompts.jsonl" in said("status")


def test_a_dry_run_says_that_a_key_is_missing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the estimate, as sampling itself would before anything is asked."""
    monkeypatch.delenv("UNSET_KEY", raising=False)
    command = [f"{one}#UNSET_KEY" if one == pair.names["strong"] else one for one in sample_of(pair, "--dry-run")]
    done = RUNNER.invoke(app, command)
    assert "dry run; to sample 60 prompts, 360 answers" in done.output
    assert "large: the variable UNSET_KEY is not set or empty; export it" in str(done.exception)
    monkeypatch.setenv("UNSET_KEY", "x")
    assert RUNNER.invoke(app, command).exit_code == 0


def test_the_status_of_a_run_that_is_worked_on_says_so(pair: Pair) -> None:
    said(*sample_of(pair, "--run", "mine"))
    with lock_run(Path("mine"), "label"):
        shown = said("status", "--run", "mine")
    assert f"`demur label` (process {os.getpid()}) is at work on this run" in shown
    assert "next: demur status --run mine\n" in shown
    assert "next: demur label --run mine\n" in said("status", "--run", "mine")


NEXT = {"next_step", "next_in", "next_after_calibration", "advice_lines"}
# Commands that go on until they are ended, and one whose output is a text for another program.
WITHOUT = {"serve", "launch", "schema"}


def calls_of_command(function: Callable[..., object], seen: set[str]) -> set[str]:
    """Names that a command calls, by itself and in the functions of the command line that it calls."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(function)))):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            home = printing if isinstance(node.func, ast.Attribute) else sys.modules[function.__module__]
            helper = getattr(home, name, None)
            found.add(name)
            if inspect.isfunction(helper) and helper.__module__.startswith("demur.cli") and name not in seen:
                found |= calls_of_command(helper, seen | {name})
    return found


def test_every_command_ends_with_the_next_one() -> None:
    commands = dict(leaves(typer.main.get_command(app)))
    ends = {path: bool(NEXT & calls_of_command(inspect.unwrap(one.callback), set())) for path, one in commands.items()}
    assert sorted(path for path, found in ends.items() if not found) == sorted(WITHOUT)


@pytest.mark.parametrize(
    ("point", "says", "share"),
    [
        (KeptPoint(0.611, 0.951, 0.35), "of 62% keeps 95% of the large model's quality (believed) and saves 35%", 0.62),
        (
            KeptPoint(0.5, 0.97, -0.1),
            "of 50% keeps 97% of the large model's quality (believed) and costs 10%",
            0.5,
        ),
        (
            KeptPoint(0.5, 0.97, None),
            "the least share that keeps 95% and four fifths of what the large model gains over the small one",
            0.5,
        ),
        (
            KeptPoint(0.0, 1.02, 1.0),
            "the small model alone keeps 102% of the large model's quality (believed)",
            0.3,
        ),
        (KeptPoint(0.995, 1.0, 0.0), "no share keeps 95% of the large model's quality (believed); 30% is a share", 0.3),
        (None, "what a share keeps is not known; 30% is a share to begin with", 0.3),
    ],
)
def test_the_share_to_begin_with_and_why(tmp_path: Path, point: KeptPoint | None, says: str, share: float) -> None:
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "router.json").write_text("{}")
    keep_made(tmp_path, "routers", "these")
    keep_advice(tmp_path, point, least_share=0.0, scope="")
    assert first_share(tmp_path) == share
    assert says in "; ".join(map(str.strip, share_notes(tmp_path)))
    weak, strong = ModelConfig("w", "http://gpu:8000/v1"), ModelConfig("s", "https://api.example/v1")
    RunConfig("prompts.jsonl", weak, strong, run=str(tmp_path), strong_share=0.3).save()  # as earlier versions did,
    file = 'prompts = "prompts.jsonl"\nweak = "w@http://gpu:8000/v1"\nstrong = "s@https://api.example/v1"\n'
    Path("run.toml").write_text(file)  # whose file asks for no share
    keep_run_file(tmp_path, "run.toml")
    assert "the run file asks for" not in "; ".join(share_notes(tmp_path))
    assert f"--strong-share {share:.2g}" in next(one.command for one in steps_of(tmp_path) if one.name == "calibrate")
    Path("run.toml").write_text(f"strong_share = 0.4\n{file}")
    assert share_notes(tmp_path)[-1].strip() == "the run file asks for a strong share of 40%"
    keep_run_file(tmp_path, "")
    keep_made(tmp_path, "routers", "others")  # trained again by an earlier version, which keeps no advice
    assert first_share(tmp_path) == 0.3
    (tmp_path / "router" / "router.json").write_text('{"calibration": {"threshold": 0.5}}')
    assert share_notes(tmp_path) == ()  # it is chosen


def test_a_share_that_a_new_router_cannot_give_is_not_asked_for_again(tmp_path: Path) -> None:
    """The threshold was set for 30 %; of what the router trained since has learned 46 % go to the large model."""
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "router.json").write_text("{}")
    weak, strong = ModelConfig("w", "http://gpu:8000/v1"), ModelConfig("s", "https://api.example/v1")
    RunConfig("prompts.jsonl", weak, strong, run=str(tmp_path)).save()
    keep_made(tmp_path, "routers", "these")
    keep_wish(tmp_path, "prompts.jsonl", "--strong-share 0.3")
    for least, share in ((0.0, "0.3"), (0.46, "0.94")):
        keep_advice(tmp_path, KeptPoint(0.94, 0.95, 0.02), least_share=least, scope="")
        commands = [step.command for step in steps_of(tmp_path)]
        assert any(f"--strong-share {share} " in f"{one} " for one in commands)


def test_of_which_prompts_an_advised_share_keeps_the_quality(tmp_path: Path) -> None:
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "router.json").write_text("{}")
    keep_made(tmp_path, "routers", "these")
    scope = "the 54% of the prompts that could be judged"
    keep_advice(tmp_path, KeptPoint(0.3, 0.96, 0.7), least_share=0.0, scope=scope)
    kept, _, whose = share_notes(tmp_path)
    assert "keeps 96% of the large model's quality (believed) and saves 70%" in kept
    assert whose.endswith(scope)
    keep_advice(tmp_path, KeptPoint(1.0, 1.0, 0.0), least_share=0.0, scope=scope)
    kept, whose, _ = share_notes(tmp_path)
    assert "no share keeps 95% of the large model's quality (believed)" in kept
    assert whose.endswith(scope)


def test_what_a_replay_advises_differs_from_what_was_asked_for_by_more_than_chance_gives(tmp_path: Path) -> None:
    """Of 22 prompts 93 % are 20 or 21 (91 %, 95 %); of 220, 80 % are too few: 1.96 deviations of .0172 end at .896."""
    router = tmp_path / "run" / "router"
    router.mkdir(parents=True)
    (router / "router.json").write_text(json.dumps({"calibration": {"threshold": 0.5}}))
    keep_made(router.parent, "routers", "content")
    keep_wish(router.parent, "prompts.jsonl", "--strong-share 0.93")

    def advised(share: float, prompts: int, least: float = 0.0) -> tuple[str, str]:
        return after_replay("new.jsonl", router, share, prompts=prompts, reach=(least, 1.0), tried=False)

    assert "demur calibrate" not in advised(20 / 22, 22)[0]
    assert advised(176 / 220, 220)[0].startswith("demur calibrate new.jsonl --strong-share 0.93")
    command, reason = advised(1.0, 100, least=1.0)
    assert "demur calibrate new.jsonl" not in command
    assert "of these it is at least 100% at every threshold" in reason


def test_before_calibration_a_replay_proposes_the_share_that_it_says_is_enough(pair: Pair) -> None:
    """It said which share keeps the quality, and under that proposed the share that this threshold happens to give."""
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic")
    shown = said("replay", "prompts.jsonl")
    wanted = re.search(r"a strong share of (\d+)% keeps", shown) or re.search(r"(\d+)% is a share to begin with", shown)
    assert wanted, shown
    commands = re.findall(r"^(?:next|or, as it is): (demur calibrate .*)$", shown, re.M)
    assert [float(one.split("--strong-share ")[1].split()[0]) for one in commands] == [int(wanted[1]) / 100]
    kept = re.search(r"^or:   (demur calibrate prompts.jsonl --strong-share \S+)(.*)$", shown, re.M)
    assert kept, shown
    assert kept[2].endswith("   (keeps the threshold that gives this share)")
    tried = said("replay", "prompts.jsonl", "--threshold", "0.9")
    assert "keeps" not in tried.partition("to keep the threshold that gives this share:")[2]


@pytest.mark.parametrize(("command", "option"), [("label", "entropy"), ("train", "strong-unless-guessed")])
def test_the_help_says_that_an_option_stays_as_it_was_given_before(command: str, option: str) -> None:
    """`demur label` after one `--from judge` asks the judge again: its default is not the samples' entropy then."""
    assert f"[default: as before, else {option}]" in " ".join(said(command, "--help").replace("- ", "-").split())


def test_what_is_older_than_the_labels_is_not_shown_as_done(pair: Pair) -> None:
    """Training again is what makes the router one of these labels, and a threshold one of that router."""
    said(*sample_of(pair))
    said("label", "--entailment", "exact")
    said("train", "--methods", "logistic")
    said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway")
    assert [step.name for step in steps_of(Path("run")) if step.finished] == ["sample", "label", "train", "calibrate"]
    said("label", "--entailment", "exact", "--definition", "paper")
    shown = said("status")
    assert [step.name for step in steps_of(Path("run")) if step.finished] == ["sample", "label"]
    for name in ("train", "calibrate"):
        assert re.search(rf"\[ \] {name} .*older than the labels", shown), shown
    said("train", "--methods", "logistic")
    assert "older than" not in said("status")


def test_beside_a_gateway_the_next_command_after_explain_is_about_prompts(pair: Pair) -> None:
    """A ledger by day is no answer to a question about one decision."""
    said(*sample_of(pair, "--run", "mine"))
    said("label", "--entailment", "exact", "--run", "mine")
    said("train", "--methods", "logistic", "--run", "mine")
    said("calibrate", "prompts.jsonl", "--strong-share", "0.5", "--anyway", "--run", "mine")
    asked = ("explain", "What is 2 plus 2?", "--run", "mine", "--allow-endpoint", "127.0.0.1")
    assert said(*asked).splitlines()[-1].startswith("next: demur serve mine/router")
    with serving_file(Path("mine"), "http://127.0.0.1:8111", lambda: Path("mine/router"), 4):
        command = said(*asked).splitlines()[-1].removeprefix("next: demur ")
        assert command == "replay NEW.jsonl --run mine"  # what it learned from shows nothing new
        Path("prompts.jsonl").rename("NEW.jsonl")
        assert said(*shlex.split(command))


def test_the_completion_of_the_module_is_that_of_the_command() -> None:
    """`python -m demur` is no name of a command that a shell can complete."""
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    asked = [sys.executable, "-m", "demur", "--show-completion", "bash"]
    script = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True).stdout
    checked = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert re.search(r"complete .*-F \w+ demur$", script.strip()), script
    assert re.search(r"\b_DEMUR_COMPLETE=", script), script


@pytest.mark.parametrize("run", ["run", "other"])
def test_a_caution_that_says_how_to_sample_says_the_whole_command(pair: Pair, run: str) -> None:
    """Its options alone, typed as printed, ended in "missing argument"."""
    said(*sample_of(pair, "--run", run))
    block = HeadlineBlock("s", cautions=(f"Cut: {remedy_words(64)}", FREE))
    lines = block.of_router(Path(run) / "router").cautions
    commands = [words for line in lines for words in re.findall(r"`(demur sample [^`]*)`", line)]
    assert len(commands) == 2
    for command, options in zip(commands, ("--max-tokens 256 --again", "--strong-usd IN/OUT"), strict=True):
        start = f"demur sample prompts.jsonl --weak {pair.names['weak']} --strong {pair.names['strong']}"
        assert command.startswith(start)
        assert command.endswith(options)
        assert (" --run other" in command) == (run == "other")
        parsed = dict(leaves(typer.main.get_command(app)))["sample"]
        parsed.make_context("sample", shlex.split(command)[2:])  # parses, and runs nothing
