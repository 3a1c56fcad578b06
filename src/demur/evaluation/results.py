"""What an evaluation finds: routers measured on prompts with gold answers, and what they were trained on.

Records and the pure functions that fill them; they are drawn in `figures`, `tables` and `page`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demur.config import RunConfig
from demur.config.named_run import USUAL, in_folder
from demur.evaluation.graded_file import USUAL_GRADES
from demur.evaluation.report.headline_record import Headline, HeadlineBlock
from demur.evaluation.tiers import TiersMeasured
from demur.gate.explanation import scores_are_chances
from demur.gate.quality.extra_samples import ExtraSamplesTrial
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.measure.reliability import Reliability, reliability
from demur.measure.threshold import KeptPoint
from demur.models.local import parse_model
from demur.models.prices import Price, usd_of_serving
from demur.prompts.grading import grade, quality
from demur.records import FloatArray, Grader, Preference, Prompt, Role, Sample, dollars
from demur.routing.prompt_router import Neighbour, PromptRouter
from demur.routing.verdict import RouterVerdict
from demur.sampling.cost import without_words
from demur.statistics import first_rows

RANDOM = 0.5  # APGR of random routing


@dataclass(frozen=True, slots=True)
class EvaluationRow:
    """One router on the test prompts."""

    router: str  # such as "sw"
    curve: CostQualityCurve  # with costs in USD per prompt, where both models' prices are known

    @property
    def usd_at_cpt80(self) -> float | None:
        """USD per 1,000 prompts at CPT(80 %); None when a price is unknown or 80 % is never recovered."""
        return usd_at_share(self.curve, self.curve.cpt(0.8))


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
    unknown: bool = False  # samples do not decide it, and it went by the setting `unknown`, whatever its score
    samples: int = 0  # of each model, by which its quality is believed; 0: it is graded

    @property
    def weak_worth(self) -> str:
        """What is known of the weak answer's quality: a grade, or how far its samples agree with the strong ones."""
        if not self.samples:
            return f"{self.weak_quality:.1f}"
        whole = {0.0: "no sample agrees", 1.0: f"all {self.samples} agree"}
        return whole.get(self.weak_quality, f"{self.weak_quality:.0%} of pairs agree")

    @property
    def strong_worth(self) -> str:
        """The same of the strong answer, whose samples are compared with each other."""
        if not self.samples:
            return f"{self.strong_quality:.1f}"
        whole = {0.0: f"all {self.samples} differ", 1.0: f"all {self.samples} agree"}
        return whole.get(self.strong_quality, f"{self.strong_quality:.0%} of pairs agree")

    @property
    def right(self) -> bool:
        """True where the other model would not have been the better choice (a tie should stay weak)."""
        return (self.role == "strong") == (self.strong_quality > self.weak_quality)


