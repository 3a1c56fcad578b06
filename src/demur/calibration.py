"""From a router's scores to a threshold, and from money spent on labels to the calls that earn it back.

Pure functions. No labels are needed for a threshold by strong share: a quantile of the scores of one's own prompts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from demur.errors import InputError


@dataclass(frozen=True, slots=True)
class Calibration:
    """A threshold and what it was set on."""

    threshold: float  # strong iff score >= threshold
    share_asked: float
    share_reached: float  # of the calibration prompts; ties in the scores move together
    n: int  # prompts it was set on
    on: str = "your prompts"

    @property
    def sentence(self) -> str:
        """In plain words."""
        return f"strong share {self.share_reached:.0%} of {self.n} of {self.on}, {self.share_asked:.0%} asked"


def threshold_for_share(scores: ArrayLike, strong_share: float, *, on: str = "your prompts") -> Calibration:
    """The threshold that sends as near to ``strong_share`` of these prompts to the strong model as their ties allow.

    Raises InputError for no scores, scores that are not finite, or a share outside [0, 1].
    """
    values = np.asarray(scores, dtype=float)
    if not 0 <= strong_share <= 1:
        raise InputError(f"strong_share is {strong_share}; it is a fraction, from 0 to 1")
    if not len(values) or not np.isfinite(values).all():
        raise InputError(
            f"{len(values)} scores, {int((~np.isfinite(values)).sum())} not finite; calibrate on some prompts"
        )
    levels = np.append(np.unique(values), np.nextafter(values.max(), math.inf))
    shares = 1.0 - np.searchsorted(np.sort(values), levels, side="left") / len(values)
    best = int(np.argmin(np.abs(shares - strong_share)))
    threshold = levels[best] if best == 0 or best == len(levels) - 1 else (levels[best] + levels[best - 1]) / 2
    return Calibration(float(threshold), strong_share, float(shares[best]), len(values), on)


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
