"""`demur status` of a run whose sampling is not finished: how far it is, and a command that goes on with it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.errors import BudgetError
from demur.sampling.cost import PairEstimate
from demur.sampling.sample import Estimate
from pairs import Pair, running_pair, write_questions

RUNNER = CliRunner()
ALL = 60 * 2 * 3  # prompts, models, samples


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


LIMIT = 0.0012  # USD: some of the answers


@pytest.fixture
def stopped(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that its limit stopped."""
    monkeypatch.chdir(tmp_path)
    write_questions(Path("prompts.jsonl"), gold=False)
    priced = ("--weak-usd", "0", "--strong-usd", "1/1", "--max-usd", str(LIMIT), "--n", "3")
    models = ("--weak", pair.names["weak"], "--strong", pair.names["strong"])
    done = RUNNER.invoke(app, ["sample", "prompts.jsonl", *models, *priced])
    assert isinstance(done.exception, BudgetError)


def status() -> list[str]:
    return RUNNER.invoke(app, ["status"]).output.splitlines()


def next_of(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("next: ")).removeprefix("next: ")


@pytest.mark.usefixtures("stopped")
def test_with_the_limit_reached_the_next_command_names_one_that_allows_the_rest() -> None:
    lines = status()
    assert any(f" of {ALL} answers" in line for line in lines)
    command = shlex.split(next_of(lines))
    assert float(command[command.index("--max-usd") + 1]) > LIMIT
    done = RUNNER.invoke(app, command[1:])
    assert done.exit_code == 0, done.exception
    assert "next: demur label" in "\n".join(status())


@pytest.mark.usefixtures("stopped")
def test_with_the_limit_reached_the_prompts_with_all_answers_may_be_labelled() -> None:
    found = re.search(r"^or: +demur label .*\b(\d+) prompts? ", "\n".join(status()), re.MULTILINE)
    assert found is not None
    done = RUNNER.invoke(app, ["label", "--entailment", "exact"])
    assert re.search(rf"\b{found[1]}\b", done.output), done.output


@pytest.mark.usefixtures("stopped")
def test_with_room_under_the_limit_the_same_command_goes_on_and_the_limit_is_said_to_be_kept() -> None:
    record = Path("run/run.json")
    record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | {"max_usd": 2.0}), "utf-8")
    lines = status()
    assert "--max-usd" not in next_of(lines)
    before = lines[lines.index(f"next: {next_of(lines)}") - 1]
    assert "prices" in before and "$2.00" in before and f" of {ALL} answers" in before


@pytest.mark.parametrize(("left", "shown"), [(-0.00548, False), (0.0, False), (0.1, True)])
def test_what_is_left_under_a_limit_is_never_said_to_be_nothing_or_less(left: float, shown: bool) -> None:
    side = Estimate(60, 180, 180.0, 1000, 9000, 0.2, 0.15, 0.01, True)
    limit = PairEstimate(side, side, (), ("small", "large"), usd_left=left).limit
    assert "--max-usd" in limit
    assert ("$" in limit) is shown
