"""What counts as an answer: failures inside a 200, cut and encoded answers, odd statuses; circuits and health."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from demur.gateway.ledger.read import read_ledger
from gateways import EASY, Running, gateway, wire

JSON, SSE = b"Content-Type: application/json\r\n", b"Content-Type: text/event-stream\r\n"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TEXT = b'data: {"choices":[{"delta":{"content":"four"}}]}\n\n'
FAILED = b'data: {"error":{"message":"overloaded","code":503}}\n\n'
DONE = b"data: [DONE]\n\n"
COMPLETION = {
    "choices": [{"message": {"content": "c" * 40}}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 9},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


def response(body: bytes, kind: bytes = JSON, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (status, kind, len(body), body)


INSIDE_200 = {
    "an error": (response(b'{"error":{"message":"overloaded"}}'), "overloaded"),
    "an error as text": (response(b'{"error":"overloaded","choices":[]}'), "overloaded"),
    "an error of the choice": (response(b'{"choices":[{"error":{"message":"overloaded"},"text":""}]}'), "overloaded"),
    "nothing": (response(b""), "0 bytes that are not JSON"),
    "a list": (response(b"[]"), "no object"),
    "a number": (response(b"1"), "no object"),
    "no choices": (response(b'{"id":"x","choices": [ ]}'), "without any choice"),
    "no choices, but usage": (response(b'{"choices":[],"usage":{"prompt_tokens":9}}'), "without any choice"),
    "choices that are none": (response(b'{"choices":null}'), "without any choice"),
    "HTML": (response(b"<html>busy</html>", b"Content-Type: text/html\r\n"), "not JSON"),
    "half of a JSON": (response(b'{"choices": [{"message"'[:15]), "not JSON"),
    "an error event": (response(FAILED, SSE), "overloaded"),
    "an event of type error": (response(b"event: error\ndata: {}\n\n", SSE), "answered with an error"),
    "a role, then an error": (response(ROLE + FAILED, SSE), "overloaded"),
    "a comment, then an error": (response(b": wait\n\n" + FAILED, SSE), "overloaded"),
    "only [DONE]": (response(DONE, SSE), "without an answer"),
    "only a role": (response(ROLE, SSE), "without an answer"),
    "an error without an end": (response(FAILED.rstrip(), SSE), "overloaded"),
}


@pytest.mark.parametrize(("said", "why"), INSIDE_200.values(), ids=INSIDE_200)
async def test_a_failure_inside_a_200_is_no_answer(tmp_path: Path, said: bytes, why: str) -> None:
    stream = SSE in said
    async with gateway(tmp_path) as found:
        async with wire(found, said, roles=("weak",)):
            status, headers, _ = await found.ask(EASY, stream=stream)
            assert (status, headers["x-demur-model"]) == (200, "large")
            assert why in headers["x-demur-reason"]
            assert found.gateway.upstreams["weak"].breaker.failures == 1
        async with wire(found, said):
            status, _, body = await found.ask(EASY, stream=stream, model="large")
            assert (status, body["error"]["type"]) == (502, "upstream_error")
            assert why in body["error"]["message"]
    last = read_ledger(str(tmp_path / "ledger.sqlite"))[0]
    assert (last.outcome, last.usd, last.completion_tokens) == ("upstream_error", 0.0, 0)


async def test_a_failure_that_echoes_the_upstreams_key_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THEIR_KEY", "sk-very-secret-word")
    said = response(b'{"error":{"message":"Incorrect key sk-very-secret-word"}}')
    async with gateway(tmp_path) as found, wire(found, said):
        for side in found.gateway.upstreams.values():
            object.__setattr__(side.endpoint, "api_key_env", "THEIR_KEY")
        _, _, body = await found.ask(EASY)
        assert "Incorrect key ***" in body["error"]["message"]


async def test_a_stream_that_begins_slowly_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.answers.answer.HELD_SECONDS", 0.05)
    head = b"HTTP/1.1 200 OK\r\n" + SSE + b"Connection: close\r\n\r\n"
    async with gateway(tmp_path) as found, wire(found, head, b": wait\n\n", 0.3, TEXT + DONE):
        status, _, body = await found.ask(EASY, stream=True)
        assert (status, body) == (200, b": wait\n\n" + TEXT + DONE)
    assert 0.05 <= read_ledger(str(tmp_path / "ledger.sqlite"))[0].first_byte_seconds < 0.3


@pytest.mark.parametrize("status", [b"101 Switching", b"204 None", b"301 Moved", b"304 Same", b"600 Odd", b"999 Odd"])
async def test_a_status_that_is_no_answer_is_a_502_in_the_apis_shape(tmp_path: Path, status: bytes) -> None:
    said = b"HTTP/1.1 %s\r\nUpgrade: x\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n" % status
    async with gateway(tmp_path, retries=0) as found, wire(found, said):
        found_status, _, body = await found.ask(EASY, model="large")
        assert (found_status, body["error"]["type"]) == (502, "upstream_error")


@pytest.mark.parametrize("cut", [10, 60, -1, None])
async def test_an_answer_that_ends_with_its_connection_must_be_whole(tmp_path: Path, cut: int | None) -> None:
    data = json.dumps(COMPLETION).encode()
    said = b"HTTP/1.1 200 OK\r\n" + JSON + b"Connection: close\r\n\r\n" + data[:cut]
    async with gateway(tmp_path, retries=0) as found, wire(found, said):
        status, _, _ = await found.ask(EASY, model="large")
        assert status == (502 if cut else 200)


async def test_a_long_cut_answer_never_looks_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.answers.answer.UNENDING_BYTES", 1000)
    said = b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"choices": [{"finish_reason": "stop"}, "' + b"x" * 5000
    async with gateway(tmp_path) as found, wire(found, said):
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.ask(EASY, model="large")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_that_is_compressed_unasked_is_decoded_and_counted(tmp_path: Path, stream: bool) -> None:
    plain = TEXT * 10 + DONE if stream else json.dumps(COMPLETION).encode()
    data = gzip.compress(plain)
    said = (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n%sX-Odd: 1\r\nContent-Length: %d\r\n\r\n%s"
        % (SSE if stream else JSON, len(data), data)
    )
    async with gateway(tmp_path) as found, wire(found, said):
        status, headers, body = await found.ask(EASY, stream=stream)
        assert (status, body if stream else json.dumps(body).encode()) == (200, plain)
        assert "Content-Encoding" not in headers
    (record,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert record.completion_tokens == (10 if stream else 9)


# -- who is asked ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500])
async def test_what_may_pass_goes_to_the_other_model_where_the_choice_was_ours(tmp_path: Path, status: int) -> None:
    async with gateway(tmp_path, retries=0) as found:
        found.weak.failures += [web.Response(status=status, text="{}") for _ in range(2)]
        assert (await found.ask(EASY))[2]["model"] == "large"
        assert (await found.ask(EASY, model="small"))[0] == status


async def metrics(found: Running) -> str:
    async with found.session.get(f"{found.operator}/metrics") as answer:
        return await answer.text()


async def test_an_upstreams_own_refusal_is_marked_and_said_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with gateway(tmp_path) as found:
        found.strong.key = "another"
        for _ in range(3):
            status, headers, answer = await found.ask(EASY, model="large")
            assert (status, headers["x-demur-upstream-error"]) == (502, "large")
            assert "upstream of large refused the gateway's own key or account (401)" in answer["error"]["message"]
            assert "operator" in answer["error"]["message"]
        assert 'status="502",outcome="upstream_error"} 3' in await metrics(found)
        async with found.session.get(f"{found.address}/health/ready") as ready:
            sides = await ready.json()
        assert (ready.status, sides["weak"]["alive"], sides["strong"]["alive"]) == (200, True, False)
    assert capfd.readouterr().err.count("large at http://127.0.0.1") == 1
    assert {one.outcome for one in read_ledger(str(tmp_path / "ledger.sqlite"))} == {"upstream_error"}


async def test_readiness_asks_each_upstream_once_in_a_while(tmp_path: Path) -> None:
    asked: Counter[str] = Counter()

    async def models(request: web.Request) -> web.Response:
        asked[request.path] += 1
        return web.json_response({"data": []})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with gateway(tmp_path) as found:
        for side in found.gateway.upstreams.values():
            object.__setattr__(side.endpoint, "base_url", f"http://127.0.0.1:{runner.addresses[0][1]}/v1")

        async def ready(_: int) -> Any:
            async with found.session.get(f"{found.address}/health/ready") as answer:
                return answer.status

        assert set(await asyncio.gather(*map(ready, range(20)))) == {200}
        assert asked["/v1/models"] == 2
    await runner.cleanup()
