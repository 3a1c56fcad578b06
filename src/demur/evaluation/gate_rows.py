"""Measures the served router with its gate, and the paper's recipe, on graded prompts; findings as sentences."""

from __future__ import annotations

import numpy as np

from demur.evaluation.results import EvaluationRow, TestSet, sample_quality
from demur.gate.router import Router, drafts_of
from demur.gate.staged import apgr_gain, staged_curve, staged_scores
from demur.meaning.clusters import Clustering
from demur.measure.curve import cost_quality_curve
from demur.records import FloatArray
from demur.routing.prompt_router import PromptRouter

PAPER = "paper: hard, sw"


def measure_gate(
    router: Router, served: str, test: TestSet, paper: PromptRouter | None, meanings: Clustering | None = None
) -> tuple[list[EvaluationRow], tuple[str, ...]]:
    """Rows of the paper's recipe and, last, of router and gate; and the findings. ``served`` names the router.

    ``meanings`` as `demur.gate.router.drafts_of` takes them.
    """
    texts = [prompt.text for prompt in test.prompts]
    rows: list[EvaluationRow] = []
    findings = [router.sentence]
    scores = router.prompt_router.score(texts)
    quality, best = test.weak_quality, scores
    costs = None if test.weak_usd is None or test.strong_usd is None else (test.weak_usd, test.strong_usd)
    if paper is not None:
        weak_cost, strong_cost = costs or (None, None)
        curve = cost_quality_curve(
            paper.score(texts), test.weak_quality, test.strong_quality, weak_cost=weak_cost, strong_cost=strong_cost
        )
        rows.append(EvaluationRow(PAPER, curve))
    if router.gate is not None:
        samples = [test.weak[prompt.id] for prompt in test.prompts]
        drafts = drafts_of(router, texts, samples, meanings)
        staged = staged_scores(router.gate, scores, drafts)
        right = np.array([sample_quality(prompt, test.weak[prompt.id], test.grader) for prompt in test.prompts])
        drafted = np.take_along_axis(right, drafts.orders[:, :, 0], axis=1)
        rows.append(EvaluationRow(f"{served} + gate", staged_curve(staged, drafted, test.strong_quality, costs)))
        if router.active:
            findings.append(
                f"on the answers that were sampled, at its threshold, it {staged.use(router.threshold).sentence}"
            )
            quality, best = drafted, staged.final
    if paper is not None and test.strong_quality.mean() > test.weak_quality.mean():
        findings.append(_gain_over_paper(best, paper.score(texts), quality, test.strong_quality))
    return rows, tuple(findings)


def _gain_over_paper(scores: FloatArray, paper: FloatArray, weak: FloatArray, strong: FloatArray) -> str:
    if scores.ndim > 1:
        paper, strong = (np.broadcast_to(side[:, None], scores.shape) for side in (paper, strong))
    gain, low, high = apgr_gain(scores, paper, weak, strong)
    return f"against the paper's recipe (hard labels, SW): APGR {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
