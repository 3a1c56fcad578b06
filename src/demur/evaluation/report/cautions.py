"""What to be careful about with a router, the gravest first, each with what helps; what `demur train` keeps of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

from demur.evaluation.report.headline import training_headline
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.report.kinds_table import cut_notes, kinds_note
from demur.evaluation.thresholds.measured_quality import measured_headline
from demur.gate.router import Router
from demur.labels.beliefs.unknown import GUESSED, SETTING
from demur.records import OnUnknown
from demur.routing.known.known_prompts import Looked
from demur.routing.known.training_texts import training_texts
from demur.routing.known.unknown_setting import UNLIKE
from demur.routing.prompt_router import UNLIKE_SETTING, PromptRouter
from demur.routing.verdict import recorded_verdict
from demur.runs.lineage import keep_advice, keep_headline

MANY_GUESSED, MANY_UNLIKE = 0.1, 0.05  # of the prompts
UNLESS_GUESSED: OnUnknown = "strong-unless-guessed"


def keep_trained(router: Router, folder: Path) -> Headline:
    """What a run's router does on its training prompts, kept in the run's folder as `demur train` says it: by a
    person's grades where enough are there. With it the strong share that is advised, which goes by belief."""
    believed, verdict = training_headline(router), recorded_verdict(router.prompt_router.record)
    scope = believed.scope(" of the prompts")
    keep_advice(folder, believed.kept or None, least_share=believed.least_share, scope=scope)
    line = measured_headline(router, folder / "router", training_texts(router.prompt_router)) or believed
    over = f"{verdict.gained} (held out, believed, mean over all shares)" if verdict and verdict.learned else ""
    cautions = (*cautions_of(router), unknown_setting_note(router))
    keep_headline(folder, asdict(line.block(notes=[("over random", over)], cautions=cautions)))
    return line


def cautions_of(
    router: Router, looked: Looked | None = None, *, priced: bool = True, graded: bool = False
) -> tuple[str, ...]:
    """What holds of a router whatever it is asked, and of new prompts, ``looked`` at, that many are unlike all.

    ``priced``: their cost is expected by the samples, not measured; ``graded``: by grades it is told whether the router
    beats random, which is then the verdict.
    """
    verdict = None if graded else recorded_verdict(router.prompt_router.record)
    found = [verdict.sentence] if verdict and not verdict.learned else []
    unlike = unlike_setting_note(router.prompt_router, looked) if looked else ""
    return tuple(filter(None, [*found, kinds_note(router), unlike, *(cut_notes(router) if priced else ())]))


def unlike_setting_note(router: PromptRouter, looked: Looked) -> str:
    """That many prompts go by a score that is a guess, and which setting changes that; empty where few do."""
    share = float((~looked.familiar & ~looked.unknown).mean())
    if share < MANY_UNLIKE:
        return ""
    return (
        f"{share:.0%} of the prompts are {UNLIKE}, so their score is a guess. Train on prompts like them, or send them "
        f"to the large model: `{UNLIKE_SETTING}`"
    )


def unknown_setting_note(router: Router) -> str:
    """When another setting is the better one for prompts on which both models guess; empty where they are few.

    Where they go to the strong model it says what a router would save if they went by their scores; where they go by
    their scores, that the samples cannot tell which text is the better one. Quality is believed, and of the prompts
    that are not unknown.
    """
    prompts = router.prompt_router
    share = prompts.learned.untold.count(GUESSED) / max(1, len(prompts.learned.untold))
    if share < MANY_GUESSED:
        return ""
    guess = f"{share:.0%} of the prompts are questions on which both models guess"
    if not prompts.unknown_setting.settles(GUESSED):
        return (
            f"{guess}, and the score decides. If many ask for names or slogans, where the large model may be the "
            f"better one: `{SETTING} strong`"
        )
    if prompts.unknown_setting.role != "strong":
        return ""
    by_score = training_headline(replace(router, prompt_router=replace(prompts, on_unknown=UNLESS_GUESSED))).kept
    if not by_score or not 0 < by_score.share < 1:
        return ""
    money = f" and {by_score.money}" if by_score.money else ""
    return (
        f"{guess}, and they go to the large model. If their answers are right or wrong, not names or slogans, a strong "
        f"share of {by_score.share:.0%} keeps {by_score.kept:.0%} of its quality (believed){money}: "
        f"`{SETTING} {UNLESS_GUESSED}`"
    )
