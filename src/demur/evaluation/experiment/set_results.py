"""What a run's separate test sets came to: both models' quality on each, and the served router at its threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.evaluation.evaluate_run import load_served
from demur.evaluation.experiment.export_outcomes import write_outcomes
from demur.evaluation.experiment.test_sets import JUDGE, GradedSet, Side, measure_sets
from demur.evaluation.report.headline import headline
from demur.evaluation.report.headline_record import Headline
from demur.gate.router import Router
from demur.models.local import parse_model
from demur.records import count_of
from demur.runs.run import Run
from demur.statistics import interval

Interval = tuple[float, float, float]  # a mean with its 95 % bootstrap interval over prompts: mean, low, high


@dataclass(frozen=True, slots=True)
class SetResult:
    """One test set. Quality is in [0, 1], by a judge a rating from 1 to 10."""

    name: str
    grader: str
    prompts: int
    weak: tuple[str, Interval]  # the model, and its quality
    strong: tuple[str, Interval]
    headline: Headline  # the served router on the set
    notes: tuple[str, ...]  # what was left out or cut, and why
    judge: str = ""  # its name, where one graded

    @property
    def lines(self) -> tuple[str, ...]:
        """The set as lines of text."""
        scale = f"rated 1 to 10 by the judge {self.judge}" if self.grader == JUDGE else f"graded by {self.grader}"
        sides = ", ".join(f"{model} {_with_interval(quality)}" for model, quality in (self.weak, self.strong))
        notes = (f"- {note}" for note in self.notes)
        return (
            f"{self.name}: {count_of(self.prompts, 'test prompt')}, {scale}: {sides}",
            *self.headline.block().lines,
            *notes,
        )


def _with_interval(quality: Interval) -> str:
    mean, low, high = quality
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def measure_test_sets(run: Run) -> tuple[SetResult, ...]:
    """Answer and grade the run's test sets, and write them for `demur reproduce`; empty where it names none."""
    sets = measure_sets(run)
    if not sets:
        return ()
    write_outcomes(run, sets, run.config.outcomes)
    served = load_served(run, run.own.classifier(run.config.router.served))
    judge = run.config.test.judge
    return tuple(set_result(one, served, judge=parse_model(judge).model if judge else "") for one in sets)


def set_result(one: GradedSet, served: Router, *, judge: str = "") -> SetResult:
    """A graded set, and what the router does on it."""
    texts = [prompt.text for prompt in one.prompts]
    weak, strong = (side.quality.mean(axis=1) for side in (one.weak, one.strong))
    in_line = headline(
        *(served, served.prompt_router.look_at(texts), texts),
        on=f"test prompts of {one.name}",
        quality=(weak, strong),
        usd=(one.weak.usd, one.strong.usd),
    )
    return SetResult(one.name, one.grader, len(texts), _side(one.weak), _side(one.strong), in_line, one.notes, judge)


def _side(side: Side) -> tuple[str, Interval]:
    quality = side.quality.mean(axis=1)
    return side.model, (float(np.mean(quality)), *interval(quality))
