"""Whether probabilities are what they say: groups of prompts of similar probability, and how often each came true.

ECE, the expected calibration error (Naeini et al. 2015), is the mean over groups of equal size of the distance between
the two. It is never 0 on few prompts, however good the probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demur.records import FloatArray, IntArray
from demur.statistics import first_rows, group_numbers, interval

GROUPS = 10


@dataclass(frozen=True, slots=True)
class Reliability:
    """Groups of prompts in order of their probability, each array (groups,)."""

    said: FloatArray  # mean probability
    came: FloatArray  # mean outcome, in [0, 1]
    low: FloatArray  # 95 % interval of the mean outcome
    high: FloatArray
    counts: FloatArray  # prompts
    ece: float
    ece_low: float  # 95 % interval of it, over prompts
    ece_high: float

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        return (
            f"scores as P(strong right and weak wrong): ECE {self.ece:.3f} [{self.ece_low:.3f}, {self.ece_high:.3f}] "
            f"on {int(self.counts.sum())} graded prompts"
        )


def reliability(probabilities: FloatArray, outcomes: FloatArray, groups: IntArray | None = None) -> Reliability:
    """Of n >= 1 prompts: ``outcomes`` (n,) in [0, 1], such as means over samples; ``groups`` (n,): rows of one."""
    number = group_numbers(len(outcomes), groups)
    order = np.argsort(probabilities, kind="stable")
    parts = np.array_split(order, min(GROUPS, len(order)))
    bands = [
        interval(outcomes[part], groups=first_rows(number[part].tolist())) if len(part) > 1 else (0.0, 1.0)
        for part in parts
    ]
    low, high = interval(
        np.arange(len(order)),
        lambda rows: expected_calibration_error(probabilities[rows], outcomes[rows]),
        groups=number,
    )
    return Reliability(
        said=np.array([probabilities[part].mean() for part in parts]),
        came=np.array([outcomes[part].mean() for part in parts]),
        low=np.array([band[0] for band in bands]),
        high=np.array([band[1] for band in bands]),
        counts=np.array([float(len(part)) for part in parts]),
        ece=expected_calibration_error(probabilities, outcomes),
        ece_low=low,
        ece_high=high,
    )


def expected_calibration_error(probabilities: FloatArray, outcomes: FloatArray) -> float:
    """Mean over `GROUPS` groups of equal size of |mean probability - mean outcome|, weighted by their prompts."""
    parts = np.array_split(np.argsort(probabilities, kind="stable"), min(GROUPS, len(probabilities)))
    apart = [len(part) * abs(probabilities[part].mean() - outcomes[part].mean()) for part in parts]
    return float(sum(apart) / len(probabilities))
