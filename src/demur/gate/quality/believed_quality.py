"""How good both models' answers to prompts are believed to be, by the samples that a router was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.gate.router import Router
from demur.labels.beliefs.unknown import LEAST_TOLD
from demur.records import BoolArray, FloatArray


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
    known = router.prompt_router.training_scores
    order = np.argsort(known, kind="stable")
    width = max(1, round(len(known) ** 0.5))
    weak, strong = (
        np.interp(scores, _running_mean(known[order], width), _running_mean(side[order], width))
        for side in router.beliefs
    )
    return weak, strong


def _running_mean(values: FloatArray, width: int) -> FloatArray:
    """Means of ``width`` neighbouring values, (n - width + 1,)."""
    return np.convolve(values, np.full(width, 1.0 / width), mode="valid")


def check_belief(record: Mapping[str, Any], unknown: BoolArray) -> None:
    """Raise InputError where belief has nothing to stand on: the labels', or on these prompts (``unknown``, (n,))."""
    if why := why_not_believed(record, unknown):
        raise InputError(f"quality cannot be estimated: {why}; ask for strong_share, or label with --from judge")


def why_not_believed(record: Mapping[str, Any], unknown: BoolArray) -> str:
    """Why belief has nothing to stand on; empty where it has, or an older router's record lacks these figures."""
    told = record.get("told", {})
    here, there = 1 - float(unknown.mean()), float(told.get("share", 1.0))
    for share, where in ((here, "of these prompts"), (there, "of the prompts that were to be labelled")):
        if share < LEAST_TOLD:
            return f"only {share:.0%} {where} can be labelled from samples, and {LEAST_TOLD:.0%} are needed"
    saturated = float(told.get("saturation", {}).get("strong", 0.0))
    if saturated > 1 - LEAST_TOLD:
        return (
            f"the strong model does not agree with itself on {saturated:.0%} of the labelled prompts, at most "
            f"{1 - LEAST_TOLD:.0%} may be so"
        )
    return ""
