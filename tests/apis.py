"""The three APIs of text as tests speak them: a request, an answer, a stream, an error; and models that answer so."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any

from aiohttp import web

from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES
from demur.records import Role
from gateways import BOTH, Running, upstream

MODELS: dict[Role, str] = {"weak": "small", "strong": "large"}


@dataclass(frozen=True, slots=True)
class Api:
    """How tests speak one API. Every answer has 11 tokens of request, 3 of answer."""

    protocol: Protocol
    ask: Callable[[str], dict[str, Any]]  # a request's body, without the model
    answer: Callable[[str, str], dict[str, Any]]  # (model, text)
    events: Callable[[str, str], list[dict[str, Any]]]  # (model, text): of a stream
    text: Callable[[Any], str]  # of an answer
    named: bool  # events have a line with their type
    done: bool  # a stream ends with [DONE]

    @property
    def path(self) -> str:
        return f"/v1{self.protocol.path}"

    def stream(self, model: str, text: str) -> bytes:
        """A stream, as bytes."""
        return b"".join(
            (b"event: %s\n" % event["type"].encode() if self.named else b"")
            + b"data: "
            + json.dumps(event).encode()
            + b"\n\n"
            for event in self.events(model, text)
        ) + (b"data: [DONE]\n\n" if self.done else b"")

    def body(self, text: str, *, model: str = "demur", **more: Any) -> bytes:
        """A request's body."""
        return json.dumps({"model": model, **self.ask(text), **more}).encode()


def _chat(model: str, text: str) -> dict[str, Any]:
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "model": model, "choices": [choice], "usage": usage}


def _chat_events(model: str, text: str) -> list[dict[str, Any]]:
    def chunk(delta: dict[str, str], why: str | None = None) -> dict[str, Any]:
        return {"id": "c", "model": model, "choices": [{"index": 0, "delta": delta, "finish_reason": why}]}

    usage = {"id": "c", "choices": [], "usage": _chat(model, text)["usage"]}
    return [chunk({"role": "assistant", "content": ""}), chunk({"content": text}), chunk({}, "stop"), usage]


def _message(model: str, text: str) -> dict[str, Any]:
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": model, "stop_reason": "end_turn"}
    return {**head, "content": [{"type": "text", "text": text}], "usage": {"input_tokens": 11, "output_tokens": 3}}


def _message_events(model: str, text: str) -> list[dict[str, Any]]:
    begun = {**_message(model, text), "content": [], "stop_reason": None}
    begun["usage"] = {"input_tokens": 11, "output_tokens": 1}
    return [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


def _response(model: str, text: str) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    head = {"id": f"resp_{model}", "object": "response", "status": "completed", "error": None}
    return {**head, "model": model, "output": [item], "usage": usage}


def _response_events(model: str, text: str) -> list[dict[str, Any]]:
    whole = _response(model, text)
    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    return [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": {**whole["output"][0], "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": text},
        {"type": "response.output_text.done", "output_index": 0, "text": text},
        {"type": "response.completed", "response": whole},
    ]


CHAT_API = Api(
    CHAT,
    lambda text: {"messages": [{"role": "user", "content": text}]},
    _chat,
    _chat_events,
    lambda found: str(found["choices"][0]["message"]["content"]),
    named=False,
    done=True,
)
MESSAGES_API = Api(
    MESSAGES,
    lambda text: {"max_tokens": 64, "messages": [{"role": "user", "content": text}]},
    _message,
    _message_events,
    lambda found: str(found["content"][0]["text"]),
    named=True,
    done=False,
)
RESPONSES_API = Api(
    RESPONSES,
    lambda text: {"input": text},
    _response,
    _response_events,
    lambda found: str(found["output"][0]["content"][0]["text"]),
    named=True,
    done=False,
)
APIS = {api.protocol.name: api for api in (CHAT_API, MESSAGES_API, RESPONSES_API)}


@dataclass(frozen=True, slots=True)
class Heard:
    """A request that a model got."""

    role: Role
    path: str
    query: str
    headers: dict[str, str]
    raw: bytes

    @property
    def model(self) -> str:
        return str(json.loads(self.raw)["model"])


@asynccontextmanager
async def speaking(found: Running, **speaks: tuple[str, ...]) -> AsyncIterator[list[Heard]]:
    """Both models speak these APIs (all, where nothing is said), as long as the block runs; yields what they get.

    Empty requests, which ask what is spoken, are answered and not kept.
    """
    heard: list[Heard] = []

    async def answer(role: Role, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        name = request.path.removeprefix("/v1")
        api = next((one for one in APIS.values() if one.protocol.path == name), None)
        if name == "/messages/count_tokens":
            api = MESSAGES_API
        if api is None or api.protocol.name not in speaks.get(role, tuple(APIS)):
            return web.json_response({"error": {"message": "File Not Found", "type": "not_found_error"}}, status=404)
        if raw == b"{}":
            return web.json_response({"error": {"message": "model is missing"}}, status=400)
        heard.append(Heard(role, request.path, request.query_string, dict(request.headers), raw))
        if name == "/messages/count_tokens":
            return web.json_response({"input_tokens": 11})
        model = MODELS[role]
        if json.loads(raw).get("stream"):
            return web.Response(body=api.stream(model, f"{model} says"), content_type="text/event-stream")
        return web.json_response(api.answer(model, f"{model} says"))

    async with AsyncExitStack() as stack:
        for role in BOTH:
            await stack.enter_async_context(upstream(partial(answer, role), found, (role,)))
        yield heard


async def post(
    found: Running, api: Api, raw: bytes, headers: dict[str, str] | None = None, path: str = ""
) -> tuple[int, dict[str, str], bytes]:
    """(status, headers, body) of the gateway's answer."""
    sent = {"Content-Type": "application/json", **(headers or {})}
    data = BytesIO(raw)  # aiohttp warns of large bytes
    async with found.session.post(f"{found.address}{path or api.path}", data=data, headers=sent) as answer:
        return answer.status, dict(answer.headers), await answer.read()


def error_of(api: Api, body: bytes) -> tuple[str, str]:
    """(type, message) of an error in the form of an API; it has no other form."""
    found = json.loads(body)
    if api is MESSAGES_API:
        assert set(found) == {"type", "error"}, found
        assert found["type"] == "error"
        assert set(found["error"]) == {"type", "message"}
    else:
        assert set(found) == {"error"}, found
        assert set(found["error"]) == {"message", "type", "param", "code"}
    return found["error"]["type"], found["error"]["message"]
