"""An open run reads everything once; what it was paid for and decided stays in its folder."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import demur
from demur.meaning import meanings as kept
from demur.meaning.clusters import meaning_clusters
from demur.meaning.meanings import Meanings
from demur.models.encoder import LetterEncoder
from demur.prompts import load_prompts
from demur.records import Entailment, FloatArray, Prompt, Sample
from demur.routing import prompt_router
from demur.runs import run as opened
from demur.store import Store
from pairs import Pair, running_pair, write_questions


@pytest.fixture(autouse=True)
def letters(monkeypatch: pytest.MonkeyPatch) -> None:
    """No encoder is fetched: prompts are embedded by their letters."""
    monkeypatch.setattr(opened, "load_encoder", lambda spec, progress: LetterEncoder())
    monkeypatch.setattr(prompt_router, "load_encoder", lambda spec: LetterEncoder())
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
        store._db.set_trace_callback(queries.append)
        found = store.samples_of("m", [*(f"p{i}" for i in range(1200)), "none"], "s")
        assert len(queries) == 1
        assert len(found) == 1201
        assert found["p7"] == [sample]
        assert found["none"] == []


def test_every_stage_reads_each_thing_once(tmp_path: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[str] = Counter()
    clustered: Counter[tuple[str, ...]] = Counter()
    query = Store.samples_of

    def count_read(spec: str, **given: Any) -> list[Prompt]:
        counts["reads"] += 1
        return load_prompts(spec, **given)

    def count_clusters(questions: Sequence[str], answers: Sequence[Sequence[str]], **given: object) -> object:
        clustered.update((question, *texts) for question, texts in zip(questions, answers, strict=True))
        return meaning_clusters(questions, answers, **given)  # type: ignore[arg-type]

    def count_query(store: Store, *given: object) -> object:
        counts["queries"] += 1
        return query(store, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(opened, "load_prompts", count_read)
    monkeypatch.setattr(kept, "meaning_clusters", count_clusters)
    monkeypatch.setattr(Store, "samples_of", count_query)
    run = str(tmp_path / "run")
    commands = (
        lambda: demur.sample(write_questions(tmp_path / "p.jsonl"), **pair.names, run=run, n=4),
        lambda: demur.label(run=run, entailment="exact"),
        lambda: demur.train(run=run, methods="logistic"),
        lambda: demur.evaluate(run=run),
        lambda: demur.label(run=run, kind="margin", entailment="exact"),
    )
    for command in commands:
        counts.clear()
        command()
        assert counts == {"reads": 1, "queries": 2}  # a query per model
    assert set(clustered.values()) == {1}
