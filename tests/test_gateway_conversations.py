"""Which conversation a request belongs to, whatever its client has changed in the history."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demur.gateway.decision.conversations import Identity, Turn, identity_in, turn_of
from demur.gateway.decision.request.messages import Message, messages_of
from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.responses import RESPONSES
from gateways import EASY, HARD, gateway

Said = dict[str, Any]
LONG = "Rename the function parse_date in every module of the project, please."
CALL = "call_9f3kQ21x"


def user(text: str) -> Said:
    return {"role": "user", "content": text}


def model(text: str) -> Said:
    return {"role": "assistant", "content": text}


def called(call: str = CALL) -> list[Said]:
    function = {"name": "read", "arguments": "{}"}
    return [
        {"role": "assistant", "content": None, "tool_calls": [{"id": call, "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": call, "content": "7"},
    ]


def turn(*messages: Said, key: str = "", identity: Identity | None = None, **fields: object) -> Turn:
    found = turn_of({"messages": list(messages), **fields}, key=key, identity=identity or Identity())
    assert found is not None
    return found


def knows(later: Turn, earlier: Turn) -> bool:
    """Whether the later turn finds what was kept under the earlier one's names."""
    return bool(set(later.known) & set(earlier.names))


FIRST = (user("hi"),)
SECOND = (user("hi"), model("yes"), user("more"))
THIRD = (*SECOND, model("so"), user("end"))


def test_a_turn_knows_the_one_before_it() -> None:
    first, second, third = turn(*FIRST), turn(*SECOND), turn(*THIRD)
    assert first.begins
    assert not second.begins
    assert knows(second, first)
    assert knows(third, second)
    assert third.ask not in (first.ask, second.ask)


def test_another_conversation_that_begins_alike_is_another_one() -> None:
    other = turn(user("hi"), model("no"), user("less"))
    assert not knows(other, turn(*SECOND))
    assert not knows(turn(*FIRST), turn(*SECOND))


@pytest.mark.parametrize(
    "changed",
    [
        [{"role": "system", "content": "It is 12:01."}, *THIRD],
        [{"role": "developer", "content": "Now."}, *THIRD],
        list(THIRD[1:]),  # a window of four messages
        list(THIRD[2:]),  # and of three
        [user("Summary: they greeted each other."), *THIRD[2:]],
        [user("hi"), model("edited"), *THIRD[2:]],
        [*THIRD[:3], model("another answer"), THIRD[4]],
    ],
    ids=["clock", "developer", "window of 4", "window of 3", "summary", "edited answer", "regenerated answer"],
)
def test_a_changed_history_is_the_same_conversation(changed: list[Said]) -> None:
    before = turn({"role": "system", "content": "It is 12:00."}, *SECOND)
    assert knows(turn(*changed), before)


def test_a_tool_loop_goes_on_with_the_same_ask() -> None:
    begun, first = turn(user("hi")), turn(user("hi"), *called())
    assert first.loops
    assert not begun.loops
    assert first.ask == begun.ask
    assert set(begun.names) & first.ongoing


def test_a_summary_in_a_tool_loop_is_known_by_its_calls() -> None:
    second = turn(user("hi"), *called(), *called("call_second77"))
    compacted = turn(user("Summary of all so far."), *called("call_second77"), *called("call_third888"))
    assert compacted.loops
    found = next(name for name in compacted.known if name in second.names)
    assert found in compacted.ongoing


@pytest.mark.parametrize("call", ["call_0", "functions.search:1", "get_weather"])
def test_ids_that_many_conversations_have_name_none(call: str) -> None:
    assert not knows(turn(user("a"), *called(call)), turn(user("b"), *called(call)))
    assert knows(turn(user("a"), *called()), turn(user("b"), *called()))


def test_a_long_ask_names_its_conversation_alone() -> None:
    assert knows(turn(user("Context."), model("ok"), user(LONG), *called()), turn(user(LONG)))
    assert not knows(turn(user("Context."), model("ok"), user("go on"), *called()), turn(user("go on")))


