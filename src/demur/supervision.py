"""`demur label --from`: a run's preferences from another source than entropy: graded correctness, or a file of battles.

It reads a run's samples and gold answers, or a preference file, and writes the same preferences.jsonl; the targets
themselves are `demur.sources`'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from demur.config import RunConfig, load_run
from demur.errors import InputError
from demur.grading import grade
from demur.local import endpoint_of
from demur.pair import PairSamples, stored_pair
from demur.pipeline import PREFERENCES, STORE
from demur.preferences import label_warnings, oriented, read_preferences, winner_of, write_preferences
from demur.prompts import load_prompts, split_prompts
from demur.records import FloatArray, Preference, Prompt
from demur.sources import accuracy_targets, quality_gap_targets
from demur.store import Store

GRADED: dict[str, Callable[[FloatArray, FloatArray], FloatArray]] = {
    "accuracy": accuracy_targets,
    "accuracy-soft": partial(accuracy_targets, soft=True),
    "quality-gap-det": partial(quality_gap_targets, variant="det"),
    "quality-gap-prob": partial(quality_gap_targets, variant="prob"),
    "quality-gap-trans": partial(quality_gap_targets, variant="trans"),
}


@dataclass(frozen=True, slots=True)
class Supervision:
    """What was labelled, from where."""

    source: str
    preferences: tuple[Preference, ...]

    @property
    def lines(self) -> list[str]:
        """In plain words, with warnings."""
        targets = np.array([row.target for row in self.preferences])
        shares = ", ".join(f"{who} {np.mean([r.winner == who for r in self.preferences]):.0%}" for who in _SIDES)
        counted = f"{len(targets)} preferences from {self.source}: {shares} (model_a is the weak model)"
        return [counted, *label_warnings(targets, 0.0)]


_SIDES = ("model_a", "model_b", "tie")


def label_from(source: str, *, run: str = "run") -> Supervision:
    """Write run/preferences.jsonl from ``source``: a name of GRADED, or a .jsonl or .parquet file of battles.

    Raises InputError for an unknown source, prompts without gold answers, or a file without this pair.
    """
    config = load_run(run)
    rows = _graded(config, source) if source in GRADED else _from_file(config, Path(source))
    write_preferences(config.folder / PREFERENCES, rows)
    return Supervision(source, tuple(rows))


def graded_preferences(
    prompts: Sequence[Prompt], samples: PairSamples, source: str, *, weak: str, strong: str
) -> list[Preference]:
    """A preference a prompt from graded samples of both models. Raises InputError for prompts without gold answers."""
    lacking = [prompt.id for prompt in prompts if not prompt.answers]
    if lacking:
        raise InputError(f"{len(lacking)} prompts have no gold answers, such as {lacking[0]}; {source} needs them")
    low, high = (
        np.array([[grade(prompt, one.text) for one in side[prompt.id]] for prompt in prompts])
        for side in (samples.weak, samples.strong)
    )
    return [
        Preference(
            id=prompt.id,
            model_a=weak,
            model_b=strong,
            prompt=prompt.text,
            response_a=samples.weak[prompt.id][0].text,
            response_b=samples.strong[prompt.id][0].text,
            target=float(target),
            winner=winner_of(float(target)),
            kind=source,
            n=len(samples.weak[prompt.id]),
        )
        for prompt, target in zip(prompts, GRADED[source](low, high), strict=True)
    ]


def _graded(config: RunConfig, source: str) -> list[Preference]:
    train, _ = split_prompts(load_prompts(config.prompts), config.test_share)
    with Store(config.folder / STORE) as store:
        samples = stored_pair(config, train, store)
    weak, strong = (endpoint_of(side).model for side in (config.weak, config.strong))
    return graded_preferences(train, samples, source, weak=weak, strong=strong)


def _from_file(config: RunConfig, path: Path) -> list[Preference]:
    if path.suffix not in (".jsonl", ".parquet"):
        raise InputError(f"{path}: no source is called that; known: {', '.join(GRADED)}, or a .jsonl or .parquet file")
    found = read_preferences(path)
    weak, strong = (endpoint_of(side).model for side in (config.weak, config.strong))
    rows = oriented(found, weak=weak, strong=strong)
    if not rows:
        pairs = sorted({f"{row.model_a} / {row.model_b}" for row in found})[:3]
        raise InputError(f"{path}: no row compares {weak} and {strong}; it holds {', '.join(pairs) or 'nothing'}")
    return rows
