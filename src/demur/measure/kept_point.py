"""The least strong share that keeps most of what the strong model is worth: the one that is offered to begin with.

It loses a twentieth of always-strong's quality at most, and a fifth of what that gains over always-weak (CPT 80 %). The
first alone would give up all of a small gain, the second alone a sixth of the quality where the weak model is poor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

KEPT = 0.95  # of always-strong's quality
RECOVERED = 0.8  # of what always-strong gains over always-weak


@dataclass(frozen=True, slots=True)
class KeptPoint:
    """A point of a router's curve."""

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
        if self.saved is None:
            return ""
        return f"saves {self.saved:.0%} of its cost" if self.saved >= 0 else f"costs {-self.saved:.0%} more"


def least_quality(weak: float, strong: float) -> float:
    """The least mean quality that the point may have; ``weak`` and ``strong``: of either model alone."""
    return max(KEPT * strong, weak + RECOVERED * (strong - weak))
