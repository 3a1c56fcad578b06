"""What a call to each model costs, by the answers to the prompts that a router was to learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur.labels.beliefs.unknown import UnknownPrompt
from demur.labels.prompt_kinds import PromptKinds
from demur.models.prices import KnownServingCost, Like, ServingCost
from demur.records import FloatArray, Role
from demur.routing.decision import TrainingPrompt
from demur.routing.known.nearest import NearestTraining
from demur.routing.known.remembered_prompts import Remembered

LIKE = 3  # prompts by whose answers those to a new one are expected to be as long


def known_costs(
    record: Mapping[str, Any], learned: Sequence[TrainingPrompt | UnknownPrompt]
) -> dict[Role, ServingCost]:
    """By model, from a router's record and its prompts, the unknown ones last; without models of unknown price.

    Answers to a new prompt are expected to be as long as those to the nearest of these prompts, and as long as the mean
    where those were not looked for.
    """
    kinds, texts = PromptKinds.from_record(record), [one.prompt for one in learned]
    return {
        role: KnownServingCost(**found, lengths=kinds.lengths(texts, role) if kinds else {})
        for role, found in record.get("serving_cost", {}).items()
        if found
    }


def most_like(
    rows: FloatArray, nearest: NearestTraining, training: Sequence[TrainingPrompt], unknown: Remembered | None
) -> list[tuple[str, ...]]:
    """Of each unit row, (n, d), the prompts that a router was to learn from which are most similar to it.

    LIKE of them: what is saved by new prompts is forecast more exactly than by one (benchmarks/saving_forecast.py).
    """
    found = []
    for row in rows:
        texts = nearest.most_similar_texts(row, LIKE)
        near = [(similarity, training[i].prompt) for i, similarity in texts]
        near += [(one.similarity, one.prompt) for one in unknown.most_similar(row, LIKE)] if unknown else []
        found.append(tuple(text for _, text in sorted(near, key=lambda one: -one[0])[:LIKE]))
    return found


def expected_usd(
    weak: ServingCost | None, strong: ServingCost | None, prompts: Sequence[str], like: Like = ()
) -> tuple[FloatArray, FloatArray] | None:
    """(n,) expected USD of each prompt on both models; None when a price is unknown. ``like``: `Looked.like`."""
    if weak is None or strong is None:
        return None
    return np.array(weak.usd_of_each(prompts, like)), np.array(strong.usd_of_each(prompts, like))
