"""A prompt answered by a router: which model is asked how often, and what is served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest

from demur.config import ModelConfig
from demur.errors import ArtifactError
from demur.gate import answer
from demur.gate.answer import Answered
from demur.gate.gate import SIGNALS, Gate, GateStep, GateVerdict
from demur.gate.router import Router
from demur.models.allowed_endpoints import AllowedEndpoints
from demur.records import Role, Sample, SamplingSettings
from demur.routing.prompt_router import Decision
from test_artifact import make

BY_SHARE = (0.0, 0.0, 0.0, 0.0, -1.0, 0.0)  # the score falls by the share of samples that mean what the draft does
PAIR: dict[Role, str] = {"weak": "small", "strong": "large"}


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
    assert [role for role, _ in found.calls] == ["weak"] * 3
    assert found.path == "its draft: 'Rome' and 2 extra samples checked, kept"


async def test_a_draft_that_they_deny_is_dropped_and_the_strong_model_asked_last() -> None:
    found = await answered(gated(spread=9.0), ["Rome", "Bari", "Pisa"])
    assert (found.answer, found.decision.role) == ("from the strong one", "strong")
    assert [role for role, _ in found.calls] == ["weak", "weak", "weak", "strong"]
    assert "dropped, the strong model asked" in found.path


async def test_no_sample_is_asked_for_that_could_not_turn_the_decision() -> None:
    found = await answered(gated(), ["Rome"])
    assert [role for role, _ in found.calls] == ["weak"]


async def test_without_a_gate_one_model_is_asked_once() -> None:
    router = make()
    found = await answered(Router(router), ["Rome"])
    role = "strong" if router.score(["jazz pizza 2"])[0] >= np.median(router.training_scores) else "weak"
    assert [who for who, _ in found.calls] == [role]
    assert found.path == "the prompt alone"
    with pytest.raises(Exception, match="the prompt is empty"):
        await Router(router).aanswer(" ")  # nobody is asked


def test_an_answer_to_a_prompt_that_cannot_be_told_names_the_setting() -> None:
    decision = Decision("large", "strong", 0.9, 0.5, "like unknown prompts", (), stage="unknown", unknown=True)
    found = Answered("?", decision, "an answer", (("strong", Sample(0, "an answer", None, "stop", 5, 2)),))
    assert found.path == "the setting `unknown`: it is like prompts whose samples could not tell"


async def test_each_recorded_model_is_reached_once_and_only_where_its_host_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reached: list[tuple[str, dict[str, int]]] = []

    @asynccontextmanager
    async def running(model: ModelConfig, **settings: int) -> AsyncIterator[str]:
        reached.append((model.model, settings))
        yield model.model

    class Client:
        def __init__(self, endpoint: str) -> None:
            self.endpoint = endpoint

        async def __aenter__(self) -> Client:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

        async def complete(self, prompt: str, settings: SamplingSettings, indices: list[int]) -> list[Sample]:
            assert settings.stop == ("END",)
            return [Sample(i, f"{self.endpoint}: {prompt}", None, "stop", 5, 1) for i in indices]

    monkeypatch.setattr(answer, "running_endpoint", running)
    monkeypatch.setattr(answer, "EndpointClient", Client)
    models = {role: {"model": name, "base_url": "http://far.example/v1"} for role, name in PAIR.items()}
    made_here = replace(make(), record={"sampling": {"n": 2, "stop": ["END"]}, "models": models})
    async with answer.asking_the_pair(made_here) as ask:
        found = [await ask(role)("Hi", index) for role, index in (("weak", 0), ("weak", 1), ("strong", 0))]
    assert [(one.index, one.text) for one in found] == [(0, "small: Hi"), (1, "small: Hi"), (0, "large: Hi")]
    assert reached == [("small", {"parallel": 1}), ("large", {"parallel": 1})]
    async with answer.asking_the_pair(replace(made_here, endpoints=AllowedEndpoints.parse(()))) as ask:
        with pytest.raises(ArtifactError, match="not allowed"):
            await ask("weak")("Hi", 0)
    async with answer.asking_the_pair(replace(made_here, record={})) as ask:
        with pytest.raises(ArtifactError, match="how its strong model is asked"):
            await ask("strong")("Hi", 0)
