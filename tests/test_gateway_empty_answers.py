"""A weak answer that says nothing is a failed one: the strong model answers, and it is counted and explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.gate.form.requested_form import empty_problem
from demur.gateway.ledger.read import read_ledger
from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.openai import CHAT, COMPLETIONS
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES
from demur.records import Sample
from gateways import EASY, gateway, upstream

SAID = "the weak answer is of no use: it is empty, so the strong model answers"


def chat(end: str = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": end}]}


def chunk(end: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}


def answering(*events: dict[str, Any]) -> Any:
    """An upstream that answers with these events, or with one whole answer."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if not (await request.json()).get("stream"):
            return web.json_response({**events[0], "usage": {"prompt_tokens": 9, "completion_tokens": 0}})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    return answer


STREAM = {"stream": True}
LIMITED = {"max_tokens": 5}
TOOL = [{"type": "function", "function": {"name": "weather", "arguments": "{}"}}]
ROLE = chunk(role="assistant", content="")


@pytest.mark.parametrize(
    ("events", "more", "answers"),
    [
        ([chat(content="")], {}, "large"),
        ([chat(content=None)], {}, "large"),
        ([chat(content=" \n\t ")], {}, "large"),
        ([chat(content=[{"type": "text", "text": ""}])], {}, "large"),
        ([chat(content="", reasoning_content="Hm, what is it?")], {}, "large"),
        ([{"choices": [*chat(content="")["choices"], *chat(content="No.")["choices"]]}], {"n": 2}, "small"),
        ([{"choices": 2 * chat(content="")["choices"]}], {"n": 2}, "large"),
        ([chat(content="", refusal="I cannot help with that.")], {}, "small"),
        ([chat(content=None, tool_calls=TOOL)], {}, "small"),
        ([chat("content_filter", content="")], {}, "small"),  # the strong model has its filter, too
        ([chat("length", content="")], LIMITED, "small"),  # the client's own limit
        ([chat("length", content="")], {}, "large"),  # the model's: its window is full
        ([chat(content="0")], {}, "small"),
        ([chat(content="")], {"model": "small"}, "small"),  # the client wants this model
        ([chat(content="")], {"headers": {"x-demur-route": "weak"}}, "small"),
        ([ROLE, chunk("stop")], STREAM, "large"),
        ([ROLE, chunk(content=" "), chunk("stop")], STREAM, "large"),
        ([ROLE, chunk(content=" "), chunk(content="Yes."), chunk("stop")], STREAM, "small"),
        ([ROLE, chunk(reasoning_content="Hm"), chunk("stop")], STREAM, "small"),  # it was passed on as it came
        ([ROLE, chunk(refusal="I cannot."), chunk("stop")], STREAM, "small"),
        ([ROLE, chunk("length")], {**STREAM, **LIMITED}, "small"),
        ([ROLE, chunk("length")], STREAM, "large"),
    ],
)
async def test_who_answers_where_the_weak_model_says_nothing(
    tmp_path: Path, events: list[dict[str, Any]], more: dict[str, Any], answers: str
) -> None:
    async with gateway(tmp_path) as found, upstream(answering(*events), found, ("weak",)):
        status, headers, body = await found.ask(EASY, **more)
    assert (status, headers["x-demur-model"]) == (200, answers)
    assert headers["x-demur-reason"].endswith(SAID) == (answers == "large")
    assert body
    (row,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert (row.outcome, row.role == "strong") == (("fallback", True) if answers == "large" else ("ok", False))


async def test_an_empty_answer_stays_where_the_strong_model_is_down(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found, upstream(answering(chat(content="")), found, ("weak",)):
        found.strong.refusal = lambda body: (500, '{"error": {"message": "gone"}}')
        status, headers, _ = await found.ask(EASY)
    assert (status, headers["x-demur-model"]) == (200, "small")
    assert "the weak answer is of no use: it is empty; " in headers["x-demur-reason"]


async def test_an_empty_answer_of_the_strong_model_is_its_own(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found, upstream(answering(chat(content="")), found, ("weak", "strong")):
        status, headers, body = await found.ask(EASY)
    assert (status, headers["x-demur-model"], body["choices"][0]["message"]["content"]) == (200, "large", "")


TEXT, THOUGHT = {"type": "text", "text": "Hi"}, {"type": "thinking", "thinking": "Hm"}
MESSAGE = {"type": "message", "content": [{"type": "output_text", "text": "Hi"}]}


@pytest.mark.parametrize(
    ("protocol", "value", "says"),
    [
        (COMPLETIONS, {"choices": [{"text": " "}]}, False),
        (COMPLETIONS, {"choices": [{"text": "x"}]}, True),
        (CHAT, {"object": "other"}, True),
        (CHAT, {"choices": [], "usage": {}}, False),  # the last chunk of a stream
        (MESSAGES, {"content": []}, False),
        (MESSAGES, {"content": [THOUGHT]}, False),
        (MESSAGES, {"content": [THOUGHT, {"type": "text", "text": ""}]}, False),
        (MESSAGES, {"content": [TEXT]}, True),
        (MESSAGES, {"content": [{"type": "tool_use", "name": "f", "input": {}}]}, True),
        (MESSAGES, {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}, False),
        (MESSAGES, {"type": "content_block_start", "content_block": {"type": "tool_use", "name": "f"}}, True),
        (MESSAGES, {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "x"}}, True),
        (MESSAGES, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, False),
        (RESPONSES, {"output": []}, False),
        (RESPONSES, {"output": [{"type": "reasoning", "summary": [TEXT]}]}, False),
        (RESPONSES, {"output": [{"type": "message", "content": [{"type": "output_text", "text": " "}]}]}, False),
        (RESPONSES, {"output": [MESSAGE]}, True),
        (RESPONSES, {"output": [{"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}]}, True),
        (RESPONSES, {"output": [{"type": "web_search_call"}]}, True),
        (RESPONSES, {"type": "response.output_text.delta", "delta": "x"}, True),
        (RESPONSES, {"type": "response.output_item.added", "item": {"type": "message", "content": []}}, False),
        (RESPONSES, {"type": "response.output_item.added", "item": {"type": "function_call"}}, True),
        (RESPONSES, {"type": "response.created", "response": {"output": []}}, False),
    ],
)
def test_what_says_something_by_api(protocol: Protocol, value: dict[str, Any], says: bool) -> None:
    assert protocol.says(value) is says


@pytest.mark.parametrize(
    ("protocol", "value", "cut"),
    [
        (CHAT, {"choices": [{"finish_reason": "stop"}]}, ""),
        (CHAT, {"choices": [{"finish_reason": "length"}]}, "limit"),
        (CHAT, {"choices": [{"finish_reason": "content_filter"}]}, "other"),
        (MESSAGES, {"content": [], "stop_reason": "end_turn"}, ""),
        (MESSAGES, {"content": [], "stop_reason": "max_tokens"}, "limit"),
        (MESSAGES, {"type": "message_delta", "delta": {"stop_reason": "refusal"}}, "other"),
        (RESPONSES, {"status": "completed", "output": []}, ""),
        (RESPONSES, {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, "limit"),
        (
            RESPONSES,
            {"response": {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}},
            "other",
        ),
    ],
)
def test_what_ended_an_answer_by_api(protocol: Protocol, value: dict[str, Any], cut: str) -> None:
    assert protocol.cut(value) == cut


@pytest.mark.parametrize(
    ("text", "end", "problem"),
    [("", "stop", "it is empty"), (" \n", "stop", "it is empty"), ("", "length", ""), ("No.", "stop", "")],
)
def test_an_empty_sample(text: str, end: str, problem: str) -> None:
    assert empty_problem(Sample(0, text, None, end, 1, 1)) == problem
