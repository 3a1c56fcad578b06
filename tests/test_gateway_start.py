"""What the start says of a model that cannot answer: on stderr, on the page, at once, and with what to do."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.gateway.operator.dashboard import health
from demur.gateway.settings import ServedModel
from demur.testing import on_loopback
from gateways import EASY, HARD, Running, gateway

KEY, VARIABLE = "good-key", "LARGE_KEY"


def endpoint(*, listed: Any = ("large",), free_list: bool = False, may_list: bool = True) -> web.Application:
    """An endpoint of one model, `large` (also called `alias`), that takes `KEY` alone."""

    def admitted(request: web.Request) -> bool:
        return request.headers.get("Authorization") == f"Bearer {KEY}"

    async def models(request: web.Request) -> web.Response:
        if not (free_list or (admitted(request) and may_list)):
            return web.json_response({"error": {"message": "no"}}, status=403 if admitted(request) else 401)
        return web.json_response({"data": [{"id": name} for name in listed]})

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        if not admitted(request):
            return web.json_response({"error": {"message": "bad key"}}, status=401)
        if "messages" not in body:
            return web.json_response({"error": {"message": "messages is missing"}}, status=400)
        if body["model"] not in ("large", "alias"):
            return web.json_response({"error": {"message": "The model does not exist"}}, status=404)
        said = {"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}
        return web.json_response({"choices": [said], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    app.router.add_post("/v1/chat/completions", chat)
    return app


def large(address: str, *, model: str = "large", variable: str = VARIABLE) -> ServedModel:
    priced = ServedModel(model, f"{address}/v1", usd_per_million_input=1.0, usd_per_million_output=2.0)
    return replace(priced, api_key_env=variable)


async def on_page(found: Running) -> str:
    async with found.session.get(f"{found.operator}/admin/stats") as answer:
        return str((await answer.json())["health"])


@pytest.mark.parametrize("free_list", [False, True])
async def test_a_key_that_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, free_list: bool
) -> None:
    monkeypatch.setenv(VARIABLE, "another-key")
    async with (
        on_loopback(endpoint(free_list=free_list)) as address,
        gateway(tmp_path, strong=large(address)) as found,
    ):
        said, page = capsys.readouterr().err, await on_page(found)
        assert (await found.ask(EASY))[0] == 200  # the other model answers
    for text in (said, page):
        assert f"large at {address}/v1 refuses the key in {VARIABLE} (401)" in text
        assert "another-key" not in text
    assert said.count("refuses the key") == 1


async def test_a_host_that_is_not_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    async with on_loopback(web.Application()) as address:
        pass  # nobody listens there any more
    async with gateway(tmp_path, strong=large(address)) as found:
        page = await on_page(found)
    for text in (capsys.readouterr().err, page):
        assert f"large at {address}/v1 could not be reached" in text


async def test_a_model_that_the_endpoint_does_not_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    async with (
        on_loopback(endpoint(listed=("large", "b", "c", "d", "e"))) as address,
        gateway(tmp_path, strong=large(address, model="largest")) as found,
    ):
        page = await on_page(found)
    for text in (capsys.readouterr().err, page):
        assert f"largest at {address}/v1 has no model of this name" in text
        assert "large, b, c, d, ..." in text


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("large", {}),
        ("large", {"may_list": False}),  # the key may ask models, and not list them
        ("alias", {}),  # is answered, and not listed
        ("large", {"listed": ("large:latest",)}),
        ("large", {"listed": ("models/large",)}),
        ("large", {"listed": ()}),
    ],
)
async def test_nothing_is_said_of_a_model_that_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, model: str, given: Any
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    async with (
        on_loopback(endpoint(**given)) as address,
        gateway(tmp_path, strong=large(address, model=model)) as found,
    ):
        assert await on_page(found) == "All models answer."
    assert "cannot answer" not in capsys.readouterr().err


async def test_the_start_does_not_wait_for_an_endpoint_that_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)

    async def wait(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        raise AssertionError("it was waited for")

    app = web.Application()
    app.router.add_route("*", "/v1/{path:.*}", wait)
    began = time.monotonic()
    async with on_loopback(app, handler_cancellation=True) as address, gateway(tmp_path, strong=large(address)):
        taken = time.monotonic() - began
    assert taken < 10


async def test_what_is_mended_is_no_longer_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "another-key")
    async with on_loopback(endpoint()) as address, gateway(tmp_path, strong=large(address)) as found:
        assert "refuses the key" in await on_page(found)
        monkeypatch.setenv(VARIABLE, KEY)
        assert (await found.ask(HARD))[0] == 200
        assert await on_page(found) == "All models answer."


def test_the_page_says_an_outage_before_what_the_start_has_found() -> None:
    said = health({"small": True, "large": False}, ["the strong model cannot answer: large has no key"])
    assert said.startswith("Failing")
    assert said.endswith(" The strong model cannot answer: large has no key.")
