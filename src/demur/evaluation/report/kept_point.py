"""The least strong share at which a router keeps most of the large model's quality on some prompts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from demur.evaluation.tiers import tier_usd, tiers_of
from demur.gate.quality.two_stages import StagedScores
from demur.gate.router import Router
from demur.measure.threshold import KeptPoint, least_quality, share_of_scored, threshold_for_share, tried_thresholds
from demur.measure.tiers import take_chosen
from demur.records import BoolArray, FloatArray
from demur.routing.known.known_prompts import Looked
from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter

Pair = tuple[FloatArray, FloatArray]  # of the weak and the strong model, (n,) each
Costs = tuple[FloatArray | None, FloatArray | None]  # the same; None where a price is unknown


def kept_point(router: Router, looked: Looked, quality: Pair, judged: BoolArray, usd: Costs) -> KeptPoint | tuple[()]:
    """`Headline.kept`, by the same expectation as the headline; of the thresholds that calibration would try.

    What it keeps and saves is of its share in whole hundredths, as calibration sets that, so that the command which
    asks for this share gives what was said.
    """
    expected = router.expected_scores(looked.scores, router.serving_gate)
    told = scored_prompts(router, looked)
    weak, alone = (float(side[judged].mean()) for side in quality)
    wanted = least_quality(weak, alone)
    for threshold in tried_thresholds(expected.final[told])[::-1].tolist():
        found = _point_at(threshold, expected, router, looked, quality, judged, usd)
        if not alone or found.kept * alone >= wanted - 1e-12:
            forced, beside = router.prompt_router.forced_role, int((~told).sum())
            sides = (beside if forced == "strong" else 0, beside if forced == "weak" else 0)
            share = share_of_scored(found.share, int(told.sum()), *sides)
            at = threshold_for_share(expected.final[told], share).threshold
            said = _point_at(at, expected, router, looked, quality, judged, usd)
            return replace(said, strong_share=found.strong_share)
    return ()


def kept_tier_point(router: PromptRouter) -> KeptPoint | tuple[()]:
    """The same of a router of several models on all prompts that it was to learn from, by believed quality.

    Its share is of calls to the dearest model; 0 where the others keep enough without it.
    """
    tiers, forced, scored = tiers_of(router), router.forced_role, len(router.training)
    lost = len(router.unknown.prompts) if router.unknown and forced else 0
    beside = np.full(lost, tiers.roles.index(forced) if forced else 0)
    sides = (lost if forced == "strong" else 0, lost if forced == "weak" else 0)
    usd = tier_usd(router, training_texts(router)[: scored + lost])
    weak, alone = (float(tiers.qualities[:, m].mean()) for m in (0, -1))

    def point(share: float) -> KeptPoint:
        told = share_of_scored(share, scored, *sides)
        threshold = threshold_for_share(tiers.scores(tiers.training_values), told).threshold
        at = tiers.choices(tiers.training_values, threshold)
        kept, every = float(take_chosen(tiers.qualities, at).mean()), np.concatenate([at, beside])
        saved = 1 - float(take_chosen(usd, every).sum() / usd[:, -1].sum())
        return KeptPoint(float(np.mean(every == tiers.last)), kept / alone if alone else 1.0, saved)

    for found in map(point, np.arange(101) / 100):
        if not alone or found.kept * alone >= least_quality(weak, alone) - 1e-12:
            return replace(point(found.share), strong_share=found.strong_share)
    return ()


def scored_prompts(router: Router, looked: Looked) -> BoolArray:
    """(n,) where a prompt's score decides: where it is known, or everywhere where no model is fixed for the others."""
    every = looked.unknown.all() or not router.prompt_router.forced_role
    return np.ones(len(looked.unknown), dtype=bool) if every else ~looked.unknown


def _point_at(
    threshold: float,
    expected: StagedScores,
    router: Router,
    looked: Looked,
    quality: Pair,
    judged: BoolArray,
    usd: Costs,
) -> KeptPoint:
    use = expected.use(threshold).with_fixed_role(looked.unknown, router.prompt_router.forced_role)
    strong, alone = use.strong.mean(axis=1), float(quality[1][judged].mean())
    served, saved = (strong * quality[1] + (1 - strong) * quality[0])[judged].mean(), None
    if usd[0] is not None and usd[1] is not None and usd[1].sum() > 0:
        saved = 1 - float(use.cost(usd[0], usd[1]).sum() / usd[1].sum())
    return KeptPoint(float(strong.mean()), float(served) / alone if alone else 1.0, saved)
