"""Commands that errors and notes propose are whole: with the user's own prompts, models and run, ready to be copied."""

from __future__ import annotations

import itertools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app, main
from demur.errors import BudgetError, InputError
from demur.runs.lineage import keep_run_file
from demur.runs.steps import in_its_words, in_whole
from demur.testing import fake_endpoint, in_a_thread
from pairs import Pair, running_pair, write_questions


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


@pytest.fixture
def folder(tmp_path: Path, pair: Pair) -> Path:
    """A sampled run of 12 prompts beside their file."""
    prompts = write_questions(tmp_path / "my prompts.jsonl", 12, gold=False)
    demur.sample(prompts, **pair.names, run=str(tmp_path / "mine"), n=2, weak_usd="1/2", strong_usd="3/4")
    return tmp_path / "mine"


def commands_in(line: str) -> list[list[str]]:
    """The words of each command in backticks, without `demur`."""
    return [shlex.split(one)[1:] for one in re.findall(r"`(demur [^`]*)`", line)]


def run_command(words: list[str]) -> str:
    """What a command prints; it must end well."""
    found = CliRunner().invoke(app, words)
    assert found.exit_code == 0, found.output
    return found.output


def test_an_incomplete_run_names_the_command_that_asks_for_the_rest(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl", 12, gold=False), str(tmp_path / "mine")
    with pytest.raises(BudgetError):
        demur.sample(prompts, **pair.names, run=run, n=2, weak_usd="1/1", strong_usd="1/1", max_usd=6e-4)
    with pytest.raises(InputError, match="none of 12 prompts has all its samples") as error:
        demur.label(run=run, entailment="exact")
    (words,) = commands_in(str(error.value))
    assert words[:2] == ["sample", str(prompts)]
    run_command([*words, "--max-usd", "1"])
    demur.label(run=run, entailment="exact")


@pytest.mark.parametrize(
    "line",
    [
        "2 prompts are left out, refused by large (--ask-refused asks again): p1: filtered",
        "40% of large's answers were cut at 256 tokens: sample with `--max-tokens 512 --again`, which asks 3 first",
        "If it costs: `demur sample` again with `--strong-usd IN/OUT`, then `demur train`",
        "No price of the small and the large model is known: `demur sample` again with `--weak-usd IN/OUT "
        "--strong-usd IN/OUT`, then `demur train`",
        "3 of 4 answers are there; the same `demur sample` goes on",
        "2 requests are under way; `demur sample` with --batch reads their results",
        "To measure: `demur sample OTHER.jsonl --n 2 --run unseen` with both models, `demur grade --run unseen --gold`",
    ],
)
def test_options_alone_become_whole_commands(line: str, folder: Path, pair: Pair, tmp_path: Path) -> None:
    """They are of the run, but for the one that begins another, with the prices that the run keeps."""
    (first, *others) = commands_in(in_whole(line, folder / "router"))
    assert first[0] == "sample"
    given = dict(itertools.pairwise(first))
    prices = ("#usd=1/2", "#usd=3/4") if "unseen" in first else ("", "")
    assert (given["--weak"], given["--strong"]) == (
        f"{pair.names['weak']}{prices[0]}",
        f"{pair.names['strong']}{prices[1]}",
    )
    assert first[1] == ("OTHER.jsonl" if "unseen" in first else str(tmp_path / "my prompts.jsonl"))
    assert all(words[words.index("--run") + 1] in (str(folder), "unseen") for words in (first, *others))
    if {"--batch", "IN/OUT", "unseen"}.isdisjoint(first):
        run_command(first)


def test_a_run_files_run_is_named_by_its_file(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("")
    keep_run_file(folder, file)
    router, said = folder / "router", f"`demur run {file}`"
    again = f"set `max_tokens = 512` in {file}, then `demur run {file} --again`"
    assert in_its_words("sample with `--max-tokens 512 --again`, which asks", router) == f"{again}, which asks"
    assert in_its_words("1 lacks answers; `demur run FILE` asks", router) == f"1 lacks answers; {said} asks"
    assert in_its_words("leave it out, then demur run FILE --again", router).endswith(f"then demur run {file} --again")
    priced = "If it costs: `demur sample` again with `--strong-usd IN/OUT`, then `demur train`"
    keys = "set usd_per_million_input and usd_per_million_output of that model"
    assert in_its_words(priced, router) == f"If it costs: {keys} in {file}, then {said}"
    (refused,) = commands_in(in_its_words("1 prompt is left out (--ask-refused asks again)", router))
    assert refused[0] == "sample"
    run_command(refused)


def test_what_is_not_known_is_left_as_it_is(tmp_path: Path) -> None:
    line = "1 prompt is left out (--ask-refused asks again); leave it out, then `demur run FILE --again`"
    assert in_whole(line, tmp_path / "none" / "router") == line


def test_a_commands_error_is_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said_by(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["demur", *words])
        with pytest.raises(SystemExit, match="2"):
            main()
        return capsys.readouterr().err

    rows = [{"prompt": f"Which colour has the chair {i}?", "label": 1} for i in range(3)]
    (tmp_path / "plain.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))
    demur.label(run=str(folder), entailment="exact")
    demur.train(run=str(folder), methods="logistic", gate="off", encoder=None)
    said = said_by("calibrate", str(tmp_path / "plain.jsonl"), "--risk", "0.1", "--run", str(folder))
    (first, *_) = commands_in(said)
    assert first[:2] == ["sample", "OTHER.jsonl"]
    assert "--weak" in first
    assert "--strong" in first


def test_the_labels_of_a_judge_that_thinks_first_allow_it_as_long_replies(tmp_path: Path) -> None:
    """The command to label a run by it, as `demur judge` prints it, went on with replies of 24 tokens."""
    items = [{"question": f"What is {i} plus 1?", "responses": {"a": str(i + 1), "b": "none"}} for i in range(4)]
    (tmp_path / "items.jsonl").write_text("".join(json.dumps(one) + "\n" for one in items))
    with in_a_thread(fake_endpoint(lambda prompt, seed: "LLM 1")) as wise:
        given = [
            str(tmp_path / "items.jsonl"),
            "--judge",
            f"wise@{wise.base_url}",
            "--store",
            str(tmp_path / "j.sqlite"),
        ]
        for options, more in (([], []), (["--max-tokens", "2000"], ["--judge-tokens", "2000"])):
            said = run_command(["judge", *given, *options])
            command = next(line for line in said.splitlines() if line.startswith("next: ")).removeprefix("next: demur ")
            words = shlex.split(command.partition(",")[0])
            assert words == ["label", "--from", "judge", "--judge", f"wise@{wise.base_url}", *more]
