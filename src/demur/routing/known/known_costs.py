"""What a call to each model costs, of the prompts that a router was to learn from by the answers to their kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur.labels.beliefs.unknown import UnknownPrompt
from demur.labels.prompt_kinds import PromptKinds
from demur.models.prices import KnownServingCost, ServingCost
from demur.records import FloatArray, Role
from demur.routing.decision import TrainingPrompt


def known_costs(
    record: Mapping[str, Any], learned: Sequence[TrainingPrompt | UnknownPrompt]
) -> dict[Role, ServingCost]:
    """By model, from a router's record and its prompts, the unknown ones last; without models of unknown price.

    Answers to new prompts are expected to be as long as the mean.
    """
    kinds, texts = PromptKinds.from_record(record), [one.prompt for one in learned]
    return {
        role: KnownServingCost(**found, lengths=kinds.lengths(texts, role) if kinds else {})
        for role, found in record.get("serving_cost", {}).items()
        if found
    }


def expected_usd(
    weak: ServingCost | None, strong: ServingCost | None, prompts: Sequence[str]
) -> tuple[FloatArray, FloatArray] | None:
    """(n,) expected USD of each prompt on both models; None when a price is unknown."""
    if weak is None or strong is None:
        return None
    return np.array([weak.usd(text) for text in prompts]), np.array([strong.usd(text) for text in prompts])
