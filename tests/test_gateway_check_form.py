"""Weak answers that their client could not use: calls that fit no tool, JSON that fits no format, whole or streamed."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.gate.gate import Gate, GateStep, GateVerdict
from demur.gateway.ledger.read import read_ledger
from demur.prompts.tool_calls import with_calls
from gateways import EASY, Running, gateway, upstream

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}]
FITS, WRONG = '{"city": "Paris"}', '{"town": "Paris"}'
REASON = "the weak answer is of no use: it calls 'weather' wrongly ('city' is missing), so the strong model answers"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


def calling(arguments: str, name: str = "weather") -> str:
    return with_calls("", {"tool_calls": [{"function": {"name": name, "arguments": arguments}}]})


def answer_with(found: Running, weak: str, strong: str = calling(FITS)) -> None:
    found.weak.answer = lambda prompt, seed: weak
    found.strong.answer = lambda prompt, seed: strong


def called(body: Any) -> Any:
    """The arguments of the call in an answer, or in the chunks of a stream."""
    if isinstance(body, bytes):
        lines = [line[6:] for line in body.decode().split("\n\n") if line.startswith("data: {")]
        deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
        return "".join(delta["tool_calls"][0]["function"]["arguments"] for delta in deltas if "tool_calls" in delta)
    return body["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_fits_no_tool_goes_to_the_strong_model(tmp_path: Path, stream: bool) -> None:
    async with gateway(tmp_path) as found:
        answer_with(found, calling(WRONG))
        side = found.gateway.upstreams["weak"]
        side.endpoint = replace(side.endpoint, usd_per_million_input=1e6, usd_per_million_output=0.0)
        status, headers, body = await found.ask(EASY, tools=TOOLS, stream=stream)
        assert (status, headers["x-demur-model"]) == (200, "large")
        assert headers["x-demur-reason"].endswith(REASON)
        assert called(body) == FITS
        assert (len(found.weak.requests), len(found.strong.requests)) == (1, 1)
    (row,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert row.role == "strong"
    assert row.usd is not None and row.usd > 1  # the weak answer is paid for, too: a dollar per token of its prompt


@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_that_fits_is_the_weak_model_s(tmp_path: Path, stream: bool) -> None:
    async with gateway(tmp_path) as found:
        answer_with(found, calling(FITS), calling(WRONG))
        status, headers, body = await found.ask(EASY, tools=TOOLS, stream=stream)
        assert (status, headers["x-demur-model"]) == (200, "small")
        assert called(body) == FITS
        assert not found.strong.requests
        if stream:
            assert body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("weak", "more", "answers"),
    [
        ("It is sunny.", {"tools": TOOLS}, "small"),
        ("It is sunny.", {"tools": TOOLS, "tool_choice": "required"}, "large"),
        (calling(FITS, "forecast"), {"tools": TOOLS}, "large"),
        ('<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>', {"tools": TOOLS}, "large"),
        ('{"city": 1}', {"response_format": {"type": "json_schema", "json_schema": {"schema": PARAMETERS}}}, "large"),
        (FITS, {"response_format": {"type": "json_schema", "json_schema": {"schema": PARAMETERS}}}, "small"),
        ("Paris", {"response_format": {"type": "json_object"}}, "large"),
        (calling(WRONG), {"tools": TOOLS, "n": 2}, "small"),  # several answers are not looked at
        (calling(WRONG), {"tools": TOOLS, "model": "small"}, "small"),  # the client wants this model
        (calling(WRONG), {"tools": TOOLS, "headers": {"x-demur-route": "weak"}}, "small"),
    ],
)
async def test_which_answers_are_of_no_use(tmp_path: Path, weak: str, more: dict[str, Any], answers: str) -> None:
    async with gateway(tmp_path) as found:
        answer_with(found, weak)
        status, headers, _ = await found.ask(EASY, **more)
        assert (status, headers["x-demur-model"]) == (200, answers)


async def test_where_the_strong_model_is_down_the_weak_answer_stays(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        answer_with(found, calling(WRONG))
        found.strong.refusal = lambda body: (500, '{"error": {"message": "gone"}}')
        status, headers, body = await found.ask(EASY, tools=TOOLS)
        assert (status, headers["x-demur-model"]) == (200, "small")
        assert called(body) == WRONG
        assert "the weak answer is of no use" in headers["x-demur-reason"]


async def test_a_stream_of_text_is_not_held_back(tmp_path: Path) -> None:
    seen = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"index": 0, "delta": {"content": "It is "}}]}\n\n')
        await asyncio.wait_for(seen.wait(), 5)
        await response.write(b'data: {"choices": [{"index": 0, "delta": {"content": "sunny."}}]}\n\ndata: [DONE]\n\n')
        return response

    async with gateway(tmp_path) as found, upstream(slow, found, ("weak",)):
        body = {"model": "demur", "messages": [{"role": "user", "content": EASY}], "tools": TOOLS, "stream": True}
        async with found.session.post(f"{found.address}/v1/chat/completions", json=body) as answer:
            assert b"It is " in await answer.content.readany()
            seen.set()
            assert (await answer.content.read()).endswith(b"data: [DONE]\n\n")
        assert not found.strong.requests


async def test_a_weak_stream_that_breaks_off_in_a_call_is_replaced(tmp_path: Path) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        part = {"index": 0, "function": {"name": "weather", "arguments": '{"ci'}}
        chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        assert request.transport is not None
        request.transport.abort()
        return response

    async with gateway(tmp_path) as found:
        answer_with(found, "")
        async with upstream(broken, found, ("weak",)):
            _, headers, body = await found.ask(EASY, tools=TOOLS, stream=True)
        assert headers["x-demur-model"] == "large"
        assert called(body) == FITS


# -- agreement of further calls, where the router learned from calls ---------------------------------------------------


def by_share() -> Gate:
    """Asks for two extra samples: strong where fewer than all of them make the draft's call."""
    steps = tuple(
        GateStep(1.5, 0.0, (0.0, 0.0, 0.0, 0.0, -1.2, 0.0), spread=9.0 if left else 0.0) for left in (2, 1, 0)
    )
    return Gate(steps, None, 10.0, GateVerdict(0.1, 0.1, 0.05, 0.15))


