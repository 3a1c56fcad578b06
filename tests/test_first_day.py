"""What first users stumbled over: errors of usage, sentences that need the paper, things that are said twice."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from demur.cli.groups import as_options, router_of_words
from demur.cli.main import app, main
from demur.evaluation.report.headline_record import Headline, HeadlineBlock
from demur.runs.lineage import keep_run_file
from pairs import questions, running_pair

RUNNER = CliRunner()
SAMPLE = ("--weak", "a@http://localhost:1/v1", "--strong", "b@http://localhost:1/v1")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("calibrate --shar .3", "no such option --shar; did you mean --strong-share? demur calibrate --help"),
        (
            "label --dry-run",
            "no such option --dry-run; it belongs to demur calibrate and demur sample; demur label --help",
        ),
        ("key ad ann", "no such command 'ad'; did you mean 'add'? demur key --help"),
        ("route", "missing argument 'prompt'; such as: demur route \"How many seconds are in a week?\""),
        ("report a b", "got unexpected extra argument(s) (a b); demur report --help"),
        ("serve --record all", "--record: 'all' is not one of 'prompts'; demur serve --help"),
        ("--nonsense", "no such option --nonsense; demur --help"),
    ],
)
def test_a_usage_error_is_one_line_with_the_next_step(command: str, said: str) -> None:
    done = RUNNER.invoke(app, command.split())
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"demur: {said}\n")


@pytest.mark.parametrize("option", ["--run mine/run", "--run=mine/run"])
def test_the_commands_of_an_error_name_the_run_that_was_named(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["demur", "label", *option.split()])
    with pytest.raises(SystemExit):
        main()
    said = "demur: mine/run/run.json: no run here yet; start with `demur sample --run mine/run` or `demur run FILE`\n"
    assert capsys.readouterr().err == said


def test_a_value_that_cannot_be_read_is_named() -> None:
    done = RUNNER.invoke(app, ["calibrate", "p.jsonl", "--strong-share", "abc"])
    assert done.stderr.startswith("demur: --strong-share is 'abc'; input should be a valid number")
    assert len(done.stderr.splitlines()) == 1


SAID = Headline(0.5, True, 86, "test prompts", 0.31, (0.81, 0.74, 0.87), 0.9, False, 0.07, 0.22, 0.06)


@pytest.mark.parametrize(
    ("change", "brief"),
    [
        ({}, "this keeps 90% of the large model's quality and saves 68% of what it costs alone"),
        (
            {"believed": True},
            "this keeps 90% of the large model's quality (believed) and saves 68% of what it costs alone",
        ),
        ({"usd": 0.275}, "this keeps 90% of the large model's quality and adds 25% to what it costs alone"),
        (
            {"by_grades": True, "judged": 21},
            "this keeps 90% of the large model's quality, measured on 21 graded prompts (.81 [.74, .87] of .90), and "
            "saves 68% of what it costs alone",
        ),
        ({"quality": None}, "this saves 68% of what the large model costs alone"),
        ({"quality": None, "usd": None}, ""),
    ],
)
def test_the_reports_first_line_is_of_calls_quality_and_money(change: dict[str, Any], brief: str) -> None:
    local = "69% of calls stay with the small model"
    assert replace(SAID, **change).brief == (f"{local}; {brief}" if brief else local)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ("calibrate p.jsonl", "calibrate: keep_quality is 2.0; it", "calibrate: --keep-quality is 2.0; it"),
        ("calibrate p.jsonl", "strong_share and usd_per_1k are two", "--strong-share and --usd-per-1k are two"),
        ("calibrate p.jsonl", "calibrate: risk is 2.0", "calibrate: --risk is 2.0"),
        ("key add ann", "usd is -1.0", "--usd is -1.0"),
        ("sample p.jsonl", "sampling.n is 0; raise max_usd", "sampling.n is 0; raise --max-usd"),
        ("label --from judge", "is kept, raise max_usd to go on", "is kept, raise --max-usd to go on"),
        ("label --from judge", "is kept, raise label.max_usd to go on", "is kept, raise --max-usd to go on"),
        ("run run.toml", "is kept, raise max_usd to go on", "is kept, raise max_usd to go on"),
        ("run run.toml", "is kept, raise label.max_usd to go on", "is kept, raise label.max_usd to go on"),
        (
            "run run.toml",
            "sample with `--max-tokens 256 --again`",
            "set `max_tokens = 256` in run.toml, then `demur run run.toml --again`",
        ),
        ("run a.toml", "a larger --max-tokens changes", "a larger max_tokens changes"),
        ("run a.toml", "(--system '' leaves it out)", "(system = '' leaves it out)"),
        ("run a.toml", "with `demur sample p --max-usd 2`", "with `demur sample p --max-usd 2`"),
        ("run a.toml", "(--max-usd sets another)", "(max_usd sets another)"),
        ("run a.toml", "(--system TEXT adds one)", "(system = 'TEXT' adds one)"),
        ("run a.toml", "(--ask-refused asks again)", "(`demur sample` with --ask-refused asks again)"),
        ("calibrate p.jsonl", "the file's max_usd, and `strong_share`", "the file's max_usd, and `strong_share`"),
        ("serve", "gateway.toml: strong_usd is 3", "gateway.toml: strong_usd is 3"),  # no option sets it
    ],
)
def test_an_error_names_the_option_that_was_given(arguments: str, error: str, said: str) -> None:
    assert as_options(error, typer.main.get_command(app), arguments.split()) == said


@pytest.mark.parametrize(
    ("arguments", "router"),
    [
        ("train", "run/router"),
        ("train --run mine", "mine/router"),
        ("train --run=mine", "mine/router"),
        ("calibrate p.jsonl --router mine/router", "mine/router"),
        ("replay p.jsonl --router=alone", "alone"),
        ("replay p.jsonl --run mine", "mine/router"),
        ("serve --port 8222 mine/router", "mine/router"),
        ("serve --config own.toml", "run/router"),
        ("run own.toml", "run/router"),
        ("launch claude --router mine/router", "mine/router"),
        ("key add mine", "run/router"),
        ("--version", "run/router"),
        ("", "run/router"),
    ],
)
def test_an_error_is_of_the_router_that_was_given(arguments: str, router: str) -> None:
    assert router_of_words(typer.main.get_command(app), arguments.split()) == Path(router)


@pytest.mark.parametrize(
    "words",
    [
        "calibrate p.jsonl --router mine/router",
        "serve mine/router",
        "serve --config own.toml",
        "serve mine/router --config other.toml",
    ],
)
def test_the_commands_of_an_error_name_the_router_that_was_given(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("own", "other"):
        Path(f"{name}.toml").write_text(f'router = "{name.replace("own", "mine")}/router"\n')
    monkeypatch.setattr(sys, "argv", ["demur", *words.split()])
    with pytest.raises(SystemExit):
        main()
    assert "make one with `demur train --run mine` or" in capsys.readouterr().err


def test_cautions_on_the_run_of_a_file_name_its_keys_in_every_command(tmp_path: Path) -> None:
    block = HeadlineBlock("s", (), ("12% were cut: sample with `--max-tokens 256 --again`, which asks first",))
    assert block.of_router(tmp_path / "router") == block
    file = tmp_path / "a.toml"
    file.touch()
    keep_run_file(tmp_path, file)
    said = f"12% were cut: set `max_tokens = 256` in {file}, then `demur run {file} --again`, which asks first"
    assert block.of_router(tmp_path / "router").cautions == (said,)


def test_the_run_of_a_file_names_its_keys_and_no_option_of_another_command(tmp_path: Path) -> None:
    system, rows = {"role": "system", "content": "Be brief."}, questions()
    for row in rows:
        row["messages"] = [system, {"role": "user", "content": row.pop("prompt")}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with running_pair() as pair:
        sides = "".join(
            f'[{side}]\nmodel = "{side}"\nbase_url = "{url}"\nusd_per_million_input = 10\nusd_per_million_output = 10\n'
            for side, url in (("weak", pair.weak.base_url), ("strong", pair.strong.base_url))
        )
        file = tmp_path / "run.toml"
        file.write_text(
            f'prompts = "{tmp_path}/p.jsonl"\nrun = "{tmp_path}/run"\nmax_usd = 0.3\n{sides}'
            '[sampling]\nn = 4\n[label]\nentailment = "exact"\n[router]\nencoder = "letters"\n'
        )
        told = RUNNER.invoke(app, ["run", str(file)])
    assert told.exit_code == 0, told.output
    for words in ("of up to 64 tokens (max_tokens)", "- max_usd leaves $0.3", "(system = 'TEXT' adds one)"):
        assert words in told.output
    assert not [word for word in ("--max-usd", "--max-tokens", "--system") if word in told.output]
    told = RUNNER.invoke(app, ["sample", f"{tmp_path}/p.jsonl", *SAMPLE, "--dry-run", "--run", str(tmp_path / "new")])
    assert "of up to 64 tokens (--max-tokens)" in told.output  # the words of the file were of that command alone
