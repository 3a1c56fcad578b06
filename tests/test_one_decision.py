"""One prompt, the same samples: the Router, the command line, the gateway and the evaluation decide alike."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.config import ModelConfig
from demur.gate.gate import SIGNALS, Gate, GateStep, GateVerdict
from demur.gate.quality.two_stages import staged_scores
from demur.gate.router import Router, drafts_of
from demur.records import Sample, SamplingSettings
from gateways import Running, gateway

BY_SHARE = (0.0, 0.0, 0.0, 0.0, -2.0, 0.0)  # the score falls by the share of samples that mean what the draft does
PROMPTS = ("aaa aaa?", "zzz zzz?", "za aaz?", "zaz az?", "zz za aa z?", "hello, how much?", "a zebra", "zz top at ten")
ANSWERS = (("Rome", "Rome", "Rome", "Rome"), ("Rome", "Bari", "Pisa", "Bari"), ("7", "seven", "8", "7"))


def wavering() -> Gate:
    """Checks what is near the threshold: strong where most of up to three extra samples deny the draft."""
    assert len(BY_SHARE) == len(SIGNALS)
    steps = tuple(GateStep(1.5, 0.0, BY_SHARE, spread=9.0 if left else 0.0) for left in (3, 2, 1, 0))
    return Gate(steps, None, 0.45, GateVerdict(0.1, 0.1, 0.05, 0.15))


class Drawn:
    """The weak model: of each prompt always the same samples, one after another."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, prompt: str, seed: int) -> str:
        self.asked[prompt] += 1
        return answers_to(prompt)[self.asked[prompt] - 1]


def answers_to(prompt: str) -> tuple[str, ...]:
    return ANSWERS[PROMPTS.index(prompt) % len(ANSWERS)]


def by_evaluation(router: Router) -> list[str]:
    """Where each draft that came first goes, as `demur evaluate` counts it."""
    samples = [[Sample(i, text, None, "stop", 5, 1) for i, text in enumerate(answers_to(prompt))] for prompt in PROMPTS]
    assert router.gate is not None
    drafts = drafts_of(router, PROMPTS, samples)
    assert (drafts.orders[:, 0] == np.arange(4)).all()
    use = staged_scores(router.gate, router.score(PROMPTS), drafts).use(router.threshold)
    return ["large" if strong else "small" for strong in use.strong[:, 0]]


def recorded(router: Router, found: Running) -> Router:
    """The same router, whose record says which endpoints its labels were sampled from."""
    endpoints = {"weak": found.weak.base_url, "strong": found.strong.base_url}
    names = {"weak": "small", "strong": "large"}
    models = {role: asdict(ModelConfig(names[role], url)) for role, url in endpoints.items()}
    record = {"models": models, "sampling": json.loads(json.dumps(asdict(SamplingSettings())))}
    return replace(router, prompt_router=replace(router.prompt_router, record=record))


async def test_all_four_decide_alike(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=wavering()) as found:
        folder = str(tmp_path / "router")
        router = Router.load(folder)
        first = [router.route(prompt) for prompt in PROMPTS]
        assert {(one.role, one.stage) for one in first} == {("weak", "prompt"), ("strong", "prompt"), ("weak", "gate")}

        printed = [json.loads(run_cli("route", prompt, "--router", folder, "--json")) for prompt in PROMPTS]
        for said, made in zip(printed, first, strict=True):
            assert {key: said[key] for key in ("model", "role", "stage", "wants_samples", "reason")} == {
                key: getattr(made, key) for key in ("model", "role", "stage", "wants_samples", "reason")
            }
            assert said["score"] == pytest.approx(made.score)

        found.weak.answer = Drawn()
        answered = [await recorded(router, found).aanswer(prompt) for prompt in PROMPTS]
        found.weak.answer = Drawn()
        served = [await found.ask(prompt) for prompt in PROMPTS]
        models = [one.decision.model for one in answered]
        assert [body["model"] for _, _, body in served] == models
        assert [body["choices"][0]["message"]["content"] for _, _, body in served] == [one.answer for one in answered]
        assert by_evaluation(router) == models
        assert set(models) == {"small", "large"}
        assert any(one.decision.stage == "gate" and one.decision.role == "strong" for one in answered)


def run_cli(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout
