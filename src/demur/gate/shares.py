"""The threshold of a strong share, by a router's scores of some prompts; they need no labels.

The one place that answers what a share gives: a run, calibration, what is proposed, reports and gateways ask here.
"""

from __future__ import annotations

import math
from dataclasses import replace

from demur.gate.quality.two_stages import StagedScores
from demur.gate.router import Router
from demur.measure.threshold import Calibration, share_of_scored, threshold_for_share
from demur.routing.known.known_prompts import Looked

OF_A_RUN = "the training prompts"  # what the threshold of a run is set on


def calibration_of_share(
    router: Router,
    strong_share: float,
    looked: Looked | None = None,
    staged: StagedScores | None = None,
    *,
    on: str = OF_A_RUN,
) -> Calibration:
    """The calibration that sends ``strong_share`` of some prompts to the strong model; ``looked``: as the router sees
    them, by default those that it was to learn from.

    Unknown prompts are counted where the setting for them sends them, or by their scores, and a gate as it is expected
    to decide: ``staged``, the scores expected with the active gate, where they are there. Raises InputError.
    """
    looked = router.prompt_router.learned if looked is None else looked
    staged = router.expected_scores(looked.scores, router.active_gate) if staged is None else staged
    prompts, *beside = router.prompt_router.unknown_setting.count_sides(looked.untold)
    found = threshold_for_share(router.finals(staged, looked), share_of_scored(strong_share, prompts, *beside), on=on)
    found = replace(found, n=prompts, asked=f"strong share {strong_share:.0%}")
    return as_served(router, looked, staged, found.beside(*beside))


def as_served(router: Router, looked: Looked, staged: StagedScores, found: Calibration) -> Calibration:
    """The same with the strong share that serving is expected to reach: a gate may stop before its last sample, whose
    score the threshold is set on."""
    return replace(found, strong_share=float(router.use(staged, looked, found.threshold).strong.mean()))


def threshold_of_share(router: Router, strong_share: float) -> float:
    """The threshold of a share in [0, 1] of the learned prompts; nothing passes that of 0, and everything that of 1."""
    if strong_share <= 0 or strong_share >= 1:
        return math.inf if strong_share <= 0 else -math.inf
    return threshold_for_share(router.training_finals, share_of_scored(strong_share, *router.counted)).threshold