@dataclass(frozen=True, slots=True)
class KindsTable:
    """What is known of each kind of training prompts, and what the router does with them at its threshold."""

    sentence: str  # where the router is not to be trusted
    rows: tuple[tuple[str, ...], ...]  # cells as `demur.evaluation.report.kinds_table.columns_of`
    labels: str = ""  # where the labels are from, if not from the samples that the counts are by


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that the report shows."""

    weak: str
    strong: str
    rows: tuple[EvaluationRow, ...]  # a router each; always-weak, always-strong and random are ends and chord of any
    served: str  # name of the router that is saved and serves
    headline: Headline  # the served router at its threshold
    preferences: tuple[Preference, ...]  # the training rows: entropies, targets, winners
    examples: tuple[Example, ...]  # of the served router, all test prompts
    warnings: tuple[str, ...]  # plain sentences: saturation, ties, a strong model that is not better
    pricing: str  # where the prices come from, or that they are unknown
    payback: str  # when labelling is earned back, one sentence
    findings: tuple[str, ...]  # plain sentences: what the gate is worth, the gain over the paper's preset
    usd_alone: tuple[float | None, float | None]  # USD per 1,000 prompts of always weak, always strong; None: unknown
    notes: Mapping[str, Any]  # sampling settings, encoder, versions: printed at the foot of the report
    trials: tuple[ExtraSamplesTrial, ...] = ()  # the gate with each number of extra samples
    remarks: tuple[str, ...] = ()  # on streams, and groups of prompts where the weak model is better
    believed: bool = False  # no prompt is graded: quality is what the strong model's own samples believe
    verdict: str = ""  # whether the served router is better than random; empty: there is no gap to recover
    tiers: TiersMeasured | None = None  # of a router of more than two models
    kinds: KindsTable | None = None  # what is known of each kind of training prompts; None: nothing is recorded
    chance: bool = False  # the served router's scores are P(strong right and weak wrong)
    reliability: Reliability | None = None  # of these on graded prompts; None: not probabilities, or not measured
    cautions: tuple[str, ...] = ()  # what to be careful about with the served router, the gravest first
    # What other strong shares would give, counted as in the headline; empty: the served router's curve tells, because
    # every prompt was measured.
    choices: tuple[KeptPoint, ...] = ()
    # The headline of the prompts that curve and tables are of, where the first line's quality is not: by belief where
    # grades are still too few, and of the prompts that the score decides where the first line's is of all.
    curve_line: Headline | None = None
    graded_by: str = ""  # how many prompts were graded by whom; empty where none is, or that is not recorded
    folder: Path = Path(USUAL)  # of the run, which the commands name that are proposed

    @property
    def drawn(self) -> Headline:
        """The headline of the prompts that curve and tables are of."""
        return self.curve_line or self.headline

    @property
    def threshold(self) -> float:
        """Of the served router."""
        return self.headline.threshold

    @property
    def block(self) -> HeadlineBlock:
        """The headline with the verdict, and what to be careful about."""
        notes = [("graded", self.graded_by), ("verdict", self.verdict)]
        return self.headline.block(notes=notes, cautions=self.cautions)

    @property
    def shown_block(self) -> HeadlineBlock:
        """The same as it is shown, with commands of its run; what is kept is shown from wherever the run is later."""
        return self.block.of_router(self.folder / "router")

    @property
    def told(self) -> tuple[str, ...]:
        """Warnings, findings, why another router does not serve, and the lines of several models."""
        tiers = self.tiers.lines if self.tiers else ()
        said = (*self.warnings, *self.findings, *filter(None, [self.passed_over]), *tiers)
        return tuple(in_folder(line, self.folder) for line in said)

    @property
    def passed_over(self) -> str:
        """Where another method's APGR is higher than the served router's: whether that is told from chance."""
        served = next(row for row in self.rows if row.router == self.served)
        if self.drawn.by_grades and self.n_test < USUAL_GRADES:  # too few, as a warning says
            return ""
        methods = [row for row in self.rows if ", " not in row.router and row.curve.has_gap]
        best = max(methods, key=lambda row: row.curve.apgr, default=served)
        more, low, high = best.curve.apgr_beyond(served.curve)
        if best is served or not more > 0:
            return ""
        told = (
            f"{best.router} has a higher APGR than {served.router}, which serves: {more:+.3f} [{low:+.3f}, {high:+.3f}]"
        )
        if low <= 0:
            return f"{told} on the same prompts, which cannot be told from chance"
        return f"{told} on the same prompts; `demur train --serve {best.router}` serves it"

    @property
    def needs_grades(self) -> bool:
        """Whether more grades by hand would tell what these do not: whether the served router is better than random."""
        served = next(row.curve for row in self.rows if row.router == self.served)
        low, high = served.interval("apgr")
        return self.headline.by_grades and (self.believed or not served.has_gap or low <= RANDOM <= high)

    @property
    def n_test(self) -> int:
        """Prompts that it was measured on; by hand one is graded once, however often it repeats."""
        return len({one.prompt for one in self.examples}) if self.drawn.by_grades else len(self.examples)


@dataclass(frozen=True, slots=True)
class TestSet:
    """Prompts with gold answers, both models' samples, what they were worth and what serving one answer costs."""

    prompts: tuple[Prompt, ...]
    weak: Mapping[str, Sequence[Sample]]
    strong: Mapping[str, Sequence[Sample]]
    weak_quality: FloatArray  # (n,) mean over the samples, in [0, 1]
    strong_quality: FloatArray
    weak_usd: FloatArray | None  # (n,) USD of one answer; None when the price is unknown
    strong_usd: FloatArray | None
    grader: Grader = grade  # what an answer is worth