@pytest.mark.parametrize(
    ("learned", "further", "asked", "answers"),
    [(True, FITS, 3, "small"), (True, '{"city": "Rome"}', 3, "large"), (False, '{"city": "Rome"}', 1, "small")],
)
async def test_further_calls_are_asked_for_only_by_a_router_that_learned_from_calls(
    tmp_path: Path, learned: bool, further: str, asked: int, answers: str
) -> None:
    async with gateway(tmp_path, gate=by_share()) as found:
        first = found.gateway.decider.router.prompt_router
        router = replace(found.gateway.decider.router, prompt_router=replace(first, record={"calls": learned}))
        found.gateway.decider.router = router
        answer_with(found, "")
        found.weak.answer = lambda prompt, seed: calling(FITS if len(found.weak.requests) == 1 else further)
        status, headers, _ = await found.ask(EASY, tools=TOOLS)
        assert (status, headers["x-demur-model"]) == (200, answers)
        assert len(found.weak.requests) == asked


async def test_a_call_that_fits_no_tool_asks_for_no_further_ones(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_share()) as found:
        first = found.gateway.decider.router.prompt_router
        router = replace(found.gateway.decider.router, prompt_router=replace(first, record={"calls": True}))
        found.gateway.decider.router = router
        answer_with(found, calling(WRONG))
        _, headers, _ = await found.ask(EASY, tools=TOOLS)
        assert (headers["x-demur-model"], headers["x-demur-stage"]) == ("large", "gate")
        assert len(found.weak.requests) == 1


# -- Messages and Responses ------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}


