"""What a gate makes of graded prompts: quality, strong share and cost, drafts that are thrown away included.

Pure functions on arrays. Costs count what serving pays: the draft of every checked prompt, its extra samples, and the
strong model's answer on top where it is escalated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.curves import CostQualityCurve, cost_quality_curve
from demur.drafts import Drafts
from demur.gate import CERTAIN, Gate
from demur.preferences import mean_ranks
from demur.records import BoolArray, FloatArray, IntArray
from demur.selection import area_interval

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

    def use(self, threshold: float) -> Use:
        """What each draft meets at a threshold, extra samples asked one at a time until the decision is certain."""
        checked = np.broadcast_to((np.abs(self.prompt - threshold) <= self.band)[:, None], self.final.shape)
        certain = np.abs(self.steps - threshold) > CERTAIN * self.spreads[:, None, None]
        certain[-1] = True
        stop = certain.argmax(axis=0)  # the first step that is certain
        settled = np.take_along_axis(self.steps, stop[None], axis=0)[0]
        scores = np.where(checked, settled, self.prompt[:, None])
        return Use(scores >= threshold, checked, np.where(checked, stop, 0))


@dataclass(frozen=True, slots=True)
class Use:
    """What each of (n, r) drafts met at one threshold."""

    strong: BoolArray  # the strong model answered
    checked: BoolArray  # the weak model's answer was looked at
    extra: IntArray  # samples asked beside the draft

    @property
    def sentence(self) -> str:
        """In plain words."""
        return (
            f"checks {self.checked.mean():.0%} of the prompts, {self.extra.mean():.2f} extra weak samples a prompt; "
            f"{self.strong.mean():.0%} go to the strong model, {(self.strong & self.checked).mean():.0%} after a draft"
        )

    def usd(self, weak_usd: FloatArray, strong_usd: FloatArray) -> float:
        """Mean USD a prompt from what one answer of each model costs, (n,)."""
        weak, strong = weak_usd[:, None], strong_usd[:, None]
        drafted = self.checked | ~self.strong
        return float((weak * (drafted + self.extra) + strong * self.strong).mean())


def staged_scores(gate: Gate, prompt_scores: FloatArray, drafts: Drafts) -> StagedScores:
    """Scores of the router (n,) and, after the gate, of every draft."""
    before = prompt_scores[:, None]
    steps = [
        gate.confined(step.score(before, signals), before)
        for step, signals in zip(gate.steps, drafts.signals, strict=True)
    ]
    return StagedScores(prompt_scores, np.stack(steps), np.array([step.spread for step in gate.steps]), gate.band)


def staged_curve(
    scores: StagedScores,
    draft_quality: FloatArray,
    strong_quality: FloatArray,
    costs: tuple[FloatArray, FloatArray] | None = None,
) -> CostQualityCurve:
    """The curve of a policy: ``draft_quality`` (n, r), ``strong_quality`` (n,); ``costs`` (n,) USD of one answer."""
    n, r = draft_quality.shape
    curve = cost_quality_curve(
        scores.final.ravel(), draft_quality.ravel(), np.repeat(strong_quality, r), groups=np.repeat(np.arange(n), r)
    )
    if costs is None:
        return curve
    return curve.with_costs(_costs(curve, scores, *costs))


def _costs(curve: CostQualityCurve, scores: StagedScores, weak: FloatArray, strong: FloatArray) -> FloatArray:
    chosen = np.unique(np.linspace(0, len(curve.thresholds) - 1, COSTED).astype(int))
    found = [scores.use(curve.thresholds[i]).usd(weak, strong) for i in chosen]
    return np.interp(np.arange(len(curve.thresholds)), chosen, found)


def apgr_gain(
    better: FloatArray, scores: FloatArray, weak_quality: FloatArray, strong_quality: FloatArray
) -> tuple[float, float, float]:
    """How much more APGR ``better`` reaches than ``scores``, with a 95 % interval of the paired difference.

    Arrays (n, r) or (n,), one row a prompt; the ranks are held fixed while prompts are drawn.
    """
    gains = strong_quality - weak_quality
    gap = float(gains.mean())
    low, high = area_interval(better, scores, gains)
    found = float((gains * (mean_ranks(better) - mean_ranks(scores))).mean())
    return found / gap, low / gap, high / gap