def grade_test_set(
    prompts: Sequence[Prompt],
    weak: Mapping[str, Sequence[Sample]],
    strong: Mapping[str, Sequence[Sample]],
    prices: tuple[Price | None, Price | None],
    grader: Grader = grade,
) -> TestSet:
    """Grade and price both models' samples of the test prompts."""
    return TestSet(
        prompts=tuple(prompts),
        weak=weak,
        strong=strong,
        weak_quality=mean_quality(prompts, weak, grader),
        strong_quality=mean_quality(prompts, strong, grader),
        weak_usd=served_usd(prompts, weak, prices[0]),
        strong_usd=served_usd(prompts, strong, prices[1]),
        grader=grader,
    )


def mean_quality(
    prompts: Sequence[Prompt], samples: Mapping[str, Sequence[Sample]], grader: Grader = grade
) -> FloatArray:
    """Mean graded quality of each prompt's samples; shape (n,), in [0, 1]."""
    return np.array([np.mean(sample_quality(prompt, samples[prompt.id], grader)) for prompt in prompts])


def first_quality(
    prompts: Sequence[Prompt], samples: Mapping[str, Sequence[Sample]], grader: Grader = grade
) -> FloatArray:
    """Graded quality of each prompt's first sample, as one that is served; shape (n,), in [0, 1]."""
    return np.array([quality(grader, prompt, samples[prompt.id][0].text) for prompt in prompts])


def sample_quality(prompt: Prompt, samples: Sequence[Sample], grader: Grader = grade) -> FloatArray:
    """Graded quality of each sample of a prompt; shape (samples,), in [0, 1]."""
    return np.array([quality(grader, prompt, sample.text) for sample in samples])


def served_usd(
    prompts: Sequence[Prompt], samples: Mapping[str, Sequence[Sample]], price: Price | None
) -> FloatArray | None:
    """USD of serving one answer to each prompt; shape (n,), None when the price is unknown."""
    if price is None:
        return None
    return np.array([usd_of_serving(samples[prompt.id], price) for prompt in prompts], dtype=float)


def evaluate_router(name: str, scores: FloatArray, test: TestSet) -> EvaluationRow:
    """Measure one router's scores (n,) on the test set."""
    costs = (None, None) if test.weak_usd is None or test.strong_usd is None else (test.weak_usd, test.strong_usd)
    curve = cost_quality_curve(
        *(scores, test.weak_quality, test.strong_quality),
        weak_cost=costs[0],
        strong_cost=costs[1],
        groups=first_rows([prompt.text for prompt in test.prompts]),
    )
    return EvaluationRow(name, curve)


def reliability_of(router: PromptRouter, test: TestSet) -> Reliability | None:
    """Whether a router's scores are P(strong right and weak wrong) on the test set; None where they are not meant to
    be. A prompt's outcome is the share of pairs of its samples that are so."""
    if not scores_are_chances(router):
        return None
    texts = [prompt.text for prompt in test.prompts]
    return reliability(router.score(texts), test.strong_quality * (1 - test.weak_quality), first_rows(texts))


def usd_at_share(curve: CostQualityCurve, strong_share: float) -> float | None:
    """USD per 1,000 prompts at a strong share, along the curve; None without costs or for a share that is nan."""
    if curve.costs is None or math.isnan(strong_share):
        return None
    return 1000 * float(np.interp(strong_share, curve.strong_shares, curve.costs))


