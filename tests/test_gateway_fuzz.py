"""Ten thousand requests, each a valid one with something broken: none is our fault, no key leaves, the books add up."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from conftest import EVERYTHING
from demur.gateway.ledger.read import read_ledger
from demur.testing import on_loopback
from test_gateway_processes import Address, configured, fakes, served

BATCH, BATCHES = 50, 200 if EVERYTHING else 20
KEY = "sk-upstream-secret"
IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}
PARTS: list[object] = [{"type": "text", "text": "and aaa?"}, IMAGE]
VALID: dict[str, Any] = {
    "model": "demur",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "aaa?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "7"},
        {"role": "user", "content": PARTS},
    ],
    "stream": False,
    "stream_options": {"include_usage": True},
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "user": "ann",
    "n": 1,
    "temperature": 0.5,
    "metadata": {"model": "demur"},
}
ODD: st.SearchStrategy[object] = st.sampled_from(
    [None, True, -1, 0, 1e308, 2**70, float("nan"), float("inf"), "", "\ud800", "\x00", "é" * 300, [], {}, [[]], [None]]
)
MODELS = st.sampled_from(
    [
        "demur",
        "demur@0.5",
        "demur@nan",
        "demur@-1e400",
        "router-mf-0.3",
        "small",
        "large",
        "gpt-9",
        "",
        "\ud800",
        "d\x00",
    ]
)
PATHS = st.sampled_from(["chat/completions"] * 6 + ["completions", "embeddings", "models", "../admin", "%00"])
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "x-demur-threshold": st.sampled_from(["0.5", "0", "1e-3", "", "nan"]),
        "x-demur-route": st.sampled_from(["weak", "strong", "weak", "cheap"]),
        "x-demur-conversation": st.sampled_from(["c", "é"]),
        "Content-Encoding": st.sampled_from(["identity"] * 5 + ["gzip"]),
        "Authorization": st.just("Bearer sk-client-secret"),
    },
)


def places(value: object, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way, *(place for name, one in inner for place in places(one, (*way, name)))]


EVERYWHERE = places(VALID)[1:]


def put(body: Any, way: tuple[Any, ...], new: object) -> None:
    for step in way[:-1]:
        body = body[step]
    body[way[-1]] = new


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, bytes, dict[str, str]]:
    """A path, a body with one to three things broken in it, as values or as bytes, and headers."""
    body = json.loads(json.dumps(VALID))
    body["model"] = draw(MODELS)
    for way in draw(st.lists(st.sampled_from(EVERYWHERE), max_size=2)):
        try:
            put(body, way, deepcopy(draw(ODD)))
        except (TypeError, KeyError, IndexError):
            continue  # it is gone with what was put in before
    raw = json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.sampled_from([b"", b"\xff", b'"', b"{", b"}", b",", b"\\", b"1e999"])) + raw[at + 1 :]
    return draw(PATHS), raw, draw(HEADERS)


@asynccontextmanager
async def strict(seen: Counter[str]) -> AsyncIterator[str]:
    """An upstream that says what is wrong with what reaches it, and now and then shows the key that it was given."""

    async def answer(request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if not body:  # the gateway's own, which asks whether there is such an API
            return web.json_response({"error": {"message": "you must provide a model"}}, status=400)
        routed = "embeddings" not in request.path
        given = request.headers.get("Authorization")
        fine = given == f"Bearer {KEY}" and (not routed or body["model"] in ("small", "large"))
        seen["fine" if fine and "sk-client-secret" not in str(request.headers) else "wrong"] += 1
        if seen.total() % 20 == 0:
            return web.json_response({"error": {"message": f"Incorrect API key: {given}"}}, status=402)
        choice = {"index": 0, "message": {"role": "assistant", "content": "7"}, "finish_reason": "stop"}
        return web.json_response({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/{path:.*}", answer)
    async with on_loopback(app) as address:
        yield f"{address}/v1"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Generating overly large repr")
def test_fuzzed_requests_are_never_our_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMUR_TEST_KEY", KEY)
    seen: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    asking = Batches(tmp_path, seen)

    @settings(
        max_examples=BATCHES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # the message names the one request; there is nothing to shrink
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(requests(), min_size=BATCH, max_size=BATCH))
    def ask(batch: list[tuple[str, bytes, dict[str, str]]]) -> None:
        for (path, raw, headers), (status, body) in zip(batch, asking.answers(batch), strict=True):
            said = f"{status} {body[:200]!r} to {path} {headers} {raw!r}"
            assert status < 500, said
            assert b"Traceback" not in body, said
            assert KEY.encode() not in body and b"sk-client-secret" not in body, said
            routed = path in ("chat/completions", "completions", "embeddings")
            statuses[status if routed else 0] += 1

    with asking:
        ask()
        counted = asking.counted()
    del statuses[0]  # what never was a request for a model
    assert seen["wrong"] == 0
    assert seen["fine"] == statuses[200] + statuses[402] > sum(statuses.values()) // 4
    assert counted == sum(statuses.values())
    records = read_ledger(str(tmp_path / "l.sqlite"), last=10**6)
    assert Counter(record.status for record in records) == statuses
    assert KEY not in str(records)


class Batches:
    """A gateway as a process, asked a batch at a time; the loop lives as long as the block."""

    def __init__(self, folder: Path, seen: Counter[str]) -> None:
        self._folder, self._seen = folder, seen
        self._runner = asyncio.Runner()

    def __enter__(self) -> Batches:
        self._session, self._address = self._runner.run(self._begin())
        return self

    async def _begin(self) -> tuple[aiohttp.ClientSession, Address]:
        self._world = self._opened()
        return await anext(self._world)

    def __exit__(self, *args: object) -> None:
        self._runner.run(self._world.aclose())
        self._runner.close()

    async def _opened(self) -> AsyncGenerator[tuple[aiohttp.ClientSession, Address]]:
        connector = aiohttp.TCPConnector(limit=16)
        async with fakes() as (weak, strong), strict(self._seen) as url:
            command = await asyncio.to_thread(configured, self._folder, weak, strong, ledger=f"{self._folder}/l.sqlite")
            file = self._folder / "gateway.toml"
            keyed = f'base_url = "{url}"\napi_key_env = "DEMUR_TEST_KEY"'
            file.write_text(re.sub(r'base_url = ".*"', keyed, file.read_text()))
            async with aiohttp.ClientSession(connector=connector) as session, served(command) as (child, address):
                try:
                    yield session, address
                finally:
                    child.terminate()
                    await child.wait()

    def answers(self, batch: list[tuple[str, bytes, dict[str, str]]]) -> list[tuple[int, bytes]]:
        async def one(path: str, raw: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
            async with self._session.post(f"{self._address}/v1/{path}", data=raw, headers=headers) as answer:
                return answer.status, await answer.read()

        async def all_of_them() -> list[tuple[int, bytes]]:
            return await asyncio.gather(*(one(*request) for request in batch))

        return self._runner.run(all_of_them())

    def counted(self) -> int:
        """Requests on the gateway's own books."""

        async def ask() -> str:
            async with self._session.get(f"{self._address.operator}/metrics") as answer:
                return str(await answer.text())

        lines = self._runner.run(ask()).splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith("demur_requests_total{"))
