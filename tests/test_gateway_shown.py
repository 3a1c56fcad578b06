"""`POST /v1/decide`: the decision without an answer; `demur@30%`; scores that always mean the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.gate.router import Router
from demur.gate.shares import threshold_of_share
from demur.gateway.clients.keys import new_key
from demur.gateway.http.openai_bodies import ApiError, share_of
from demur.routing.train import with_probabilities
from gateways import EASY, HARD, Running, gateway
from test_one_decision import wavering
from test_prompt_kinds import NEW_SHORTS, NEW_TEXTS, SHORTS, TEXTS, routed


async def decide(found: Running, **body: Any) -> tuple[int, dict[str, Any]]:
    headers = body.pop("headers", {})
    async with found.session.post(f"{found.address}/v1/decide", json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(("text", "role", "model"), [(HARD, "strong", "large"), (EASY, "weak", "small")])
async def test_a_text_and_requests_of_three_apis_are_decided_alike(
    tmp_path: Path, text: str, role: str, model: str
) -> None:
    async with gateway(tmp_path, context_characters=0) as found:
        blocks = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        for body in (
            {"text": text},
            {"messages": user(text)},
            {"model": "demur", "messages": blocks, "system": "Be kind.", "max_tokens": 9},
            {"input": text},
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": text}]}]},
        ):
            status, said = await decide(found, **body)
            assert (status, said["role"], said["model"], said["text"]) == (200, role, model, text)
            assert said["threshold"] == 0.5
        assert not found.weak.requests
        assert not found.strong.requests
        _, headers, answer = await found.ask(text)
        assert answer["model"] == model
        assert headers["x-demur-reason"] == said["reason"]
        assert float(headers["x-demur-score"]) == pytest.approx(said["score"], abs=1e-6)


async def test_it_says_probability_gain_and_prices(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        plain = found.gateway.decider.router
        assert (await decide(found, text=HARD))[1]["probability"] is None  # scores are the method's own
        believed = plain.prompt_router.training_scores > 0.5
        beliefs = np.array([np.full(len(believed), 0.2), np.where(believed, 0.9, 0.2)])
        scaled = with_probabilities(plain.prompt_router, believed.astype(float))
        found.gateway.decider.router = replace(plain, prompt_router=scaled, beliefs=beliefs)
        _, said = await decide(found, text=HARD, headers={"x-demur-threshold": "0.5"})
        value, low, high = (said["probability"][name] for name in ("value", "low", "high"))
        assert 0 < low < value < high < 1
        assert value == said["score"] > 0.8
        assert said["expected_gain"] == pytest.approx(0.7)
        # 3 + (12 + 16) / 4 = 10 tokens asked
        assert said["usd"] == {"weak": 0.0, "strong": pytest.approx(10 * 1e-6 + 300 * 2e-6)}


async def test_its_usd_are_those_of_explain_by_the_kind_of_the_nearest_prompt(tmp_path: Path) -> None:
    """The large model's answers have 10 tokens to short prompts and 90 to texts; 50 would be the mean of both."""
    router = routed()
    costs = router.prompt_router.record["serving_cost"]
    dear = costs["strong"] | {"added_tokens": 5.0, "usd_per_input_token": 1e-6, "usd_per_output_token": 2e-6}
    record = {**router.prompt_router.record, "serving_cost": costs | {"strong": dear}}
    router = replace(router, prompt_router=replace(router.prompt_router, record=record))
    async with gateway(tmp_path, context_characters=0) as found:
        found.gateway.decider.router = router
        for text, answer in ((SHORTS[0], 10), (NEW_SHORTS[1], 10), (TEXTS[0], 90), (NEW_TEXTS[1], 90)):
            _, said = await decide(found, text=text)
            assert said["usd"]["strong"] == pytest.approx((len(text) / 4 + 5) * 1e-6 + answer * 2e-6)
            explained = router.explain(text)
            chosen, other = (said["usd"][role] for role in (said["role"], ({"weak", "strong"} - {said["role"]}).pop()))
            assert explained.usd == pytest.approx(chosen)
            assert explained.usd_other == pytest.approx(other)
        _, chat = await decide(found, messages=[{"role": "system", "content": "x" * 400}, *user(NEW_TEXTS[0])])
        request = 3 + (16 + 400 + 16 + len(NEW_TEXTS[0])) / 4  # the request's own tokens, which are more
        assert chat["usd"]["strong"] == pytest.approx(request * 1e-6 + 90 * 2e-6, abs=1e-6)


