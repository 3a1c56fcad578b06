"""A cluster's tables: every sample, the meanings of the training prompts' answers, and the preferences, as Parquet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import demur
from conftest import needed
from demur.config import load_run
from demur.labels import parquet_files
from demur.labels.parquet_files import write_tables
from demur.labels.preference_files import read_preferences
from demur.runs.run import Run, open_run
from pairs import running_pair, write_questions


def portions(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterable[Any]:
    """What is not `map` itself is taken for a cluster's workers."""
    return map(function, items)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A labelled run of 24 prompts, three samples of each by both models."""
    monkeypatch.setattr(parquet_files, "ROWS_AT_ONCE", 10)
    folder = str(tmp_path / "run")
    with running_pair() as pair:
        demur.sample(write_questions(tmp_path / "q.jsonl", 24), **pair.names, run=folder, n=3)
        demur.label(run=folder)
        with open_run(load_run(folder)) as found:
            yield found


def written(run: Run, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = needed("pyarrow.parquet").read_table(run.config.folder / "parquet" / name).to_pylist()
    return found


def test_a_run_on_one_machine_writes_none(run: Run) -> None:
    write_tables(run, read_preferences(run.config.preferences))
    assert not (run.config.folder / "parquet").exists()


def test_every_sample_of_both_models_is_a_row(run: Run) -> None:
    run.mapping = portions
    write_tables(run, read_preferences(run.config.preferences))
    rows = written(run, "samples.parquet")
    assert Counter(row["model"] for row in rows) == {"small": 72, "large": 72}
    assert {(row["id"], row["index"]) for row in rows if row["model"] == "large"} == {
        (prompt.id, index) for prompt in run.prompts for index in range(3)
    }
    first = next(row for row in rows if (row["model"], row["id"], row["index"]) == ("large", "sum-1", 0))
    assert (first["text"], first["finish_reason"], first["choices"]) == ("21", "stop", 3)  # 12 + 9
    assert list(first) == [
        *("id", "model", "index", "text", "logprobs", "finish_reason"),
        *("prompt_tokens", "completion_tokens", "choices"),
    ]


def test_they_are_written_a_portion_at_a_time(run: Run) -> None:
    """144 samples, ten at a time: fourteen groups of ten, and four."""
    run.mapping = portions
    write_tables(run, read_preferences(run.config.preferences))
    file = needed("pyarrow.parquet").ParquetFile(run.config.folder / "parquet" / "samples.parquet")
    groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert groups == [10] * 14 + [4]


def test_the_meanings_of_a_prompts_answers_are_numbered_as_they_come(run: Run) -> None:
    """The strong model says the same sum three times; the weak one guesses three numbers; both know the colours.

    Over both models the strong one's answers come first.
    """
    run.mapping = portions
    write_tables(run, read_preferences(run.config.preferences))
    rows = {row["id"]: row for row in written(run, "meanings.parquet")}
    assert rows.keys() == {prompt.id for prompt in run.train_prompts}
    for name, row in rows.items():
        weak = [0, 1, 2] if name.startswith("sum") else [0, 0, 0]
        assert (row["weak"], row["strong"]) == (weak, [0, 0, 0])
        assert row["joint"] == [0, 0, 0, *([1, 2, 3] if name.startswith("sum") else [0, 0, 0])]


def test_the_preferences_are_those_of_the_file(run: Run) -> None:
    run.mapping = portions
    preferences = read_preferences(run.config.preferences)
    write_tables(run, preferences)
    table = needed("pyarrow.parquet").read_table(run.config.folder / "parquet" / "preferences.parquet")
    assert table["id"].to_pylist() == [one.id for one in preferences]
    assert table["winner_model_b"].to_pylist() == [int(one.winner == "model_b") for one in preferences]
    types = {name: str(table.schema.field(name).type) for name in ("prompt", "target", "n", "entropy_a", "winner_tie")}
    assert types == {"prompt": "string", "target": "double", "n": "int64", "entropy_a": "double", "winner_tie": "int64"}


def test_labels_without_samples_have_no_meanings(run: Run) -> None:
    file = run.config.preferences.rename(run.config.folder / "battles.jsonl")
    demur.label(run=str(run.config.folder), source="preference", file=str(file))
    with open_run(load_run(str(run.config.folder))) as graded:
        graded.mapping = portions
        write_tables(graded, read_preferences(graded.config.preferences))
        names = {path.name for path in (graded.config.folder / "parquet").iterdir()}
    assert names == {"samples.parquet", "preferences.parquet"}
