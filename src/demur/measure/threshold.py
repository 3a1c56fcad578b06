"""Thresholds from a router's scores, and the number of calls after which the cost of labelling is recovered.

Pure functions. A share, a budget and an estimated quality need no labels, only the scores of one's own prompts. A
guarantee on quality needs graded prompts: see `demur.measure.certificate`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from demur.errors import InputError
from demur.measure.certificate import Certificate
from demur.records import BoolArray, FloatArray, IntArray, dollars

TRIED = 401  # thresholds
KEPT = 0.95  # of always-strong's quality
RECOVERED = 0.8  # of what always-strong gains over always-weak
OTHER_SHARE = 0.02  # a strong share that differs by this much is another one than was asked for
LEAST = f"the least share that keeps {KEPT:.0%} and four fifths of what the large model gains over the small one"


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and what it was set on."""

    threshold: float  # strong iff score >= threshold
    strong_share: float  # reached on the calibration prompts; ties in the scores move together
    n: int  # prompts it was set on
    asked: str  # for example "strong share 30%"
    on: str = "your prompts"
    gate: bool = True  # False: set for the router's score alone, so the gate takes no part (see `gate.router`)
    unknown: float = 0.0  # share of the prompts that are unknown and go to one model whatever their score

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        if not self.n:  # before anything is learned there is nothing to set it on
            return self.asked
        alone = "" if self.gate else "; without the gate"
        setting = "of them are unknown and go where the setting `unknown` says, whatever the threshold"
        untold = f"; {self.unknown:.0%} {setting}" if self.unknown else ""
        reached = f"{self.strong_share:.0%} of {self.on} ({self.n:,}) go to the strong model"
        return f"asked for: {self.asked}; {reached}{untold}{alone}"

    @property
    def wish(self) -> str:
        """What it was set for, such as "a strong share of 30%"; empty before anything is learned."""
        if not self.n:
            return ""
        if self.gate:
            return self.asked.replace("strong share ", "a strong share of ", 1)
        _, beside, promise = self.on.partition(", ")
        return f"{self.asked}{beside}{promise}; without the gate"

    def beside(self, strong: int, weak: int) -> Calibration:
        """The same counted over all prompts: so many more go to either model whatever their score."""
        if not strong + weak:
            return self
        total = self.n + strong + weak
        share = share_of_all(self.strong_share, self.n, strong, weak)
        return replace(self, strong_share=share, n=total, unknown=(strong + weak) / total)


def share_of_scored(share: float, scored: int, strong: int, weak: int) -> float:
    """The strong share among the ``scored`` prompts that makes ``share`` of all, where so many more go to either model
    whatever their score; the nearest one that can be had. Raises InputError as `threshold_for_share` does."""
    _check_share(share)
    if not scored:
        raise InputError(
            f"none of {strong + weak} prompts have a score that counts, because they all resemble prompts that "
            "could not be labelled; no threshold has an effect on them: give other prompts"
        )
    return min(1.0, max(0.0, (share * (scored + strong + weak) - strong) / scored))


def share_of_all(share: float, scored: int, strong: int, weak: int) -> float:
    """The strong share of all prompts, from that of the ``scored`` ones: the way back from `share_of_scored`.

    What demur calls a strong share, to a user and from one, is always of all.
    """
    return (share * scored + strong) / (scored + strong + weak) if strong + weak else share


def _check_share(strong_share: float) -> None:
    if not 0 <= strong_share <= 1:
        raise InputError(f"strong_share is {strong_share}; it is a fraction, from 0 to 1")


def threshold_for_share(scores: ArrayLike, strong_share: float, *, on: str = "your prompts") -> Calibration:
    """The threshold that sends as near to ``strong_share`` of these prompts to the strong model as their ties allow.

    Scores (n,), or (n, r) of r drafts that each prompt may meet. Raises InputError for no scores, scores that are not
    finite, or a share outside [0, 1].
    """
    _check_share(strong_share)
    levels, shares = _levels(scores)
    best = int(np.argmin(np.abs(shares - strong_share)))
    return _between(levels, shares, best, f"strong share {strong_share:.0%}", len(np.asarray(scores)), on)


def threshold_for_usd(
    scores: ArrayLike, usd_at: Callable[[float], float], usd_per_1k: float, *, on: str = "your prompts", why: str = ""
) -> Calibration:
    """The lowest threshold at which 1,000 such prompts are expected to cost at most ``usd_per_1k``.

    ``usd_at``: expected USD per prompt at a threshold, drafts and extra samples included. Raises InputError where every
    threshold costs more; ``why`` is what else the error says of that.
    """
    levels, shares = _levels(scores)
    tried = _thin(len(levels))
    affordable = [i for i in tried if 1000 * usd_at(float(levels[i])) <= usd_per_1k + 1e-12]
    if not affordable:
        raise InputError(
            f"{dollars(usd_per_1k)} per 1,000 prompts is not enough: at the threshold that costs least they cost "
            f"{dollars(1000 * min(usd_at(float(levels[i])) for i in tried))}{why}"
        )
    asked = f"at most {dollars(usd_per_1k)} expected per 1,000 prompts"
    return _between(levels, shares, affordable[0], asked, len(np.asarray(scores)), on)


