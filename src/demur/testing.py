"""A fake OpenAI-compatible endpoint on loopback, for tests of demur and of what is built on it. No model needed.

It answers from a function, deterministically by seed, and can be configured to fail the way real endpoints do. An
answer of `demur.prompts.tool_calls` to a request with tools is sent as tool calls.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from aiohttp import web

from demur.prompts.tool_calls import calls_of

_Served = TypeVar("_Served")

# (prompt, seed) -> answer
Answerer = Callable[[str, int], str]


@dataclass
class FakeEndpoint:
    """What the fake is asked to do, and what it was asked (``requests``: the bodies, in order)."""

    answer: Answerer
    base_url: str = ""
    supports_n: bool = True  # False: one choice whatever n says
    logprob: float | Callable[[str], float] | None = -0.1  # of every token (a word each); None: none are given
    unknown_fields: frozenset[str] = frozenset()  # refused by name with 400
    failures: list[web.Response] = field(default_factory=list)  # handed out first, one per request
    refusal: Callable[[Mapping[str, Any]], tuple[int, str] | None] | None = None  # of a request: status and body
    fail_every: int = 0  # every so many requests fail with 500
    hang_seconds: float = 0.0
    held: bool = False  # requests wait for as long as it is True
    raw: str | None = None  # sent instead of a completion, with status 200
    key: str | None = None  # demanded as bearer token
    embeddings: list[Any] | None = None  # handed out instead of letter counts
    requests: list[Mapping[str, Any]] = field(default_factory=list)

    def completion(self, body: Mapping[str, Any], chat: bool) -> dict[str, Any]:
        """The answer to a request."""
        prompt = _text(body["messages"][-1]["content"]) if chat else body["prompt"]
        count = int(body.get("n", 1)) if self.supports_n else 1
        texts = [self.answer(prompt, int(body.get("seed", 0)) + i) for i in range(count)]
        choices = [self._choice(text, i, chat, body) for i, text in enumerate(texts)]
        answered = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": answered}
        kind = "chat.completion" if chat else "text_completion"
        usage["total_tokens"] = sum(usage.values())
        return {**_head(kind, body), "choices": choices, "usage": usage}

    def tokens(self, text: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Log-probs of an answer's words, where the request asks for them and this fake gives them."""
        if self.logprob is None or body.get("logprobs") in (None, False):
            return []
        each = self.logprob(text) if callable(self.logprob) else self.logprob
        return [{"token": word, "logprob": each} for word in text.split()]

    def _choice(self, text: str, index: int, chat: bool, body: Mapping[str, Any]) -> dict[str, Any]:
        tokens = self.tokens(text, body)
        if chat:
            logprobs = {"content": tokens} if tokens else None
            calls = _calls(text, body)
            message = {"role": "assistant", "content": None if calls else text} | (
                {"tool_calls": calls} if calls else {}
            )
            reason = "tool_calls" if calls else "stop"
            return {"index": index, "message": message, "finish_reason": reason, "logprobs": logprobs}
        legacy = {"token_logprobs": [token["logprob"] for token in tokens]} if tokens else None
        return {"index": index, "text": text, "finish_reason": "stop", "logprobs": legacy}


@asynccontextmanager
async def fake_endpoint(answer: Answerer, **settings: Any) -> AsyncIterator[FakeEndpoint]:
    """Serve a fake on a free loopback port as long as the block runs; its ``base_url`` is what clients take."""
    fake = FakeEndpoint(answer, **settings)
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/chat/completions", partial(_handle, fake, chat=True))
    app.router.add_post("/v1/completions", partial(_handle, fake, chat=False))
    app.router.add_post("/v1/embeddings", partial(_embed, fake))
    async with on_loopback(app) as address:
        fake.base_url = f"{address}/v1"
        yield fake


