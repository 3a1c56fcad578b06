"""An open run reads everything once; what it was paid for and decided stays in its folder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demur
from demur.config import LabelConfig, RouterConfig, RunConfig
from demur.errors import EndpointError, InputError
from demur.evaluation.report.headline import training_headline
from demur.gate.router import Router
from demur.meaning import meanings as kept
from demur.meaning.clusters import meaning_clusters
from demur.meaning.meanings import Meanings
from demur.models.encoders.encoder import LetterEncoder
from demur.models.local import parse_model
from demur.pipeline import run_config
from demur.prompts import absolute_prompts, load_prompts
from demur.records import Entailment, FloatArray, Sample, SamplingSettings
from demur.routing import prompt_router, restoring
from demur.runs import run as opened
from demur.runs.lineage import outdated_stages
from demur.runs.lock import work_on
from demur.runs.steps import next_command
from demur.store import Store
from demur.store.sqlite import SqliteDatabase
from pairs import Pair, running_pair, write_questions


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is fetched: prompts are embedded by their letters."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr(restoring, "load_encoder", lambda spec: LetterEncoder())
    monkeypatch.setattr(prompt_router, "spec_of", lambda encoder: "letters")


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


def counting(asked: list[tuple[str, str]]) -> Entailment:
    """Exact match that remembers what it was asked."""

    def entailment(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        asked.extend(pairs)
        return np.array([(0.0, 0.0, 1.0) if a == b else (0.0, 1.0, 0.0) for a, b in pairs])

    return entailment


ANSWERS = ["a cat", "a dog", "a cat"]


def test_a_list_of_answers_is_clustered_once_and_found_again_by_content(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []
    with Store(tmp_path / "s.sqlite") as store:
        first = Meanings(counting(asked), "model", store=store)(["Q?", "R?"], [ANSWERS, ANSWERS])
        assert [ids.tolist() for ids in first.ids] == [[0, 1, 0], [0, 1, 0]]
        assert len(asked) == first.pairs_scored == 2  # one of each question: a cat -> a dog
    with Store(tmp_path / "s.sqlite") as store:
        again = Meanings(counting(asked), "model", store=store)
        found = again(["R?", "Q?", "Q?"], [ANSWERS, ANSWERS, ANSWERS[:2]])
        assert [ids.tolist() for ids in found.ids] == [[0, 1, 0], [0, 1, 0], [0, 1]]
        assert (len(asked), found.pairs, found.calls) == (3, (1, 1, 1), 1)  # the shorter list is another one


@pytest.mark.parametrize("other", [{"identity": "another"}, {"rules": False}, {"identity": ""}])
def test_another_decision_has_meanings_of_its_own(tmp_path: Path, other: dict[str, object]) -> None:
    asked: list[tuple[str, str]] = []
    with Store(tmp_path / "s.sqlite") as store:
        for given in ({"identity": "model"}, {"identity": "model"} | other):
            Meanings(counting(asked), store=store, **given)(["Q?"], [ANSWERS])
        assert len(asked) == 2


def test_a_changed_rule_makes_other_meanings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    with Store(tmp_path / "s.sqlite") as store:
        Meanings(counting(asked), "model", store=store)(["Q?"], [ANSWERS])
        monkeypatch.setattr(kept, "deciding_code", lambda: "edited")
        Meanings(counting(asked), "model", store=store)(["Q?"], [ANSWERS])
    assert len(asked) == 2


def test_a_function_of_the_users_own_is_asked_once_as_long_as_the_run_is_open() -> None:
    asked: list[tuple[str, str]] = []
    meanings = Meanings(counting(asked))
    assert meanings(["Q?"], [ANSWERS]).ids[0].tolist() == meanings(["Q?"], [ANSWERS]).ids[0].tolist()
    assert len(asked) == 1


def test_a_store_from_before_meanings_were_kept_opens_and_keeps_them(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with Store(path):
        pass
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("drop table meanings")
    with Store(path) as store:
        store.add_meanings("m", {("Q?", ("a", "b")): ([0, 1], 1)})
        assert store.meanings("m", [("Q?", ("a", "b")), ("Q?", ("b", "a"))]) == {("Q?", ("a", "b")): ((0, 1), 1)}


def test_samples_of_many_prompts_come_with_one_query(tmp_path: Path) -> None:
    sample = Sample(0, "x", (-0.5,), "stop", 1, 1)
    with Store(tmp_path / "s.sqlite") as store:
        for i in range(1200):  # more than SQLite takes parameters in older builds
            store.add_samples("m", f"p{i}", "s", [sample])
        queries: list[str] = []
        assert isinstance(store._db, SqliteDatabase)
        store._db.connection.set_trace_callback(queries.append)
        found = store.samples_of("m", [*(f"p{i}" for i in range(1200)), "none"], "s")
        assert len(queries) == 1
        assert len(found) == 1201
        assert found["p7"] == [sample]
        assert found["none"] == []


@dataclass
class Reads:
    """What commands read, counted below demur's own functions; cleared before each command."""

    opened: Counter[str] = field(default_factory=Counter)  # name of a file -> times it was opened
    sampled: Counter[str] = field(default_factory=Counter)  # model -> queries of its samples, sums of them included
    clustered: Counter[tuple[str, ...]] = field(default_factory=Counter)  # a question and answers; never cleared

    def statement(self, text: str) -> None:
        """An SQL statement, its values filled in."""
        if re.search(r"\bfrom samples\b", text):
            (model,) = re.findall(r"\bmodel = '([^@#']+)", text)
            self.sampled[model] += 1

    def connect(self, *given: Any, **named: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = CONNECT(*given, **named)
        connection.set_trace_callback(self.statement)
        return connection

    def open(self, file: Any, *given: Any, **named: Any) -> Any:
        self.opened[Path(file).name if isinstance(file, str | os.PathLike) else ""] += 1
        return OPEN(file, *given, **named)

    def cluster(self, questions: Sequence[str], answers: Sequence[Sequence[str]], **given: Any) -> object:
        self.clustered.update((question, *texts) for question, texts in zip(questions, answers, strict=True))
        return meaning_clusters(questions, answers, **given)


CONNECT, OPEN = sqlite3.connect, io.open


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    found = Reads()
    monkeypatch.setattr(sqlite3, "connect", found.connect)
    monkeypatch.setattr(io, "open", found.open)
    monkeypatch.setattr("builtins.open", found.open)
    monkeypatch.setattr(kept, "meaning_clusters", found.cluster)
    return found


def sampled_file(folder: Path, pair: Pair, run: Path) -> str:
    """A file of a local model, all of whose samples the run's store has already."""
    (folder / "own.gguf").write_bytes(b"GGUF" + bytes(1000))
    demur.sample(write_questions(folder / "p.jsonl"), **pair.names, run=str(run), n=4)
    (run / "run.json").unlink()
    name = f"own#{hashlib.sha256((folder / 'own.gguf').read_bytes()).hexdigest()[:16]}"
    with closing(sqlite3.connect(run / "store.sqlite")) as db, db:
        db.execute("update samples set model = ? where model like 'small@%'", (name,))
    return str(folder / "own.gguf")


def test_every_stage_reads_each_thing_once(
    tmp_path: Path, pair: Pair, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model's file is hashed once, the prompts are read once, and the samples by one query per model."""
    run = tmp_path / "run"
    file, large, prompts = sampled_file(tmp_path, pair, run), pair.names["strong"], tmp_path / "p.jsonl"
    commands: dict[str, Callable[[], object]] = {
        "sample": lambda: demur.sample(prompts, file, large, run=str(run), n=4),
        "label": lambda: demur.label(run=str(run), entailment="exact"),
        "train": lambda: demur.train(run=str(run), methods="logistic"),
        "evaluate": lambda: demur.evaluate(run=str(run)),
        "label again": lambda: demur.label(run=str(run), kind="margin", entailment="exact"),
    }
    for name, command in commands.items():
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))  # no command knows what another one has hashed
        reads.opened.clear()
        reads.sampled.clear()
        command()
        assert (reads.opened["own.gguf"], reads.opened["p.jsonl"]) == (1, 1), name
        assert reads.sampled == {"own": 1, "large": 1}, name
    assert set(reads.clustered.values()) == {1}


