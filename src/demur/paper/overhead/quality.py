"""APGR of the same architectures where answers are graded: on a run's test prompts, or held out on stored outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.evaluate_run import load_served
from demur.evaluation.results import TestSet, first_quality, grade_test_set, sample_quality
from demur.gate.cascade.answer_scorer import ALPHA
from demur.gate.quality.extra_samples import answer_tokens
from demur.gate.quality.two_stages import staged_curve, staged_scores
from demur.gate.router import drafts_of
from demur.labels.preference_files import read_preferences
from demur.measure.curve import cost_quality_curve
from demur.methods import BY_NAME, LogisticRegression
from demur.paper.measures import score_held_out
from demur.paper.overhead.architectures import CASCADE, POOLS, gate_name
from demur.paper.sources.trainings import training
from demur.paper.systems import Scorer, by_method
from demur.prompts.grading import grade
from demur.records import Encoder, FloatArray, Preference, Progress, Prompt, no_progress
from demur.runs.run import Run, open_run

STORED_PAIR, STORED_SOURCE = "nq-open", "entropy margin"
SCORERS: dict[str, Scorer] = {name: partial(by_method, kind) for name, kind in {**BY_NAME, **POOLS}.items()}
_cascade: Scorer = partial(by_method, partial(LogisticRegression, ALPHA))


@dataclass(frozen=True, slots=True)
class Apgr:
    """Area with its 95 % bootstrap interval over prompts."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Qualities:
    """What the architectures reach on graded prompts."""

    about: str  # which prompts, which models
    apgr: Mapping[str, Apgr]  # by architecture
    usd_of_a_sample: float | None = None  # of the weak model, mean; None: its price is unknown


def run_quality(folder: str, progress: Progress = no_progress, allow_endpoints: Sequence[str] = ()) -> Qualities:
    """Train on a run's preferences and measure on its graded test prompts. Raises InputError without any.

    ``allow_endpoints``: as `demur.pipeline.evaluate` takes them.
    """
    with open_run(load_run(folder), allow_endpoints=allow_endpoints, progress=progress) as run:
        tests = run.complete(run.held_back)
        if not tests:
            raise InputError(f"{folder}: no test prompt has gold answers; quality cannot be measured, leave out --run")
        price, weak = run.pair.weak.price, list(run.samples.weak.values())
        test = grade_test_set(tests, run.samples.weak, run.samples.strong, (price, run.pair.strong.price), grade)
        preferences = read_preferences(run.config.preferences)
        y, queries = np.array([row.target for row in preferences]), run.encoder.encode([p.text for p in tests])
        X, quality = run.encoder.encode([row.prompt for row in preferences]), (test.weak_quality, test.strong_quality)
        found = {}
        for done, (name, score) in enumerate(SCORERS.items()):
            progress("measuring quality", done, len(SCORERS))
            found[name] = _apgr(score(X, y, queries), quality)
        progress("measuring quality", len(SCORERS), len(SCORERS))
        found |= _cascade_quality(run, preferences, y) | _gate_quality(run, tests, test)
        about = (
            f"{folder}: {len(tests)} test prompts, {preferences[0].model_b} (strong) / {preferences[0].model_a} (weak)"
        )
        return Qualities(about, found, None if price is None else price.usd(*answer_tokens(weak)))


def _cascade_quality(run: Run, preferences: list[Preference], y: FloatArray) -> dict[str, Apgr]:
    """Of a scorer that reads the weak model's first answer beside the prompt; none where labels came without texts."""
    if not all(row.response_a for row in preferences):
        return {}
    tests, weak = run.complete(run.held_back), run.samples.weak
    X = run.encoder.encode([f"{row.prompt} {row.response_a}" for row in preferences])
    queries = run.encoder.encode([f"{prompt.text} {weak[prompt.id][0].text}" for prompt in tests])
    quality = first_quality(tests, weak), first_quality(tests, run.samples.strong)
    return {CASCADE: _apgr(_cascade(X, y, queries), quality)}


def _gate_quality(run: Run, tests: Sequence[Prompt], test: TestSet) -> dict[str, Apgr]:
    """Of the run's own router and gate with at most so many extra samples; none without a gate, or for a cascade."""
    served = load_served(run, run.own.classifier(run.config.router.served))
    if served.gate is None or served.gate.scorer is not None:
        return {}
    texts, samples = [prompt.text for prompt in tests], [test.weak[prompt.id] for prompt in tests]
    drafts = drafts_of(served, texts, samples, run.meanings)
    staged = staged_scores(served.gate, served.prompt_router.look_at(texts).scores, drafts)
    right = np.array([sample_quality(prompt, test.weak[prompt.id], test.grader) for prompt in tests])
    drafted = np.take_along_axis(right, drafts.orders[:, :, 0], axis=1)
    curves = {
        gate_name(extra): staged_curve(staged.at_most(extra), drafted, test.strong_quality)
        for extra in range(len(staged.steps))
    }
    return {name: Apgr(curve.apgr, *curve.interval("apgr")) for name, curve in curves.items()}


def stored_quality(folder: str, encoder: Encoder, progress: Progress = no_progress) -> Qualities:
    """On the NQ-Open pair of a folder of outcomes, held out by folds. Raises InputError."""
    found = training(Path(folder), STORED_PAIR)
    X, y = encoder.encode(found.questions), found.targets[STORED_SOURCE]
    measured = {}
    for done, (name, score) in enumerate(SCORERS.items()):
        progress("measuring quality", done, len(SCORERS))
        measured[name] = _apgr(score_held_out(score, X, y), found.quality)
    progress("measuring quality", len(SCORERS), len(SCORERS))
    return Qualities(f"{found.name}: {len(X)} prompts, held out; labels: {STORED_SOURCE}", measured)


def _apgr(scores: FloatArray, quality: tuple[FloatArray, FloatArray]) -> Apgr:
    curve = cost_quality_curve(scores, *quality)
    return Apgr(curve.apgr, *curve.interval("apgr"))
