"""`demur label --from`: a run's preferences from another source than entropy: grades, a judge, or a file of battles.

It reads a run's samples and gold answers, asks a judge about them, or reads a preference file, and writes the same
preferences.jsonl; the targets themselves are `demur.sources`'.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from demur.config import RunConfig, load_run
from demur.errors import InputError
from demur.grading import grade
from demur.judge import asked
from demur.local import endpoint_of
from demur.pair import PairSamples, stored_pair
from demur.pipeline import PREFERENCES, STORE
from demur.preferences import label_warnings, oriented, read_preferences, winner_of, write_preferences
from demur.prompts import load_prompts, split_prompts
from demur.records import FloatArray, Preference, Progress, Prompt, no_progress
from demur.sources import accuracy_targets, quality_gap_targets
from demur.store import Store
from demur.verdicts import JudgeItem, best_of, orders_of

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
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """In plain words, with warnings."""
        targets = np.array([row.target for row in self.preferences])
        shares = ", ".join(f"{who} {np.mean([r.winner == who for r in self.preferences]):.0%}" for who in _SIDES)
        counted = f"{len(targets)} preferences from {self.source}: {shares} (model_a is the weak model)"
        return [counted, *self.notes, *label_warnings(targets, 0.0)]


_SIDES = ("model_a", "model_b", "tie")


def label_from(
    source: str,
    *,
    run: str = "run",
    judge: str | None = None,
    max_usd: float | None = None,
    progress: Progress = no_progress,
) -> Supervision:
    """Write run/preferences.jsonl from ``source``: a name of GRADED, "judge", or a .jsonl or .parquet file of battles.

    Raises InputError for an unknown source, prompts without gold answers, no ``judge`` to ask, or a file without this
    pair; EndpointError and BudgetError of the judge.
    """
    config = load_run(run)
    if source == "judge":
        found = _judged(config, judge, max_usd, progress)
    elif source in GRADED:
        found = Supervision(source, tuple(_graded(config, source)))
    else:
        found = Supervision(source, tuple(_from_file(config, Path(source))))
    write_preferences(config.folder / PREFERENCES, found.preferences)
    return found


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
        _preference(prompt, samples, float(target), source, len(samples.weak[prompt.id]), weak, strong)
        for prompt, target in zip(prompts, GRADED[source](low, high), strict=True)
    ]


def _preference(
    prompt: Prompt, samples: PairSamples, target: float, kind: str, n: int, weak: str, strong: str
) -> Preference:
    return Preference(
        id=prompt.id,
        model_a=weak,
        model_b=strong,
        prompt=prompt.text,
        response_a=samples.weak[prompt.id][0].text,
        response_b=samples.strong[prompt.id][0].text,
        target=target,
        winner=winner_of(target),
        kind=kind,
        n=n,
    )


def _train_side(config: RunConfig, store: Store) -> tuple[list[Prompt], PairSamples]:
    train, _ = split_prompts(load_prompts(config.prompts), config.test_share)
    return train, stored_pair(config, train, store)


def _graded(config: RunConfig, source: str) -> list[Preference]:
    with Store(config.folder / STORE) as store:
        train, samples = _train_side(config, store)
    weak, strong = _names(config)
    return graded_preferences(train, samples, source, weak=weak, strong=strong)


def _names(config: RunConfig) -> tuple[str, str]:
    return endpoint_of(config.weak).model, endpoint_of(config.strong).model


def _judged(config: RunConfig, judge: str | None, max_usd: float | None, progress: Progress) -> Supervision:
    if judge is None:
        raise InputError("a judge is needed: --judge MODEL@BASE_URL, or a catalogue name (demur models)")
    with Store(config.folder / STORE) as store:
        train, samples = _train_side(config, store)
        items = compared(train, samples)
        replies = asked(items, judge, store, task="answers to questions", max_usd=max_usd, progress=progress)
    weak, strong = _names(config)
    found = judged_preferences(train, samples, items, replies, judge, weak=weak, strong=strong)
    if judge in (config.strong.model, f"{config.strong.model}@{config.strong.base_url}"):
        return replace(found, notes=(*found.notes, f"the judge is {strong} itself: models favour their own answers"))
    return found


def compared(prompts: Sequence[Prompt], samples: PairSamples) -> list[JudgeItem]:
    """Both models' first answer to each prompt, for a judge; with the gold answer where there is one."""
    return [
        JudgeItem(
            question=prompt.text,
            reference=prompt.answers[0] if prompt.answers else "",
            responses={"weak": samples.weak[prompt.id][0].text, "strong": samples.strong[prompt.id][0].text},
        )
        for prompt in prompts
    ]


def judged_preferences(
    prompts: Sequence[Prompt],
    samples: PairSamples,
    items: Sequence[JudgeItem],
    replies: Sequence[str | None],
    judge: str,
    *,
    weak: str,
    strong: str,
) -> Supervision:
    """A preference a prompt from a judge's replies: 1 where the strong answer alone is best, 0 the weak, .5 both.

    Replies not understood are left out and counted; raises InputError when none is understood.
    """
    targets = {frozenset({"strong"}): 1.0, frozenset({"weak"}): 0.0, frozenset({"weak", "strong"}): 0.5}
    rows = []
    for prompt, item, order, reply in zip(prompts, items, orders_of(items), replies, strict=True):
        best = best_of(item, order, reply)
        if best is not None:
            rows.append(_preference(prompt, samples, targets[best], "judge", 1, weak, strong))
    if not rows:
        raise InputError(f"{judge}: none of {len(replies)} replies names an answer; a larger model judges better")
    same, lost = sum(reply is None for reply in replies), len(replies) - len(rows)
    note = f"{judge} was asked {len(replies) - same} times; {same} pairs were identical, {lost} replies not understood"
    return Supervision("judge", tuple(rows), (note,))


def _from_file(config: RunConfig, path: Path) -> list[Preference]:
    if path.suffix not in (".jsonl", ".parquet"):
        known = ", ".join((*GRADED, "judge"))
        raise InputError(f"{path}: no source is called that; known: {known}, or a .jsonl or .parquet file")
    found = read_preferences(path)
    weak, strong = _names(config)
    rows = oriented(found, weak=weak, strong=strong)
    if not rows:
        pairs = sorted({f"{row.model_a} / {row.model_b}" for row in found})[:3]
        raise InputError(f"{path}: no row compares {weak} and {strong}; it holds {', '.join(pairs) or 'nothing'}")
    return rows
