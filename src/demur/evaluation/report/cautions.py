"""What to be careful about with a router, the gravest first, each with what helps; what is kept of it, to be shown
again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from demur.evaluation.report.headline import training_headline
from demur.evaluation.report.headline_record import Headline, HeadlineBlock
from demur.evaluation.report.kinds_table import kinds_note
from demur.evaluation.thresholds.measured_quality import measured_headline
from demur.evaluation.thresholds.share_figures import keep_proposal
from demur.gate.router import Router
from demur.labels.beliefs.unknown import GUESSED, SETTING
from demur.models.requests.cut_answers import CUT_SHARE, CutAnswers, endpoint_words, limit_words, remedy_words
from demur.records import OnUnknown
from demur.routing.known.known_prompts import Looked
from demur.routing.known.training_texts import labelled_part, training_texts
from demur.routing.known.unknown_setting import UNLIKE
from demur.routing.prompt_router import UNLIKE_SETTING, PromptRouter
from demur.routing.verdict import recorded_verdict
from demur.runs.lineage import headline_of, keep_headline, own_limits_of

MANY_GUESSED, MANY_UNLIKE = 0.1, 0.05  # of the prompts
UNLESS_GUESSED: OnUnknown = "strong-unless-guessed"


def keep_trained(router: Router, folder: Path) -> Headline:
    """What a run's router does on its training prompts, kept in the run's folder as `demur train` says it: by a
    person's grades where enough are there. With it the strong share that is advised, which goes by belief."""
    believed, verdict = keep_proposal(router, folder), recorded_verdict(router.prompt_router.record)
    line = measured_headline(router, folder / "router", training_texts(router.prompt_router)) or believed
    whose = f"{labelled_part(router.prompt_router)} (held out, {{}}, mean over all shares)"
    over = f"{verdict.gained}{whose.format(verdict.basis or 'believed')}" if verdict and verdict.learned else ""
    cautions = (*cautions_of(router, folder=folder), unknown_setting_note(router))
    keep_headline(folder, asdict(line.block(notes=[("over random", over)], cautions=cautions)))
    return line


def kept_headline(folder: Path) -> HeadlineBlock | None:
    """What was said of a run's router at its threshold when that was set or measured last; None where nothing is kept.

    Cautions on cut answers, in their place, are those of now: a trial of longer ones may have refuted their advice.
    """
    block = HeadlineBlock.from_record(headline_of(folder))
    if block is None:
        return None
    router = json.loads((folder / "router" / "router.json").read_text(encoding="utf-8"))
    before, now = (cut_notes(router.get("record", {}), router, known) for known in (None, folder))
    if before == now or not {*before} & {*block.cautions}:
        return block
    at = min(block.cautions.index(one) for one in before if one in block.cautions)
    others = [one for one in block.cautions if one not in before]
    return replace(block, cautions=(*others[:at], *now, *others[at:]))


def cautions_of(
    router: Router,
    looked: Looked | None = None,
    *,
    threshold: float | None = None,
    folder: Path | None = None,
    priced: bool = True,
    graded: bool = False,
) -> tuple[str, ...]:
    """What holds of a router whatever it is asked, and of new prompts, ``looked`` at, that many are unlike all.

    ``threshold``: another one than the router's; ``folder``: of the run that it is of; ``priced``: their cost is
    expected by the samples, not measured; ``graded``: by grades it is told whether the router beats random, which is
    then the verdict.
    """
    first = router.prompt_router
    verdict = None if graded else recorded_verdict(first.record)
    found = [verdict.sentence] if verdict and not verdict.learned else []
    unlike = unlike_setting_note(first, looked) if looked else ""
    cut = cut_notes(first.record, {"weak": first.weak, "strong": first.strong}, folder) if priced else ()
    return tuple(filter(None, [*found, kinds_note(router, threshold), unlike, *cut]))


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


def cut_notes(record: Mapping[str, Any], models: Mapping[str, str], folder: Path | None = None) -> tuple[str, ...]:
    """Whose answers were cut while sampling, so that serving costs more than is said, and whose by the endpoint itself;
    nothing where few were, or the model costs nothing.

    ``record``, ``models``: of a router, and the names of its models by role; ``folder``: of its run, which may have
    learned since that an endpoint cuts answers.
    """
    limit = record.get("sampling", {}).get("max_tokens") or 0
    often = {
        role: f"{share:.0%} of {models[role]}'s answers"
        for role, share in record.get("cut", {}).items()
        if share >= CUT_SHARE and _charges(record, role)
    }
    own = _own_limits(record, limit, folder)
    ours = " and ".join(cut for role, cut in often.items() if role not in own)
    said = f"{ours} were cut at {limit} tokens while sampling, so whole answers cost more than this" if ours else ""
    if ours and limit:
        said += f": {remedy_words(limit)}"
    theirs = (f"{cut} were {_cut_words(limit, own[role])}" for role, cut in often.items() if role in own)
    return (*filter(None, [said]), *theirs)


def _own_limits(record: Mapping[str, Any], limit: int, folder: Path | None) -> dict[str, int]:
    """By role, at about how many tokens the endpoint itself cuts; without those that are not known to."""
    found = own_limits_of(folder, limit) if folder else {}
    models = {role: record.get("models", {}).get(role, {}) for role in record.get("cut", {})}
    named = {role: f"{one.get('model')}@{one.get('base_url')}" for role, one in models.items()}
    seen = {role: found[name] for role, name in named.items() if name in found}
    return seen | dict(record.get("cut_by_endpoint", {}))


def _cut_words(limit: int, own: int) -> str:
    return endpoint_words(own) if CutAnswers(1.0, own).by_endpoint(limit) else limit_words(limit, own)


def _charges(record: Mapping[str, Any], role: str) -> bool:
    cost = record.get("serving_cost", {}).get(role)
    return bool(cost) and cost["usd_per_output_token"] > 0
