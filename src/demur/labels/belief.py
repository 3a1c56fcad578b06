"""The gain that both models' samples let one believe in: what escalating is worth, from shares of answer pairs alone.

A meaning is believed to be right by lam p_strong + (1 - lam) p_weak, so that escalating is believed to gain
g = lam SS - (1 - lam) WW - (2 lam - 1) SW. SS and WW are the shares of a model's own answer pairs that mean the same,
SW that of pairs across the models. lam = 1 is `demur.agreement`'s G without its bias, lam = 1/2 the margin of
self-consistency. How far the weak model's agreement with itself is to be believed shows in how much of it the strong
model confirms (`confirmed_slope`), without labels. Found and confirmed on which pairs: docs/method.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.labels.uncertainty import consistency
from demur.records import BoolArray, FloatArray, IntArray

LEAST_WEIGHT, MOST_WEIGHT = 0.5, 1.0  # of the strong model's belief
FULLY_CONFIRMED = 1.0  # slope from which both models are believed alike; half a unit less, and only the strong one is


@dataclass(frozen=True, slots=True)
class PairShares:
    """Shares of answer pairs that mean the same, of n prompts, each (n,) in [0, 1]; no answer is paired with itself."""

    strong: FloatArray
    weak: FloatArray
    across: FloatArray


@dataclass(frozen=True, slots=True)
class Belief:
    """What the samples of a pair of models let one believe of escalating."""

    gains: FloatArray  # (n,) of every prompt, see `believed_gains`
    slope: float  # see `confirmed_slope`
    strong_weight: float  # see `belief_weight`

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        return (
            f"targets of believed gain: the strong model confirms {self.slope:.2f} of what the weak model agrees with "
            f"itself about, so the strong model's belief weighs {self.strong_weight:.2f}"
        )


def without_silence(clusters: IntArray, silent: BoolArray) -> IntArray:
    """(n,) cluster ids in which every answer that says nothing has a meaning of its own: it confirms no other."""
    fresh = clusters.max(initial=-1) + 1 + np.arange(len(clusters))
    return np.where(silent, fresh, clusters)


def pair_shares(joint: Sequence[IntArray], n: int) -> PairShares:
    """Of every prompt; ``joint``: cluster ids of both models' answers in one labelling, the n strong ones first."""
    return PairShares(
        strong=np.array([consistency(ids[:n]) for ids in joint]),
        weak=np.array([consistency(ids[n:]) for ids in joint]),
        across=np.array([np.mean(ids[n:, None] == ids[:n]) for ids in joint]),
    )


def confirmed_slope(joint: Sequence[IntArray], n: int) -> float:
    """Slope over prompts of SW on WW, as infinitely many samples would give it: how much of what the weak model agrees
    with itself about does the strong model confirm?

    Every product is over distinct weak samples (U-statistics): shares of few samples are noisy, and a plain slope sinks
    with n. 0 where WW does not vary beyond its noise. n < 4 leaves no distinct pairs: the slope is the plain one then.
    """
    shares = pair_shares(joint, n)
    if n < 4:
        moments = (float(np.mean(shares.weak * shares.across)), float(np.mean(shares.weak**2)))
    else:
        moments = tuple(np.mean([_moments(ids[n:], ids[:n]) for ids in joint], axis=0).tolist())
    covariance = moments[0] - float(shares.weak.mean() * shares.across.mean())
    variance = moments[1] - float(shares.weak.mean()) ** 2
    return covariance / variance if variance > 0 else 0.0


def _moments(weak: IntArray, strong: IntArray) -> tuple[float, float]:
    """Of one prompt, without bias: WW times SW, and WW squared."""
    meanings, counts = np.unique(weak, return_counts=True)
    confirmed = (strong[:, None] == meanings).mean(axis=0)  # share of strong answers that mean this
    n, pairs = len(weak), counts * (counts - 1)
    third = float((counts * confirmed).sum()) - 2 * confirmed  # over the n - 2 other samples
    triples = float((pairs * third).sum()) / (n * (n - 1) * (n - 2))
    apart = float(pairs.sum() ** 2 - 2 * pairs.sum() - 4 * (pairs * (counts - 2)).sum())
    return triples, apart / (n * (n - 1) * (n - 2) * (n - 3))


def belief_weight(slope: float) -> float:
    """lam, the weight of the strong model's belief: 1/2 where the strong model confirms the weak one fully (slope 1),
    1 where it confirms half of it or less."""
    return float(np.clip(LEAST_WEIGHT + FULLY_CONFIRMED - slope, LEAST_WEIGHT, MOST_WEIGHT))


def believed_gains(shares: PairShares, weight: float) -> FloatArray:
    """g of every prompt, (n,) in [-1, 1]; ``weight`` is lam. Identical models give 0 on average."""
    own = weight * shares.strong - (1 - weight) * shares.weak
    return np.asarray(own - (2 * weight - 1) * shares.across)


def believed_need(strong: IntArray, weak: IntArray) -> float:
    """P(strong right and weak wrong) of one prompt, by the strong model's own belief: sum_c p_s(c)^2 (1 - p_w(c)).

    Cluster ids in one shared labelling. The truth and the strong answer are two samples, so no answer confirms itself
    (of a single one it does).
    """
    labels, counts = np.unique(strong, return_counts=True)
    n = len(strong)
    sure = counts * (counts - 1) / (n * (n - 1)) if n > 1 else counts / n
    return float((sure * (1 - (weak[:, None] == labels).mean(axis=0))).sum())
