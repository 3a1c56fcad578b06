"""What the README and the docs show is run, not believed."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from demur.cli.main import app
from demur.config import ModelConfig, RouterConfig, RunConfig, read_run_file
from demur.gate.gate import SIGNALS, Gate, GateStep, GateVerdict
from demur.gate.router import Router
from demur.labels.scores.uncertainty import DEFINITIONS
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import load_encoder
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_first_screen() -> None:
    """One sentence, one picture, two commands, eight lines of Python."""
    first = README.partition("\n## ")[0]
    assert first.count("![") == 1
    assert (ROOT / re.findall(r"!\[.*?\]\((.*?)\)", first)[0]).is_file()
    assert len(blocks("sh", first)[0].strip().splitlines()) == 2
    assert sum(1 for line in blocks("python", first)[0].splitlines() if line.strip()) <= 8


def test_its_make_targets_are_there() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(re.findall(r"make ([a-z]+)", README)) <= set(targets)


def test_its_commands_and_options_are_there() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("demur ")]
    assert lines
    for line in lines:
        _, name, *rest = shlex.split(line, comments=True)
        known = {option for parameter in commands[name].params for option in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known, line


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)(.*?)\)", README):
        assert (ROOT / target.partition("#")[0]).exists(), target


def test_its_first_example_shows_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    """Two of three answers mean the same: H = ln 3 - 2/3 ln 2, and the comment beside it says so."""
    example = blocks("python")[0].partition("router = ")[0]
    exec(example, {})
    entropy, clusters = capsys.readouterr().out.strip().split(" ", 1)
    assert float(entropy) == pytest.approx(np.log(3) - 2 / 3 * np.log(2))
    assert clusters == "[0 0 1]"
    assert f"# {float(entropy):.4f} nats, 0 if all agree; {clusters}:" in example


@pytest.mark.slow
def test_its_python_decides_as_the_product_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = [TrainingPrompt(f"How many {w}?", float(i % 2), 1.0, 0.0) for i, w in enumerate("abcdefgh")]
    router = train_router(load_encoder("bge-small"), SimilarityWeighted(), training, weak="small", strong="large")
    steps = (GateStep(0.0, 1.0, (0.0,) * len(SIGNALS)),)
    verdict = GateVerdict(0.1, 0.1, 0.05, 0.15)
    Router(router, Gate(steps, None, 10.0, verdict), active=True).save(tmp_path / "run" / "demo" / "router")
    monkeypatch.chdir(tmp_path)
    exec(blocks("python")[0], {})
    model, score = capsys.readouterr().out.splitlines()[1].split()[:2]
    command = ["route", "How many seconds are in a week?", "--router", "run/demo/router", "--json"]
    made = json.loads(CliRunner().invoke(app, command).stdout)
    assert made["stage"] == "gate"  # it is heard
    assert model == made["model"]
    assert float(score) == pytest.approx(made["score"])


def test_the_run_file_page_lists_every_definition() -> None:
    """The help of --definition refers to it."""
    page = (ROOT / "docs" / "run-file.md").read_text(encoding="utf-8")
    assert all(re.search(rf"\b{name}\b", page) for name in DEFINITIONS)


def test_the_documented_run_file_is_one_and_shows_every_key(tmp_path: Path) -> None:
    text = blocks("toml", (ROOT / "docs" / "run-file.md").read_text(encoding="utf-8"))[0]
    (tmp_path / "run.toml").write_text(text)
    found = read_run_file(tmp_path / "run.toml")
    shown = tomllib.loads(text)
    served = RouterConfig(serve=RouterConfig().served)  # None in the record: it depends on the methods
    commented = set(re.findall(r"^# (\w+) = ", text, re.MULTILINE))  # those without a default
    plain = RunConfig("prompts.jsonl", ModelConfig("smollm2-135m"), found.strong, router=served, max_usd=5.0)
    assert found == plain  # the values it shows are the defaults
    for part, record in (("sampling", found.sampling), ("label", found.label), ("router", found.router)):
        hidden = {name for name in record.__dataclass_fields__ if name not in shown[part]}
        assert hidden - commented <= {"top_p", "top_k", "min_p"}, part