def test_keys_and_users_have_conversations_of_their_own() -> None:
    assert not knows(turn(*SECOND, key="ann"), turn(*FIRST))
    assert not knows(turn(*SECOND, user="u"), turn(*FIRST))
    named = [turn(*FIRST, key=key, identity=Identity("c1")).names for key in ("ann", "bob")]
    assert named[0] != named[1]


def test_a_header_of_the_settings_names_a_conversation_by_itself() -> None:
    identity = identity_in({"x-chat": "c1", "x-demur-conversation": "c2"}, ("x-demur-conversation", "x-chat"))
    assert identity.named == "c2"
    first, other = (turn(user(text), identity=identity) for text in ("hi", "something else"))
    assert knows(other, first)
    assert not other.begins
    assert turn_of({"prompt": "x"}, key="", identity=identity) is not None
    assert turn_of({"prompt": "x"}, key="", identity=Identity()) is None


SESSION = "user_1a2b_account__session_0f6c7d10-1111-4222-8333-944444444444"


@pytest.mark.parametrize(
    ("fields", "headers"),
    [
        ({"prompt_cache_key": "k1"}, {}),
        ({"metadata": {"user_id": SESSION}}, {}),
        ({"metadata": {"user_id": '{"device_id": "d", "session_id": "s1"}'}}, {}),
        ({"metadata": {"conversation_id": "s1"}}, {}),
        ({"conversation": {"id": "conv_1"}}, {}),
        ({}, {"x-claude-code-session-id": "s1"}),
        ({}, {"x-openwebui-chat-id": "s1"}),
    ],
    ids=lambda given: str(given)[:30],
)
def test_sessions_of_known_clients(fields: dict[str, Any], headers: dict[str, str]) -> None:
    identity = identity_in(headers, ())
    before = turn(*THIRD, identity=identity, **fields)
    summed_up = turn(user("Summary."), model("ok"), user("go on"), identity=identity, **fields)
    assert knows(summed_up, before)
    assert not knows(turn(user("an agent of its own"), identity=identity, **fields), before)
    assert not knows(summed_up, turn(*THIRD))


def test_a_user_is_no_session() -> None:
    fields: dict[str, Any] = {"metadata": {"user_id": "user_1a2b"}}
    assert not knows(turn(user("Other."), model("ok"), user("go on"), **fields), turn(*THIRD, **fields))


def test_messages_of_three_apis_are_read_alike() -> None:
    expected = [
        Message("user", "hi"),
        Message("assistant", "", ("call_9f3kQ21x",)),
        Message("tool", "", ("call_9f3kQ21x",)),
        Message("assistant", "seven"),
    ]
    chat = {"messages": [user("hi"), *called(), model("seven")]}
    anthropic = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": CALL, "name": "read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": CALL, "content": "7"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "seven"}]},
        ]
    }
    responses = {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "function_call", "call_id": CALL, "name": "read", "arguments": "{}"},
            {"type": "function_call_output", "call_id": CALL, "output": "7"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "seven"}]},
        ]
    }
    for fields, protocol in ((chat, CHAT), (anthropic, MESSAGES), (responses, RESPONSES)):
        assert messages_of(protocol.as_chat(fields)) == expected
    assert messages_of(RESPONSES.as_chat({"input": "hi"})) == expected[:1]
    assert messages_of({"messages": [1, 2]}) == messages_of({"prompt": "hi"}) == []


def test_a_text_agents_observation_is_a_step_of_its_ask() -> None:
    steps = [user("hi"), model("Thought: look.\nAction: search\nAction Input: x"), user("Observation: 7")]
    begun, first = turn(*steps[:1]), turn(*steps)
    assert (first.ask, first.loops) == (begun.ask, True)
    answered = turn(*steps, model("Final Answer: 7"), user("more"))
    assert (answered.ask != begun.ask, answered.loops) == (True, False)


def test_a_reminder_that_comes_and_goes_changes_no_name() -> None:
    reminded = user("hi\n<system-reminder>The list is empty.</system-reminder>")
    assert turn(reminded).names == turn(user("hi")).names
    assert turn(reminded, *called()).ongoing == turn(user("hi"), *called()).ongoing


# -- in the gateway ----------------------------------------------------------------------------------------------------


