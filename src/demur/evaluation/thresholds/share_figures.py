"""What a strong share keeps and saves on the prompts that a router was to learn from, before a threshold is set."""

from __future__ import annotations

from pathlib import Path

from demur.evaluation.report.headline import learned_prompts, training_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.kept_point import threshold_at_share, tier_points
from demur.evaluation.thresholds.measured_quality import measured_headline
from demur.gate.quality.believed_quality import why_not_believed
from demur.gate.router import Router
from demur.measure.threshold import ShareFigures
from demur.records import count_of


def figures_at(router: Router, folder: Path, share: float) -> ShareFigures:
    """As calibration by this share would have it; quality is believed, or by the run's grades where belief has nothing
    to stand on. ``folder``: where the router is saved."""
    prompts = router.prompt_router
    if prompts.tiers is not None:
        point = tier_points(prompts)(share)
        kept = None if why_not_believed(router) else point.kept
        return ShareFigures(share, point.strong_share, kept, "believed", "", point.saved)
    looked = prompts.learned
    threshold = threshold_at_share(router, looked, router.expected_scores(looked.scores, router.serving_gate), share)
    line = training_headline(router, threshold)
    if line.quality is None:
        line = measured_headline(router, folder, learned_prompts(prompts)[0], threshold) or line
    by = f"by {count_of(line.judged or 0, 'graded prompt')}" if line.by_grades else "believed"
    return ShareFigures(share, line.strong_share, _kept_share(line), by, line.scope(" of the prompts"), line.saved)


def _kept_share(line: Headline) -> float | None:
    """None also where grades do not show that the large model is better."""
    known = line.quality is not None and line.strong_quality and not line.no_gap
    return line.quality[0] / line.strong_quality if known else None  # type: ignore[index,operator]