def gap_warnings(curve: CostQualityCurve, prompts: str = "these prompts") -> tuple[str, ...]:
    """One plain sentence where the strong model is not better on some ``prompts``, or not beyond chance: routing can
    show nothing there."""
    if curve.has_gap:
        return ()
    values = f"{curve.strong_quality:.3f} against {curve.weak_quality:.3f}"
    if curve.gain <= 0:
        return (
            f"the strong model is no better than the weak one on {prompts} (quality {values}): always use the weak "
            "model; CPT and APGR have no meaning",
        )
    low, high = curve.gain_interval
    return (
        f"{prompts} do not yet show that the strong model is better than the weak one: quality {values}, "
        f"{curve.gain:+.3f} [{low:+.3f}, {high:+.3f}]; so CPT, APGR and the part of the gap are not shown",
    )


def verdict_by_grades(row: EvaluationRow, n: int, label_free: RouterVerdict | None) -> str:
    """Whether a router is better than random on ``n`` graded prompts, and what its training said without them.

    One sentence with one verdict, the grades': they are the stronger evidence, since the other one goes by what is
    believed. Empty where there is no gap to recover.
    """
    low, high = row.curve.interval("apgr")
    if not row.curve.has_gap:
        return ""
    figures = f"APGR {row.curve.apgr:.3f} [{low:.3f}, {high:.3f}] on {n:,} graded prompts, random .500"
    if low > RANDOM:
        without = "" if label_free is None or label_free.learned else _told_by_grades_alone(label_free)
        return f"{row.router} is better than random: {figures}{without}"
    if high < RANDOM:
        return f"{row.router} is worse than random: {figures}; do not serve it"
    few = math.ceil(n * ((high - low) / 2 / (row.curve.apgr - RANDOM)) ** 2) if row.curve.apgr > RANDOM else None
    more = f"; about {max(few, n + 1):,} would show an APGR of this size" if few else ""
    return f"{row.router} cannot be distinguished from random: {figures}{more}"


def _told_by_grades_alone(label_free: RouterVerdict) -> str:
    return (
        f"; its {label_free.n:,} training prompts alone, without grades, do not show it: {label_free.figures}, so "
        "`calibrate` and `serve` ask for --anyway"
    )


def examples(router: PromptRouter, test: TestSet) -> tuple[Example, ...]:
    """Route every test prompt and set the decision beside both models' first answers."""
    weak, strong = (first_quality(test.prompts, side, test.grader) for side in (test.weak, test.strong))
    found = []
    for i, prompt in enumerate(test.prompts):
        decision = router.route(prompt.text)
        found.append(
            Example(
                prompt=prompt.text,
                score=decision.score,
                role=decision.role,
                weak_answer=test.weak[prompt.id][0].text,
                strong_answer=test.strong[prompt.id][0].text,
                weak_quality=float(weak[i]),
                strong_quality=float(strong[i]),
                neighbours=decision.neighbours,
                unknown=decision.stage == "unknown",
            )
        )
    return tuple(found)


def labels_of_judge(config: RunConfig) -> tuple[str, ...]:
    """Which judge made a run's labels; empty where none did."""
    judge = config.label.judge if config.label.needs("judge") else None
    return (f"the labels are by the judge {parse_model(judge).model}",) if judge else ()


def payback(labelling_usd: float | None, served: Headline, uncounted: Sequence[str] = ()) -> str:
    """When labelling, in USD (None: unknown) without that of ``uncounted`` models, is earned back against always-strong
    by what is served; one sentence."""
    if labelling_usd is None or served.usd is None or served.usd_strong is None:
        return "payback: a price is unknown, so what routing saves cannot be counted"
    saved, costs = served.usd_strong - served.usd, f"{dollars(served.usd)} as served"
    if saved <= 0:
        return f"payback: never: 1,000 calls cost {costs} and {dollars(served.usd_strong)} always-strong"
    return (
        f"payback: labelling cost {dollars(labelling_usd)}{without_words(uncounted)}; 1,000 calls cost {costs} instead "
        f"of {dollars(served.usd_strong)}, {dollars(saved)} less, so it is earned back after "
        f"{math.ceil(1000 * labelling_usd / saved):,} calls"
    )
