"""Files and settings that no command of demur's wrote: one line on stderr and exit code 2, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from demur.config import read_run_file
from demur.errors import DemurError, InputError
from demur.evaluation.replay import replay
from demur.files import read_mapping
from demur.gate.router import Router
from demur.gate.saved_gate import read_gate
from demur.methods import LogisticRegression
from demur.models.encoders.encoder import LetterEncoder
from demur.routing.artifact import read_artifact
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router

DEEP = '{"a":' * 100_000


def saved(folder: Path) -> Path:
    rows = [TrainingPrompt("z" * i + "a", float(i % 2), 1.0, 0.0) for i in range(1, 20)]
    train_router(LetterEncoder(), LogisticRegression(), rows, weak="w", strong="s").save(folder)
    return folder


def demur(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "demur.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, env=os.environ | environment, timeout=120, check=False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_threshold_is_a_finite_number(tmp_path: Path, value: float) -> None:
    with pytest.raises(InputError, match=r"threshold is .*; give a finite number"):
        replay(tmp_path / "p.jsonl", router=str(tmp_path), threshold=value)


def test_a_run_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_bytes(b'\xef\xbb\xbfprompts = "p.jsonl"\nweak = "smollm2-135m"\nstrong = "minilm"\n')
    assert read_run_file(path).prompts == "p.jsonl"


@pytest.mark.parametrize(
    ("name", "text"), [("r.json", DEEP), ("r.toml", "a = " + "[" * 100_000), ("r.yaml", "[" * 9999)]
)
def test_a_nested_run_file_is_one_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="not valid"):
        read_mapping(tmp_path / name)


def test_no_setting_holds_nul(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(
        json.dumps({"prompts": "p.jsonl", "weak": "smollm2-135m", "strong": "minilm", "run": "a\0b"})
    )
    with pytest.raises(InputError, match=r"run is .*; it must hold no NUL"):
        read_run_file(tmp_path / "run.json")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def zero(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def nested(path: Path) -> None:
    path.write_text(DEEP)


@pytest.mark.parametrize("name", ["router.json", "weights.safetensors", "training.jsonl", "policy.json"])
@pytest.mark.parametrize("spoil", [pipe, zero, nested])
def test_a_part_of_a_router_that_is_no_such_file(tmp_path: Path, name: str, spoil: Callable[[Path], None]) -> None:
    folder = saved(tmp_path / "router")
    (folder / "policy.json").touch()
    spoil(folder / name)
    read: Callable[[Path], object] = read_gate if name == "policy.json" else read_artifact
    with pytest.raises(DemurError, match=name.replace(".", r"\.")):
        read(folder)
    with pytest.raises(DemurError):
        Router.load(folder, encoder=LetterEncoder())


@pytest.mark.parametrize("settings", [{"COLUMNS": "0"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}])
def test_odd_terminals_are_printed_to(settings: dict[str, str]) -> None:
    done = demur("entail", "", "Zürich ≥ 3 €", "Zürich ≥ 3 €", "--entailment", "exact", **settings)
    assert (done.returncode, done.stderr.replace(b"\r", b"")) == (0, b"next: demur label --entailment exact\n")
    assert b"same meaning" in done.stdout
    done = demur("entail", "", "Zürich", "Zürich", "--entailment", "exact", "--json", **settings)
    assert json.loads(done.stdout)
    done = demur("route", "x", "--router", "Zürich€", **settings)
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
