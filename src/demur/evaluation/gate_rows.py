"""Measures the served router with its gate, and the paper's routers, on graded prompts; findings as sentences."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from demur.evaluation.report.headline import sampled_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.results import EvaluationRow, TestSet, sample_quality
from demur.gate.quality.two_stages import StagedScores, Use, apgr_gain, staged_curve, staged_scores
from demur.gate.router import Router, drafts_of
from demur.meaning.clusters import Clustering
from demur.measure.curve import cost_quality_curve
from demur.records import FloatArray, IntArray
from demur.routing.known.known_prompts import Looked
from demur.routing.prompt_router import PromptRouter
from demur.statistics import first_rows

PRESET = "paper preset, sw"  # Eqs. 2, 3 and 6 as printed
HARD = "hard SE, sw"  # the labels' own entropies, the symmetric difference, RouteLLM's weights
ABOUT = {PRESET: "the paper's preset (Eqs. 2, 3 and 6, SW)", HARD: "hard labels of the same entropies, SW"}


def measure_gate(
    router: Router, served: str, test: TestSet, recipes: Mapping[str, PromptRouter], meanings: Clustering | None = None
) -> tuple[list[EvaluationRow], tuple[str, ...], tuple[str, ...], Headline | None]:
    """Rows of the paper's routers and, last, of router and gate; the findings; what else is known of the gate; and what
    a gate that serves did with the sampled answers. ``served`` names the router.

    ``recipes``: the paper's routers, by a name of ABOUT. ``meanings`` as `demur.gate.router.drafts_of` takes them.
    """
    texts = [prompt.text for prompt in test.prompts]
    groups = first_rows(texts)
    rows: list[EvaluationRow] = []
    findings, remarks = [gate_in_brief(router)], [*router.lines]
    looked = router.prompt_router.look_at(texts)
    scores, in_line = looked.scores, None
    quality, best = test.weak_quality, scores
    costs = None if test.weak_usd is None or test.strong_usd is None else (test.weak_usd, test.strong_usd)
    theirs = {name: paper.score(texts) for name, paper in recipes.items()}
    for name, paper in theirs.items():
        weak_cost, strong_cost = costs or (None, None)
        curve = cost_quality_curve(
            *(paper, test.weak_quality, test.strong_quality),
            weak_cost=weak_cost,
            strong_cost=strong_cost,
            groups=groups,
        )
        rows.append(EvaluationRow(name, curve))
    if router.gate is not None:
        staged, drafted = sampled_answers(router, looked, test, meanings)
        name = served if router.gate.scorer else f"{served} + gate"
        rows.append(EvaluationRow(name, staged_curve(staged, drafted, test.strong_quality, costs, groups)))
        if router.active:
            quality, best = drafted, staged.final
        if router.serving_gate:
            use, in_line = served_on_samples(router, looked, test, (staged, drafted))
            remarks.append(f"at its threshold, on the answers that were sampled, it {use.sentence}")
    if test.strong_quality.mean() > test.weak_quality.mean():
        answers = quality, test.strong_quality, groups
        findings += [_gain_over(name, best, paper, *answers) for name, paper in theirs.items()]
    return rows, tuple(findings), tuple(remarks), in_line


def gate_in_brief(router: Router) -> str:
    """Whether a router's gate pays, in a short line; why there is none, where there is none."""
    return f"{router.gate.verdict.brief} (believed)" if router.gate else router.sentence


def sampled_answers(
    router: Router, looked: Looked, test: TestSet, meanings: Clustering | None = None
) -> tuple[StagedScores, FloatArray]:
    """The gate's scores of the sampled weak answers to n graded prompts, r each, and their quality, (n, r)."""
    assert router.gate is not None, "a router without a gate looks at no answers"
    samples = [test.weak[prompt.id] for prompt in test.prompts]
    drafts = drafts_of(router, [prompt.text for prompt in test.prompts], samples, meanings)
    right = np.array([sample_quality(prompt, test.weak[prompt.id], test.grader) for prompt in test.prompts])
    drafted = np.take_along_axis(right, drafts.orders[:, :, 0], axis=1)
    return staged_scores(router.gate, looked.scores, drafts), drafted


def served_on_samples(
    router: Router,
    looked: Looked,
    test: TestSet,
    answers: tuple[StagedScores, FloatArray],
    threshold: float | None = None,
) -> tuple[Use, Headline]:
    """What a gate that serves does with ``answers``, as `sampled_answers` reads them, at its threshold or another."""
    staged, drafted = answers
    use = router.use(staged, looked, router.threshold if threshold is None else threshold)
    usd = test.weak_usd, test.strong_usd
    given = drafted, test.strong_quality, usd, first_rows([prompt.text for prompt in test.prompts])
    return use, sampled_headline(router, looked, use, *given, on="test prompts", threshold=threshold)


def _gain_over(
    name: str, scores: FloatArray, paper: FloatArray, weak: FloatArray, strong: FloatArray, groups: IntArray
) -> str:
    if scores.ndim > 1:
        paper, strong = (np.broadcast_to(side[:, None], scores.shape) for side in (paper, strong))
    gain, low, high = apgr_gain(scores, paper, weak, strong, groups)
    return f"against {ABOUT[name]}: APGR {gain:+.3f} [{low:+.3f}, {high:+.3f}]"
