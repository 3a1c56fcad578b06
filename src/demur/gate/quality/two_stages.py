"""Quality, strong share and cost of routing with a gate, on graded prompts: pure functions on arrays.

Costs are those of serving: the draft of every checked prompt (also if it is discarded), its extra samples, and the
strong model's answer where the prompt is escalated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.gate.drafts import Drafts
from demur.gate.gate import CERTAIN, Gate
from demur.labels.beliefs.believed_gain import area_interval
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.records import BoolArray, FloatArray, IntArray, Role
from demur.statistics import group_numbers, mean_ranks

REHEARSED = 2000  # drafts that are kept of a rehearsal
PLACES = 5  # decimals of kept drafts and beliefs; rounded when made, so that a router is the same once it is saved
COSTED = 101  # thresholds at which a curve's cost is counted; between them it is interpolated


@dataclass(frozen=True, slots=True)
class StagedScores:
    """Scores of n prompts with r drafts each."""

    prompt: FloatArray  # (n,)
    steps: FloatArray  # (k + 1, n, r) after the draft and 0, 1, ... k extra samples, within the band
    spreads: FloatArray  # (k + 1,) of the gate's steps
    band: float

    @property
    def final(self) -> FloatArray:
        """(n, r) with every extra sample."""
        return np.asarray(self.steps[-1])

    def levels(self, rows: BoolArray) -> FloatArray:
        """(m,) `final` of some prompts, (n,) booleans, rising; of more than `REHEARSED` and one for each of them so
        many, evenly spaced.
        """
        ordered = np.sort(self.final[rows], axis=None)
        count = min(len(ordered), max(int(rows.sum()), REHEARSED))
        return np.asarray(ordered[np.linspace(0, len(ordered) - 1, count).round().astype(int)])

    def use(self, threshold: float) -> Use:
        """The outcome of each draft at a threshold, with extra samples requested one at a time until the decision is
        certain.
        """
        checked = np.broadcast_to((np.abs(self.prompt - threshold) <= self.band)[:, None], self.final.shape)
        certain = np.ones(self.steps.shape, dtype=bool)
        for at, spread in enumerate(self.spreads[:-1]):  # one at a time: of many prompts each is large
            certain[at] = np.abs(self.steps[at] - threshold) > CERTAIN * spread
        stop = certain.argmax(axis=0)  # the first step that is certain
        settled = np.take_along_axis(self.steps, stop[None], axis=0)[0]
        scores = np.where(checked, settled, self.prompt[:, None])
        return Use(scores >= threshold, checked, np.where(checked, stop, 0))

    def at_most(self, extra: int) -> StagedScores:
        """The same with fewer extra samples."""
        steps = self.steps[: extra + 1]
        return StagedScores(self.prompt, steps, np.asarray((steps[-1] - steps).std(axis=(1, 2))), self.band)


@dataclass(frozen=True, slots=True)
class Use:
    """The outcome of each of (n, r) drafts at one threshold."""

    strong: BoolArray  # the strong model answered
    checked: BoolArray  # the weak model's answer was looked at
    extra: IntArray  # samples asked beside the draft

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        return (
            f"checks {self.checked.mean():.0%} of the prompts, {self.extra.mean():.2f} extra weak samples per prompt; "
            f"{self.strong.mean():.0%} go to the strong model, {(self.strong & self.checked).mean():.0%} after a draft"
        )

    def with_fixed_role(self, prompts: BoolArray, role: Role) -> Use:
        """The same where some of the prompts, (n,) booleans, go to one model whatever their scores."""
        rows = prompts[:, None]
        return Use(np.where(rows, role == "strong", self.strong), self.checked & ~rows, np.where(rows, 0, self.extra))

    @property
    def weak_answers(self) -> IntArray:
        """(n, r) answers of the weak model: drafts, kept or discarded, and extra samples."""
        return np.asarray((self.checked | ~self.strong) + self.extra)

    def cost(self, weak: FloatArray, strong: FloatArray) -> FloatArray:
        """(n,) of each prompt, over its drafts, from what one answer of each model costs, (n,): USD, tokens, ..."""
        return np.asarray((weak[:, None] * self.weak_answers + strong[:, None] * self.strong).mean(axis=1))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A gate's held-out effect on drafts of the training prompts; predicts its effect on new ones."""

    scores: FloatArray  # (m,) of the drafts' prompts, rising
    changes: FloatArray  # (k + 1, m) by which they changed after each step

    def expected_scores(self, gate: Gate, prompt_scores: FloatArray) -> StagedScores:
        """Expected scores of drafts of new prompts (n,): changed as those drafts whose prompts have the nearest
        scores.
        """
        m = len(self.scores)
        width = round(m**0.5)
        start = np.clip(np.searchsorted(self.scores, prompt_scores) - width // 2, 0, m - width)
        steps = self.changes[:, start[:, None] + np.arange(width)]
        steps += prompt_scores[:, None]
        return StagedScores(prompt_scores, steps, np.array([s.spread for s in gate.steps]), gate.band)


def rehearsal(prompt_scores: FloatArray, held: FloatArray) -> Rehearsal:
    """From training prompts' scores (n,) and their drafts' held-out scores (k + 1, n, r) of `fit_gate`, to `PLACES`."""
    scores = np.repeat(prompt_scores, held.shape[2])
    chosen = np.random.default_rng(0).permutation(len(scores))[:REHEARSED]
    chosen = chosen[np.argsort(scores[chosen], kind="stable")]
    changes = (held - prompt_scores[:, None]).reshape(len(held), -1)[:, chosen]
    return Rehearsal(scores[chosen].round(PLACES), changes.round(PLACES))


def without_gate(prompt_scores: FloatArray) -> StagedScores:
    """Scores (n,) of a router without a gate: no answer is checked."""
    return StagedScores(prompt_scores, prompt_scores[None, :, None], np.zeros(1), -1.0)


def staged_scores(gate: Gate, prompt_scores: FloatArray, drafts: Drafts) -> StagedScores:
    """Scores of the router (n,) and, after the gate, of every draft."""
    before = prompt_scores[:, None]
    steps = [
        gate.confine(step.score(before, signals), before)
        for step, signals in zip(gate.steps, drafts.signals, strict=True)
    ]
    return StagedScores(prompt_scores, np.stack(steps), np.array([step.spread for step in gate.steps]), gate.band)


def staged_curve(
    scores: StagedScores,
    draft_quality: FloatArray,
    strong_quality: FloatArray,
    costs: tuple[FloatArray, FloatArray] | None = None,
    groups: IntArray | None = None,
) -> CostQualityCurve:
    """The curve of a router: ``draft_quality`` (n, r), ``strong_quality`` (n,); ``costs`` (n,) USD of one answer;
    ``groups`` (n,): rows of one prompt."""
    n, r = draft_quality.shape
    of = np.repeat(group_numbers(n, groups), r)
    curve = cost_quality_curve(scores.final.ravel(), draft_quality.ravel(), np.repeat(strong_quality, r), groups=of)
    if costs is None:
        return curve
    return curve.with_costs(_costs(curve, scores, *costs))


def _costs(curve: CostQualityCurve, scores: StagedScores, weak: FloatArray, strong: FloatArray) -> FloatArray:
    chosen = np.unique(np.linspace(0, len(curve.thresholds) - 1, COSTED).astype(int))
    found = [float(scores.use(curve.thresholds[i]).cost(weak, strong).mean()) for i in chosen]
    return np.interp(np.arange(len(curve.thresholds)), chosen, found)


def apgr_gain(
    better: FloatArray,
    scores: FloatArray,
    weak_quality: FloatArray,
    strong_quality: FloatArray,
    groups: IntArray | None = None,
) -> tuple[float, float, float]:
    """How much more APGR ``better`` reaches than ``scores``, with a 95 % interval of the paired difference.

    Arrays (n, r) or (n,), one row per prompt; the ranks are held fixed while prompts are drawn. ``groups`` (n,): rows
    of the same prompt.
    """
    gains = strong_quality - weak_quality
    gap = float(gains.mean())
    low, high = area_interval(better, scores, gains, groups)
    found = float((gains * (mean_ranks(better) - mean_ranks(scores))).mean())
    return found / gap, low / gap, high / gap
