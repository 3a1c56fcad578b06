"""Sampling by a batch API: everything is sent once, whatever ends in between, and what did not come is named."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import demur
from batch_server import BatchServer, Row, batch_server
from databases import Postgres
from demur.cli.main import app
from demur.config import load_run
from demur.errors import BudgetError, EndpointError, InputError
from demur.models.endpoint import Endpoint
from demur.models.prices import usd_paid
from demur.records import Sample, SamplingSettings
from demur.sampling.batches import batch_files, by_api
from demur.sampling.batches.batch_api import BatchApi
from demur.sampling.cost import PairEstimate, PairSpend
from demur.store import SentBatch, Store
from demur.testing import FakeEndpoint
from pairs import honest, strong, weak, write_questions

COLOURS, SUMS = 6, 6
MODELS = {"small": FakeEndpoint(weak, logprob=honest), "large": FakeEndpoint(strong)}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are looked at without a pause, and what failed is repeated at once."""
    monkeypatch.setattr(by_api, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr("demur.sampling.batches.batch_api.backoff_seconds", lambda attempt: 0.01)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with batch_server(MODELS) as found:
        yield found


def sample(server: BatchServer, folder: Path, **given: Any) -> PairSpend:
    questions = write_questions(folder / "p.jsonl", COLOURS + SUMS, gold=False)
    names = {"weak": f"small@{server.address}", "strong": f"large@{server.address}"}
    return demur.sample(questions, **{**names, "run": str(folder / "run"), "n": 3, "batch": True, **given})


def said(spend: Any) -> str:
    return "\n".join(spend.notes)


def stored(run: Path) -> list[tuple[Any, ...]]:
    with sqlite3.connect(run / "store.sqlite") as db:
        return sorted(db.execute("select * from samples").fetchall())


def test_every_sample_is_asked_for_once_and_is_what_the_endpoint_gives_directly(
    server: BatchServer, tmp_path: Path
) -> None:
    server.looks = 3
    seen: list[tuple[str, int, int]] = []
    (tmp_path / "direct").mkdir()
    notes = said(sample(server, tmp_path, n="2..5", progress=lambda *step: seen.append(step)))
    assert "small: sent 12 requests for 24 samples in 1 batch" in notes
    assert "large: sent 6 requests for 18 samples in 1 batch" in notes  # the second round, of the sums
    assert f"read {2 * 12 + 2 * 6} results: {4 * 12 + 6 * 6} new samples, 0 that the store had already" in notes
    assert set(server.executed.values()) == {1}
    assert ("batches of small", 12, 12) in seen
    by_batch = stored(tmp_path / "run")
    sample(server, tmp_path / "direct", n="2..5", batch=False)
    assert stored(tmp_path / "direct" / "run") == by_batch
    assert not list((tmp_path / "run" / "batches").iterdir())
    again = said(sample(server, tmp_path, n="2..5"))
    assert "sent" not in again
    assert len(server.batches) == 4
    assert len(demur.label(run=str(tmp_path / "run"), entailment="exact").preferences) == 12


def test_files_hold_no_more_than_the_api_takes(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (batch_files.MOST_REQUESTS, batch_files.MOST_BYTES) == (50_000, 200 * 10**6)
    given = {"most_requests": 5}
    monkeypatch.setattr(by_api, "in_files", lambda lines: batch_files.in_files(lines, **given))
    notes = said(sample(server, tmp_path))
    assert "small: sent 12 requests for 36 samples in 3 batches" in notes
    assert (len(server.uploads), server.largest) == (6, 5)
    assert len(stored(tmp_path / "run")) == 72


class Killed(BaseException):
    """As where the process ended."""


@pytest.mark.parametrize("at", ["upload", "create", "look", "download", "end_batch"])
def test_a_process_that_ended_anywhere_goes_on_and_sends_nothing_twice(
    server: BatchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """At the second batch: before or after what it does there."""
    owner: Any = Store if at == "end_batch" else BatchApi
    for before in (True, False):
        folder = tmp_path / str(before)
        folder.mkdir()
        with monkeypatch.context() as patched:
            whole, calls = getattr(owner, at), list[int]()

            def killed(
                *given: Any, whole: Any = whole, calls: list[int] = calls, before: bool = before, **options: Any
            ) -> Any:
                calls.append(1)
                if len(calls) == 2 and before:
                    raise Killed
                found = whole(*given, **options)
                if len(calls) == 2:
                    if hasattr(found, "__await__"):
                        return end_after(found)
                    raise Killed
                return found

            patched.setattr(owner, at, killed)
            with pytest.raises(Killed):
                sample(server, folder)
        server.executed.clear()
        sample(server, folder)
        assert len(stored(folder / "run")) == 72
        assert set(server.executed.values()) <= {1}
        with Store(folder / "run" / "store.sqlite") as store:
            assert not [one for name in MODELS for one in store.sent_batches(f"{name}@{server.address}", "")]
    asked = [line for batch in server.batches.values() for line in server.files[batch["input_file_id"]].splitlines()]
    assert len(asked) == 2 * 24  # of two runs


async def end_after(work: Any) -> None:
    await work
    raise Killed


CHILD = """
import sys
from demur.sampling.batches import by_api
from demur.cli.main import main
by_api.LOOK_SECONDS = 0.05
main()
"""


@pytest.mark.slow
def test_a_killed_and_an_interrupted_command_go_on(server: BatchServer, tmp_path: Path) -> None:
    server.looks = 10**9
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
    given = ["--weak", f"small@{server.address}", "--strong", f"large@{server.address}", "-n", "3", "--batch"]
    command = [sys.executable, "-c", CHILD, "sample", str(questions), *given, "--run", str(tmp_path / "run")]
    for how in (signal.SIGKILL, signal.SIGINT):
        ready = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **ready) as child:  # type: ignore[call-overload]
            while sum(batch["looked"] for batch in list(server.batches.values())) < 4:
                assert child.poll() is None
            os.kill(child.pid, how)
            told = child.communicate()[1]
        for batch in server.batches.values():
            batch["looked"] = 0
    assert child.returncode == 130
    assert "demur: stopped; 24 requests are under way in 2 batches; the same command reads their results" in " ".join(
        told.split()
    )
    server.looks = 1
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "next: demur label" in done.stderr
    assert len(server.batches) == 2
    assert set(server.executed.values()) == {1}


def test_a_batch_whose_creation_was_not_answered_is_found_by_its_file(server: BatchServer, tmp_path: Path) -> None:
    server.failures = [500, 503]
    sample(server, tmp_path)
    assert len(server.batches) == 2
    assert set(server.executed.values()) == {1}
    assert len(stored(tmp_path / "run")) == 72


def test_an_api_that_is_away_for_some_minutes_is_waited_for(server: BatchServer, tmp_path: Path) -> None:
    server.away = 11
    sample(server, tmp_path)
    assert len(stored(tmp_path / "run")) == 72
    server.away, other = 12, tmp_path / "other"
    other.mkdir()
    with pytest.raises(
        EndpointError, match=r"answered 503: .*; what was sent before goes on, and the same command reads"
    ):
        sample(server, other)
    sample(server, other)
    assert len(stored(other / "run")) == 72
    assert len(server.batches) == 4


def test_a_batch_that_expired_half_done_gives_what_is_done_and_names_the_rest(
    server: BatchServer, tmp_path: Path
) -> None:
    server.ends_as = lambda batch: "expired"
    server.answered = lambda row: "plus" in str(row["body"])
    notes = said(sample(server, tmp_path))
    assert "small: batch batch_0 ended as expired; what is done is taken" in notes
    assert "read 24 results: 36 new samples" in notes
    assert "results that expired before they were answered: 12, such as colour-0: 500: " in notes
    assert "the same command, with --batch or without it, asks again" in notes
    assert (len(stored(tmp_path / "run")), len(server.batches)) == (36, 2)  # not sent again by itself
    kept = sorted((tmp_path / "run" / "batches").iterdir())
    assert [file.read_text().count("batch_expired") for file in kept] == [6, 6]
    server.ends_as, server.answered = lambda batch: "completed", lambda row: True
    sample(server, tmp_path)  # asked again
    assert len(stored(tmp_path / "run")) == 72
    assert set(server.executed.values()) == {1}


def test_errors_are_kept_apart_and_asked_directly_only_without_the_option(server: BatchServer, tmp_path: Path) -> None:
    def broken(row: Row, result: Row) -> Row:
        response = {"status_code": 500, "body": {"error": {"message": "overloaded"}}}
        return result | {"response": response} if "picture 0" in str(row["body"]) else result

    server.result = broken
    notes = said(sample(server, tmp_path))
    assert "results that are errors: 2, such as colour-0: 500: " in notes
    assert "requests that failed are in " in notes
    assert server.executed["directly"] == 0
    assert len(stored(tmp_path / "run")) == 66
    files = list((tmp_path / "run" / "batches").iterdir())
    assert len([line for file in files for line in file.read_text().splitlines()]) == 2
    sample(server, tmp_path, batch=False)
    assert server.executed["directly"] == 2
    assert len(stored(tmp_path / "run")) == 72


def test_results_that_are_unknown_or_did_not_come_are_named(server: BatchServer, tmp_path: Path) -> None:
    server.answered = lambda row: "picture 0" not in str(row["body"])
    server.result = lambda row, found: found | {"custom_id": "mine"} if "picture 1?" in str(row["body"]) else found
    notes = said(sample(server, tmp_path))
    assert "results that have a custom_id of no prompt of this run" in notes
    assert "results that did not come: 4, such as colour-0 in batch batch_0; " in notes
    assert len(stored(tmp_path / "run")) == 60


def test_a_batch_that_fails_as_a_whole_or_is_not_known_is_named(server: BatchServer, tmp_path: Path) -> None:
    server.ends_as = lambda batch: "failed"
    notes = said(sample(server, tmp_path))
    assert "small: batch batch_0 ended as failed (too many tokens are enqueued); what is done is taken" in notes
    assert "results that did not come: 24" in notes
    with Store(tmp_path / "run" / "store.sqlite") as store:
        settings = load_run(tmp_path / "run").sampling.key
        store.keep_batch(f"small@{server.address}", settings, SentBatch("file-0", "/v1/chat/completions", "gone", ()))
    server.ends_as = lambda batch: "completed"
    assert "small: batch gone is not known there; nothing is read of it" in said(sample(server, tmp_path))
    assert len(stored(tmp_path / "run")) == 72


def test_while_batches_are_under_way_nothing_else_asks(server: BatchServer, tmp_path: Path) -> None:
    server.looks = 10**9

    def stop(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="24 requests are under way in 2 batches; the same command reads"):
        sample(server, tmp_path, progress=stop)
    for other in ({"batch": False}, {"batch": False, "batch_out": tmp_path / "out"}):
        with pytest.raises(InputError, match="24 requests are under way in 2 batches; `demur sample` with"):
            sample(server, tmp_path, **other)
    assert server.executed.total() == 0
    server.looks = 1
    sample(server, tmp_path)
    assert len(stored(tmp_path / "run")) == 72


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches"])
def test_an_endpoint_without_a_batch_api_is_one_line(server: BatchServer, tmp_path: Path, path: str) -> None:
    server.no_api = frozenset({path})
    with pytest.raises(EndpointError, match=rf"{path} answered 404: it has no batch API; write files") as raised:
        sample(server, tmp_path)
    assert "with --batch-out FOLDER, for `vllm run-batch`" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="leave --batch-out and --batch-in out"):
        sample(server, tmp_path, batch_out=tmp_path / "out")
    sample(server, tmp_path, batch=False)  # nothing is under way
    assert len(stored(tmp_path / "run")) == 72


def test_a_wrong_key_is_one_line(server: BatchServer, tmp_path: Path) -> None:
    server.key = "secret"
    with pytest.raises(EndpointError, match=r"/v1/files answered 401: .*bad key"):
        sample(server, tmp_path)


def test_a_field_that_is_refused_is_left_out_of_the_next_batch(server: BatchServer, tmp_path: Path) -> None:
    def picky(row: Row, result: Row) -> Row:
        error = {"error": {"message": "Unrecognized request argument supplied: top_k", "param": "top_k"}}
        return result | {"response": {"status_code": 400, "body": error}} if "top_k" in row["body"] else result

    server.result = picky
    notes = said(sample(server, tmp_path))
    assert "results that are refusals of the field top_k by small: 12" in notes
    assert len(stored(tmp_path / "run")) == 72
    assert len(server.batches) == 4


# -- money -------------------------------------------------------------------------------------------------------------


def test_answers_of_a_batch_cost_half_where_that_is_known() -> None:
    listed = Endpoint("gpt-4o", "https://api.openai.com/v1").price
    assert listed is not None
    assert listed.batch_factor == 0.5
    given = Endpoint("m", "http://x/v1", usd_per_million_input=0, usd_per_million_output=1e6).price
    assert given is not None
    assert given.batch_factor == 1.0
    named = Endpoint(
        "m", "http://x/v1", usd_per_million_input=0, usd_per_million_output=1e6, service_tiers={"batch": 0.25}
    ).price
    both = [Sample(0, "x", None, "stop", 1, 8), Sample(1, "x", None, "stop", 1, 8, batch=True)]
    assert usd_paid(both, named) == 8 + 0.25 * 8


def test_the_limit_counts_batches_at_their_price(server: BatchServer, tmp_path: Path) -> None:
    """24 requests of 3 answers of 64 tokens at most, at $1,000 per million: $.192 each; half by batch: $2.304."""
    side = {"usd_per_million_input": 0, "usd_per_million_output": 1000, "service_tiers": {"batch": 0.5}}
    questions = write_questions(tmp_path / "p.jsonl", COLOURS + SUMS, gold=False)
    run = tmp_path / "run"
    models = {
        name: {"model": model, "base_url": server.address, **side}
        for name, model in (("weak", "small"), ("strong", "large"))
    }
    run.mkdir()
    record = {"prompts": str(questions), "run": str(run), "sampling": {"n": 3}, **models}
    (run / "run.json").write_text(json.dumps(record))
    with pytest.raises(BudgetError, match=r"\$2\.21 reserved .* the next prompt may cost \$0\.096"):
        sample(server, tmp_path, max_usd=2.3)
    assert not server.uploads
    spend = sample(server, tmp_path, max_usd=2.31)
    tokens = sum(row[8] for row in stored(run))
    assert spend.usd == pytest.approx(0.5 * tokens / 1000)
    assert "at 0.5 of its price" in said(spend)


def test_by_postgresql_one_sampler_sends(server: BatchServer, tmp_path: Path, postgres: Postgres) -> None:
    with Store(postgres.url) as other:
        settings = SamplingSettings(n=3, max_tokens=64).key
        assert other.claim(f"small@{server.address}", "batches", settings)
        with pytest.raises(InputError, match="another sampler on this store sends batches to small; wait for it"):
            sample(server, tmp_path, store=postgres.url)
        assert not server.uploads
    sample(server, tmp_path, store=postgres.url)
    (tmp_path / "elsewhere").mkdir()
    sample(server, tmp_path / "elsewhere", store=postgres.url)  # everything is there
    assert set(server.executed.values()) == {1}
    assert len(server.batches) == 2


def test_the_command_line_says_what_comes_next(server: BatchServer, tmp_path: Path) -> None:
    questions = write_questions(tmp_path / "p.jsonl", 6, gold=False)
    command = ["sample", str(questions), "--weak", f"small@{server.address}", "--strong", f"large@{server.address}"]
    command += ["-n", "2", "--run", str(tmp_path / "run"), "--batch"]
    server.answered = lambda row: "picture 0" not in str(row["body"])
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "small: sent 6 requests for 12 samples in 1 batch" in done.output
    assert "next: the same command without --batch: it asks for what is missing" in done.output
    server.answered = lambda row: True
    assert "next: demur label" in CliRunner().invoke(app, command).output


def test_a_dry_run_by_batches_says_the_price_of_batches(tmp_path: Path) -> None:
    """Two prompts of 23 letters beside a template of 8: 8 tokens each; 3 answers of 100 tokens at most of each.

    Weak, at $1 and $10 per million tokens, a quarter by batch: (16 + 6,000) / 4 = $1,504 per million; strong, at
    $100 and $1,000 and no known share: 1,600 + 600,000 = $601,600 per million.
    """
    prompts, run = tmp_path / "p.jsonl", tmp_path / "run"
    prompts.write_text("".join(json.dumps({"prompt": f"Which colour has sky {i}?"}) + "\n" for i in range(2)))
    run.mkdir()
    side = {"base_url": "http://127.0.0.1:9/v1"}
    weak = {**side, "model": "w", "usd_per_million_input": 1, "usd_per_million_output": 10}
    weak["service_tiers"] = {"batch": 0.25}
    strong = {**side, "model": "s", "usd_per_million_input": 100, "usd_per_million_output": 1000}
    settings = {"n": 3, "max_tokens": 100, "template": "{prompt}"}
    record = {"prompts": str(prompts), "run": str(run), "sampling": settings, "weak": weak, "strong": strong}
    (run / "run.json").write_text(json.dumps(record))
    names = ("w@http://127.0.0.1:9/v1", "s@http://127.0.0.1:9/v1")
    seen: list[PairEstimate] = []
    for batch in (False, True):
        demur.sample(prompts, *names, run=str(run), dry_run=True, batch=batch, announce=seen.append)
    direct, by_batch = seen
    assert [direct.weak.usd, direct.strong.usd] == pytest.approx([6016e-6, 0.6016])
    assert [by_batch.weak.usd, by_batch.strong.usd] == pytest.approx([1504e-6, 0.6016])
    assert by_batch.weak.expected_usd == pytest.approx(1504e-6)
    assert by_batch.weak.least_usd == pytest.approx(1504e-6)
    assert by_batch.sentence.endswith("at most $0.603")
    prices = dict(by_batch.facts)
    assert prices["w"].endswith("; batches at 0.25 of its price")
    assert "; batches at its usual price (service_tiers = " in prices["s"]
    assert "batches" not in str(direct.facts)