def test_what_was_paid_costs_two_more_queries_per_model_that_charges(tmp_path: Path, pair: Pair, reads: Reads) -> None:
    """It is added up by the database, before and after sampling; a model that is free is not asked about."""
    file, large = sampled_file(tmp_path, pair, tmp_path / "run"), pair.names["strong"]
    reads.sampled.clear()
    demur.sample(tmp_path / "p.jsonl", file, large, run=str(tmp_path / "run"), n=4, max_usd=1.0, strong_usd="1")
    assert reads.sampled == {"own": 1, "large": 3}


def test_a_run_works_from_any_directory(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "project").mkdir()
    (tmp_path / "elsewhere").mkdir()
    write_questions(tmp_path / "project" / "p.jsonl")
    monkeypatch.chdir(tmp_path / "project")
    demur.sample("p.jsonl", **pair.names, n=4)
    monkeypatch.chdir(tmp_path / "elsewhere")
    demur.label(run="../project/run", entailment="exact")
    demur.train(run="../project/run", methods="logistic", gate="off")
    assert demur.evaluate(run="../project/run").n_test > 0
    described = json.loads((tmp_path / "project" / "run" / "router" / "router.json").read_text())
    assert str(tmp_path) not in json.dumps(described["record"])


def test_prompts_of_a_mix_have_the_same_ids_on_every_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_questions(tmp_path / "a.jsonl", 4)
    write_questions(tmp_path / "b.csv.jsonl", 2)
    monkeypatch.chdir(tmp_path)
    spec = absolute_prompts("a.jsonl:2+b.csv.jsonl")
    assert spec == f"{tmp_path}/a.jsonl:2+{tmp_path}/b.csv.jsonl"
    assert load_prompts(spec) == load_prompts("a.jsonl:2+b.csv.jsonl")
    assert absolute_prompts("nq-open:5+gsm8k") == "nq-open:5+gsm8k"
    (tmp_path / "x").mkdir()
    write_questions(tmp_path / "x" / "a.jsonl", 2)
    assert {one.id.partition("/")[0] for one in load_prompts(absolute_prompts("a.jsonl+x/a.jsonl"))} == {
        "1-a.jsonl",
        "2-a.jsonl",
    }


