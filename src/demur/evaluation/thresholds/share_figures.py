"""What a strong share keeps and saves on the prompts that a router was to learn from, before a threshold is set, and
which share is proposed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from demur.evaluation.report.headline import learned_prompts, training_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.kept_point import tier_points
from demur.evaluation.thresholds.measured_quality import measured_headline
from demur.gate.quality.believed_quality import why_not_believed
from demur.gate.router import Router
from demur.gate.shares import calibration_of_share
from demur.measure.threshold import Calibration, ShareFigures
from demur.records import count_of
from demur.runs.lineage import keep_advice, keep_proposed, keep_share_figures
from demur.runs.proposed_share import proposed_shares, why_first_share
from demur.runs.steps import calibrate_next, first_share


def keep_proposal(router: Router, folder: Path) -> Headline:
    """Keep in a run's folder which strong share is advised for its router, and what that and others keep and save;
    returns what the router does on its training prompts. Quality is believed."""
    believed = training_headline(router)
    keep_advice(
        *(folder, believed.kept or None),
        least_share=believed.least_share,
        scope=believed.scope(" of the prompts"),
        unknown=believed.quality_unknown,
    )
    keep_share_figures(folder, (figures_at(router, folder / "router", one) for one in proposed_shares(folder)))
    keep_proposed(folder, calibrate_next(folder / "router"))
    return believed


def calibration_of_run(router: Router, folder: Path, share: float | None) -> Calibration:
    """The threshold of a run's router for the strong ``share`` that the run asks for; None: for the proposed one, which
    is kept in the folder, or the one to begin with, and ``asked`` says why."""
    keep_proposal(router, folder)
    if share is not None:
        return calibration_of_share(router, share)
    found = calibration_of_share(router, first_share(folder))
    return replace(found, asked=f"{found.asked}, {why_first_share(folder)}")


def figures_at(router: Router, folder: Path, share: float) -> ShareFigures:
    """As calibration by this share would have it; quality is believed, or by the run's grades where belief has nothing
    to stand on. ``folder``: where the router is saved."""
    prompts = router.prompt_router
    if prompts.tiers is not None:
        point = tier_points(prompts)(share)
        kept = None if why_not_believed(router) else point.kept
        return ShareFigures(share, point.strong_share, kept, "believed", "", point.saved)
    threshold = calibration_of_share(router, share).threshold
    line = training_headline(router, threshold)
    if line.quality is None:
        line = measured_headline(router, folder, learned_prompts(prompts)[0], threshold) or line
    by = f"by {count_of(line.judged or 0, 'graded prompt')}" if line.by_grades else "believed"
    return ShareFigures(share, line.strong_share, _kept_share(line), by, line.scope(" of the prompts"), line.saved)


def _kept_share(line: Headline) -> float | None:
    """None also where grades do not show that the large model is better."""
    known = line.quality is not None and line.strong_quality and not line.no_gap
    return line.quality[0] / line.strong_quality if known else None  # type: ignore[index,operator]