def threshold_for_quality(
    scores: ArrayLike,
    weak_estimate: ArrayLike,
    strong_estimate: ArrayLike,
    keep: float,
    *,
    on: str,
    judged: BoolArray | None = None,
) -> Calibration:
    """The highest threshold whose estimated quality is ``keep`` times always-strong's.

    The estimates, (n,), are label-free (the strong model's own belief in both models' answers), without a guarantee.
    They count where ``judged``, (n,), which is everywhere by default. ``scores`` as for `threshold_for_share`.
    """
    if not 0 < keep <= 1:
        raise InputError(f"keep_quality is {keep}; it is a fraction of the strong model's quality, from 0 to 1")
    weak, strong = (np.asarray(values, dtype=float) for values in (weak_estimate, strong_estimate))
    score = np.asarray(scores, dtype=float).reshape(len(weak), -1)
    levels, shares = _levels(score)
    tried = _thin(len(levels))
    of = np.ones(len(score), dtype=bool) if judged is None else judged
    means = _means_at(levels[tried], score[of], weak[of], strong[of])
    good = np.flatnonzero(means >= keep * strong[of].mean() - 1e-12)
    asked = f"{100 * keep:.4g}% of the strong model's quality (estimated without labels)"
    return _between(levels, shares, int(tried[good[-1]]), asked, len(score), on)


def _means_at(thresholds: FloatArray, scores: FloatArray, weak: FloatArray, strong: FloatArray) -> FloatArray:
    """Mean estimate at each threshold, of prompts with estimates (n,) and scores (n, r). Sorted once: a gateway that
    holds a quality sets its threshold between requests."""
    order = np.argsort(scores, axis=None)
    gains = np.repeat(strong - weak, scores.shape[1])[order]
    above = np.append(np.cumsum(gains[::-1])[::-1], 0.0)  # of this score and of every higher one
    return np.asarray(weak.mean() + above[np.searchsorted(scores.ravel()[order], thresholds)] / len(order))


def threshold_from_certificate(certificate: Certificate) -> Calibration:
    """The threshold of a certificate."""
    asked = f"risk {certificate.risk:.1%} with {certificate.confidence:.0%} confidence ({certificate.loss})"
    on = f"the graded prompts, promise {certificate.number} on them" if certificate.number else "the graded prompts"
    return Calibration(certificate.threshold, certificate.strong_share, certificate.m, asked, on, gate=False)


def _levels(scores: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Every threshold that differs, rising, and the strong share of each."""
    values = np.asarray(scores, dtype=float).ravel()
    if not len(values) or not np.isfinite(values).all():
        raise InputError(
            f"{len(values)} scores, {int((~np.isfinite(values)).sum())} not finite; calibrate on some prompts"
        )
    levels = np.append(np.unique(values), np.nextafter(values.max(), math.inf))
    return levels, 1.0 - np.searchsorted(np.sort(values), levels, side="left") / len(values)


def tried_thresholds(scores: ArrayLike) -> FloatArray:
    """The thresholds that `threshold_for_quality` tries, rising."""
    levels, _ = _levels(scores)
    return levels[_thin(len(levels))]


def _thin(levels: int) -> IntArray:
    """Indices of the levels that are tried where each takes a pass over all prompts; both ends are among them."""
    return np.unique(np.linspace(0, levels - 1, min(levels, TRIED)).astype(int))


def _between(levels: FloatArray, shares: FloatArray, at: int, asked: str, n: int, on: str) -> Calibration:
    """The calibration at a level; inside the scores the threshold lies halfway to the one below."""
    inside = 0 < at < len(levels) - 1
    threshold = (levels[at] + levels[at - 1]) / 2 if inside else levels[at]
    return Calibration(float(threshold), float(shares[at]), n, asked, on)


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """The least strong share that keeps most of what the strong model is worth: what is offered to begin with.

    `least_quality` says what that is.
    """

    strong_share: float
    kept: float  # fraction of always-strong's quality
    saved: float | None  # fraction of always-strong's cost, negative for a loss; None: a price is unknown, or nothing

    @property
    def share(self) -> float:
        """The strong share in whole hundredths, rounded so that no quality is lost; 0 or 1 where one model is left."""
        return math.ceil(100 * self.strong_share - 1e-9) / 100

    @property
    def money(self) -> str:
        """What is saved, or lost, of always-strong's cost; empty where that is not known."""
        return _money(self.saved, "its")


@dataclass(frozen=True, slots=True)
class ShareFigures:
    """What a strong share, that is not chosen by what it keeps, keeps and saves."""

    share: float  # as it is asked for
    strong_share: float  # as a threshold gives it
    kept: float | None  # fraction of always-strong's quality; None: not known
    by: str  # how that is known, such as "believed"
    scope: str  # which prompts it is of; empty: all
    saved: float | None  # as of `KeptPoint`

    @property
    def sentence(self) -> str:
        """What it keeps and saves; empty where neither is known."""
        kept = "" if self.kept is None else f"keeps {self.kept:.0%} of the large model's quality ({self.by})"
        said = " and ".join(filter(None, [kept, _money(self.saved, "its" if kept else "the large model's")]))
        other = round(abs(self.strong_share - self.share), 3) >= OTHER_SHARE
        given = f"the nearest that a threshold gives is {self.strong_share:.0%}, which" if other else "it"
        return f"{given} {said}" if said else ""


def _money(saved: float | None, whose: str) -> str:
    if saved is None:
        return ""
    return f"saves {saved:.0%} of {whose} cost" if saved >= 0 else f"costs {-saved:.0%} more"


def least_quality(weak: float, strong: float) -> float:
    """The least mean quality of a `KeptPoint`; ``weak`` and ``strong``: of either model alone.

    It loses a twentieth of always-strong's quality at most, and a fifth of what that gains over always-weak (CPT 80 %).
    The first alone would give up all of a small gain, the second alone a sixth of the quality where the weak model is
    poor.
    """
    return max(KEPT * strong, weak + RECOVERED * (strong - weak))
