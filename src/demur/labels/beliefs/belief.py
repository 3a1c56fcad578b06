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
from math import comb

import numpy as np

from demur.labels.scores.uncertainty import consistency
from demur.records import BoolArray, Fact, FloatArray, IntArray

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
    def facts(self) -> list[Fact]:
        """What a target is, and whom it believes where the models differ."""
        confirmed = min(1.0, max(0.0, self.slope))
        return [
            ("a target", "how much better the large model's answers are, as far as agreement among the answers shows"),
            (
                "where they differ",
                f"the large model counts {self.strong_weight:.0%} and the small one {1 - self.strong_weight:.0%}: "
                f"the large one gives {confirmed:.0%} of what the small one repeats",
            ),
        ]


def without_silence(clusters: IntArray, silent: BoolArray) -> IntArray:
    """(n,) cluster ids in which every answer that says nothing has a meaning of its own: it confirms no other."""
    fresh = clusters.max(initial=-1) + 1 + np.arange(len(clusters))
    return np.where(silent, fresh, clusters)


def pair_shares(joint: Sequence[IntArray]) -> PairShares:
    """Of every prompt; ``joint``: cluster ids of both models' answers in one labelling, the strong half first.

    How many answers there are does not bias a share, and may differ between prompts.
    """
    halves = [np.split(ids, 2) for ids in joint]
    return PairShares(
        strong=np.array([consistency(strong) for strong, _ in halves]),
        weak=np.array([consistency(weak) for _, weak in halves]),
        across=np.array([np.mean(weak[:, None] == strong) for strong, weak in halves]),
    )


def confirmed_slope(joint: Sequence[IntArray]) -> float:
    """Slope over prompts of SW on WW, as infinitely many samples would give it: how much of what the weak model agrees
    with itself about does the strong model confirm?

    Every product is over distinct weak samples (U-statistics): shares of few samples are noisy, and a plain slope sinks
    with n. 0 where WW does not vary beyond its noise. n < 4 leaves no distinct pairs: the slope is the plain one then.

    Prompts with fewer samples than others are those whose first ones settled them (`demur.labels.settled_prompts`),
    because they agreed: taken as they are they would bias the slope. They are represented by prompts with all samples,
    each weighed by the inverse of the chance that its own first samples would not have settled it (Horvitz and Thompson
    1952). What that leaves of the settled ones agrees throughout.
    """
    counts = [len(ids) // 2 for ids in joint]
    fewest, most = min(counts), max(counts)
    sums, settled = np.zeros(4), np.zeros(2)  # settled prompts where both models say the same, and where they do not
    for ids, n in zip(joint, counts, strict=True):
        strong, weak = np.split(ids, 2)
        if n < most:
            settled += [strong[0] == weak[0], strong[0] != weak[0]]
            continue
        chances = _settling(strong, weak, fewest) if fewest < most else np.zeros(2)
        open_ = 1 - chances.sum()
        weight = 1 / open_ if open_ > 0 else 1.0
        settled -= weight * chances if open_ > 0 else 0
        sums += weight * np.array(_moments(strong, weak))
    same, different = np.maximum(settled, 0)
    agreeing = np.array([same + different, same, same, same + different])
    own, across, both, squared = (sums + agreeing) / len(joint)
    variance = squared - own**2
    return float((both - own * across) / variance) if variance > 0 else 0.0


def _settling(strong: IntArray, weak: IntArray, fewest: int) -> FloatArray:
    """(2,) chances that the ``fewest`` first samples of either model, in any order, are one meaning: of both models the
    same one, and another one."""
    meanings = np.union1d(strong, weak)
    first = [
        np.array([comb(int((side == one).sum()), fewest) for one in meanings]) / comb(len(side), fewest)
        for side in (strong, weak)
    ]
    same = float((first[0] * first[1]).sum())
    return np.array([same, float(first[0].sum() * first[1].sum()) - same])


def _moments(strong: IntArray, weak: IntArray) -> tuple[float, float, float, float]:
    """Of one prompt, without bias where there are four samples: WW, SW, WW times SW, and WW squared."""
    agreed, share = consistency(weak), float(np.mean(weak[:, None] == strong))
    if len(weak) < 4:
        return agreed, share, agreed * share, agreed**2
    meanings, counts = np.unique(weak, return_counts=True)
    confirmed = (strong[:, None] == meanings).mean(axis=0)  # share of strong answers that mean this
    n, pairs = len(weak), counts * (counts - 1)
    third = float((counts * confirmed).sum()) - 2 * confirmed  # over the n - 2 other samples
    triples = float((pairs * third).sum()) / (n * (n - 1) * (n - 2))
    apart = float(pairs.sum() ** 2 - 2 * pairs.sum() - 4 * (pairs * (counts - 2)).sum())
    return agreed, share, triples, apart / (n * (n - 1) * (n - 2) * (n - 3))


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
