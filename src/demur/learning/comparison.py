"""Routers beside the one that serves: a candidate's order, a canary's order on what came since, a threshold's share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from demur.evaluation.grades import read_grades
from demur.evaluation.results import mean_quality
from demur.gate.router import Router
from demur.gateway.ledger.feedback import judged_prompts
from demur.gateway.settings import GatewaySettings, LearnSettings
from demur.labels.from_samples import Labels
from demur.learning.promotion import FEWEST, FEWEST_GRADED, Comparison, Looks, compare, objection
from demur.learning.trial import begin, roll_back
from demur.learning.versions import (
    Version,
    canary,
    keep_version,
    next_number,
    router_folder,
    serving_version,
    versions,
)
from demur.measure.threshold import threshold_for_share
from demur.prompts.grading import grade
from demur.records import BoolArray, FloatArray
from demur.routing.artifact import save_calibration
from demur.routing.prompt_router import PromptRouter
from demur.runs.lineage import GRADES_FILE
from demur.runs.run import Run

LATEST_GRADED = 1_000  # graded prompts that may object
LEAST_MOVED = 0.02  # of the strong share, beyond chance, for which a threshold alone is set anew


def compare_with_serving(
    folder: Path, candidate: PromptRouter, labels: Labels, looks: Looks, endpoints: Sequence[str] = ()
) -> Comparison:
    """The candidate beside the router that serves, on the candidate's training prompts, each scored by fits that did
    not see it. ``looks``: those of before, which without a router in force decide what the next one may spend."""
    gains = np.array([2 * row.target - 1 for row in labels.preferences])
    now = serving_version(folder)
    if now is None:
        level = looks.level(len(gains))
        return compare(candidate.training_scores, None, gains, vectors=candidate.vectors, level=level)
    in_force, texts = _router(folder, now, endpoints), [one.prompt for one in candidate.training]
    recent = recent_prompts(folder, texts, endpoints)
    scores = held_out_scores_of(in_force, texts)
    return compare(candidate.training_scores, scores, gains, recent, vectors=candidate.vectors)


def recent_prompts(folder: Path, texts: Sequence[str], endpoints: Sequence[str]) -> BoolArray:
    """(n,) which texts the router in force was not trained on; none without one."""
    now = serving_version(folder)
    if now is None:
        return np.zeros(len(texts), dtype=bool)
    trained_on = {one.prompt for one in _router(folder, now, endpoints).training}
    return np.array([text not in trained_on for text in texts], dtype=bool)


def held_out_scores_of(router: PromptRouter, texts: list[str]) -> FloatArray:
    """(n,) a router's scores of texts; of those that it was trained on, the scores of fits that did not see them."""
    known = {one.prompt: score for one, score in zip(router.training, router.training_scores, strict=True)}
    new = [text for text in texts if text not in known]
    scored = dict(zip(new, router.score(new), strict=True)) if new else {}
    return np.array([known.get(text, scored.get(text, 0.5)) for text in texts])


def graded_gains(run: Run, ledger: str) -> dict[str, float]:
    """Prompt -> what the strong model's answer was worth beyond the weak one's, in [-1, 1], as far as it was graded.

    By what counts most: a person's grades of both answers, both models' samples beside a client's better answer, and
    else a client's verdict on a weak answer, which says nothing of the strong model: 1 for bad, 0 for good.
    """
    gains = {prompt: float(verdict == "bad") for prompt, verdict in judged_prompts(ledger)}
    tested = run.complete(run.held_back)
    weak, strong = (mean_quality(tested, side, grade) for side in (run.samples.weak, run.samples.strong))
    gains |= {prompt.text: float(gain) for prompt, gain in zip(tested, strong - weak, strict=True)}
    by_hand = read_grades(run.config.folder / GRADES_FILE)
    return gains | {prompt: float(strong) - float(weak) for prompt, (weak, strong) in by_hand.items()}


def graded_objection(run: Run, settings: GatewaySettings, candidate: PromptRouter | int) -> str:
    """Why the graded prompts object to a candidate, or to a version; empty where they do not. See `objection`."""
    gains = graded_gains(run, settings.ledger)
    texts = [*gains][-LATEST_GRADED:]
    if len(texts) < FEWEST_GRADED:
        return ""
    folder = run.config.folder
    tried = _router(folder, candidate, settings.endpoints) if isinstance(candidate, int) else candidate
    now = serving_version(folder)
    beside = None if now is None else held_out_scores_of(_router(folder, now, settings.endpoints), texts)
    return objection(held_out_scores_of(tried, texts), beside, np.array([gains[text] for text in texts]))


def doubt_canary(settings: GatewaySettings, folder: Path, labels: Labels) -> str:
    """Roll the canary back where it catches less of the believed gain than what serves, on prompts new to it."""
    number = canary(folder)
    version = next(one for one in versions(folder) if one.number == number)
    tried = _router(folder, version.number, settings.endpoints)
    known = {one.prompt for one in tried.training}
    rows = [row for row in labels.preferences if row.prompt not in known]
    if len(rows) < FEWEST:
        return f"{len(rows)} of {FEWEST} prompts to compare it on have come since it was trained"
    texts, now = [row.prompt for row in rows], serving_version(folder)
    beside = None if now is None else held_out_scores_of(_router(folder, now, settings.endpoints), texts)
    found = compare(tried.score(texts), beside, np.array([2 * row.target - 1 for row in rows]))
    if found.high < 0:
        return roll_back(settings, version, f"worse on what came since: {found.sentence}")
    return f"on what came since it is {found.sentence}"


def moved_threshold(settings: GatewaySettings, folder: Path, texts: Sequence[str], at: float) -> str:
    """Try the router that serves with another threshold, where the latest prompts send another share than is wanted.

    Returns what it came to; empty where the share is as it should be.
    """
    learn, now = settings.learn or LearnSettings(), serving_version(folder)
    if now is None:
        return ""
    router = _router(folder, now, settings.endpoints)
    known = {one.prompt for one in router.training}
    latest = [text for text in texts if text not in known]
    if len(latest) < FEWEST:
        return ""
    scores, wanted = router.score(latest), learn.strong_share
    share = float(np.mean(scores >= router.threshold))
    if abs(share - wanted) <= LEAST_MOVED + 1.96 * math.sqrt(wanted * (1 - wanted) / len(latest)):
        return ""
    calibration = threshold_for_share(scores, wanted, on="the latest prompts")
    why = (
        f"version {now} with another threshold: {share:.0%} of the latest {len(latest)} prompts went to the strong "
        f"model instead of {wanted:.0%}"
    )
    version = Version(
        next_number(folder), at, len(router.training), False, why, calibration.threshold, calibration.strong_share
    )
    keep_version(folder, router_folder(folder, now), version)
    save_calibration(router_folder(folder, version.number), calibration)
    return begin(settings, version, why)


def _router(folder: Path, number: int, endpoints: Sequence[str]) -> PromptRouter:
    return Router.load(router_folder(folder, number), allow_endpoints=endpoints).prompt_router
