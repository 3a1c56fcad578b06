"""Writes the samples, meanings and preferences of a run on a cluster as Parquet, a portion at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from demur.errors import require
from demur.files import replace_whole
from demur.labels.pair_meanings import pair_meanings
from demur.labels.preference_files import as_row
from demur.mapping import portions_of
from demur.meaning.meanings import Meanings
from demur.records import Preference, Prompt
from demur.runs.run import Run

FOLDER = "parquet"  # in a run's folder
ROWS_AT_ONCE = 4096


def write_tables(run: Run, preferences: Sequence[Preference]) -> None:
    """samples.parquet, meanings.parquet and preferences.parquet, in the folder ``parquet`` of the run's.

    Only of a run on a cluster, whose data are for other systems as well. A row of meanings.parquet is a training
    prompt: the cluster of each answer, by model and over both, the strong model's answers first.
    """
    if run.mapping is map:
        return
    arrow = require("pyarrow", extra="ray", purpose="writing parquet")
    floats, whole, text = arrow.float64(), arrow.int64(), arrow.string()
    clusters = arrow.list_(whole)
    folder = run.config.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    sample = {"id": text, "model": text, "index": whole, "text": text, "logprobs": arrow.list_(floats)}
    sample |= {"finish_reason": text, "prompt_tokens": whole, "completion_tokens": whole, "choices": whole}
    _write(folder / "samples.parquet", sample, _sample_rows(run))
    if run.config.label.needs("samples"):
        meaning = {"id": text, "weak": clusters, "strong": clusters, "joint": clusters}
        _write(folder / "meanings.parquet", meaning, _meaning_rows(run))
    kinds = {str: text, float: floats, int: whole}
    rows = list(as_row(preferences[0]))
    known = {name: _kind_of(name, kinds) for name in rows}
    _write(folder / "preferences.parquet", known, map(as_row, preferences))


def _kind_of(name: str, kinds: dict[type, Any]) -> Any:
    """A column's type, by the record's annotations: a text, a number, a count; winners are 0 or 1."""
    if name.startswith("winner_"):
        return kinds[int]
    annotated = str(Preference.__annotations__[name])
    return kinds[float if "float" in annotated else int if "int" in annotated else str]


def _write(path: Path, columns: dict[str, Any], rows: Iterable[dict[str, Any]]) -> None:
    arrow, parquet = (require(name, extra="ray", purpose="writing parquet") for name in ("pyarrow", "pyarrow.parquet"))
    schema = arrow.schema(list(columns.items()))
    with replace_whole(path) as part, parquet.ParquetWriter(part, schema) as file:
        for some in _some(rows):
            file.write_table(arrow.Table.from_pylist(some, schema))


def _some(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    held = []
    for row in rows:
        held.append(row)
        if len(held) == ROWS_AT_ONCE:
            yield held
            held = []
    yield held


def _sample_rows(run: Run) -> Iterator[dict[str, Any]]:
    for prompt in run.prompts:
        for endpoint, side in zip(run.pair.all, run.samples.all, strict=True):
            for one in side[prompt.id]:
                yield {"id": prompt.id, "model": endpoint.model, **asdict(one)}


def _meaning_rows(run: Run) -> Iterator[dict[str, Any]]:
    meanings = run.meanings.stating(run.stated).quiet()
    for prompts in portions_of(run.complete(run.train_prompts)):
        yield from _of_portion(run, prompts, meanings)


def _of_portion(run: Run, prompts: Sequence[Prompt], meanings: Meanings) -> Iterator[dict[str, Any]]:
    weak, strong = ([side[prompt.id] for prompt in prompts] for side in (run.samples.weak, run.samples.strong))
    found = pair_meanings(prompts, weak, strong, meanings, joint=True)
    for prompt, w, s, both in zip(prompts, found.weak, found.strong, found.joint, strict=True):
        yield {"id": prompt.id, "weak": w.tolist(), "strong": s.tolist(), "joint": both.tolist()}
