"""Sampling by batch files: exactly what the store lacks is asked for, and every result is kept, named, or both."""

from __future__ import annotations

import json
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

import demur
from demur.cli.main import app
from demur.errors import BudgetError, InputError
from demur.models.endpoint import Endpoint
from demur.records import Prompt, Sample, SamplingSettings
from demur.sampling.batches.batch_files import in_files, missing_requests, parse_custom_id, read_result
from demur.sampling.batches.by_files import check_batches, keep_left_out, local_notes, read_left_out
from demur.sampling.cost import PairEstimate
from demur.testing import FakeEndpoint
from pairs import honest, running_pair, strong, weak, write_questions

NAMES: dict[str, Any] = {
    "weak": "small@http://10.0.0.1/v1",
    "strong": "large@http://10.0.0.1/v1",
}  # nobody answers there
FAKES = {"small": FakeEndpoint(weak, logprob=honest), "large": FakeEndpoint(strong)}
COLOURS, SUMS = 6, 6  # both models know the colours; the weak one guesses at the sums, so that two samples differ

Row = dict[str, Any]


def requests(folder: Path) -> list[Row]:
    return [json.loads(line) for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]


def answered(row: Row) -> Row:
    """The line of results that a batch API gives for a request."""
    body = FAKES[row["body"]["model"]].completion(row["body"], row["url"] == "/v1/chat/completions")
    response = {"status_code": 200, "request_id": "r", "body": body}
    return {"id": "b", "custom_id": row["custom_id"], "response": response, "error": None}


def failed(row: Row, status: int, message: str, **error: str) -> Row:
    body = {"error": {"message": message, **error}}
    return {"custom_id": row["custom_id"], "response": {"status_code": status, "body": body}, "error": None}


