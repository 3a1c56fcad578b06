"""How certain each of two models is on every prompt, on its own scale, and the soft targets made from that.

Entropy and coverage show where a model is uncertain, not how often it is right. So only their order within the model is
used, weighted by the spread of the model's self-consistency. Targets are (n,) in [0, 1]; 1 = the strong model
is needed. Chosen on NQ-Open and the local pair, whose true labels were looked at (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.records import BoolArray, FloatArray
from demur.statistics import mean_ranks

COVERAGE_WEIGHT = 2.0  # beside the entropy's rank; 1 and 3 give the same within a per cent


@dataclass(frozen=True, slots=True)
class Sureness:
    """One model on n prompts, from its samples."""

    entropy: FloatArray  # (n,) of meanings, nats
    consistency: FloatArray  # (n,) share of pairs of answers that mean the same, in [0, 1]
    coverage: FloatArray | None = None  # (n,) nats, see `labels.scores.uncertainty.coverage`; None without log-probs

    def of(self, chosen: BoolArray) -> Sureness:
        """The same on those prompts alone, (n,) booleans."""
        covered = None if self.coverage is None else self.coverage[chosen]
        return Sureness(self.entropy[chosen], self.consistency[chosen], covered)

    @property
    def doubt(self) -> FloatArray:
        """(n,) ranks in [0, 1]: 1 where this model is least sure; a NaN coverage counts as the middle rank."""
        if self.coverage is None or np.isnan(self.coverage).all():
            return mean_ranks(self.entropy)
        known = np.where(np.isnan(self.coverage), np.nanmedian(self.coverage), self.coverage)
        return mean_ranks(mean_ranks(self.entropy) + COVERAGE_WEIGHT * mean_ranks(known))

    @property
    def weight(self) -> float:
        """How much its doubt counts: the spread of its self-consistency; 0 for a model that is equally sure throughout.

        Without the weight, a weak model that is wrong everywhere would add only noise to the targets.
        """
        return float(np.std(self.consistency))


def calibrated_targets(weak: Sureness, strong: Sureness) -> FloatArray:
    """Ranks of the weak model's weighted doubt less the strong model's."""
    return mean_ranks(_difference(weak, strong))


def combined_targets(gains: FloatArray, weak: Sureness, strong: Sureness) -> FloatArray:
    """Ranks of `demur.agreement`'s gains (n,) and the calibrated doubt, in equal parts (of unit variance each)."""
    return mean_ranks(_scale(np.asarray(gains, dtype=float)) + _scale(_difference(weak, strong)))


def _difference(weak: Sureness, strong: Sureness) -> FloatArray:
    return weak.weight * weak.doubt - strong.weight * strong.doubt


def _scale(values: FloatArray) -> FloatArray:
    spread = float(np.std(values))
    return values / spread if spread > 0 else np.zeros_like(values)
