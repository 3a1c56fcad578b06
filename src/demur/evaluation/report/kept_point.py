"""The least strong share at which a router keeps most of the large model's quality on some prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np

from demur.evaluation.report.headline_record import NoGap
from demur.evaluation.tiers import tier_usd, tiers_of
from demur.gate.quality.two_stages import StagedScores
from demur.gate.router import Router
from demur.labels.beliefs.unknown import reason_of
from demur.measure.threshold import KeptPoint, least_quality, share_of_scored, threshold_for_share, tried_thresholds
from demur.measure.tiers import take_chosen
from demur.records import BoolArray, FloatArray, IntArray
from demur.routing.known.known_prompts import Looked
from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter
from demur.statistics import mean_interval

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
            at = threshold_at_share(router, looked, expected, found.share)
            said = _point_at(at, expected, router, looked, quality, judged, usd)
            return replace(said, strong_share=found.strong_share)
    return ()


def points_at_shares(
    router: Router, looked: Looked, quality: Pair, judged: BoolArray, usd: Costs, shares: Sequence[float]
) -> tuple[KeptPoint, ...]:
    """What each strong share that a threshold gives would keep and save, counted as in the headline: the share and what
    is saved are of all prompts, what is kept of those ``judged``. Where prompts go to one model whatever the threshold,
    the shares begin, or end, with the one at which no other prompt goes there.
    """
    expected = router.expected_scores(looked.scores, router.serving_gate)
    told, sides = _told_and_sides(router, looked)
    least, largest = sides[0] / len(told), 1 - sides[1] / len(told)
    found = []
    for share in sorted({least, largest, *(one for one in shares if least < one < largest)}):
        at = threshold_at_share(router, looked, expected, share)
        found.append(_point_at(at, expected, router, looked, quality, judged, usd))
    return tuple(found)


def threshold_at_share(router: Router, looked: Looked, expected: StagedScores, share: float) -> float:
    """The threshold that calibration by a share of all prompts would set on those that are ``looked`` at."""
    told, sides = _told_and_sides(router, looked)
    return threshold_for_share(expected.final[told], share_of_scored(share, int(told.sum()), *sides)).threshold


def _told_and_sides(router: Router, looked: Looked) -> tuple[BoolArray, tuple[int, int]]:
    """`scored_prompts`, and how many others go to the strong and to the weak model."""
    told = scored_prompts(router, looked)
    _, strong, weak = router.prompt_router.unknown_setting.count_sides(looked.untold)
    return told, (strong, weak) if told.sum() < len(told) else (0, 0)


def kept_tier_point(router: PromptRouter) -> KeptPoint | tuple[()]:
    """The same of a router of several models on all prompts that it was to learn from, by believed quality.

    Its share is of calls to the dearest model; 0 where the others keep enough without it.
    """
    tiers = tiers_of(router)
    weak, alone = (float(tiers.qualities[:, m].mean()) for m in (0, -1))
    point = tier_points(router)
    for found in map(point, np.arange(101) / 100):
        if not alone or found.kept * alone >= least_quality(weak, alone) - 1e-12:
            return replace(point(found.share), strong_share=found.strong_share)
    return ()


def tier_points(router: PromptRouter) -> Callable[[float], KeptPoint]:
    """What a share of calls to the dearest model keeps and saves on all prompts that a router of several models was to
    learn from, by believed quality."""
    tiers, setting, scored = tiers_of(router), router.unknown_setting, len(router.training)
    reasons = [reason_of(one.reason, one.prompt) for one in (router.unknown.prompts if router.unknown else ())]
    settled, texts = setting.settled_rows(reasons), training_texts(router)
    _, *sides = setting.count_sides(reasons)
    beside = np.full(sum(sides), tiers.roles.index(setting.role))
    usd = tier_usd(router, [*texts[:scored], *compress(texts[scored:], settled)])
    alone = float(tiers.qualities[:, -1].mean())

    def point(share: float) -> KeptPoint:
        told = share_of_scored(share, scored, *sides)
        threshold = threshold_for_share(tiers.scores(tiers.training_values), told).threshold
        at = tiers.choices(tiers.training_values, threshold)
        kept, every = float(take_chosen(tiers.qualities, at).mean()), np.concatenate([at, beside])
        saved = 1 - float(take_chosen(usd, every).sum() / usd[:, -1].sum())
        return KeptPoint(float(np.mean(every == tiers.last)), kept / alone if alone else 1.0, saved)

    return point


def scored_prompts(router: Router, looked: Looked) -> BoolArray:
    """(n,) where a prompt's score decides; everywhere where it does nowhere."""
    settled = router.prompt_router.unknown_setting.settled_rows(looked.untold)
    return np.ones(len(settled), dtype=bool) if settled.all() else ~settled


def without_gap(weak: FloatArray, strong: FloatArray, groups: IntArray | None = None, *, part: int = 0) -> NoGap | None:
    """`Headline.without_gap` by graded qualities, (n,) each; ``groups`` (n,): rows of one prompt; ``part``:
    `NoGap.by_score`."""
    _, low, high = mean_interval(strong - weak, groups)
    return None if low > 0 else NoGap(float(weak.mean()), float(strong.mean()), part, high < 0)


def _point_at(
    threshold: float,
    expected: StagedScores,
    router: Router,
    looked: Looked,
    quality: Pair,
    judged: BoolArray,
    usd: Costs,
) -> KeptPoint:
    use = router.use(expected, looked, threshold)
    strong, alone = use.strong.mean(axis=1), float(quality[1][judged].mean())
    served, saved = (strong * quality[1] + (1 - strong) * quality[0])[judged].mean(), None
    if usd[0] is not None and usd[1] is not None and usd[1].sum() > 0:
        saved = 1 - float(use.cost(usd[0], usd[1]).sum() / usd[1].sum())
    return KeptPoint(float(strong.mean()), float(served) / alone if alone else 1.0, saved)
