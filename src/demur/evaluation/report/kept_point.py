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
from demur.gate.shares import calibration_of_share
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
    """`Headline.kept`; of the thresholds that calibration would try.

    What it keeps and saves is of its share in whole hundredths, as calibration sets that, so that the command which
    asks for this share gives what was said.
    """
    weak, alone = (float(side[judged].mean()) for side in quality)
    expected = router.expected_scores(looked.scores, router.active_gate)
    wanted, point = least_quality(weak, alone), _points(router, looked, expected, quality, judged, usd)

    def keeps(found: KeptPoint) -> bool:
        return not alone or found.kept * alone >= wanted - 1e-12

    for threshold in _falling_thresholds(router, looked, expected):
        found = point(threshold)
        if keeps(found) and keeps(said := point(_threshold_at(router, looked, expected, found.share))):
            return replace(said, strong_share=found.strong_share)
    return ()


def points_at_shares(
    router: Router, looked: Looked, quality: Pair, judged: BoolArray, usd: Costs, shares: Sequence[float]
) -> tuple[KeptPoint, ...]:
    """What each strong share that a threshold gives would keep and save, counted as in the headline: the share and what
    is saved are of all prompts, what is kept of those ``judged``. Where prompts go to one model whatever the threshold,
    the shares begin, or end, with the one at which no other prompt goes there.
    """
    _, strong, weak = router.prompt_router.unknown_setting.count_sides(looked.untold)
    least, largest = strong / len(looked.untold), 1 - weak / len(looked.untold)
    asked = sorted({least, largest, *(one for one in shares if least < one < largest)})
    expected = router.expected_scores(looked.scores, router.active_gate)
    point = _points(router, looked, expected, quality, judged, usd)
    return tuple(point(_threshold_at(router, looked, expected, share)) for share in asked)


def _falling_thresholds(router: Router, looked: Looked, expected: StagedScores) -> list[float]:
    """Those that calibration would try; one where no prompt's score decides."""
    finals = router.finals(expected, looked)
    return tried_thresholds(finals)[::-1].tolist() if len(finals) else [router.threshold]


def _threshold_at(router: Router, looked: Looked, expected: StagedScores, share: float) -> float:
    """That of a share; any where no prompt's score decides."""
    decides = not router.prompt_router.unknown_setting.settled_rows(looked.untold).all()
    return calibration_of_share(router, share, looked, expected).threshold if decides else router.threshold


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


def _points(
    router: Router, looked: Looked, expected: StagedScores, quality: Pair, judged: BoolArray, usd: Costs
) -> Callable[[float], KeptPoint]:
    """What a threshold keeps and saves that calibration sets, so with the gate also where a certificate is in force."""
    alone = float(quality[1][judged].mean())

    def point(threshold: float) -> KeptPoint:
        use = router.use(expected, looked, threshold)
        strong, saved = use.strong.mean(axis=1), None
        served = (strong * quality[1] + (1 - strong) * quality[0])[judged].mean()
        if usd[0] is not None and usd[1] is not None and usd[1].sum() > 0:
            saved = 1 - float(use.cost(usd[0], usd[1]).sum() / usd[1].sum())
        return KeptPoint(float(strong.mean()), float(served) / alone if alone else 1.0, saved)

    return point