def asked_by(api: str, form: str) -> dict[str, Any]:
    """A request of an API that demands a call, or JSON."""
    if api == "messages":
        more: dict[str, dict[str, Any]] = {
            "call": {"tools": [{"name": "weather", "input_schema": PARAMETERS}]},
            "due": {"tools": [{"name": "weather", "input_schema": PARAMETERS}], "tool_choice": {"type": "any"}},
            "json": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        }
        return {"max_tokens": 9, "messages": [{"role": "user", "content": EASY}], **more[form]}
    tool = {"type": "function", "name": "weather", "parameters": PARAMETERS}
    more = {
        "call": {"tools": [tool]},
        "due": {"tools": [tool], "tool_choice": "required"},
        "json": {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    }
    return {"input": EASY, "store": False, **more[form]}


def events_of(api: str, text: str, call: str) -> list[dict[str, Any]]:
    """A stream of text, or of a call with these arguments in two pieces."""
    if api == "messages":
        block = (
            {"type": "tool_use", "id": "t", "name": "weather", "input": {}} if call else {"type": "text", "text": ""}
        )
        pieces = (
            [{"type": "input_json_delta", "partial_json": part} for part in (call[:5], call[5:])]
            if call
            else [{"type": "text_delta", "text": text}]
        )
        usage = {"input_tokens": 11, "output_tokens": 3}
        return [
            {"type": "message_start", "message": {"type": "message", "usage": usage, "content": []}},
            {"type": "content_block_start", "index": 0, "content_block": block},
            *({"type": "content_block_delta", "index": 0, "delta": one} for one in pieces),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
            {"type": "message_stop"},
        ]
    item = {"type": "function_call", "name": "weather", "arguments": ""} if call else {"type": "message", "content": []}
    kind = "function_call_arguments" if call else "output_text"
    deltas = [call[:5], call[5:]] if call else [text]
    return [
        {"type": "response.created", "response": {}},
        {"type": "response.output_item.added", "output_index": 1, "item": item},
        *({"type": f"response.{kind}.delta", "output_index": 1, "delta": one} for one in deltas),
        {"type": "response.completed", "response": {"usage": {"input_tokens": 11, "output_tokens": 3}}},
    ]


def whole_of(api: str, text: str, call: str) -> dict[str, Any]:
    if api == "messages":
        block = {"type": "tool_use", "id": "t", "name": "weather", "input": json.loads(call)} if call else None
        content = [{"type": "text", "text": text}, *([block] if block else [])]
        return {"type": "message", "content": content, "usage": {"input_tokens": 11, "output_tokens": 3}}
    item = {"type": "function_call", "name": "weather", "arguments": call}
    said = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    return {"object": "response", "output": [item if call else said], "usage": {"input_tokens": 11, "output_tokens": 3}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("api", ["messages", "responses"])
@pytest.mark.parametrize(
    ("form", "text", "call", "problem"),
    [
        ("call", "", FITS, ""),
        ("call", "", WRONG, "it calls 'weather' wrongly ('city' is missing)"),
        ("call", "It is sunny.", "", ""),
        ("due", "It is sunny.", "", "it calls no tool, and the request demands a call"),
        ("json", '{"age": 3}', "", ""),
        ("json", '{"age": "three"}', "", "it does not fit the response format"),
        ("json", "three", "", "it is not JSON, and the request asks for JSON"),
    ],
)
async def test_answers_of_every_api_must_have_the_form_that_is_asked_for(
    tmp_path: Path, api: str, stream: bool, form: str, text: str, call: str, problem: str
) -> None:
    async def weak(request: web.Request) -> web.StreamResponse:
        await request.read()
        if not stream:
            return web.json_response(whole_of(api, text, call))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for event in events_of(api, text, call):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        return response

    async def strong(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.json_response(whole_of(api, "from the strong one", ""))

    async with gateway(tmp_path) as found, AsyncExitStack() as stack:
        await stack.enter_async_context(upstream(weak, found, ("weak",)))
        await stack.enter_async_context(upstream(strong, found, ("strong",)))
        body = {"model": "demur", "stream": stream, **asked_by(api, form)}
        async with found.session.post(f"{found.address}/v1/{api}", json=body) as answer:
            assert answer.status == 200
            await answer.read()
            reason = answer.headers["x-demur-reason"]
            # A stream of text is passed on at once where no JSON is asked for.
            judged = problem and not (stream and form == "due")
            assert answer.headers["x-demur-model"] == ("large" if judged else "small"), reason
            assert problem in reason or not judged
