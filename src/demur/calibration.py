"""From a router's scores to a threshold, and from money spent on labels to the calls that earn it back.

Pure functions. A share, a budget and an estimated quality need no labels: they are read off the scores of one's own
prompts. A promise about quality needs graded prompts: see certificates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from demur.certificates import Certificate
from demur.errors import InputError
from demur.records import FloatArray


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and what it was set on."""

    threshold: float  # strong iff score >= threshold
    strong_share: float  # reached on the calibration prompts; ties in the scores move together
    n: int  # prompts it was set on
    asked: str  # in plain words, such as "strong share 30%"
    on: str = "your prompts"
    gate: bool = True  # False: set for the router's score alone, so the gate takes no part (see policy)

    @property
    def sentence(self) -> str:
        """In plain words."""
        alone = "" if self.gate else "; without the gate"
        return f"{self.asked} asked; strong share {self.strong_share:.0%} of {self.n:,} of {self.on}{alone}"


def threshold_for_share(scores: ArrayLike, strong_share: float, *, on: str = "your prompts") -> Calibration:
    """The threshold that sends as near to ``strong_share`` of these prompts to the strong model as their ties allow.

    Raises InputError for no scores, scores that are not finite, or a share outside [0, 1].
    """
    if not 0 <= strong_share <= 1:
        raise InputError(f"strong_share is {strong_share}; it is a fraction, from 0 to 1")
    levels, shares = _levels(scores)
    best = int(np.argmin(np.abs(shares - strong_share)))
    return _between(levels, shares, best, f"strong share {strong_share:.0%}", np.size(scores), on)


def threshold_for_usd(
    scores: ArrayLike,
    weak_usd: ArrayLike,
    strong_usd: ArrayLike,
    usd_per_1k: float,
    *,
    checks: tuple[float, int] | None = None,
) -> Calibration:
    """The lowest threshold at which 1,000 such prompts cost at most ``usd_per_1k``; costs in USD a prompt, (n,).

    ``checks``: the band of a gate and its extra samples; a prompt in the band pays for a draft and, at most, for all of
    them. Raises InputError when even always-weak costs more.
    """
    score = np.asarray(scores, dtype=float)
    levels, shares = _levels(score)
    means = np.array([policy_usd(score, float(level), weak_usd, strong_usd, checks).mean() for level in levels])
    affordable = np.flatnonzero(1000 * means <= usd_per_1k + 1e-12)
    if not len(affordable):
        weakest = 1000 * float(np.asarray(weak_usd).mean())
        raise InputError(f"${usd_per_1k:g} per 1,000 prompts is not enough: the weak model alone costs ${weakest:.4f}")
    return _between(
        levels, shares, int(affordable[0]), f"at most ${usd_per_1k:g} per 1,000 prompts", len(score), "your prompts"
    )


def threshold_for_quality(
    scores: ArrayLike, weak_estimate: ArrayLike, strong_estimate: ArrayLike, keep: float, *, on: str
) -> Calibration:
    """The highest threshold whose estimated quality is ``keep`` times always-strong's.

    The estimates, (n,), are label-free (the strong model's own belief in both models' answers): no promise is made.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep_quality is {keep}; it is a fraction of the strong model's quality, from 0 to 1")
    score, weak, strong = (np.asarray(values, dtype=float) for values in (scores, weak_estimate, strong_estimate))
    levels, shares = _levels(score)
    means = np.array([np.where(score >= level, strong, weak).mean() for level in levels])
    good = np.flatnonzero(means >= keep * strong.mean() - 1e-12)
    asked = f"{keep:.0%} of the strong model's quality (estimated without labels)"
    return _between(levels, shares, int(good[-1]), asked, len(score), on)


def policy_usd(
    scores: FloatArray, threshold: float, weak_usd: ArrayLike, strong_usd: ArrayLike, checks: tuple[float, int] | None
) -> FloatArray:
    """(n,) USD of each prompt at a threshold, at most: one within a gate's band pays for a draft and all extra samples.

    Which of those are escalated only their answers tell; the prompt's own score stands in for that.
    """
    weak, strong = (np.broadcast_to(np.asarray(cost, dtype=float), scores.shape) for cost in (weak_usd, strong_usd))
    above = scores >= threshold
    band, extra = checks or (-1.0, 0)
    checked = np.abs(scores - threshold) <= band
    return np.asarray(np.where(above, strong, weak) + checked * weak * (extra + above))


def certified(certificate: Certificate) -> Calibration:
    """The threshold of a certificate."""
    asked = f"risk {certificate.risk:.1%} with {certificate.confidence:.0%} confidence ({certificate.loss})"
    on = "the graded prompts"
    return Calibration(certificate.threshold, certificate.strong_share, certificate.m, asked, on, gate=False)


def _levels(scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Every threshold that differs, rising, and the strong share of each."""
    values = np.asarray(scores, dtype=float)
    if not len(values) or not np.isfinite(values).all():
        raise InputError(
            f"{len(values)} scores, {int((~np.isfinite(values)).sum())} not finite; calibrate on some prompts"
        )
    levels = np.append(np.unique(values), np.nextafter(values.max(), math.inf))
    return levels, 1.0 - np.searchsorted(np.sort(values), levels, side="left") / len(values)


def _between(levels: FloatArray, shares: FloatArray, at: int, asked: str, n: int, on: str) -> Calibration:
    """The calibration at a level; inside the scores the threshold lies halfway to the one below."""
    inside = 0 < at < len(levels) - 1
    threshold = (levels[at] + levels[at - 1]) / 2 if inside else levels[at]
    return Calibration(float(threshold), float(shares[at]), n, asked, on)


def payback(labelling_usd: float | None, weak_usd: float | None, strong_usd: float | None, strong_share: float) -> str:
    """When labelling has paid for itself against sending every call to the strong model, as one sentence.

    Costs in USD: of the labelling, and of one call to each model (None: unknown).
    """
    if labelling_usd is None or weak_usd is None or strong_usd is None:
        return "payback: a price is unknown, so what routing saves cannot be counted"
    saved = strong_usd - (strong_share * strong_usd + (1 - strong_share) * weak_usd)
    if saved <= 0:
        return f"payback: never: a call costs ${weak_usd:.6f} on the weak and ${strong_usd:.6f} on the strong model"
    calls = math.ceil(labelling_usd / saved)
    return (
        f"payback: labelling cost ${labelling_usd:.4f}; at a strong share of {strong_share:.0%} a call saves "
        f"${saved:.6f} against always-strong, so it is earned back after {calls:,} calls"
    )
