"""What it costs that unknown prompts go to the strong model, said where it decides what a router saves."""

from __future__ import annotations

from dataclasses import replace

from demur.evaluation.report.headline import training_headline
from demur.gate.router import Router
from demur.labels.beliefs.unknown import GUESSED, SETTING

WORTH_SAYING = 0.1  # of the prompts


def unknown_setting_note(router: Router) -> str:
    """What a router would save if unknown prompts went by their scores, and when to choose that; empty where they do,
    or are few, or mostly not such on which both models guess.

    Quality is believed, and of the prompts that are not unknown.
    """
    prompts = router.prompt_router
    if prompts.tiers is not None or prompts.unknown is None or prompts.forced_role != "strong":
        return ""
    reasons = [one.reason for one in prompts.unknown.prompts]
    share = len(reasons) / (len(reasons) + len(prompts.training))
    if share < WORTH_SAYING or 2 * reasons.count(GUESSED) < len(reasons):
        return ""
    by_score = training_headline(replace(router, prompt_router=replace(prompts, on_unknown="score"))).kept
    if not by_score or not 0 < by_score.share < 1:
        return ""
    money = f" and {by_score.money}" if by_score.money else ""
    return (
        f"{share:.0%} of the prompts are unknown and go to the strong model, whatever their score. "
        f"If your prompts ask for short answers that are right or wrong, `{SETTING} score` lets the score decide: a "
        f"strong share of {by_score.share:.0%} then keeps {by_score.kept:.0%} of the large model's quality (believed)"
        f"{money}. For open-ended prompts leave it: their samples do not show what would be lost"
    )
