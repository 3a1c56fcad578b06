"""Under load prompts are embedded together; every decision is still that of the prompt alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from demur.gate.router import Router
from demur.gateway.decision.batch_error import NO_ERROR, measure_batch_error
from demur.gateway.decision.decider import Decider
from demur.labels.beliefs.unknown import UnknownPrompt
from demur.methods import KernelRidge
from demur.models.encoders.encoder import load_encoder
from demur.records import FloatArray, Role
from demur.routing.decision import TrainingPrompt
from demur.routing.prompt_router import PromptRouter
from demur.routing.train import train_router
from test_explanation import priced
from test_one_decision import wavering

TRAINED, UNKNOWN, ASKED = 150, 40, 320


def says_right(row: dict[str, Any], model: str) -> bool:
    text = row["models"][model]["greedy"]["text"].lower()
    return any(answer.lower() in text for answer in row["answers"])


@pytest.fixture(scope="module")
def asked(shared_rows: Callable[[str], list[dict[str, Any]]]) -> tuple[PromptRouter, list[str]]:
    """A router of the default encoder, which quantises, and questions that it has not learned from."""
    rows = shared_rows("samples/local_pair")
    rows = [rows[i] for i in np.random.default_rng(4).permutation(len(rows))[: TRAINED + UNKNOWN + ASKED]]
    weak, strong = "smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct"
    training = [
        TrainingPrompt(row["question"], 0.5 + (says_right(row, strong) - says_right(row, weak)) / 2, 1.0, 1.0, "", "")
        for row in rows[:TRAINED]
    ]
    unknown = [UnknownPrompt(row["id"], row["question"], "all differ") for row in rows[TRAINED : TRAINED + UNKNOWN]]
    router = train_router(
        load_encoder("bge-small-6"), KernelRidge(), training, weak=weak, strong=strong, unknown=unknown
    )
    return router, [row["question"] for row in rows[TRAINED + UNKNOWN :]]


async def together(router: Router, prompts: list[str], **options: Any) -> list[tuple[Role, str, bool]]:
    decider = Decider(router, 60.0, measure_batch_error(router.prompt_router))
    made = await asyncio.gather(*(decider.decide(prompt, **options) for prompt in prompts))
    decider.close()
    return [(one.decision.role, one.decision.untold, bool(one.decision.wants_samples)) for one in made]


def alone(router: Router, prompts: list[str], threshold: float | None) -> list[tuple[Role, str, bool]]:
    made = [router.first_stage(router.prompt_router.route(prompt, threshold=threshold)) for prompt in prompts]
    return [(one.role, one.untold, bool(one.wants_samples)) for one in made]


async def test_decisions_of_a_batch_are_those_of_each_prompt_alone(asked: tuple[PromptRouter, list[str]]) -> None:
    """The vectors of a batch differ so much that a decision in a hundred would be another one."""
    router, prompts = asked
    error = measure_batch_error(router)
    assert error.score > 0
    assert error.similarity > 0
    assert await together(Router(router), prompts) == alone(Router(router), prompts, None)


@pytest.mark.parametrize("at", [0.2, 0.4, 0.6, 0.8])
async def test_at_the_thresholds_that_requests_ask_for_too(asked: tuple[PromptRouter, list[str]], at: float) -> None:
    router, prompts = asked
    threshold = float(np.quantile(router.training_scores, at))
    assert await together(Router(router), prompts, threshold=threshold) == alone(Router(router), prompts, threshold)


async def test_a_draft_is_checked_by_the_score_of_the_prompt_alone(asked: tuple[PromptRouter, list[str]]) -> None:
    router, prompts = asked
    gated = Router(router, replace(wavering(), band=0.02), active=True)
    decider = Decider(gated, 60.0, measure_batch_error(router))
    made = [one.decision for one in await asyncio.gather(*(decider.decide(prompt) for prompt in prompts))]
    decider.close()
    checked = [(one, prompt) for one, prompt in zip(made, prompts, strict=True) if one.wants_samples]
    assert 0 < len(checked) < len(prompts)
    assert [one.score for one, _ in checked] == [gated.route(prompt).score for _, prompt in checked]


async def test_few_prompts_are_embedded_again(
    asked: tuple[PromptRouter, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing would be gained by embedding them together."""
    router, prompts = replace(asked[0], unknown=None), asked[1]
    error, alone = measure_batch_error(router), list[str]()
    embed = PromptRouter.embed_together

    def counted(self: PromptRouter, texts: Sequence[str]) -> FloatArray:
        alone.extend(texts if len(texts) == 1 else ())
        return embed(self, texts)

    monkeypatch.setattr(PromptRouter, "embed_together", counted)
    decider = Decider(Router(router), 60.0, error)
    await asyncio.gather(*(decider.decide(prompt) for prompt in prompts))
    decider.close()
    assert 0 < len(alone) < len(prompts) / 4


def test_an_encoder_without_batches_of_its_own_has_no_error() -> None:
    assert measure_batch_error(priced()) == NO_ERROR
