"""Thinking blocks and signatures reach the model that made them, and no other one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from demur.gateway.decision.conversation_model import ConversationRecord
from demur.gateway.decision.request.thinking import Thinking, foreign, needs_strong, thinking_in, without_thinking
from demur.gateway.http.json_edit import body_of
from gateways import EASY, HARD, gateway

Item = dict[str, Any]
BLOCK = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
TEXT, USE = {"type": "text", "text": "Yes."}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}]}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}


def user(text: str) -> Item:
    return {"role": "user", "content": text}


def fields(*items: Item, name: str = "messages") -> dict[str, Any]:
    return {"model": "demur", name: list(items)}


USED = {"role": "assistant", "content": [BLOCK, USE]}
MESSAGES = fields(user("a"), {"role": "assistant", "content": [BLOCK, TEXT]}, user("b"), USED, RESULT)
CHAT = fields(
    user("a"),
    {"role": "assistant", "content": "x", "thinking_blocks": [BLOCK]},
    user("b"),
    {"role": "assistant", "content": None, "tool_calls": [], "reasoning_content": "Hm."},
)
RESPONSES = fields(
    user("a"), REASONING, {"role": "assistant", "content": "x"}, user("b"), REASONING, CALL, name="input"
)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (MESSAGES, Thinking(before=True, since=True, signed=True)),
        (CHAT, Thinking(before=True, since=True, signed=False)),
        (RESPONSES, Thinking(before=True, since=True, signed=True)),
        (fields(user("a"), {"role": "assistant", "content": [TEXT]}, user("thinking?")), Thinking()),
        (fields(user("a"), {"role": "assistant", "content": [BLOCK, TEXT]}, user("b")), Thinking(before=True)),
        ({"model": "demur", "prompt": "reasoning"}, Thinking()),
    ],
)
def test_where_thinking_stands(given: dict[str, Any], expected: Thinking) -> None:
    assert thinking_in(json.dumps(given).encode(), given) == expected


def left(given: dict[str, Any], **parts: bool) -> Any:
    body, _ = body_of(json.dumps(given).encode())
    found = json.loads(without_thinking(body, **parts).raw)
    return found.get("messages", found.get("input"))


def test_what_is_left_of_each_api() -> None:
    said = {"role": "assistant", "content": [TEXT]}
    assert left(MESSAGES, before=True, since=False) == [user("a"), said, *MESSAGES["messages"][2:]]
    assert left(MESSAGES, before=True, since=True)[3] == {"role": "assistant", "content": [USE]}
    assert left(CHAT, before=True, since=True) == [
        user("a"),
        {"role": "assistant", "content": "x"},
        user("b"),
        {"role": "assistant", "content": None, "tool_calls": []},
    ]
    assert left(RESPONSES, before=True, since=False) == [one for i, one in enumerate(RESPONSES["input"]) if i != 1]
    alone = fields(user("a"), {"role": "assistant", "content": [BLOCK]}, user("b"))
    assert left(alone, before=True, since=False) == [user("a"), user("b")]  # Messages takes no empty content


BOTH = Thinking(before=True, since=True, signed=True)


def test_whose_thinking_it_is() -> None:
    strong, mixed = ConversationRecord("strong", "a", 0.0), ConversationRecord("strong", "a", 0.0, mixed=True)
    assert foreign(BOTH, strong, "strong") == (False, False)
    assert foreign(BOTH, strong, "weak") == (True, True)
    assert foreign(BOTH, mixed, "strong") == (True, False)  # what was before may be the weak model's
    assert foreign(BOTH, mixed, "weak") == (True, True)
    assert foreign(BOTH, None, "strong") == (True, False)
    assert foreign(BOTH, None, "weak") == (True, True)
    assert foreign(Thinking(before=True, since=True), None, "strong") == (True, True)
    assert needs_strong(BOTH, None)
    assert not needs_strong(BOTH, strong)
    assert not needs_strong(Thinking(before=True), None)


def thought(text: str) -> Item:
    return {"role": "assistant", "content": text, "thinking_blocks": [BLOCK]}


async def test_a_conversation_that_changes_its_model_takes_no_thinking_along(tmp_path: Path) -> None:
    async with gateway(tmp_path, context_characters=0) as found:
        opening = [user(EASY)]
        assert (await found.ask(messages=opening))[2]["model"] == "small"
        more = [*opening, thought("one"), user(HARD)]
        _, headers, body = await found.ask(messages=more)
        assert body["model"] == "large"
        assert "thinking of the other model is left out" in headers["x-demur-reason"]
        assert found.strong.requests[-1]["messages"] == [opening[0], {"role": "assistant", "content": "one"}, more[2]]
        then = [*more, thought("two"), user(HARD + HARD)]
        await found.ask(messages=then)  # of a mixed conversation nothing before is certain
        assert "thinking" not in json.dumps(found.strong.requests[-1])


async def test_a_conversation_of_one_model_keeps_its_thinking(tmp_path: Path) -> None:
    async with gateway(tmp_path, context_characters=0) as found:
        opening = [user(HARD)]
        await found.ask(messages=opening)
        more = [*opening, thought("one"), user(HARD + HARD)]
        _, headers, _ = await found.ask(messages=more)
        assert found.strong.requests[-1]["messages"] == more
        assert "left out" not in headers["x-demur-reason"]


async def test_signed_thinking_of_an_unknown_conversation_stays_with_the_strong_model(tmp_path: Path) -> None:
    async with gateway(tmp_path, context_characters=0) as found:
        going_on = [user(EASY), thought("one"), {"role": "tool", "tool_call_id": "call_1", "content": "7"}]
        _, headers, body = await found.ask(messages=going_on)
        assert body["model"] == "large"
        assert "not known" in headers["x-demur-reason"]
        assert found.strong.requests[-1]["messages"] == going_on
        named = (await found.ask(messages=going_on, model="small"))[2]
        assert named["model"] == "small"  # who names a model gets what was sent
        assert found.weak.requests[-1]["messages"] == going_on