@asynccontextmanager
async def on_loopback(app: web.Application, *, handler_cancellation: bool = False) -> AsyncIterator[str]:
    """Serve an application on a free loopback port as long as the block runs; yields its address, ``http://host:port``."""
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=handler_cancellation)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@contextmanager
def in_a_thread(server: AbstractAsyncContextManager[_Served]) -> Iterator[_Served]:
    """What such a context as `fake_endpoint` yields, served by a thread while the block runs. Raises what starting it
    raises.
    """
    started: Future[tuple[_Served, Callable[[], object]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with server as found:
            started.set_result((found, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    with ThreadPoolExecutor(1) as thread:
        ended: Future[None] = thread.submit(asyncio.run, serve())
        either: list[Future[Any]] = [started, ended]
        if ended in wait(either, return_when=FIRST_COMPLETED).done:
            ended.result()
        found, end = started.result()
        try:
            yield found
        finally:
            end()
            ended.result()


async def _handle(fake: FakeEndpoint, request: web.Request, *, chat: bool) -> web.StreamResponse:
    body = await request.json()
    fake.requests.append(body)
    if fake.hang_seconds:
        await asyncio.sleep(fake.hang_seconds)
    while fake.held:  # noqa: ASYNC110 - another thread sets it
        await asyncio.sleep(0.01)
    if fake.key and request.headers.get("Authorization") != f"Bearer {fake.key}":
        return web.json_response({"error": {"message": "bad key"}}, status=401)
    if fake.failures:
        return fake.failures.pop(0)
    for name in fake.unknown_fields & set(body):
        return web.json_response({"error": {"message": f"Unrecognized request argument: '{name}'"}}, status=400)
    refused = fake.refusal(body) if fake.refusal else None
    if refused:
        return web.Response(status=refused[0], text=refused[1], content_type="application/json")
    if fake.fail_every and len(fake.requests) % fake.fail_every == 0:
        return web.json_response({"error": {"message": "now and then"}}, status=500)
    if ("messages" if chat else "prompt") not in body:
        return web.json_response({"error": {"message": "nothing to complete"}}, status=400)
    if fake.raw is not None:
        return web.Response(text=fake.raw, content_type="text/html")
    if body.get("stream"):
        return await _stream(fake, request, body)
    return web.json_response(fake.completion(body, chat))


async def _stream(fake: FakeEndpoint, request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    text = fake.answer(_text(body["messages"][-1]["content"]), int(body.get("seed", 0)))
    tokens = fake.tokens(text, body)
    for place, call in enumerate(_calls(text, body)):
        for part in _in_pieces(call | {"index": place}):
            delta = {"index": 0, "delta": {"tool_calls": [part]}}
            chunk = {**_head("chat.completion.chunk", body), "choices": [delta]}
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        text = ""
    for i, word in enumerate(text.split()):
        choice: dict[str, Any] = {"index": 0, "delta": {"content": word + " "}}
        if tokens:
            choice["logprobs"] = {"content": [tokens[i]]}
        chunk = {**_head("chat.completion.chunk", body), "choices": [choice]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


def _calls(text: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tool calls that a text of `demur.prompts.tool_calls` stands for, in an answer to a request with tools."""
    found = calls_of(text) if body.get("tools") else None
    if found is None or not found.native:
        return []
    parts = [{"name": call.name, "arguments": json.dumps(call.arguments)} for call in found.calls]
    return [{"id": f"call_{i}", "type": "function", "function": part} for i, part in enumerate(parts)]


def _in_pieces(call: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A call as a stream has it: its name first, then its arguments in two pieces."""
    arguments = call["function"]["arguments"]
    half = len(arguments) // 2
    yield call | {"function": {"name": call["function"]["name"], "arguments": ""}}
    for part in (arguments[:half], arguments[half:]):
        yield {"index": call["index"], "function": {"arguments": part}}


def _head(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """What every answer begins with."""
    return {"id": "fake", "object": kind, "created": 0, "model": body["model"]}


def _text(content: Any) -> str:
    """A message's text: a string, or its parts."""
    return content if isinstance(content, str) else " ".join(str(part.get("text", "")) for part in content)


async def _embed(fake: FakeEndpoint, request: web.Request) -> web.Response:
    """Letter counts as a vector: alike texts lie near each other."""
    body = await request.json()
    if not isinstance(body.get("input"), list):
        return web.json_response({"error": {"message": "nothing to embed"}}, status=400)
    rows = [[1.0 + text.casefold().count(letter) for letter in "abcdefghijklmnop"] for text in map(str, body["input"])]
    if fake.embeddings is not None:
        return web.json_response({"data": fake.embeddings})
    return web.json_response({"data": [{"index": i, "embedding": row} for i, row in enumerate(rows)]})