def test_another_runs_record_is_not_replaced_in_silence(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl"), str(tmp_path / "run")
    demur.sample(prompts, **pair.names, run=run, n=4)
    demur.label(run=run, kind="hard", tau=0.3, entailment="exact")
    record = Path(run) / "run.json"
    before = record.read_text()
    other = write_questions(tmp_path / "other.jsonl", 20)
    with pytest.raises(
        InputError, match=r"another run: prompts '.*p.jsonl' \(now '.*other.jsonl'\), sampling.n 4 \(now 3\)"
    ):
        demur.sample(other, **pair.names, run=run, n=3)
    assert record.read_text() == before
    demur.sample(prompts, **pair.names, run=run, n=4, max_usd=None)  # the same again: labels' options stay
    (tmp_path / "linked").symlink_to(tmp_path)
    same = tmp_path / "linked" / "run" / ".." / "p.jsonl"
    demur.sample(same, **pair.names, run=run, n=4, max_usd=None)
    assert json.loads(record.read_text())["label"]["tau"] == 0.3
    demur.sample(other, **pair.names, run=run, n=3, again=True)
    assert json.loads(record.read_text())["sampling"]["n"] == 3
    with pytest.raises(InputError, match=r"missing.jsonl: no such file"):  # it is no other run's, but a typing error
        demur.sample(tmp_path / "missing.jsonl", **pair.names, run=run, n=3)


def test_a_price_is_corrected_without_asking_again(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl", gold=False), str(tmp_path / "run")
    before = demur.sample(prompts, **pair.names, run=run, n=4, weak_usd="0", strong_usd="10/10")
    demur.label(run=run, entailment="exact")
    demur.train(run=run, methods=("sw",), serve="sw")
    demur.calibrate(prompts, router=f"{run}/router", strong_share=0.3, anyway=True)
    asked = len(pair.strong.requests)
    assert outdated_stages(Path(run)) == ()
    after = demur.sample(prompts, **pair.names, run=run, n=4, strong_usd="20/20")
    assert len(pair.strong.requests) == asked
    assert before.strong_usd is not None
    assert after.strong_usd == pytest.approx(2 * before.strong_usd)
    assert (before.weak_usd, after.weak_usd) == (0.0, 0.0)  # a price that is not named again stays
    (said,) = outdated_stages(Path(run))
    assert said == f"{run}: the prices are newer than the routers; make those again with `demur train`"
    assert next_command(Path(run)) == f"demur train --run {run}"
    cost = training_headline(Router.load(f"{run}/router", encoder=LetterEncoder())).usd_strong
    demur.train(run=run, methods=("sw",), serve="sw")
    again = training_headline(Router.load(f"{run}/router", encoder=LetterEncoder())).usd_strong
    assert cost is not None
    assert again == pytest.approx(2 * cost)


def test_a_typing_error_that_cost_nothing_is_no_run_to_protect(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl", 4), str(tmp_path / "run")
    with pytest.raises(EndpointError, match="answered 404"):
        demur.sample(prompts, f"{pair.names['weak']}/typo", f"{pair.names['strong']}/typo", run=run, n=2)
    assert demur.sample(prompts, **pair.names, run=run, n=2).samples == 16


def test_an_interrupted_sampling_can_be_labelled_and_goes_on(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl"), str(tmp_path / "run")
    asked = 0

    def stop(stage: str, done: int, total: int) -> None:
        nonlocal asked
        asked += stage == "sampling small"
        if asked > 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"\d+ of 480 answers are kept, and the same command goes on"):
        demur.sample(prompts, **pair.names, run=run, n=4, progress=stop)
    labels = demur.label(run=run, entailment="exact")
    complete = len(labels.preferences)
    assert re.match(rf"\d+ of 480 answers are there: labelling the {complete} complete prompts of 31", labels.notes[0])
    assert dict(labels.facts)["held back"].startswith("29 of 60 prompts, for measuring (test_share 0.5 ")
    demur.train(run=run, methods="logistic")
    demur.sample(prompts, **pair.names, run=run, n=4)
    assert outdated_stages(Path(run)) == (
        f"{run}: the samples are newer than the labels; make those again with `demur label`",
    )
    again = demur.label(run=run, entailment="exact")
    assert len(again.preferences) > complete
    assert dict(again.facts)["held back"].startswith("29 of 60 prompts")
    assert not any("answers are there" in note for note in again.notes)


def test_what_is_older_than_what_it_was_made_from_is_said(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl"), tmp_path / "run"
    demur.sample(prompts, **pair.names, run=str(run), n=4)
    demur.label(run=str(run), entailment="exact")
    assert outdated_stages(run) == ()
    demur.train(run=str(run), methods="logistic", gate="off")
    assert outdated_stages(run) == (
        f"{run}/router has no calibration, or an older one; set its threshold: `demur calibrate`",
    )
    demur.calibrate(prompts, router=f"{run}/router", strong_share=0.4, anyway=True)
    assert outdated_stages(run) == ()
    demur.label(run=str(run), kind="margin", entailment="exact")
    (line,) = outdated_stages(run)
    assert line == f"{run}: the labels are newer than the routers; make those again with `demur train`"
    assert line in demur.evaluate(run=str(run)).warnings
    demur.label(run=str(run), kind="believed", entailment="exact")  # the very labels that the routers learned from
    assert outdated_stages(run) == ()
    assert outdated_stages(tmp_path) == ()  # no run's folder


def test_labels_and_routers_of_files_that_were_changed_by_hand_are_not_out_of_date(tmp_path: Path, pair: Pair) -> None:
    """The command that is named must not be named again once it has been obeyed."""
    prompts, run = write_questions(tmp_path / "p.jsonl"), tmp_path / "run"
    demur.sample(prompts, **pair.names, run=str(run), n=4)
    with prompts.open("a") as more:
        more.write('{"id": "more", "prompt": "Which colour has the lake?"}\n')
    demur.label(run=str(run), entailment="exact")
    assert outdated_stages(run) == ()
    labels = (run / "preferences.jsonl").read_text().splitlines(keepends=True)
    (run / "preferences.jsonl").write_text("".join(labels[1:]))
    demur.train(run=str(run), methods="logistic", gate="off")
    demur.calibrate(prompts, router=f"{run}/router", strong_share=0.4, anyway=True)
    assert outdated_stages(run) == ()


HOLD = "import sys; from pathlib import Path; from demur.runs.lock import lock_run\n"
HOLD += "with lock_run(Path(sys.argv[1]), 'sample'): print('held', flush=True); sys.stdin.read()"


@pytest.mark.parametrize("whole", [False, True])
def test_the_command_that_is_at_work_is_the_one_that_was_given(tmp_path: Path, pair: Pair, whole: bool) -> None:
    """`demur run` was called `demur sample`."""
    prompts, run = write_questions(tmp_path / "p.jsonl", gold=False), str(tmp_path / "run")
    seen = set[str]()

    def look(stage: str, done: int, total: int) -> None:
        seen.add(work_on(Path(run)).split(" (")[0])

    if whole:
        weak, strong = map(parse_model, (pair.names["weak"], pair.names["strong"]))
        sampling, label = SamplingSettings(n=2), LabelConfig(entailment="exact")
        router = RouterConfig(methods=("logistic",), serve="logistic", gate="off")
        config = RunConfig(str(prompts), weak, strong, run=run, sampling=sampling, label=label, router=router)
        run_config(config, progress=look)
    else:
        demur.sample(prompts, **pair.names, run=run, n=2, progress=look)
    assert seen - {""} == {"`demur run`" if whole else "`demur sample`"}


def test_one_command_at_a_time_works_on_a_run(tmp_path: Path, pair: Pair) -> None:
    prompts, run = write_questions(tmp_path / "p.jsonl", 4), str(tmp_path / "run")
    demur.sample(prompts, **pair.names, run=run, n=2)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, run], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        for command in (
            lambda: demur.sample(prompts, **pair.names, run=run, n=2),
            lambda: demur.label(run=run, entailment="exact"),
            lambda: demur.train(run=run),
        ):
            with pytest.raises(InputError, match=rf"`demur sample` \(process {other.pid}\) is at work on this run"):
                command()
        other.kill()  # however it ends, its lock ends with it
    assert demur.label(run=run, entailment="exact").preferences


def test_two_samplings_of_one_run_do_not_pay_twice(tmp_path: Path) -> None:
    with running_pair() as pair:
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.05
        prompts, run = write_questions(tmp_path / "p.jsonl", 100), str(tmp_path / "run")
        given = ["sample", str(prompts), "--weak", pair.names["weak"], "--strong", pair.names["strong"], "--run", run]
        command = [sys.executable, "-m", "demur", *given, "--n", "3"]
        first = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        while not pair.weak.requests and first.poll() is None:
            time.sleep(0.02)
        pair.weak.hang_seconds = pair.strong.hang_seconds = 1.0  # the first is at work for as long as the second asks
        second = subprocess.run(command, capture_output=True, text=True, check=False)
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.0
        first.communicate()
        asked = sum(int(body["n"]) for body in (*pair.weak.requests, *pair.strong.requests))
    assert asked == 100 * 3 * 2
    assert (first.returncode, second.returncode) == (0, 2)
    assert re.search(rf"`demur sample --run [^`]+` \(process {first.pid}\) is at work on this run", second.stderr)


def _as_in_a_terminal() -> None:
    """What runs in the background of a shell has Ctrl-C switched off, and so have its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_says_what_is_kept(tmp_path: Path) -> None:
    with running_pair() as pair:
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.2
        prompts = write_questions(tmp_path / "p.jsonl", 40)
        given = ["--weak", pair.names["weak"], "--strong", pair.names["strong"], "--run", str(tmp_path / "run")]
        command = [sys.executable, "-m", "demur", "sample", str(prompts), *given, "--n", "3"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=_as_in_a_terminal) as child:
            while len(pair.weak.requests) < 8:
                time.sleep(0.02)
            child.send_signal(signal.SIGINT)
            said = child.communicate()[1]
    assert child.returncode == 130
    assert re.search(r"demur: stopped; [1-9]\d* of 240 answers are kept, and the same command goes on", said)
    assert "Traceback" not in said
