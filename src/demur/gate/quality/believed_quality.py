"""How good both models' answers to prompts are believed to be, by the samples that a router was trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.errors import InputError
from demur.gate.router import Router
from demur.labels.beliefs.unknown import GUESSED, GUESSES, LEAST_TOLD, TELLS, judge_command
from demur.records import BoolArray, FloatArray
from demur.routing.known.known_prompts import Looked


def believed_quality(router: Router, prompts: Sequence[str], scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n,) believed accuracy of the weak and of the strong model's answers, by the strong model's samples; label-free.

    Of a training prompt its own; of another with score ``scores`` (n,) the mean over the training prompts with the
    nearest held-out scores. Raises InputError without samples.
    """
    weak, strong = believed_at(router, scores)
    own = {one.prompt: i for i, one in enumerate(router.prompt_router.training)}
    assert router.beliefs is not None  # else it has raised
    for row, text in enumerate(prompts):
        if text in own:
            weak[row], strong[row] = router.beliefs[:, own[text]]
    return weak, strong


def believed_at(router: Router, scores: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same of new prompts with these scores, (n,)."""
    if router.beliefs is None:
        raise InputError("quality cannot be estimated: the router was not trained on samples; train it on a run's own")
    shown = shown_by_samples(router)
    known = router.prompt_router.training_scores[shown]
    order = np.argsort(known, kind="stable")
    width = max(1, round(len(known) ** 0.5))
    weak, strong = (
        np.interp(scores, _running_mean(known[order], width), _running_mean(side[shown][order], width))
        for side in router.beliefs
    )
    return weak, strong


def shown_by_samples(router: Router) -> BoolArray:
    """(n,) the training prompts whose samples tell what both models' answers are worth: all, but where the labels are
    from elsewhere, such as a judge, who labels any prompt. Questions on which both models guess are among them where
    the setting for unknown prompts leaves such to the score (`judged_prompts`)."""
    first = router.prompt_router
    each = first.record.get("told", {}).get("shown") or TELLS * len(first.training)
    telling = TELLS if first.unknown_setting.settles(GUESSED) else TELLS + GUESSES
    return np.array([one in telling for one in each], dtype=bool)


def _running_mean(values: FloatArray, width: int) -> FloatArray:
    """Means of ``width`` neighbouring values, (n - width + 1,)."""
    return np.convolve(values, np.full(width, 1.0 / width), mode="valid")


def believed_where_judged(router: Router, looked: Looked, texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """(n,) the same of prompts that a router has ``looked`` at, which counts for `judged_prompts`."""
    weak, strong = believed_quality(router, texts, looked.scores)
    told = ~looked.unknown & _are_told(router, looked)
    return weak * told, strong * told  # neither is believed where both guess; of the other unknown ones none is asked


def believed_of_learned(router: Router) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(n,) held-out scores of the prompts that a router was to learn from and whose scores decide, and what is believed
    of both models' answers as `believed_where_judged` has it. Raises InputError without samples."""
    first, learned = router.prompt_router, router.prompt_router.learned
    unknown = first.unknown.prompts if first.unknown else ()
    texts = [*(one.prompt for one in first.training), *(one.prompt for one in unknown)]
    decided = ~first.unknown_setting.settled_rows(learned.untold) & _are_told(router, learned)
    weak, strong = believed_where_judged(router, learned, texts)
    return learned.scores[decided], weak[decided], strong[decided]


def judged_prompts(router: Router, looked: Looked) -> BoolArray:
    """(n,) those whose quality is believed: their samples agree somewhere, or they are questions on which both models
    guess and that the score decides, where neither is believed to be right (docs/method.md says what that is worth).
    That a judge has labelled a prompt does not let its samples tell. Several models are compared on the first alone."""
    told = ~looked.unknown & _are_told(router, looked)
    if router.prompt_router.tiers is not None:
        return told
    guessed = np.array([why == GUESSED for why in looked.untold], dtype=bool)
    return told | (guessed & ~router.prompt_router.unknown_setting.settled_rows(looked.untold))


def _are_told(router: Router, looked: Looked) -> BoolArray:
    """(n,) those that are not most like a training prompt whose samples do not tell (`shown_by_samples`)."""
    shown = shown_by_samples(router)
    if shown.all():
        return np.ones(len(looked.scores), dtype=bool)
    rows = zip(router.prompt_router.training, shown, strict=True)
    silent = {one.prompt for one, told in rows if not told}
    nearest = [near[0] if near else "" for near in looked.like or [()] * len(looked.scores)]
    return np.array([one not in silent for one in nearest], dtype=bool)


def check_belief(router: Router, looked: Looked) -> None:
    """Raise InputError where belief has nothing to stand on: the labels', or on these prompts."""
    if why := why_not_believed(router, looked):
        raise InputError(
            f"quality cannot be estimated: {why}; set the threshold by strong_share or usd_per_1k instead, and measure "
            "what it keeps (`demur grade`, then `demur evaluate`), or let a judge label the prompts "
            f"(`{judge_command(router.prompt_router.strong)}`)"
        )


def why_not_believed(router: Router, looked: Looked | None = None) -> str:
    """Why belief has nothing to stand on; empty where it has, or an older router's record lacks these figures.

    Without ``looked`` by what the router was to learn from alone. A question on which both models guess and that the
    score decides counts as judged (`judged_prompts`), here as in the headline's quality.
    """
    learned, told = router.prompt_router.learned, router.prompt_router.record.get("told", {})
    each = np.array([one == GUESSES for one in told.get("shown", "")] or [False] * len(router.prompt_router.training))
    guesses = learned.unknown | np.append(each, np.zeros(len(learned.scores) - len(each), dtype=bool))
    guessed = float((judged_prompts(router, learned) & guesses).mean()) if learned.untold else 0.0
    here = 1.0 if looked is None else float(judged_prompts(router, looked).mean())
    there = float(told.get("share", 1.0)) + guessed
    for share, where in ((here, "of these prompts"), (there, "of the prompts that were to be labelled")):
        if share < LEAST_TOLD - 1e-12:
            return f"only {share:.0%} {where} can be judged by samples, and {LEAST_TOLD:.0%} are needed"
    saturated = float(told.get("saturation", {}).get("strong", 0.0)) - guessed
    if saturated > 1 - LEAST_TOLD:
        return (
            f"the strong model does not agree with itself on {saturated:.0%} of the labelled prompts, at most "
            f"{1 - LEAST_TOLD:.0%} may be so"
        )
    return ""
