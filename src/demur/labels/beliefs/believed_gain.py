"""Evaluating scores without labels, by how much of the believed gain of escalating they capture.

The measure is G (`demur.agreement`) on samples that the scores were not made from: the gain of escalating if the strong
model's sampled beliefs were right. It is used to choose among kinds of targets and to decide whether a gate pays. It
shares the strong model's errors, so it measures belief, not accuracy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from demur.errors import InputError
from demur.labels.scores.uncertainty import agreement
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.records import Fact, FloatArray, IntArray
from demur.statistics import folds, interval, mean_ranks


@dataclass(frozen=True, slots=True)
class KindChoice:
    """The kind of targets that was chosen, and the believed gain of every kind."""

    kind: str
    areas: Mapping[str, float]  # kind -> believed gain captured above random

    @property
    def fact(self) -> Fact:
        """The kind that was chosen, and by what."""
        shown = ", ".join(f"{kind} {area:.4f}" for kind, area in self.areas.items())
        return "chosen by", f"the believed gain on held-out samples: {shown}"


def believed_area(scores: FloatArray, gains: FloatArray) -> float:
    """Mean gain captured above random over all strong shares, when the largest scores go first; 0 is random.

    It is APGR without its division by the gap, so it holds where the gap is zero or negative as well.
    """
    return float(np.mean(np.asarray(gains) * (mean_ranks(scores) - 0.5)))


def caught_within_folds(scores: FloatArray, gains: FloatArray, groups: IntArray | None = None) -> FloatArray:
    """(n,) what each prompt adds to the believed gain caught above random, each ranked within its own fold.

    ``scores`` (n,) are those of `held_out_scores` with these ``groups``. Every fold's scores come from another fit,
    whose mean is low where the fold's own targets are high: ranked together they make any router look worse than it
    is, by a whole standard error at 200 prompts (NQ-Open).
    """
    fold_of, found = folds(len(gains), groups=groups), np.empty(len(gains))
    for fold in np.unique(fold_of):
        rows = fold_of == fold
        found[rows] = (gains[rows] - gains[rows].mean()) * (mean_ranks(scores[rows]) - 0.5)
    return found


def area_interval(
    better: FloatArray, scores: FloatArray, gains: FloatArray, groups: IntArray | None = None
) -> tuple[float, float]:
    """95 % bootstrap interval, over prompts, of the gain that ``better`` captures beyond ``scores``.

    Arrays (n,), or (n, r) with r answers of each prompt, which are drawn together, as are prompts of one of the
    ``groups`` (n,).
    """
    each = (np.asarray(gains) * (mean_ranks(better) - mean_ranks(scores))).reshape(len(gains), -1).mean(axis=1)
    return interval(each, groups=groups)


def halves(joint: Sequence[IntArray]) -> tuple[list[IntArray], FloatArray]:
    """Clusters over the first half of both models' samples of every prompt, and G (n,) from the second half.

    ``joint``: clusters over both models' answers, as many of each, the strong ones first. Raises InputError where no
    prompt has four samples of each; where its first ones settle a prompt, they are halved like others.
    """
    most = max(len(ids) // 2 for ids in joint)
    if most < 4:
        raise InputError(
            f"n is {most}: choosing targets label-free holds out half of the samples; use n >= 4, or another kind"
        )
    first, judged = [], []
    for ids in joint:
        strong, weak = np.split(ids, 2)
        half = len(weak) // 2
        first.append(np.concatenate([strong[:half], weak[:half]]))
        judged.append(agreement(weak[half:], strong[half:]))
    return first, np.array(judged)


def choose_targets(
    candidates: Mapping[str, FloatArray], gains: FloatArray, vectors: FloatArray, groups: IntArray | None = None
) -> KindChoice:
    """The kind whose router captures most of the believed ``gains`` (n,) on held-out prompts.

    ``candidates``: targets (n,) a kind, made from other samples than ``gains``; the first one stays unless another is
    better beyond its 95 % interval. ``vectors``: the prompts, (n, d);
    ``groups`` (n,): those that are one prompt.
    """
    scores = {
        kind: held_out_scores(KernelRidge(), vectors, targets, groups=groups) for kind, targets in candidates.items()
    }
    areas = {kind: believed_area(each, gains) for kind, each in scores.items()}
    usual, best = next(iter(areas)), max(areas, key=areas.__getitem__)
    better = best != usual and area_interval(scores[best], scores[usual], gains, groups)[0] > 0
    return KindChoice(best if better else usual, areas)