def write(path: Path, rows: Iterable[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def stored(run: Path) -> list[tuple[Any, ...]]:
    """The samples in a run's store."""
    with sqlite3.connect(run / "store.sqlite") as db:
        return sorted(db.execute("select * from samples").fetchall())


class Batches:
    """A run that is sampled by batches."""

    def __init__(self, folder: Path, *, gold: bool = False, **settings: Any) -> None:
        self.folder, self.settings = folder, settings
        self.questions = write_questions(folder / "p.jsonl", COLOURS + SUMS, gold=gold)
        self._rounds = 0

    def sample(self, **batch: Any) -> tuple[str, ...]:
        """The sentences of `demur sample`."""
        run = str(self.folder / "run")
        return demur.sample(self.questions, **NAMES, run=run, **self.settings, **batch).notes

    def out(self) -> list[Row]:
        """The requests of the next round."""
        self._rounds += 1
        folder = self.folder / f"round-{self._rounds}"
        self.sample(batch_out=folder)
        return requests(folder) if folder.exists() else []

    def read(self, rows: Iterable[Row]) -> str:
        """Read results; what is said of them."""
        return "\n".join(self.sample(batch_in=[write(self.folder / "results.jsonl", rows)]))

    def stored(self) -> list[tuple[Any, ...]]:
        return stored(self.folder / "run")


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    return Batches(tmp_path, n=3)


def test_a_round_trip_asks_for_every_sample_once_and_can_be_labelled(batches: Batches) -> None:
    rows = batches.out()
    assert len(rows) == len({row["custom_id"] for row in rows}) == 24
    assert {(row["method"], row["url"], row["body"]["n"]) for row in rows} == {("POST", "/v1/chat/completions", 3)}
    assert [file.name for file in sorted((batches.folder / "round-1").iterdir())] == [
        "strong-chat-001.jsonl",
        "weak-chat-001.jsonl",
    ]
    said = batches.read(map(answered, reversed(rows)))
    assert "read 24 results: 72 new samples, 0 that the store had already" in said
    assert batches.out() == []
    labels = demur.label(run=str(batches.folder / "run"))
    assert len(labels.preferences) == 12


def test_samples_are_those_that_the_endpoints_give_when_asked_directly(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
    with running_pair() as pair:
        demur.sample(questions, **pair.names, run=str(tmp_path / "direct"))
        asked_directly = len(pair.weak.requests)
        for i in range(2):
            demur.sample(questions, **pair.names, run=str(tmp_path / "run"), batch_out=tmp_path / f"out-{i}")
            results = write(tmp_path / f"{i}.jsonl", map(answered, requests(tmp_path / f"out-{i}")))
            demur.sample(questions, **pair.names, run=str(tmp_path / "run"), batch_in=[results])
        assert len(pair.weak.requests) == asked_directly  # a batch asks no endpoint
    direct, batch = stored(tmp_path / "direct"), stored(tmp_path / "run")
    assert len(direct) == 2 * (2 * COLOURS + 5 * SUMS)
    assert batch == direct


def test_reading_twice_changes_nothing(batches: Batches) -> None:
    results = list(map(answered, batches.out()))
    batches.read(results)
    before = batches.stored()
    assert "read 24 results: 0 new samples, 72 that the store had already" in batches.read(results)
    assert batches.stored() == before


def test_a_reading_that_was_cut_goes_on_and_the_next_batch_asks_only_for_the_rest(batches: Batches) -> None:
    results = list(map(answered, batches.out()))
    cut = batches.folder / "cut.jsonl"
    cut.write_text("".join(json.dumps(row) + "\n" for row in results[:10]) + json.dumps(results[10])[:-40])
    said = "\n".join(batches.sample(batch_in=[cut]))
    assert "30 new samples" in said
    assert "results that cannot be read: 1, cut.jsonl:11; is the file cut, or no file of results?" in said
    assert {row["custom_id"] for row in batches.out()} == {row["custom_id"] for row in results[10:]}
    assert "42 new samples, 30 that the store had already" in batches.read(results)


KILLED = """
import os, signal, sys, demur
from demur.store import Store

keep, kept = Store.add_samples, []

def add_samples(self, *row):
    if len(kept) == 10:
        os.kill(os.getpid(), signal.SIGKILL)
    kept.append(keep(self, *row))

Store.add_samples = add_samples
demur.sample(sys.argv[1], sys.argv[2], sys.argv[3], run=sys.argv[4], n=3, batch_in=[sys.argv[5]])
"""


def test_a_reading_that_is_killed_keeps_what_it_read(batches: Batches) -> None:
    results = list(map(answered, batches.out()))
    file = write(batches.folder / "all.jsonl", results)
    given = [str(batches.questions), NAMES["weak"], NAMES["strong"], str(batches.folder / "run"), str(file)]
    done = subprocess.run([sys.executable, "-c", KILLED, *given], capture_output=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(batches.stored()) == 30
    assert {row["custom_id"] for row in batches.out()} == {row["custom_id"] for row in results[10:]}
    assert "42 new samples, 30 that the store had already" in batches.read(results)


def test_rows_that_failed_are_named_and_asked_for_again(batches: Batches) -> None:
    rows = batches.out()
    expired = {"code": "batch_expired", "message": "not executed before the window ended"}
    bad: list[Row] = [
        failed(rows[0], 500, "overloaded"),
        {"custom_id": rows[1]["custom_id"], "response": None, "error": expired},
        {"custom_id": rows[2]["custom_id"], "response": {"status_code": 200, "body": {"choices": []}}},
        {"custom_id": rows[3]["custom_id"], "response": None, "error": None},
    ]
    said = batches.read([*bad, *map(answered, rows[5:])])  # rows[4] did not come at all
    assert "57 new samples" in said
    assert "results that are errors: 2, such as sum-0: 500: " in said
    assert re.search(r"that are errors: .*; the next --batch-out asks again", said)
    assert "results that expired before they were answered: 1, colour-0: 500: " in said
    assert "results that hold no answer: 1, sum-1: large: the answer has no choices" in said
    assert "5 prompts miss answers of large" in said
    assert {row["custom_id"] for row in batches.out()} == {row["custom_id"] for row in rows[:5]}


def test_unknown_ids_are_named_and_not_kept(batches: Batches) -> None:
    rows = batches.out()
    foreign = [answered(rows[0]) | {"custom_id": name} for name in ("mine", "0" * 32 + "-0-3")]
    said = batches.read([*foreign, answered(rows[0])])
    assert "read 3 results: 3 new samples" in said
    assert "results that have a custom_id of no prompt of this run" in said
    assert "are not kept: 2, such as results.jsonl:1: mine; " in said
    assert len(batches.stored()) == 3


def test_a_prompt_that_is_refused_is_not_asked_again(batches: Batches) -> None:
    rows = batches.out()
    refusal = failed(rows[0], 400, "filtered", code="content_filter")
    said = batches.read([refusal, *map(answered, rows[1:])])
    assert "results that are refusals of the prompt, which is left out: 1, sum-0: 400: " in said
    assert batches.out() == []
    again = batches.folder / "again"
    batches.sample(batch_out=again, ask_refused=True)
    assert [row["custom_id"] for row in requests(again)] == [rows[0]["custom_id"]]


def test_a_field_that_is_refused_is_left_out_of_the_next_batch(batches: Batches) -> None:
    rows = batches.out()
    refusals = [failed(row, 400, "Unrecognized request argument supplied: top_k", param="top_k") for row in rows[:12]]
    said = batches.read([*refusals, *map(answered, rows[12:])])
    assert "results that are refusals of the field top_k by large: 12, such as sum-0: 400: " in said
    again = batches.out()
    assert len(again) == 12
    assert all("top_k" not in row["body"] and "min_p" in row["body"] for row in again)


@pytest.mark.parametrize("damaged", ["", "[]", '{"small": 3}'])
def test_a_damaged_record_of_refused_fields_is_named(batches: Batches, damaged: str) -> None:
    batches.out()
    (batches.folder / "run" / "batch_fields.json").write_text(damaged)
    with pytest.raises(InputError, match=r"batch_fields\.json: is damaged; delete it"):
        batches.out()


def test_an_engine_that_ignores_n_is_asked_once_a_sample(batches: Batches) -> None:
    row = batches.out()[0]
    result = answered(row)
    del result["response"]["body"]["choices"][1:]
    assert "results that hold fewer answers than n: 1, sum-0: 1 of 3; " in batches.read([result])
    key = row["custom_id"].removesuffix("-0-3")
    again = [one for one in batches.out() if one["custom_id"].startswith(key)]
    assert [one["custom_id"] for one in again] == [f"{key}-1-1", f"{key}-2-1"]
    assert all("n" not in one["body"] for one in again)
    assert [one["body"]["seed"] - row["body"]["seed"] for one in again] == [1, 2]


def test_the_second_round_asks_for_more_of_what_the_first_did_not_settle(tmp_path: Path) -> None:
    batches = Batches(tmp_path, n="2..5")
    first = batches.out()
    assert [row["body"]["n"] for row in first] == [2] * 24
    batches.read(map(answered, first))
    second = batches.out()
    assert len(second) == 2 * SUMS
    assert all(row["body"]["n"] == 3 and row["custom_id"].endswith("-2-3") for row in second)
    assert all("plus" in row["body"]["messages"][-1]["content"] for row in second)
    batches.read(map(answered, second))
    assert batches.out() == []
    labels = demur.label(run=str(tmp_path / "run"))
    assert sorted(row.n for row in labels.preferences) == [2] * COLOURS + [5] * SUMS


def test_results_and_the_next_round_in_one_command(tmp_path: Path) -> None:
    batches = Batches(tmp_path, n="2..5")
    results = write(tmp_path / "results.jsonl", map(answered, batches.out()))
    batches.sample(batch_in=[results], batch_out=tmp_path / "next")
    assert len(requests(tmp_path / "next")) == 2 * SUMS


def test_prompts_for_measuring_are_asked_for_all_samples_at_once(tmp_path: Path) -> None:
    rows = Batches(tmp_path, gold=True, n="2..5").out()
    assert {row["body"]["n"] for row in rows} == {2, 5}


def test_a_folder_with_files_in_it_is_refused(batches: Batches) -> None:
    batches.out()
    with pytest.raises(InputError, match="round-1 is not an empty folder; name another for each --batch-out"):
        batches.sample(batch_out=batches.folder / "round-1")


def test_a_file_of_results_that_is_not_there_is_refused(batches: Batches) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: no such file of results"):
        batches.sample(batch_in=[batches.folder / "none.jsonl"])


def test_requests_that_could_cost_more_than_allowed_are_not_written(tmp_path: Path) -> None:
    # 24 requests of 3 answers of 64 tokens at $1,000 per million: $.192 each, and the prompts.
    batches = Batches(tmp_path, n=3, weak_usd="0/1000", strong_usd="0/1000", max_usd=4.0)
    with pytest.raises(BudgetError, match=r"\$0 spent .* the next prompt may cost \$0.192"):
        batches.sample(batch_out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    Batches(tmp_path, n=3, weak_usd="0/1000", strong_usd="0/1000", max_usd=4.61).sample(batch_out=tmp_path / "out")
    assert len(requests(tmp_path / "out")) == 24


def test_files_are_counted_at_the_price_of_batches(tmp_path: Path) -> None:
    """24 requests of 3 answers of 64 tokens at most, at $1,000 per million: $.192 each; half by batch: $2.304."""
    batches, run = Batches(tmp_path, n=3), tmp_path / "run"
    side = {"base_url": "http://10.0.0.1/v1", "usd_per_million_input": 0, "usd_per_million_output": 1000}
    models = {name: {"model": NAMES[name].partition("@")[0], **side} for name in ("weak", "strong")}
    models["weak"]["service_tiers"] = models["strong"]["service_tiers"] = {"batch": 0.5}
    run.mkdir()
    record = {"prompts": str(batches.questions), "run": str(run), "sampling": {"n": 3}, **models}
    (run / "run.json").write_text(json.dumps(record))
    seen: list[PairEstimate] = []
    for way in ({}, {"batch_out": tmp_path / "dry"}, {"batch_in": [tmp_path / "none.jsonl"]}):
        batches.sample(**way, dry_run=True, announce=seen.append)
    assert [one.usd for one in seen] == pytest.approx([4.608, 2.304, 2.304])
    with pytest.raises(BudgetError, match=r"\$2\.21 reserved .* the next prompt may cost \$0\.096:"):
        batches.sample(batch_out=tmp_path / "out", max_usd=2.3)
    said = "\n".join(batches.sample(batch_out=tmp_path / "out", max_usd=2.31))
    assert said.count(", at 0.5 of its price") == 2
    batches.read(map(answered, requests(tmp_path / "out")))
    tokens = sum(row[8] for row in batches.stored())
    spend = demur.sample(batches.questions, **NAMES, run=str(run), n=3, dry_run=True)
    assert spend.usd == pytest.approx(0.5 * tokens / 1000)


def test_two_local_models_are_refused(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "p.jsonl", 4)
    pair: dict[str, Any] = {"weak": "smollm2-135m", "strong": "gemma-3-270m"}
    with pytest.raises(InputError, match="both models are local"):
        demur.sample(questions, **pair, run=str(tmp_path / "run"), batch_out=tmp_path / "out")


def test_a_local_model_is_said_to_be_sampled_directly(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "p.jsonl", 4)
    spent = demur.sample(
        questions, "smollm2-135m", NAMES["strong"], run=str(tmp_path / "run"), batch_out=tmp_path / "out"
    )
    assert any("(weak) is local and has no batch file" in note for note in spent.notes)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["strong-chat-001.jsonl"]


def test_the_command_line_says_what_comes_next(tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "p.jsonl", 6, gold=False)
    command = ["sample", str(questions), "--weak", NAMES["weak"], "--strong", NAMES["strong"], "--n", "2"]
    command += ["--run", str(tmp_path / "run")]
    done = CliRunner().invoke(app, [*command, "--batch-out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "small: 6 requests for 12 samples in 1 file" in done.output
    assert "next: the same command with --batch-in RESULTS" in done.output
    results = [write(tmp_path / f"{i}.jsonl", rows) for i, rows in enumerate(halves(requests(tmp_path / "out")))]
    done = CliRunner().invoke(app, [*command, "--batch-in", str(results[0])])
    assert "next: once all results are read, the same command with --batch-out NEW_FOLDER" in done.output
    done = CliRunner().invoke(app, [*command, "--batch-in", str(results[1])])
    assert "next: demur label" in done.output


def halves(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    found = list(map(answered, rows))
    return found[::2], found[1::2]


def test_files_stay_below_both_limits() -> None:
    lines = ["aaaa\n", "bb\n", "cc\n", "d\n", "eeeeeeeeeeee\n"]
    assert list(in_files(lines, most_requests=2, most_bytes=8)) == [
        ["aaaa\n", "bb\n"],
        ["cc\n", "d\n"],
        ["eeeeeeeeeeee\n"],
    ]
    assert list(in_files([])) == []


def asked(endpoint: Endpoint, have: Mapping[str, list[Sample]], settings: SamplingSettings) -> list[Row]:
    prompt = Prompt("a", "Who?")
    return [json.loads(one.line) for one in missing_requests([prompt], endpoint, settings, have, {"a": settings.most})]


def test_a_gap_between_stored_samples_is_asked_for_by_itself() -> None:
    have = {"a": [Sample(1, "me", None, "stop", 1, 1, 1)]}
    rows = asked(Endpoint("m", "http://h/v1"), have, SamplingSettings(4, chat=False))
    assert [row["custom_id"][32:] for row in rows] == ["-0-1", "-2-2"]
    assert {row["url"] for row in rows} == {"/v1/completions"}


def test_openai_is_asked_without_the_fields_that_it_refuses() -> None:
    (row,) = asked(Endpoint("m", "https://api.openai.com/v1"), {"a": []}, SamplingSettings(2))
    assert not {"top_k", "min_p", "max_tokens"} & row["body"].keys()
    assert row["body"]["max_completion_tokens"] == SamplingSettings(2).max_tokens


@pytest.mark.parametrize("line", ["", "[]", "{", "null", '{"custom_id": 3}', "[" * 100_000])
def test_what_is_no_result_is_none(line: str) -> None:
    assert read_result(line) is None


@pytest.mark.parametrize(
    ("response", "error", "kind"),
    [
        ({"status_code": 200, "body": {"choices": [1]}}, None, "answer"),
        ({"status_code": 200, "body": {"choices": [1]}}, {"code": "late"}, "answer"),  # it came, so it was paid for
        ({"body": {"choices": [1]}}, None, "answer"),
        ({"status_code": 200, "body": {"error": {"code": 429}}}, None, "failed"),
        ({"status_code": 429, "body": {}}, None, "failed"),
        ({"status_code": "200", "body": "text"}, None, "failed"),
        (None, {"code": "batch_expired"}, "expired"),
        (None, "broken", "failed"),
        (7, None, "failed"),
    ],
)
def test_kinds_of_results(response: object, error: object, kind: str) -> None:
    found = read_result(json.dumps({"custom_id": "x", "response": response, "error": error}))
    assert found is not None
    assert found.kind == kind


def test_only_ids_that_demur_writes_are_read() -> None:
    key = "0123456789abcdef" * 2
    assert parse_custom_id(f"{key}-2-3") == (key, range(2, 5))
    assert [parse_custom_id(name) for name in ("", key, f"{key}-2-0", f"{key}-2-3x", f"{key}-2-1234567")] == [None] * 5


def to_check(*, weak: bool = False, strong: bool = False, between: tuple[str, ...] = ()) -> Any:
    """What the checks need of an opened run; whether its models are local."""
    return SimpleNamespace(
        prompts=[Prompt("1", "Who?")],
        config=SimpleNamespace(test_share=0.0, between=between, sampling=SimpleNamespace(key="")),
        pair=SimpleNamespace(all=(), weak=SimpleNamespace(local=weak), strong=SimpleNamespace(local=strong)),
    )


def test_batches_are_of_two_models_not_both_of_them_local(tmp_path: Path) -> None:
    results = write(tmp_path / "results.jsonl", [])
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "new", tmp_path / "empty", None):
        for run in (to_check(), to_check(weak=True), to_check(strong=True)):
            check_batches(run, folder, [results])
    with pytest.raises(InputError, match=r"^batch files are of two models; sample several by `demur run FILE`$"):
        check_batches(to_check(between=("medium",)), None, [results])
    with pytest.raises(InputError, match=r"^both models are local, and no batch API has them"):
        check_batches(to_check(weak=True, strong=True), None, [results])
    with pytest.raises(InputError, match=r"none\.jsonl: no such file of results"):
        check_batches(to_check(), None, [results, tmp_path / "none.jsonl"])
    for taken in (tmp_path, results):  # a folder with files, and a file
        with pytest.raises(InputError, match=f"^{taken} is not an empty folder"):
            check_batches(to_check(), taken, [])


@pytest.mark.parametrize(("weak", "strong", "named"), [(1, 0, ["weak"]), (0, 1, ["strong"]), (0, 0, [])])
def test_local_models_are_named_by_their_side(weak: int, strong: int, named: list[str]) -> None:
    sides = {
        name: SimpleNamespace(local=bool(local), model="m") for name, local in (("weak", weak), ("strong", strong))
    }
    found = list(local_notes(SimpleNamespace(pair=SimpleNamespace(**sides)), "--batch-out"))
    assert [note.partition(" is local")[0] for note in found] == [f"m ({name})" for name in named]
    assert all("same command without --batch-out samples it" in note for note in found)


def test_fields_that_endpoints_refuse_are_kept_where_there_are_any(tmp_path: Path) -> None:
    run: Any = SimpleNamespace(config=SimpleNamespace(folder=tmp_path))
    keep_left_out(run, {"one": set()})
    assert list(tmp_path.iterdir()) == []
    assert read_left_out(run) == {}
    keep_left_out(run, {"one": {"seed", "logprobs"}, "other": set()})
    assert read_left_out(run) == {"one": {"seed", "logprobs"}}