async def test_a_decision_holds_its_conversation(tmp_path: Path) -> None:
    async with gateway(tmp_path, context_characters=0) as found:
        named = {"x-demur-conversation": "c1"}
        _, first = await decide(found, text=HARD, headers=named)
        assert first["held"] is None
        _, then = await decide(found, text=EASY, headers=named)
        assert (then["role"], then["held"]) == ("strong", {"role": "strong", "asks": 1, "requests": 1})
        assert then["conversation"] == first["conversation"]
        assert "stays with its model" in then["reason"]


async def test_it_checks_no_draft_and_follows_names_and_headers(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=wavering()) as found:
        _, said = await decide(found, text="za aaz?")
        assert (said["role"], found.weak.requests) == ("weak", [])
        assert (await decide(found, text=EASY, model="large"))[1]["role"] == "strong"
        assert (await decide(found, text=EASY, headers={"x-demur-route": "strong"}))[1]["role"] == "strong"


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"model": "nobody", "text": "x"}, {"text": 7}])
async def test_what_cannot_be_decided_is_refused(tmp_path: Path, body: dict[str, Any]) -> None:
    async with gateway(tmp_path) as found:
        status, said = await decide(found, **body)
        assert status in (400, 404)
        assert said["error"]["message"]


async def test_a_decision_takes_a_clients_key(tmp_path: Path) -> None:
    key = new_key(tmp_path / "keys.json", "ann")
    async with gateway(tmp_path, keys=str(tmp_path / "keys.json")) as found:
        assert (await decide(found, text=EASY))[0] == 401
        assert (await decide(found, text=EASY, headers={"Authorization": f"Bearer {key}"}))[0] == 200


def test_names_of_shares() -> None:
    assert share_of("demur@30%") == pytest.approx(0.3)
    assert (share_of("demur@0%"), share_of("demur@100%")) == (0.0, 1.0)
    assert share_of("demur@0.3") is None
    for wrong in ("demur@101%", "demur@1.2.3%"):
        with pytest.raises(ApiError, match="0% to 100%"):
            share_of(wrong)


async def test_a_share_in_the_name_sends_that_share(tmp_path: Path) -> None:
    """Of eighteen training prompts whose scores differ by thirds: the share is theirs."""
    async with gateway(tmp_path) as found:
        router: Router = found.gateway.decider.router
        finals = router.training_finals
        for share in (0.25, 0.5, 0.75):
            threshold = threshold_of_share(router, share)
            possible = np.array([np.mean(finals >= level) for level in [*np.unique(finals), np.inf]])
            assert np.mean(finals >= threshold) == pytest.approx(possible[np.abs(possible - share).argmin()])
        assert [(await decide(found, text=text, model="demur@0%"))[1]["role"] for text in (HARD, EASY)] == ["weak"] * 2
        assert [(await decide(found, text=text, model="demur@100%"))[1]["role"] for text in (HARD, EASY)] == [
            "strong",
            "strong",
        ]
        _, headers, body = await found.ask(HARD, model="demur@50%")
        assert body["model"] == "large"
        assert float(headers["x-demur-threshold"]) == pytest.approx(threshold_of_share(router, 0.5), abs=1e-6)


async def test_the_score_is_the_prompts_also_where_a_draft_was_checked(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=wavering()) as found:
        _, said = await decide(found, text="za aaz?")
        _, headers, _ = await found.ask("za aaz?")
        assert headers["x-demur-stage"] == "gate"
        assert float(headers["x-demur-score"]) == pytest.approx(said["score"], abs=1e-6)
        assert float(headers["x-demur-checked-score"]) != pytest.approx(said["score"], abs=1e-3)
        _, tools, _ = await found.ask("za aaz?", tools=[{"type": "function", "function": {"name": "f"}}], user="u")
        assert tools["x-demur-score"] == headers["x-demur-score"]
        assert "x-demur-checked-score" not in tools
