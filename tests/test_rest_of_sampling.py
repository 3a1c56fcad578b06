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
from demur.config import ModelConfig, RunConfig
from demur.errors import BudgetError
from demur.runs.steps import sample_command
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


def test_where_requests_are_written_the_next_command_reads_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    """Asked for directly, the same answers would be paid for twice."""
    monkeypatch.chdir(tmp_path)
    write_questions(Path("prompts.jsonl"), 4, gold=False)
    models = ("--weak", pair.names["weak"], "--strong", pair.names["strong"])
    sampling = ["sample", "prompts.jsonl", *models]
    RUNNER.invoke(app, [*sampling, "--n", "2", "--batch-out", "round 1"])
    lines, again = status(), f"demur {shlex.join(sampling)}"
    at = lines.index(f"next: {again} --batch-in RESULTS   (RESULTS: the files that the batch API gave back)")
    assert "are written in round 1; the same answers asked for directly are paid for twice" in lines[at - 1]
    assert lines[at + 1].startswith(f"or:   {again} --batch-out NEW_FOLDER   (")
    Path("round 1").rename("thrown away")
    assert next_of(status()) == again
    Path("thrown away").rename("round 1")
    assert RUNNER.invoke(app, sampling).exit_code == 0  # directly all the same
    assert next_of(status()) == "demur label"


def test_a_local_model_is_sampled_once_the_results_of_the_other_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pair: Pair
) -> None:
    monkeypatch.chdir(tmp_path)
    write_questions(Path("prompts.jsonl"), 4, gold=False)
    sampling = ["sample", "prompts.jsonl", "--weak", "smollm2-135m", "--strong", pair.names["strong"]]
    RUNNER.invoke(app, [*sampling, "--n", "2", "--batch-out", "out"])
    lines = status()
    assert next_of(lines).startswith(f"demur {shlex.join(sampling)} --batch-in RESULTS ")
    assert f"or:   demur {shlex.join(sampling)}   (samples the local model, once all of them are read)" in lines


def test_the_command_that_goes_on_names_a_shared_store(tmp_path: Path) -> None:
    """Without it the folder is refused as another run's."""
    models = ModelConfig("small"), ModelConfig("large")
    RunConfig("p.jsonl", *models, run=str(tmp_path), store="postgresql://host/answers").save()
    assert sample_command(tmp_path)[1].endswith(f" --run {tmp_path} --store postgresql://host/answers")
