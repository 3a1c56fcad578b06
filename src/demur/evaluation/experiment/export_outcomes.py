"""Writes a run as a folder of stored outcomes, which `demur reproduce --from` reads; docs/outcomes.md has its fields.

``outcomes/NAME.jsonl.gz``: a test set with both models' graded answers. ``samples/train.jsonl.gz``: the training
prompts with what was measured of both models' samples. ``outcomes.json``: which models and sets these are.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.evaluate_run import load_served
from demur.evaluation.experiment.test_sets import JUDGE, GradedSet, Side, measure_sets
from demur.files import check_output_folder, write_whole
from demur.gate.quality.two_stages import staged_scores
from demur.gate.router import Router, drafts_of
from demur.labels.beliefs.unknown import UNKNOWN_FILE, read_unknown
from demur.labels.pair_meanings import pair_meanings
from demur.labels.preference_files import read_preferences
from demur.labels.scores.uncertainty import agreement, has_tokens, uncertainty
from demur.prompts.grading import grade, quality
from demur.records import IntArray, Progress, Prompt, Sample, no_progress
from demur.runs.run import Run, open_run

DESCRIPTION = "outcomes.json"
TRAIN = "samples/train"
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    folder: str
    sets: Mapping[str, int]  # test set -> prompts
    train: int  # training prompts
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        shown = ", ".join(f"{name} ({n:,} prompts)" for name, n in self.sets.items()) or "no test set"
        return (*self.notes, f"wrote {self.folder}: {shown}, and {self.train:,} training prompts")


def export_outcomes(
    *,
    run: str = "run",
    to: str = "",
    force: bool = False,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Exported:
    """Write a run's outcomes into the folder ``to`` (its own ``paper`` without one); nothing is asked of the models.

    ``allow_endpoints``: as `demur.pipeline.evaluate` takes them. Raises InputError where answers are missing, and
    where ``to`` holds files, unless ``force``.
    """
    if to:
        check_output_folder(Path(to))
    config = load_run(run)
    if to and not force and any(Path(to).glob("*")):
        raise InputError(f"{to} holds files; give an empty folder with --to, or --force to write into it")
    with open_run(config, allow_endpoints=allow_endpoints, progress=progress) as opened:
        return write_outcomes(opened, measure_sets(opened, ask=False), Path(to) if to else config.outcomes)


def write_outcomes(run: Run, sets: Sequence[GradedSet], folder: Path) -> Exported:
    """The folder of an open run with these graded test sets."""
    train = run.complete(run.train_prompts)
    if not run.config.label.needs("samples"):
        raise InputError(f"{run.config.run}: its labels are not of samples; `demur label --from entropy` makes some")
    served = load_served(run, run.own.classifier(run.config.router.served))
    for one in sets:
        _write(folder / f"outcomes/{file_name(one.name)}.jsonl.gz", _set_rows(one, served, run))
    _write(folder / f"{TRAIN}.jsonl.gz", _train_rows(run, train))
    described = {
        "weak": run.pair.weak.model,
        "strong": run.pair.strong.model,
        "sets": [file_name(one.name) for one in sets],
        "graders": {file_name(one.name): one.grader for one in sets},
        "notes": [note for one in sets for note in one.notes],
    }
    write_whole(folder / DESCRIPTION, json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    notes = tuple(note for one in sets for note in one.notes)
    return Exported(str(folder), {one.name: len(one.prompts) for one in sets}, len(train), notes)


def file_name(name: str) -> str:
    """A set's name as its file has it: mt-bench is mt_bench."""
    return name.replace("-", "_")


def _write(path: Path, rows: Rows) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _set_rows(one: GradedSet, served: Router, run: Run) -> Rows:
    """A row per test prompt."""
    texts = [prompt.text for prompt in one.prompts]
    looked = served.prompt_router.look_at(texts)
    gated = _gate_scores(served, texts, one.weak, looked.scores, run) if served.gate is not None else None
    for i, prompt in enumerate(one.prompts):
        row: dict[str, Any] = {"id": prompt.id}
        if one.grader == JUDGE:
            row |= {"turns": [prompt.text, *prompt.later]} | _by_model(one, "score", i)
            row["response"] = {
                side.model: [turn[0].text for turn in side.answers[i]] for side in (one.weak, one.strong)
            }
        else:
            row |= {"question": prompt.text, "gold": list(prompt.answers)} | _by_model(one, "correct", i)
            row["response"] = {side.model: side.answers[i][0][0].text for side in (one.weak, one.strong)}
        usd = {side.model: float(side.usd[i]) for side in (one.weak, one.strong) if side.usd is not None}
        row |= {"usd": usd} if usd else {}
        row["served"] = {"score": float(looked.scores[i]), "unknown": looked.untold[i]}
        row["served"] |= {} if gated is None else {"gate": gated[i]}
        yield row


def _by_model(one: GradedSet, field: str, i: int) -> dict[str, Any]:
    sides = (one.weak, one.strong)
    shown = {side.model: [float(value) for value in side.quality[i]] for side in sides}
    return {field: shown if one.grader == JUDGE else {model: values[0] for model, values in shown.items()}}


def _gate_scores(served: Router, texts: list[str], weak: Side, scores: Any, run: Run) -> list[float]:
    """Scores after the gate has read the weak model's first answer, and its others where there are any."""
    assert served.gate is not None
    samples = [turns[0] for turns in weak.answers]
    drafts = drafts_of(served, texts, samples, run.meanings)
    staged = staged_scores(served.gate, scores, drafts).at_most(min(served.gate.samples, min(map(len, samples)) - 1))
    return [float(score) for score in staged.final[:, 0]]


def _train_rows(run: Run, prompts: Sequence[Prompt]) -> Rows:
    """A row per training prompt: what was measured of both models' samples, and the run's own label."""
    sides = [[side[prompt.id] for prompt in prompts] for side in (run.samples.weak, run.samples.strong)]
    found = pair_meanings(prompts, sides[0], sides[1], run.meanings, joint=True)
    labels = {row.prompt: row.target for row in read_preferences(run.config.preferences)}
    unknown = {one.prompt: one.reason for one in read_unknown(run.config.folder / UNKNOWN_FILE)}
    names = (run.pair.weak.model, run.pair.strong.model)
    tokens = all(map(has_tokens, sides))
    for i, prompt in enumerate(prompts):
        ids = (found.weak[i], found.strong[i])
        joint, count = found.joint[i], len(sides[1][i])
        yield {
            "id": prompt.id,
            "question": prompt.text,
            "models": {
                name: _side_record(prompt, side[i], own, tokens=tokens)
                for name, side, own in zip(names, sides, ids, strict=True)
            },
            "gain": agreement(joint[count:], joint[:count]),
            "label": labels.get(prompt.text),
            "unknown": unknown.get(prompt.text, ""),
        }


def _side_record(prompt: Prompt, samples: Sequence[Sample], ids: IntArray, *, tokens: bool) -> dict[str, Any]:
    """One model's samples of a prompt, in numbers."""
    sizes = np.unique(ids, return_inverse=True, return_counts=True)
    row: dict[str, Any] = {"class_size": sizes[2][sizes[1]].tolist(), "response": samples[0].text}
    if prompt.answers:
        row["correct"] = [quality(grade, prompt, one.text) for one in samples]
    if tokens:
        logprobs = [one.logprobs or () for one in samples]
        row["nll_sum"] = [-float(np.sum(each)) for each in logprobs]
        row["eq2_raw"] = uncertainty(ids, logprobs, "paper")
        row["eq2_length_normalised"] = uncertainty(ids, logprobs, "paper_length_normalised")
    return row
