"""The threshold of a strong share, by a router's scores of its training prompts; they need no labels."""

from __future__ import annotations

import math
from dataclasses import replace

from demur.gate.router import Router
from demur.measure.threshold import Calibration, share_of_scored, threshold_for_share

OF_A_RUN = "the training prompts"  # what the threshold of a run is set on


def calibration_of_share(router: Router, strong_share: float) -> Calibration:
    """The calibration that sends ``strong_share`` of the prompts that the router was to learn from to the strong model.

    Unknown prompts are counted where the setting for them sends them, or by their scores. Raises InputError.
    """
    prompts, strong, weak = router.counted  # a prompt may have several drafts
    share = share_of_scored(strong_share, prompts, strong, weak)
    found = threshold_for_share(router.training_finals, share, on=OF_A_RUN)
    found = replace(found, n=prompts, asked=f"strong share {strong_share:.0%}")
    return found.beside(strong, weak)


def threshold_of_share(router: Router, strong_share: float) -> float:
    """The threshold of a share in [0, 1]; nothing passes that of 0, and everything that of 1."""
    if strong_share <= 0 or strong_share >= 1:
        return math.inf if strong_share <= 0 else -math.inf
    return calibration_of_share(router, strong_share).threshold
