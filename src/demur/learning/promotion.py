"""Is a candidate router better than the one in force? By the believed gain that both catch on the same prompts.

Pure functions. Every prompt is scored by a fit that did not see it: the candidate's scores are cross-validated, and
the router in force scores what came after its training, and its own held-out scores of what it was trained on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from demur.labels.beliefs.believed_gain import area_interval, caught_within_folds
from demur.methods.estimator import centre_and_scale
from demur.methods.kernel import KernelRidge
from demur.records import BoolArray, FloatArray
from demur.routing.verdict import widening
from demur.statistics import mean_ranks

# Standard errors on either side of a gain. A later candidate that is no better than the router in force does no harm,
# and a poisoned one is far below it. Chosen on the local pair among 1.645, 1.28, .84 and 0.
FIRST_ERRORS, LATER_ERRORS = 2.33, 0.84
FEWEST = 40  # prompts, below which nothing is promoted
CHANCE = 0.01  # of a first router whose labels have nothing to do with the prompts
ORDERS = 399  # of the labels that are tried for it
MOST_TRIED = 2_000  # latest prompts on which they are
KINDS = 4  # groups of prompts that a candidate may learn apart
FEWEST_GRADED = 20  # graded prompts, below which none of them object: no interval means anything


@dataclass(frozen=True, slots=True)
class Comparison:
    """Believed gain per prompt that the candidate catches beyond the router in force, averaged over all shares."""

    gain: float
    low: float
    high: float
    n: int  # prompts
    beside: str  # what the candidate was compared with
    what: str = "prompts"
    chance: float | None = None  # that labels without any tie to the prompts fit them as well; None: not tried

    @property
    def better(self) -> bool:
        """True where the candidate is promoted."""
        if self.chance is not None:
            return self.n >= FEWEST and self.gain > 0 and self.chance <= CHANCE
        return self.n >= FEWEST and self.low > 0

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        figures = f"{self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        said = "better than" if self.better else "NOT shown to beat"
        few = f"; at least {FEWEST} prompts are needed" if self.n < FEWEST else ""
        by_chance = "" if self.chance is None else f", chance {self.chance:.4f}"
        return f"{said} {self.beside}: {figures} of believed gain per prompt on {self.n} {self.what}{by_chance}{few}"


def compare(
    candidate: FloatArray,
    in_force: FloatArray | None,
    gains: FloatArray,
    recent: BoolArray | None = None,
    *,
    vectors: FloatArray | None = None,
) -> Comparison:
    """Compare two routers' scores, (n,) each, by what escalating is believed to gain on each prompt, (n,).

    On all prompts and on the ``recent`` ones alone, (n,) booleans: those that the router in force was not trained on.
    After a change of the traffic only they tell. The clearer of both counts. Without a router ``in_force`` the
    candidate is compared with random order: by the prompts' ``vectors`` (n, d) where they are given, since that tells
    with fewer prompts than held-out scores do.
    """
    on_all = _compare(candidate, in_force, gains, "prompts")
    if in_force is None and vectors is not None and len(gains) > 1:
        return replace(on_all, chance=chance_of(vectors, gains))
    if in_force is None or recent is None or recent.sum() < FEWEST:
        return on_all
    on_recent = _compare(candidate[recent], in_force[recent], gains[recent], "recent prompts")
    return max(on_all, on_recent, key=lambda one: one.low)


def _compare(candidate: FloatArray, in_force: FloatArray | None, gains: FloatArray, what: str) -> Comparison:
    beside = "the router in force" if in_force is not None else "random"
    if len(gains) < 2:
        return Comparison(0.0, 0.0, 0.0, len(gains), beside, what)
    each = caught_within_folds(candidate, gains)
    if in_force is not None:
        each = each - caught_within_folds(in_force, gains)
    gain, error = float(np.mean(each)), float(np.std(each, ddof=1)) / math.sqrt(len(each))
    width = error * (FIRST_ERRORS * widening(len(each)) if in_force is None else LATER_ERRORS)
    return Comparison(gain, gain - width, gain + width, len(gains), beside, what)


def chance_of(vectors: FloatArray, gains: FloatArray) -> float:
    """The chance that gains without any tie to the prompts would fit them as well: by random orders of the gains.

    What is compared is how well each gain is told by those of near prompts, by kernel ridge regression without the
    prompt's own: a score test of the kernel's variance (Liu, Lin and Ghosh 2007), exact by permutation.
    """
    rows, values = np.asarray(vectors[-MOST_TRIED:], dtype=float), np.asarray(gains[-MOST_TRIED:], dtype=float)
    mean, scale = centre_and_scale(rows, np.ones(len(rows)))
    rows, ridge = (rows - mean) / scale, KernelRidge()
    lengths = (rows**2).sum(axis=1)
    kernel = np.exp(-ridge.gamma * np.maximum(lengths[:, None] + lengths - 2 * rows @ rows.T, 0.0))
    kernel -= kernel.mean(axis=0) + kernel.mean(axis=1)[:, None] - kernel.mean()
    smoother = np.linalg.solve(kernel + ridge.alpha * np.eye(len(kernel)), kernel)
    np.fill_diagonal(smoother, 0.0)
    random, rest = np.random.default_rng(0), values - values.mean()
    orders = np.stack([rest, *(random.permutation(rest) for _ in range(ORDERS))], axis=1)
    fit = (orders * (smoother @ orders)).sum(axis=0)
    return float(np.mean(fit >= fit[0]))


def better_by_kind(plain: FloatArray, by_kind: FloatArray, gains: FloatArray, recent: BoolArray) -> bool:
    """Does a candidate that learns kinds of prompts apart order the ``recent`` ones better than one that does not?"""
    if recent.sum() < FEWEST:
        return False
    return _compare(by_kind[recent], plain[recent], gains[recent], "recent prompts").gain > 0


def objection(candidate: FloatArray, in_force: FloatArray | None, gains: FloatArray) -> str:
    """Why graded prompts object to a candidate; empty where they do not.

    They do where its order catches less of what the strong model's answers were worth beyond the weak one's, ``gains``
    (n,) in [-1, 1] by their grades, than the router in force catches, or without one than random order, and the 95 %
    interval of the difference is below zero. Scores (n,) are of fits that did not see the prompts.
    """
    if len(gains) < FEWEST_GRADED:
        return ""
    beside = np.zeros(len(gains)) if in_force is None else in_force
    low, high = area_interval(candidate, beside, gains)
    if high >= 0:
        return ""
    gain = float(np.mean(gains * (mean_ranks(candidate) - mean_ranks(beside))))
    name = "random" if in_force is None else "the router in force"
    return f"{len(gains)} graded prompts object: {gain:+.4f} [{low:+.4f}, {high:+.4f}] of graded gain beside {name}"
