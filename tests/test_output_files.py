"""A file that a command is told to write: its folder must be there, for a mistyped name makes no folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demur.errors import InputError
from demur.evaluation.device.simulate_run import simulate
from demur.evaluation.experiment.export_outcomes import export_outcomes
from demur.evaluation.experiment.export_preferences import export_routellm
from demur.gate.join_model import join_model
from demur.gateway.clients.keys import new_key, read_keys, remove_key
from demur.gateway.ledger.export import ledger
from demur.paper.overhead.report import overhead
from demur.paper.reproduction import reproduce
from demur.runs.run_file import new_run_file

WRITERS: dict[str, Callable[[Path], Any]] = {
    "overhead": lambda path: overhead(n=20, picture=f"{path}.png"),
    "simulate": lambda path: simulate("no run", picture=f"{path}.png"),
    "reproduce": lambda path: reproduce(path.parents[1], out=path, only=("random",)),
    "export outcomes": lambda path: export_outcomes(run="no run", to=str(path)),
    "export routellm": lambda path: export_routellm(run="no run", to=f"{path}.json"),
    "ledger": lambda path: ledger("no.sqlite", export=path.with_suffix(".csv")),
    "join": lambda path: join_model("no run", to=str(path)),
    "key add": lambda path: new_key(f"{path}.json", "ann"),
    "init": lambda path: new_run_file(f"{path}.toml", weak="a@http://x/v1", strong="b@http://x/v1", prompts="p"),
}


@pytest.mark.parametrize("command", WRITERS)
def test_a_missing_folder_is_named_before_anything_is_done(command: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*/reslts; make it first, or correct the name"):
        WRITERS[command](tmp_path / "reslts/mine")
    assert not [*tmp_path.iterdir()]


def test_a_key_is_removed_from_no_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"reslts/keys\.json: cannot be read \(No such file or directory\)"):
        remove_key(tmp_path / "reslts/keys.json", "ann")
    assert not [*tmp_path.iterdir()]


def test_keys_may_be_made_before_a_run_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder that every command takes, which is no mistyped name."""
    monkeypatch.chdir(tmp_path)
    new_key("run/keys.json", "ann")
    assert [key.name for key in read_keys("run/keys.json")] == ["ann"]
