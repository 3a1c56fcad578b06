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
from demur.records import BoolArray, FloatArray, count_of
from demur.routing.verdict import widening
from demur.statistics import mean_ranks

# Standard errors on either side of a gain. A later candidate that is no better than the router in force does no harm,
# and a poisoned one is far below it. Chosen on the local pair among 1.645, 1.28, .84 and 0.
FIRST_ERRORS, LATER_ERRORS = 2.33, 0.84
FEWEST = 40  # prompts, below which nothing is promoted
CHANCE = 0.01  # that labels which have nothing to do with the prompts seem better than random order
FIRST_LOOK = 60  # labels; with fewer, few routers are distinguished from random (local pair)
# Of the chance, what the first looks spend: the more labels, the more they tell. Later ones halve it: .15, .075, ...
SPENT = (0.1, 0.2, 0.4)
ORDERS_PER_LEVEL = 4.0  # random orders of the labels that are tried, by the chance that is allowed
ORDERS_AT_ONCE = 400
MOST_TRIED = 2_000  # latest prompts on which they are
RANDOM, IN_FORCE = "random", "the router in force"  # what a candidate is compared with
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
    level: float = CHANCE  # that is allowed; 0: it is no time for a look

    @property
    def better(self) -> bool:
        """True where the candidate is promoted."""
        told = self.chance is None or self.chance <= self.level
        first = self.chance is not None and self.beside == RANDOM
        return self.n >= FEWEST and self.level > 0 and told and (self.gain if first else self.low) > 0

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        figures = f"{self.gain:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"
        said = "better than" if self.better else "NOT shown to beat" if self.level else "NOT tested yet against"
        few = f"; at least {FEWEST} prompts are needed" if self.n < FEWEST else ""
        by_chance = "" if self.chance is None else f", chance {self.chance:.4f} (at most {self.level:.4f})"
        return f"{said} {self.beside}: {figures} of believed gain per prompt on {self.n} {self.what}{by_chance}{few}"


def compare(
    candidate: FloatArray,
    in_force: FloatArray | None,
    gains: FloatArray,
    recent: BoolArray | None = None,
    *,
    vectors: FloatArray | None = None,
    level: float = CHANCE,
) -> Comparison:
    """Compare two routers' scores, (n,) each, by what escalating is believed to gain on each prompt, (n,).

    On all prompts and on the ``recent`` ones alone, (n,) booleans: those that the router in force was not trained on.
    After a change of the traffic only they tell. The clearer of both counts. Without a router ``in_force`` the
    candidate is compared with random order. Where the prompts' ``vectors`` (n, d) are given, the labels must be told
    from random order as well, with a chance of ``level`` at most; without a router in force that decides alone, since
    it tells with fewer prompts than held-out scores do. ``level`` 0: nothing is tested.
    """
    found = _compare(candidate, in_force, gains, "prompts")
    if in_force is not None and recent is not None and recent.sum() >= FEWEST:
        on_recent = _compare(candidate[recent], in_force[recent], gains[recent], "recent prompts")
        found = max(found, on_recent, key=lambda one: one.low)
    worth_it = level > 0 and len(gains) > 1 and (in_force is None or found.low > 0)
    chance = chance_of(vectors, gains, level) if vectors is not None and worth_it else None
    return replace(found, chance=chance, level=level)


@dataclass(frozen=True, slots=True)
class Looks:
    """How often learning has tested whether its labels can be distinguished from random order, while no router served.

    It does so whenever the labels have doubled. What all looks spend of the chance adds up to `CHANCE`, so labels that
    have nothing to do with the prompts are distinguished from random at any of them in one run of a hundred at most.
    """

    done: int = 0
    labels: int = 0  # of the last one

    def level(self, labels: int) -> float:
        """The chance that the next look may spend; 0 where there are too few labels for it."""
        if labels < max(FIRST_LOOK, 2 * self.labels):
            return 0.0
        if self.done < len(SPENT):
            return CHANCE * SPENT[self.done]
        return CHANCE * (1 - sum(SPENT)) * 0.5 ** (self.done - len(SPENT) + 1)

    def after(self, labels: int) -> Looks:
        """The same, once a candidate with so many labels was there."""
        return Looks(self.done + 1, labels) if self.level(labels) else self


def _compare(candidate: FloatArray, in_force: FloatArray | None, gains: FloatArray, what: str) -> Comparison:
    beside = IN_FORCE if in_force is not None else RANDOM
    if len(gains) < 2:
        return Comparison(0.0, 0.0, 0.0, len(gains), beside, what)
    each = caught_within_folds(candidate, gains)
    if in_force is not None:
        each = each - caught_within_folds(in_force, gains)
    gain, error = float(np.mean(each)), float(np.std(each, ddof=1)) / math.sqrt(len(each))
    width = error * (FIRST_ERRORS * widening(len(each)) if in_force is None else LATER_ERRORS)
    return Comparison(gain, gain - width, gain + width, len(gains), beside, what)


def chance_of(vectors: FloatArray, gains: FloatArray, level: float = CHANCE) -> float:
    """The chance that gains without any tie to the prompts would fit them as well: by random orders of the gains.

    What is compared is how well each gain is told by those of near prompts, by kernel ridge regression without the
    prompt's own: a score test of the kernel's variance (Liu, Lin and Ghosh 2007), exact by permutation. More orders are
    tried the smaller the ``level`` is that the chance is compared with.
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
    fit = [float(rest @ smoother @ rest)]
    for start in range(1, math.ceil(ORDERS_PER_LEVEL / level), ORDERS_AT_ONCE):
        count = min(ORDERS_AT_ONCE, math.ceil(ORDERS_PER_LEVEL / level) - start)
        orders = random.permuted(np.tile(rest, (count, 1)), axis=1)
        fit.extend(((orders @ smoother) * orders).sum(axis=1))
    return float(np.mean(np.array(fit) >= fit[0]))


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
    name = RANDOM if in_force is None else IN_FORCE
    return (
        f"{count_of(len(gains), 'graded prompt objects', 'graded prompts object')}: {gain:+.4f} [{low:+.4f}, "
        f"{high:+.4f}] of graded gain beside {name}"
    )
