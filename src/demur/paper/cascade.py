"""FrugalGPT (Chen et al. 2023): ask the weak model first, score its answer, go on to the strong one below a threshold.

The scorer g(question, answer) -> P(right) is a logistic regression on the frozen embedding of both texts together; the
paper fine-tunes DistilBERT (section 3, LLM cascade). The weak model is always paid for, the strong one on top of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from demur.errors import InputError
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.methods import LogisticRegression
from demur.records import Encoder, FloatArray

ALPHA = 3.0  # ridge penalty of the scorer


class AnswerScorer:
    """g(question, answer): how likely the answer is right, (n,) in [0, 1]."""

    def __init__(self, encoder: Encoder, alpha: float = ALPHA) -> None:
        self.encoder = encoder
        self.alpha = alpha

    def fit(self, questions: Sequence[str], answers: Sequence[str], right: FloatArray) -> Self:
        """Learn from graded answers; ``right`` (n,) in [0, 1]. Raises InputError when all are graded alike."""
        if len(np.unique(right)) < 2:
            raise InputError(f"all {len(answers)} answers are graded alike: a scorer has nothing to learn")
        self.method_ = LogisticRegression(self.alpha).fit(
            self._embed(questions, answers), np.asarray(right, dtype=float)
        )
        return self

    def right(self, questions: Sequence[str], answers: Sequence[str]) -> FloatArray:
        """(n,) P(the answer is right)."""
        return np.asarray(self.method_.predict_proba(self._embed(questions, answers))[:, 1])

    def _embed(self, questions: Sequence[str], answers: Sequence[str]) -> FloatArray:
        return self.encoder.encode([f"{q} {a}" for q, a in zip(questions, answers, strict=True)])


def cascade_curve(
    right: FloatArray,
    weak_quality: FloatArray,
    strong_quality: FloatArray,
    costs: tuple[FloatArray, FloatArray] | None = None,
) -> CostQualityCurve:
    """The cascade's curve from the scorer's ``right`` (n,); ``costs`` of (weak, strong) alone, USD per prompt."""
    weak, strong = (None, None) if costs is None else (costs[0], costs[0] + costs[1])
    return cost_quality_curve(1.0 - right, weak_quality, strong_quality, weak_cost=weak, strong_cost=strong)
