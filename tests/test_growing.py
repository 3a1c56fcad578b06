"""README's lines on growing beyond one machine: each is a command that runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from batch_server import batch_server
from databases import Postgres
from demur.cli.main import app
from demur.sampling.batches import by_api
from demur.testing import FakeEndpoint
from pairs import honest, running_pair, strong, weak, write_questions

ROOT = Path(__file__).parents[1]


def command_with(word: str) -> list[str]:
    """The words after ``demur`` of the one line of README's section that has this word in it."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Growing\n")[2].partition("\n## ")[0]
    block = "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    (line,) = [line for line in block.splitlines() if word in line.partition("#")[0]]
    return shlex.split(line, comments=True)[1:]


def with_models(command: list[str], address: dict[str, str]) -> list[str]:
    """The command with its endpoints on loopback."""
    return [address.get(word, word) for word in command]


def test_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(by_api, "LOOK_SECONDS", 0.01)
    write_questions(tmp_path / "prompts.jsonl", 12, gold=False)
    models = {"small": FakeEndpoint(weak, logprob=honest), "large": FakeEndpoint(strong)}
    with batch_server(models) as server:
        address = {"WEAK": f"small@{server.address}", "STRONG": f"large@{server.address}"}
        done = CliRunner().invoke(app, with_models(command_with("--batch"), address))
    assert done.exit_code == 0, done.output
    assert "large: sent 12 requests for 24 samples in 1 batch" in done.output
    assert "next: demur label" in done.output
    assert set(server.executed.values()) == {1}


def test_postgresql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres: Postgres) -> None:
    """On a second machine, which has a folder of its own, nothing is asked again."""
    monkeypatch.setenv("PGHOST", str(postgres.folder))
    monkeypatch.setenv("PGUSER", "demur")
    with running_pair() as pair:
        address = {"WEAK": pair.names["weak"], "STRONG": pair.names["strong"]}
        for machine in ("one", "other"):
            (tmp_path / machine).mkdir()
            monkeypatch.chdir(tmp_path / machine)
            write_questions(tmp_path / machine / "prompts.jsonl", 12, gold=False)
            command = with_models(command_with("--store"), address)
            at = command.index("--store") + 1
            assert command[at] == "postgresql://db/demur"
            command[at] = "postgresql:///postgres"
            done = CliRunner().invoke(app, command)
            assert done.exit_code == 0, done.output
        asked = [str(one["messages"]) + str(one["seed"]) for one in pair.strong.requests]
    assert len(asked) == len({*asked}) == 12 + 6  # and three more of each sum
