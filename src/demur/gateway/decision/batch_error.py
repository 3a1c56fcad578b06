"""Whether the decision that a batch leads to is the one that the prompt alone leads to.

An int8 encoder quantises the texts of a batch by one scale, so a prompt's vector depends slightly on the others. How
far that moves scores and similarities is measured on the router's own training prompts. Where such a move could change
a decision, the prompt is embedded again, alone, as `demur route` and `demur evaluate` embed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from demur.gate.router import Router
from demur.measure.tiers import step_scores
from demur.methods.estimator import unit_rows
from demur.models.encoders.encoder import runs_here
from demur.records import FloatArray, Role
from demur.routing.known.known_prompts import Looked
from demur.routing.prompt_router import PromptRouter

MEASURED = 64  # training prompts
COMPARED = 4096  # training prompts, at most, among which their nearest are looked for: all of a million take 256 MB
SIZES = (2, 32)  # of the batches that they are embedded in: the smallest and the largest


@dataclass(frozen=True, slots=True)
class BatchError:
    """The largest differences between a prompt embedded in a batch and alone."""

    score: float  # of the scores that are compared with the threshold
    similarity: float  # to the nearest training prompt


NO_ERROR = BatchError(0.0, 0.0)


class Asked(Protocol):
    """How the decision on a text is asked for."""

    @property
    def threshold(self) -> float | None:
        """Another one than the router's own."""

    @property
    def gate(self) -> bool:
        """Whether a draft may be checked."""

    @property
    def able(self) -> frozenset[Role] | None:
        """The tiers that may be chosen; None for all."""


def measure_batch_error(router: PromptRouter) -> BatchError:
    """From `MEASURED` of a router's training prompts, embedded in batches and alone.

    `NO_ERROR` for encoders that demur does not run itself: they are given batches when a router is trained, too.
    """
    if not router.training or not runs_here(getattr(router.encoder, "words", router.encoder)):
        return NO_ERROR
    at = np.linspace(0, len(router.training) - 1, MEASURED).round().astype(int)
    prompts = [router.training[i].prompt for i in at]
    alone = np.concatenate([router.embed_together([text]) for text in prompts])
    found = NO_ERROR
    for size in SIZES:
        rows = [router.embed_together(prompts[start : start + size]) for start in range(0, MEASURED, size)]
        found = _larger(found, _difference(router, alone, np.concatenate(rows), prompts))
    return found


def is_clear(router: Router, looked: Looked, row: int, error: BatchError, asked: Asked) -> bool:
    """Whether no prompt that is as near as a batch's error leads to another decision."""
    prompt_router = router.prompt_router
    if looked.margins is not None and looked.margins[row] <= error.similarity:
        return False
    if prompt_router.unknown_setting.settles(looked.untold[row]):
        return True  # whatever its score
    threshold = prompt_router.threshold if asked.threshold is None else asked.threshold
    gate = router.serving_gate if asked.gate else None
    band = gate.band if gate else 0.0  # a draft is checked by the score, too
    distances = np.abs(_compared_scores(prompt_router, looked, asked.able)[row] - threshold)
    return bool((distances > band + error.score).all())


def _compared_scores(router: PromptRouter, looked: Looked, able: frozenset[Role] | None = None) -> FloatArray:
    """(n, K - 1) the scores that are compared with the threshold."""
    if router.tiers is None or looked.values is None:
        return looked.scores[:, None]
    at = [i for i, role in enumerate(router.tiers.roles) if able is None or role in able]
    return step_scores(looked.values[:, at], router.tiers.costs[at])


def _difference(router: PromptRouter, alone: FloatArray, together: FloatArray, prompts: list[str]) -> BatchError:
    scores = [_compared_scores(router, router.look_at_vectors(each, prompts)) for each in (alone, together)]
    others = router.vectors[:: 1 + len(router.vectors) // COMPARED]
    rows, moved_rows = unit_rows(alone), unit_rows(together)  # as they are compared: a prompt's length adds to them
    near = rows @ others.T
    near[near > 1 - 1e-6] = -np.inf  # the prompt itself
    nearest = others[near.argmax(axis=1)]
    moved = ((moved_rows - rows) * nearest).sum(axis=1)
    return BatchError(float(np.abs(scores[0] - scores[1]).max()), float(np.abs(moved).max()))


def _larger(one: BatchError, other: BatchError) -> BatchError:
    return BatchError(max(one.score, other.score), max(one.similarity, other.similarity))
