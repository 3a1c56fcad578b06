"""`demur init`: a commented run file that `demur run` reads, never over another without --force."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demur.cli.commands import begin
from demur.cli.main import app
from demur.config import LabelConfig, ModelConfig, RunConfig, read_run_file
from demur.errors import InputError
from demur.models.local import parse_model
from demur.records import SamplingSettings
from demur.runs.run_file import new_run_file, run_file_text

WEAK, STRONG = "smollm2-135m", "gpt-4o@https://api.openai.com/v1#MY_KEY#usd=2.5/10"
FLAGS = ["init", "--weak", WEAK, "--strong", STRONG, "--prompts", "p.jsonl"]
PLAIN = RunConfig(
    "p.jsonl",
    ModelConfig("smollm2-135m"),
    ModelConfig(
        *("gpt-4o", "https://api.openai.com/v1", "MY_KEY"), usd_per_million_input=2.5, usd_per_million_output=10.0
    ),
)


def test_the_written_file_is_read_as_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    done = CliRunner().invoke(app, [*FLAGS, "--to", str(path)])
    assert (done.exit_code, done.stdout) == (0, f"wrote {path}\n")
    assert f"next: demur run {path}" in done.stderr
    assert read_run_file(path) == PLAIN
    text = path.read_text()
    assert "\n# Stop before the run has cost more than this many USD.\n# max_usd =\n" in text
    assert "\n# Longest answer, in tokens.\n# max_tokens = 64\n" in text
    assert "\n# strong_share =\n" in text  # what training proposes, not a share that may keep little


def test_a_limit_of_costs_is_written_and_without_one_the_estimate_is_proposed(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    done = CliRunner().invoke(app, [*FLAGS, "--to", str(path), "--max-usd", "2"])
    assert read_run_file(path) == replace(PLAIN, max_usd=2.0)
    assert "--dry-run" not in done.stderr
    free = CliRunner().invoke(app, [*FLAGS, "--to", str(path), "--force"]).stderr
    (estimate,) = [line for line in free.splitlines() if line.startswith("or: ")]
    command = "demur sample p.jsonl --weak smollm2-135m --strong 'gpt-4o@https://api.openai.com/v1#MY_KEY#usd=2.5/10'"
    assert estimate == f"or:   {command} --dry-run   (what sampling can cost; max_usd in {path} limits it)"


def test_every_default_behind_a_sign_is_the_default(tmp_path: Path) -> None:
    """With the signs taken away the file says the same."""
    text, changed = re.subn(r"^# (\w+ = )", r"\1", run_file_text(PLAIN), flags=re.MULTILINE)
    assert changed > 25
    (tmp_path / "run.toml").write_text(text)
    assert read_run_file(tmp_path / "run.toml") == PLAIN


def test_every_setting_survives(tmp_path: Path) -> None:
    changed = replace(
        PLAIN,
        prompts='a "b" \\ \x7f \U0001f600.jsonl',
        max_usd=1.5,
        weak=replace(PLAIN.weak, service_tiers={"flex": 0.5, "very slow": 0.25}),
        sampling=SamplingSettings(n=3, stop=("\n", "Q:"), chat=False),
        label=LabelConfig("accuracy", "soft"),
    )
    (tmp_path / "run.toml").write_text(run_file_text(changed), encoding="utf-8")
    assert read_run_file(tmp_path / "run.toml") == changed


def test_a_file_is_replaced_only_by_force(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("mine")
    done = CliRunner().invoke(app, [*FLAGS, "--to", str(path)])
    assert isinstance(done.exception, InputError)
    assert str(done.exception) == f"{path} exists; give another name, or --force to replace a file"
    with pytest.raises(InputError, match="exists"):  # from Python, too
        new_run_file(path, weak=WEAK, strong=STRONG, prompts="p.jsonl")
    assert path.read_text() == "mine"
    assert CliRunner().invoke(app, [*FLAGS, "--to", str(path), "--force"]).exit_code == 0
    assert read_run_file(path) == PLAIN


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "--weak", WEAK], "give --strong, --prompts; at a terminal they are asked"),
        ([*FLAGS, "--to", "run.yaml"], "run.yaml: the run file is written as TOML"),
        ([*FLAGS, "--prompts", " "], "prompts is empty"),
        ([*FLAGS, "--weak", "nothing"], "'nothing' is not a model"),
    ],
)
def test_what_cannot_be_written_is_said_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, InputError)
    assert said in str(done.exception)
    assert not list(tmp_path.iterdir())


def test_at_a_terminal_only_what_no_option_says_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        stdin = type("Stdin", (), {"isatty": staticmethod(lambda: True)})

    monkeypatch.setattr(begin, "sys", Terminal)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["init", "--weak", WEAK], input=f"{STRONG}\np.jsonl\n\n")
    assert done.exit_code == 0
    limited = CliRunner().invoke(app, ["init", "--weak", WEAK, "--to", "b.toml"], input=f"{STRONG}\np.jsonl\n2.5\n")
    assert "The most that the run may cost" in limited.stdout
    assert read_run_file(tmp_path / "b.toml").max_usd == 2.5
    assert [word in done.stdout for word in ("The small model", "The large model", "The prompts")] == [
        False,
        True,
        True,
    ]
    assert read_run_file(tmp_path / "run.toml") == replace(PLAIN, strong=parse_model(STRONG))