def step(number: int) -> list[Said]:
    return called(f"call_step{number:04d}")


@pytest.mark.parametrize(("ask", "expected"), [(HARD, "large"), (EASY, "small")])
async def test_no_step_of_a_tool_loop_changes_its_model(tmp_path: Path, ask: str, expected: str) -> None:
    """Neither another threshold, nor a clock, nor a summary, nor cleared results move it."""
    async with gateway(tmp_path, context_characters=0) as found:
        assert (await found.ask(messages=[user(ask)]))[2]["model"] == expected
        steps = [one for number in range(6) for one in step(number)]
        histories = [
            [user(ask), *step(0)],
            [{"role": "system", "content": "12:01"}, user(ask), *steps[:4]],
            [user(ask), *[one | {"content": "cleared"} if one["role"] == "tool" else one for one in steps[:8]]],
            [user("Summary: the loop goes on."), *steps[6:10]],
            [user("Summary: the loop goes on."), *steps[8:12]],
        ]
        for history in histories:
            for model in ("demur", "demur@-9", "demur@9"):
                _, headers, body = await found.ask(messages=history, model=model)
                assert body["model"] == expected
                assert "tool loop" in headers["x-demur-reason"]


async def test_a_new_ask_may_return_to_the_weak_model_where_it_pays(tmp_path: Path) -> None:
    """A short history: 300 tokens of answer at gpt-4o's price are worth more than its cache."""
    history = [user(HARD), model("yes"), user(EASY)]
    async with gateway(tmp_path, context_characters=0) as found:
        assert (await found.ask(messages=history[:1]))[2]["model"] == "large"
        _, headers, body = await found.ask(messages=history)
        assert body["model"] == "large"
        assert "prompt cache is worth is unknown" in headers["x-demur-reason"]
        side = found.gateway.upstreams["strong"]
        listed = {"usd_per_million_input": None, "usd_per_million_output": None, "priced_as": "gpt-4o"}
        side.endpoint = replace(side.endpoint, **listed)  # type: ignore[arg-type]
        again = [*history[:2], user(EASY + EASY)]
        assert (await found.ask(messages=again))[2]["model"] == "small"


async def test_a_header_of_the_settings_names_a_conversation(tmp_path: Path) -> None:
    async with gateway(tmp_path, conversation_headers=("x-chat",)) as found:
        named = {"x-chat": "c1"}
        assert (await found.ask(HARD, headers=named))[2]["model"] == "large"
        assert (await found.ask(EASY, headers=named))[2]["model"] == "large"
        assert (await found.ask(EASY, headers={"x-demur-conversation": "c1"}))[2]["model"] == "small"


@pytest.mark.parametrize("asked", [{"headers": {"x-demur-route": "strong"}}, {"model": "demur@0"}])
@pytest.mark.parametrize("before", [True, False])
async def test_what_one_request_asks_for_itself_does_not_hold_the_same_words_without_it(
    tmp_path: Path, asked: dict[str, Any], before: bool
) -> None:
    async with gateway(tmp_path) as found:
        if before:
            assert (await found.ask())[2]["model"] == "small"
        assert (await found.ask(**asked))[2]["model"] == "large"
        _, headers, body = await found.ask()
        assert body["model"] == "small", headers["x-demur-reason"]


async def test_what_is_held_against_another_threshold_is_still_decided_by_the_one_before(tmp_path: Path) -> None:
    """Of unknown prices: asked again at the threshold that did not decide, it is held for its cache once more."""
    said = [user("hi"), model("yes"), user(HARD)]
    async with gateway(tmp_path) as found:
        reasons = []
        for threshold in (None, "0.9999", "0.9999", None):
            headers = {"x-demur-threshold": threshold} if threshold else {}
            _, told, body = await found.ask(messages=said, headers=headers)
            assert body["model"] == "large"
            reasons.append(told["x-demur-reason"])
    assert "stays" not in reasons[0]
    assert all(
        one.endswith("; the conversation stays with its model: what its prompt cache is worth is unknown")
        for one in reasons[1:3]
    )
    assert "prompt cache" not in reasons[3]
