"""What the setting for unknown prompts does with those on which both models guess, said where a router is trained."""

from __future__ import annotations

from dataclasses import replace

from demur.evaluation.report.headline import training_headline
from demur.gate.router import Router
from demur.labels.beliefs.unknown import GUESSED, SETTING
from demur.records import OnUnknown

WORTH_SAYING = 0.1  # of the prompts
UNLESS_GUESSED: OnUnknown = "strong-unless-guessed"


def unknown_setting_note(router: Router) -> str:
    """When another setting is the better one for prompts on which both models guess; empty where they are few.

    Where they go to the strong model it says what a router would save if they went by their scores; where they go by
    their scores, that the samples cannot tell which text is the better one. Quality is believed, and of the prompts
    that are not unknown.
    """
    prompts = router.prompt_router
    share = prompts.learned.untold.count(GUESSED) / max(1, len(prompts.learned.untold))
    if share < WORTH_SAYING:
        return ""
    guess = f"{share:.0%} of the prompts are questions on which both models guess: no two short answers mean the same"
    if not prompts.unknown_setting.settles(GUESSED):
        return (
            f"{guess}, so neither gains, and the score decides. That holds for questions with a right answer. Of "
            "names, slogans and other short texts without one the large model's may be the better ones: if many of "
            f"yours are such, `{SETTING} strong` sends them there"
        )
    if prompts.unknown_setting.role != "strong":
        return ""
    by_score = training_headline(replace(router, prompt_router=replace(prompts, on_unknown=UNLESS_GUESSED))).kept
    if not by_score or not 0 < by_score.share < 1:
        return ""
    money = f" and {by_score.money}" if by_score.money else ""
    return (
        f"{guess}, and they go to the strong model, whatever their score. If your prompts ask for short answers that "
        f"are right or wrong, `{SETTING} {UNLESS_GUESSED}` lets the score decide: a strong share of "
        f"{by_score.share:.0%} then keeps {by_score.kept:.0%} of the large model's quality (believed){money}. For "
        "names, slogans and other short texts without a right answer leave it: their samples do not show what would "
        "be lost"
    )
