"""How likely an answer is right, by its words and the question's: the scorer of FrugalGPT's cascade (Chen et al. 2023).

A logistic regression on the frozen embedding of both texts together; the paper fine-tunes DistilBERT (section 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.errors import InputError
from demur.methods import LogisticRegression
from demur.methods.estimator import sigmoid
from demur.models.images.joined_encoder import embed
from demur.prompts.pictures import ShownText, words_of
from demur.records import Encoder, FloatArray

ALPHA = 3.0  # ridge penalty


@dataclass(frozen=True, slots=True)
class AnswerScorer:
    """P(right) = sigmoid(intercept + weights x), x the embedding of a question and an answer."""

    weights: tuple[float, ...]  # (d,)
    intercept: float

    @classmethod
    def fit(cls, X: FloatArray, right: FloatArray, alpha: float = ALPHA) -> AnswerScorer:
        """Learn from embedded answers, (n, d), and how right each is, (n,) in [0, 1]. Raises InputError where all are
        alike."""
        if len(np.unique(right)) < 2:
            raise InputError(f"all {len(right)} answers are graded alike: a scorer has nothing to learn")
        fitted = LogisticRegression(alpha).fit(np.asarray(X, dtype=float), np.asarray(right, dtype=float))
        return cls(tuple(map(float, vars(fitted)["weights_"])), float(vars(fitted)["intercept_"][0]))

    def right(self, X: FloatArray) -> FloatArray:
        """(n,) P(the answer is right) of embedded answers, (n, d)."""
        return sigmoid(np.asarray(X, dtype=float) @ np.array(self.weights) + self.intercept)


def embed_answers(encoder: Encoder, prompts: Sequence[str], answers: Sequence[str]) -> FloatArray:
    """(n, d) of questions and answers together, a question's pictures included."""
    return embed(encoder, [_both(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])


def _both(prompt: str, answer: str) -> str:
    if isinstance(prompt, ShownText):
        return ShownText.of(f"{words_of(prompt)} {answer}", prompt.pictures, prompt.where)
    return f"{prompt} {answer}"
