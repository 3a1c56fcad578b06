"""Scores of prompts by fits that did not see them, as new prompts are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from demur.records import FloatArray
from demur.routing.known.known_prompts import Looked
from demur.routing.tiers import Tiers


def held_out(
    looked: Looked,
    prompts: Sequence[str],
    training: Sequence[str],
    scores: FloatArray,
    others: Mapping[str, float],
    tiers: Tiers | None,
) -> Looked:
    """What a router sees of prompts, where those that it learned from have their held-out scores.

    ``training``: its training prompts, with their held-out ``scores``, (n,); ``others``: those of its unknown prompts.
    """
    at = {prompt: i for i, prompt in enumerate(training)}
    known = ({} if tiers else dict(others)) | {prompt: scores[i] for prompt, i in at.items()}
    found = [known.get(prompt, seen) for prompt, seen in zip(prompts, looked.scores, strict=True)]
    values = looked.values
    if tiers and values is not None:
        rows = zip(prompts, values, strict=True)
        values = np.array([tiers.training_values[at[prompt]] if prompt in at else row for prompt, row in rows])
    return replace(looked, scores=np.array(found, dtype=float), values=values)
