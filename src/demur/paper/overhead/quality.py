"""APGR of the same architectures where answers are graded: on a run's test prompts, or held out on stored outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.evaluate_run import load_served
from demur.evaluation.results import TestSet, grade_test_set, sample_quality
from demur.gate.quality.extra_samples import answer_tokens
from demur.gate.quality.two_stages import staged_curve, staged_scores
from demur.gate.router import Router, drafts_of
from demur.gate.train import train_gate
from demur.labels.beliefs.unknown import UNKNOWN_FILE, read_unknown
from demur.labels.preference_files import read_preferences
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.methods import BY_NAME
from demur.methods.cascade import Cascade
from demur.models.images.joined_encoder import embed
from demur.paper.measures import score_held_out
from demur.paper.outcomes import data_of
from demur.paper.overhead.architectures import CASCADE, EXTRA_SAMPLES, POOLS, gate_name
from demur.paper.sources.own_pair import own_pair
from demur.paper.sources.trainings import Training, training
from demur.paper.systems import Scorer, by_method
from demur.prompts.grading import grade
from demur.records import Encoder, FloatArray, Preference, Progress, no_progress
from demur.routing.train import learned_besides, train_routers
from demur.runs.run import Run, open_run

STORED_PAIR, STORED_SOURCE = "nq-open", "entropy margin"
SCORERS: dict[str, Scorer] = {name: partial(by_method, kind) for name, kind in {**BY_NAME, **POOLS}.items()}
GATES = tuple(map(gate_name, range(EXTRA_SAMPLES + 1)))
NOT_STORED = "reads samples: measured with --run"


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
    lacking: Mapping[str, str] = field(default_factory=dict)  # the other architectures, and why


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
        besides = learned_besides(read_unknown(run.config.folder / UNKNOWN_FILE), [row.prompt for row in preferences])
        y = np.array([*(row.target for row in preferences), *besides.values()])
        X = embed(run.encoder, [*(row.prompt for row in preferences), *besides])
        queries, quality = embed(run.encoder, [p.text for p in tests]), (test.weak_quality, test.strong_quality)
        found = {}
        for done, (name, score) in enumerate(SCORERS.items()):
            progress("measuring quality", done, len(SCORERS))
            found[name] = _apgr(score(X, y, queries), quality)
        progress("measuring quality", len(SCORERS), len(SCORERS))
        read, lacking = _with_answers(run, preferences, test)
        about = (
            f"{folder}: {len(tests)} test prompts, {preferences[0].model_b} (strong) / {preferences[0].model_a} (weak)"
        )
        usd = None if price is None else price.usd(*answer_tokens(weak))
        return Qualities(about, found | read, usd, lacking)


def _with_answers(run: Run, preferences: Sequence[Preference], test: TestSet) -> tuple[dict[str, Apgr], dict[str, str]]:
    """Of what reads the weak model's answer, trained as `demur train` does: the gate on the run's router, by the most
    extra samples that it may request, and the cascade; and why one has none."""
    router = load_served(run, run.own.classifier(run.config.router.served)).prompt_router
    unknown = read_unknown(run.config.folder / UNKNOWN_FILE)
    trained = train_routers(preferences, run.encoder, ["kernel", CASCADE], unknown=unknown, progress=run.progress)
    first = trained["kernel"] if isinstance(router.method, Cascade) else router
    found, lacking = dict[str, Apgr](), dict[str, str]()
    for names, one in ((GATES, first), ((CASCADE,), trained[CASCADE])):
        known = {row.prompt for row in one.training}
        prompts = [prompt for prompt in run.complete(run.train_prompts) if prompt.text in known]
        gated = train_gate(one, prompts, run.samples, run.meanings, extra=EXTRA_SAMPLES, stated=run.stated)
        curves = _curves_by_step(run, gated, test)
        found |= {name: Apgr(curve.apgr, *curve.interval("apgr")) for name, curve in zip(names, curves, strict=False)}
        why = f"at most {len(curves) - 1} extra of the run's samples" if curves else gated.about
        lacking |= dict.fromkeys(names[len(curves) :], why)
    return found, lacking


def _curves_by_step(run: Run, router: Router, test: TestSet) -> list[CostQualityCurve]:
    """With at most 0, 1, ... extra samples; none where the router has no gate."""
    if router.gate is None:
        return []
    texts, samples = [prompt.text for prompt in test.prompts], [test.weak[prompt.id] for prompt in test.prompts]
    drafts = drafts_of(router, texts, samples, run.meanings)
    staged = staged_scores(router.gate, router.prompt_router.look_at(texts).scores, drafts)
    right = np.array([sample_quality(prompt, test.weak[prompt.id], test.grader) for prompt in test.prompts])
    drafted = np.take_along_axis(right, drafts.orders[:, :, 0], axis=1)
    return [staged_curve(staged.at_most(i), drafted, test.strong_quality) for i in range(len(staged.steps))]


def stored_quality(folder: str, encoder: Encoder, progress: Progress = no_progress) -> Qualities:
    """On the pair of a folder of outcomes: a run's own, or NQ-Open's. Raises InputError."""
    data = data_of(Path(folder))
    pair = own_pair(Path(folder), data) if data.own else training(Path(folder), STORED_PAIR)
    return held_out_quality(pair, encoder, progress)


def held_out_quality(found: Training, encoder: Encoder, progress: Progress = no_progress) -> Qualities:
    """On the prompts that a pair's labels are of, held out by folds. Raises InputError for prompts without grades."""
    if np.isnan(found.quality[0]).any():
        raise InputError(f"{found.name}: a training prompt has no gold answers to measure by")
    X, y = encoder.encode(found.questions), found.targets[STORED_SOURCE]
    measured = {}
    for done, (name, score) in enumerate(SCORERS.items()):
        progress("measuring quality", done, len(SCORERS))
        measured[name] = _apgr(score_held_out(score, X, y), found.quality)
    progress("measuring quality", len(SCORERS), len(SCORERS))
    about = f"{found.name}: {len(X)} prompts, held out; labels: {STORED_SOURCE}"
    return Qualities(about, measured, lacking=dict.fromkeys((CASCADE, *GATES), NOT_STORED))


def _apgr(scores: FloatArray, quality: tuple[FloatArray, FloatArray]) -> Apgr:
    curve = cost_quality_curve(scores, *quality)
    return Apgr(curve.apgr, *curve.interval("apgr"))
