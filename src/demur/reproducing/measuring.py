"""Rows measured: curves of every system on every benchmark, in-domain folds, learning curves, pools."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from demur.cascade import AnswerScorer, cascade_curve
from demur.curves import CostQualityCurve, Protocol, cost_quality_curve
from demur.records import Encoder, FloatArray, Progress, no_progress
from demur.reproducing.outcomes import Benchmark, Training, judged_answers, preferences, sampled_pair
from demur.reproducing.systems import ROUTERS, Scorer, System

RESAMPLES = 300
FOLDS = 5
SIZES = (50, 100, 200, 400, 800, 1600, 2400, 3600)
SEEDS = 5


@dataclass
class Laboratory:
    """A folder of data and an encoder; what was computed once is kept for the parts that need it again."""

    folder: Path
    encoder: Encoder
    progress: Progress = no_progress
    _kept: dict[object, FloatArray] = field(default_factory=dict)

    def supervision(self, source: str) -> tuple[list[str], FloatArray]:
        """Questions and targets of a source."""
        if source == "preference":
            return preferences(self.folder)
        found = sampled_pair(self.folder)
        return found.questions, found.targets[source]

    def scores(self, system: System, asked: Benchmark) -> FloatArray:
        """(n,) score of a system on a benchmark's questions; fitted once a system and benchmark."""
        key = (system.name, system.source, asked.name, len(asked.questions))
        if key not in self._kept:
            questions, y = self.supervision(system.source)
            X, queries = self.encoder.encode(questions), self.encoder.encode(asked.questions)
            self._kept[key] = system.score(X, y, queries)
        return self._kept[key]

    def curve(self, system: System, asked: Benchmark, protocol: Protocol = "full") -> CostQualityCurve:
        """The system's curve on a benchmark, with costs where they are known."""
        weak, strong = asked.costs or (None, None)
        return cost_quality_curve(
            self.scores(system, asked),
            asked.weak,
            asked.strong,
            protocol=protocol,
            weak_cost=weak,
            strong_cost=strong,
            resamples=RESAMPLES,
        )

    def frugal(self, asked: Benchmark) -> CostQualityCurve:
        """FrugalGPT's cascade on a benchmark whose weak answers are stored."""
        assert asked.weak_answers is not None
        scorer = AnswerScorer(self.encoder).fit(*judged_answers(self.folder))
        right = scorer.right(asked.questions, asked.weak_answers)
        return cascade_curve(right, asked.weak, asked.strong, asked.costs, resamples=RESAMPLES)


def held_out(score: Scorer, X: FloatArray, y: FloatArray, seed: int = 0) -> FloatArray:
    """(n,) scores by routers that did not see the prompt: FOLDS folds fixed by seed."""
    folds = np.random.default_rng(seed).permutation(len(X)) % FOLDS
    scores = np.empty(len(X))
    for fold in range(FOLDS):
        scores[folds == fold] = score(X[folds != fold], y[folds != fold], X[folds == fold])
    return scores


def in_domain(
    training: Training, encoder: Encoder, progress: Progress = no_progress
) -> Mapping[tuple[str, str], CostQualityCurve]:
    """(source, router) -> curve of held-out scores, all sources x all routers."""
    X = encoder.encode(training.questions)
    found, total = {}, len(training.targets) * len(ROUTERS)
    for source, y in training.targets.items():
        for router, score in ROUTERS.items():
            found[source, router] = cost_quality_curve(held_out(score, X, y), *training.quality, resamples=RESAMPLES)
            progress(f"in domain: {training.name[:16]}", len(found), total)
    return found


def learning_curve(lab: Laboratory, source: str, asked: Benchmark, router: str = "sw") -> FloatArray:
    """(sizes, SEEDS) APGR of routers trained on random subsets; sizes above what is there use all."""
    questions, y = lab.supervision(source)
    X, queries = lab.encoder.encode(questions), lab.encoder.encode(asked.questions)
    found = np.empty((len(SIZES), SEEDS))
    for i, size in enumerate(SIZES):
        for seed in range(SEEDS):
            some = np.random.default_rng(seed).permutation(len(X))[:size]
            scores = ROUTERS[router](X[some], y[some], queries)
            found[i, seed] = cost_quality_curve(scores, asked.weak, asked.strong).apgr
        lab.progress(f"figure 1: {source}", i + 1, len(SIZES))
    return found
