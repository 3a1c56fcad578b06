"""The threshold of a strong share, by a router's scores of its training prompts; they need no labels."""

from __future__ import annotations

import math
from dataclasses import replace

from demur.gate.router import Router
from demur.measure.threshold import Calibration, share_of_scored, threshold_for_share


def calibration_of_share(router: Router, asked: float) -> Calibration:
    """The calibration that sends ``asked`` of prompts like the training prompts to the strong model.

    Unknown prompts are counted where the setting for them sends them. Raises InputError.
    """
    first = router.prompt_router
    lost = len(first.unknown.prompts) if first.unknown and first.forced_role else 0
    strong, weak = (lost if first.forced_role == role else 0 for role in ("strong", "weak"))
    share = share_of_scored(asked, len(first.training), strong, weak)
    found = threshold_for_share(router.training_finals, share, on="the training prompts")
    found = replace(found, n=len(first.training), asked=f"strong share {asked:.0%}")  # each may have several drafts
    return found.beside(strong, weak)


def threshold_of_share(router: Router, asked: float) -> float:
    """The threshold of a share in [0, 1]; nothing passes that of 0, and everything that of 1."""
    if asked <= 0 or asked >= 1:
        return math.inf if asked <= 0 else -math.inf
    return calibration_of_share(router, asked).threshold
