"""What an evaluation found: routers measured on prompts with gold answers, and what they were trained on.

Records only, and the pure functions that fill them. Drawing them is reporting's job, printing them the command line's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demur.curves import CostQualityCurve, cost_quality_curve
from demur.grading import grade
from demur.records import FloatArray, Grader, Preference, Prompt, Role, Sample
from demur.router import Neighbour, Router


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One router on the test prompts."""

    router: str  # such as "sw"
    curve: CostQualityCurve  # cost in USD per prompt, where both models' prices are known
    usd_at_cpt80: float | None  # USD per 1,000 prompts at CPT(80%); None when a price is unknown or it is never reached


@dataclass(frozen=True, slots=True)
class Example:
    """One test prompt as the served router handled it."""

    prompt: str
    score: float
    role: Role  # the model that the router chose
    weak_answer: str
    strong_answer: str
    weak_quality: float
    strong_quality: float
    neighbours: tuple[Neighbour, ...]  # nearest training prompts

    @property
    def right(self) -> bool:
        """True where the other model would not have been the better choice (a tie should stay weak)."""
        strong_needed = self.strong_quality > self.weak_quality
        return (self.role == "strong") == strong_needed


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that the report shows."""

    weak: str
    strong: str
    rows: tuple[EvaluationRow, ...]  # the routers, then always-weak, always-strong and random are drawn from any curve
    served: str  # name of the router that is saved and serves
    threshold: float  # of the served router
    n_test: int
    preferences: tuple[Preference, ...]  # the training rows: entropies, targets, winners
    examples: tuple[Example, ...]  # of the served router, all test prompts
    warnings: tuple[str, ...]  # plain sentences: saturation, ties, a strong model that is no better
    pricing: str  # where the prices come from, or that they are unknown
    payback: str  # when labelling is earned back, one sentence
    labelling_usd: float | None  # what sampling both models on all prompts cost; None when unknown
    notes: Mapping[str, Any]  # sampling settings, encoder, versions: printed at the foot of the report


def mean_quality(
    prompts: Sequence[Prompt], samples: Mapping[str, Sequence[Sample]], grader: Grader = grade
) -> FloatArray:
    """Mean graded quality of each prompt's samples; shape (n,), in [0, 1]."""
    return np.array([np.mean([grader(prompt, sample.text) for sample in samples[prompt.id]]) for prompt in prompts])


def usd_per_prompt(samples: Sequence[Sample], usd_per_token: tuple[float, float] | None) -> float:
    """What one served answer costs (USD): the prompt's tokens once and the mean answer's; nan when unknown."""
    if usd_per_token is None:
        return float("nan")
    usd_input, usd_output = usd_per_token
    answer = float(np.mean([sample.completion_tokens for sample in samples]))
    return samples[0].prompt_tokens * usd_input + answer * usd_output


def evaluate_router(
    name: str,
    scores: FloatArray,  # (n,)
    weak_quality: FloatArray,  # (n,) in [0, 1]
    strong_quality: FloatArray,
    weak_usd: FloatArray,  # (n,) USD a prompt, nan when unknown
    strong_usd: FloatArray,
) -> EvaluationRow:
    """Measure one router's scores: curve, intervals and the money at CPT(80%)."""
    known = bool(np.isfinite(weak_usd).all() and np.isfinite(strong_usd).all())
    curve = cost_quality_curve(
        scores,
        weak_quality,
        strong_quality,
        weak_cost=weak_usd if known else None,
        strong_cost=strong_usd if known else None,
    )
    return EvaluationRow(name, curve, _usd_at_share(curve, curve.cpt(0.8)) if known else None)


def _usd_at_share(curve: CostQualityCurve, share: float) -> float | None:
    """USD per 1,000 prompts at the first point of the curve with at least this strong share."""
    reached = [point.cost for point in curve.points if point.strong_share >= share - 1e-12]
    costs = [cost for cost in reached if cost is not None]
    return 1000 * min(costs) if costs else None


def examples(
    router: Router,
    prompts: Sequence[Prompt],
    weak: Mapping[str, Sequence[Sample]],
    strong: Mapping[str, Sequence[Sample]],
    weak_quality: FloatArray,
    strong_quality: FloatArray,
) -> tuple[Example, ...]:
    """Route every test prompt and set the decision beside both models' answers."""
    found = []
    for i, prompt in enumerate(prompts):
        decision = router.route(prompt.text)
        found.append(
            Example(
                prompt=prompt.text,
                score=decision.score,
                role=decision.role,
                weak_answer=weak[prompt.id][0].text,
                strong_answer=strong[prompt.id][0].text,
                weak_quality=float(weak_quality[i]),
                strong_quality=float(strong_quality[i]),
                neighbours=decision.neighbours,
            )
        )
    return tuple(found)
