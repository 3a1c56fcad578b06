"""A prompt answered by a router: which model is asked how often, and what is served."""

from __future__ import annotations

import numpy as np
import pytest

from demur.gate.answer import Answered
from demur.gate.gate import SIGNALS, Gate, GateStep, GateVerdict
from demur.gate.router import Router
from demur.records import Sample
from demur.routing.prompt_router import Decision
from test_artifact import make

BY_SHARE = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # the score falls by the share of samples that mean what the draft does


def gated(spread: float = 0.0) -> Router:
    """Every prompt is checked; 1.2 - share is the score, so the strong model answers where two in three disagree."""
    steps = tuple(GateStep(1.2, 0.0, BY_SHARE, spread=spread if left else 0.0) for left in (2, 1, 0))
    assert len(BY_SHARE) == len(SIGNALS)
    return Router(make(), Gate(steps, None, 10.0, GateVerdict(0.1, 0.1, 0.05, 0.15)), active=True)


async def answered(router: Router, drafts: list[str]) -> Answered:
    async def weak(prompt: str, index: int) -> Sample:
        return Sample(index, drafts[index], None, "stop", 5, 1)

    async def strong(prompt: str, index: int) -> Sample:
        return Sample(index, "from the strong one", None, "stop", 5, 4)

    return await router.aanswer("jazz pizza 2", weak=weak, strong=strong)


async def test_a_draft_that_its_samples_confirm_is_served() -> None:
    found = await answered(gated(spread=9.0), ["Rome", "Rome", "Rome"])
    assert (found.answer, found.decision.role) == ("Rome", "weak")
    assert [role for role, _ in found.asked] == ["weak"] * 3
    assert found.path == "its draft: 'Rome' and 2 extra samples checked, kept"


async def test_a_draft_that_they_deny_is_dropped_and_the_strong_model_asked_last() -> None:
    found = await answered(gated(spread=9.0), ["Rome", "Bari", "Pisa"])
    assert (found.answer, found.decision.role) == ("from the strong one", "strong")
    assert [role for role, _ in found.asked] == ["weak", "weak", "weak", "strong"]
    assert "dropped, the strong model asked" in found.path


async def test_no_sample_is_asked_for_that_could_not_turn_the_decision() -> None:
    found = await answered(gated(), ["Rome"])
    assert [role for role, _ in found.asked] == ["weak"]


async def test_without_a_gate_one_model_is_asked_once() -> None:
    router = make()
    found = await answered(Router(router), ["Rome"])
    role = "strong" if router.score(["jazz pizza 2"])[0] >= np.median(router.training_scores) else "weak"
    assert [who for who, _ in found.asked] == [role]
    assert found.path == "the prompt alone"
    with pytest.raises(Exception, match="the prompt is empty"):
        await Router(router).aanswer(" ")  # nobody is asked


def test_an_answer_to_a_prompt_that_cannot_be_told_names_the_setting() -> None:
    decision = Decision("large", "strong", 0.9, 0.5, "like unknown prompts", (), stage="unknown", unknown=True)
    found = Answered("?", decision, "an answer", (("strong", Sample(0, "an answer", None, "stop", 5, 2)),))
    assert found.path == "the setting `unknown`: it is like prompts whose samples could not tell"
