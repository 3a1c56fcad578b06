"""The headline of a run where a person has graded some prompts: share and cost of all prompts, quality by the grades.

Two parts are told apart: the prompts that the score decides, which a router is measured on, and those whose model the
setting `unknown` fixes. Grades of the second part are asked for last, unless `--unknown-first` is given, because they
tell nothing about routing. While they are few, quality is of the first part alone; else it is of all prompts, each part
weighed by its share of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np

from demur.evaluation.graded_file import USUAL_GRADES
from demur.evaluation.grades import FEWEST_GRADED
from demur.evaluation.report.headline import expected_costs, expected_use, learned_prompts, training_headline
from demur.evaluation.report.headline_record import Headline, NoGap
from demur.evaluation.report.kept_point import kept_point, scored_prompts, without_gap
from demur.gate.router import Router
from demur.records import BoolArray, FloatArray, IntArray
from demur.statistics import first_rows, interval


def graded_headline(
    router: Router,
    grades: Mapping[str, tuple[float, float]],
    threshold: float | None = None,
    *,
    by_score_alone: bool = False,
) -> Headline:
    """As `training_headline`, with quality by ``grades``: prompt -> quality of the weak and of the strong answer.

    Grades are of two models: of a router of several the quality stays believed. ``by_score_alone``: quality is of the
    prompts that the score decides, as a curve's is, however many of the others are graded.
    """
    whole, prompts = training_headline(router, threshold), router.prompt_router
    if prompts.tiers is not None:
        return whole
    texts, looked = learned_prompts(prompts)
    by_score, beside = scored_prompts(router, looked), 0 if by_score_alone else _count_beside(router, grades)
    weak, strong = np.array([grades.get(text, (0.0, 0.0)) for text in texts]).T
    chosen = expected_use(router, looked, threshold).strong.mean(axis=1)
    weighs = beside >= FEWEST_GRADED
    counted = np.array([text in grades for text in texts]) & (by_score | weighs)
    of_part = np.flatnonzero(counted)
    served, first, judged = chosen * strong + (1 - chosen) * weak, first_rows(texts), count_distinct(texts, counted)
    rows = int(counted.sum())

    def mean_of(values: FloatArray, rows: IntArray) -> float:
        return weighed_mean(values[rows], by_score[rows], float(by_score.mean()))

    def interval_of(values: FloatArray) -> tuple[float, float]:
        ordered = of_part[np.lexsort((values[of_part], by_score[of_part]))]  # as `mean_interval` orders them
        groups = first_rows(first[ordered].tolist())  # a prompt was graded once, however often it repeats
        return interval(ordered, lambda rows: mean_of(values, rows), groups=groups)

    costs, few = expected_costs(router, texts), judged < USUAL_GRADES
    # Prompts whose model is fixed tell nothing about routing, so the others alone have to show a better large model.
    told = counted & by_score
    missing = without_gap(
        weak[told], strong[told], first_rows(first[told].tolist()), part=judged - beside if weighs else 0
    )
    low, high = interval_of(strong - weak)
    if missing is None and low <= 0:
        missing = NoGap(mean_of(weak, of_part), mean_of(strong, of_part), reversed=high < 0)
    known = missing is None and not few and not weighs
    return replace(
        whole,
        # By the same grades as the quality; with fewer no threshold is told from another.
        kept=kept_point(router, looked, (weak, strong), counted, costs) if known else None,
        quality=(mean_of(served, of_part), *interval_of(served)),
        strong_quality=mean_of(strong, of_part),
        without_gap=missing,
        by_belief=whole,
        believed=False,
        judged=judged,
        judged_rows=rows if rows > judged else 0,
        judged_share=float(chosen[counted].mean()),
        by_grades=True,
        weighed=beside if weighs else 0,
    )


def counted_prompts(router: Router, grades: Mapping[str, object]) -> frozenset[str]:
    """The graded prompts that the quality of a `graded_headline` is of."""
    texts, looked = learned_prompts(router.prompt_router)
    every = _count_beside(router, grades) >= FEWEST_GRADED
    counted = compress(texts, scored_prompts(router, looked) | every)
    return frozenset(text for text in counted if text in grades)


def _count_beside(router: Router, grades: Mapping[str, object]) -> int:
    """How many of the prompts that the setting `unknown` decides are graded."""
    texts, looked = learned_prompts(router.prompt_router)
    return count_distinct(texts, ~scored_prompts(router, looked) & np.array([text in grades for text in texts]))


def count_by_score(router: Router, grades: Mapping[str, object]) -> int:
    """How many of the prompts that a router was to learn from are graded and go by their score."""
    texts, looked = learned_prompts(router.prompt_router)
    by_score = scored_prompts(router, looked)
    return count_distinct(texts, by_score & np.array([text in grades for text in texts]))


def count_distinct(texts: Sequence[str], chosen: BoolArray) -> int:
    """How many prompts are among the ``chosen`` rows, (n,): one that repeats is graded once, and counts once."""
    return len(set(compress(texts, chosen)))


def weighed_mean(values: FloatArray, first: BoolArray, share: float) -> float:
    """Mean of graded values, (m,), of which some, (m,) booleans, are of a part that is ``share`` of all prompts.

    Each part's mean counts by its share (post-stratification). Of one part alone it is that part's mean.
    """
    if first.all() or not first.any():
        return float(values.mean())
    return float(share * values[first].mean() + (1 - share) * values[~first].mean())
