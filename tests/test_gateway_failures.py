"""The gateway when things break: upstreams that hang or say nonsense, clients that stall, code that fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from demur.errors import EndpointError
from demur.gateway import app
from demur.gateway.http import read_body
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.upstreams.answers.answer import WHOLE_BYTES
from demur.gateway.upstreams.answers.passed_answer import PassedAnswer
from demur.records import FloatArray
from gateways import EASY, HARD, Running, gateway, upstream, wire

OK, SSE = b"HTTP/1.1 200 OK\r\n", b"Content-Type: text/event-stream\r\n"
CHUNKED, CLOSING = b"Transfer-Encoding: chunked\r\n\r\n", b"Connection: close\r\n\r\n"
EVENT = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def last_record(found: Running) -> LedgerRecord:
    await asyncio.sleep(0.02)
    return found.gateway.metrics.recent[-1]


def body(text: str = EASY, model: str = "demur", **more: object) -> bytes:
    return json.dumps({"model": model, "messages": [{"role": "user", "content": text}], **more}).encode()


async def post(found: Running, data: bytes, path: str = "/v1/chat/completions", **headers: str) -> tuple[int, bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with found.session.post(URL(f"{found.address}{path}", encoded=True), data=data, headers=named) as answer:
        return answer.status, await answer.read()


# -- upstreams ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "stream"),
    [
        ((OK, b'Content-Length: 100\r\n\r\n{"half'), False),
        ((OK, SSE, CHUNKED, 0.02), True),
        ((OK, SSE, CHUNKED, 3.0), True),
        ((OK, SSE, CLOSING), True),
        ((b"\x00\xff\x17 lol\r\n\r\n",), False),
        ((b"HTTP/1.1 abc\r\n\r\n",), False),
        ((), False),
    ],
    ids=["cut answer", "reset", "hangs", "closes", "garbage", "garbage status", "nothing"],
)
async def test_before_the_first_byte_the_other_model_stands_in(
    tmp_path: Path, said: Sequence[bytes | float], stream: bool
) -> None:
    async with gateway(tmp_path, first_byte_seconds=0.3) as found, wire(found, *said, roles=("weak",), reset=True):
        status, headers, answer = await found.ask(EASY, stream=stream)
        assert (status, headers["x-demur-model"]) == (200, "large")
        assert "so the strong model answers" in headers["x-demur-reason"]
        assert not stream or answer.endswith(DONE)
        assert found.gateway.upstreams["weak"].breaker.failures > 0
        assert (await last_record(found)).outcome == "fallback"


async def test_when_both_talk_nonsense_it_is_our_502(tmp_path: Path) -> None:
    async with gateway(tmp_path, retries=0) as found, wire(found, b"lol\r\n\r\n"):
        status, _, answer = await found.ask(EASY)
        assert (status, answer["error"]["type"]) == (502, "upstream_error")


async def test_a_hang_in_mid_stream_ends_and_does_not_look_complete(tmp_path: Path) -> None:
    async with gateway(tmp_path, first_byte_seconds=0.2) as found, wire(found, OK, SSE, CHUNKED, chunk(EVENT), 3.0):
        started = time.monotonic()
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.ask(EASY, stream=True)
        assert time.monotonic() - started < 1.5
        record = await last_record(found)
        assert (record.outcome, record.model, found.gateway.in_flight) == ("upstream_error", "small", 0)


async def test_an_answer_byte_by_byte_arrives_as_it_is(tmp_path: Path) -> None:
    whole = b'{"choices":[{"message":{"content":"7"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
    slowly = [piece for i in range(len(whole)) for piece in (whole[i : i + 1], 0.001)]
    async with gateway(tmp_path) as found, wire(found, OK, b"Content-Length: %d\r\n\r\n" % len(whole), *slowly):
        assert await post(found, body()) == (200, whole)
    stream = EVENT + DONE
    slowly = [piece for i in range(len(stream)) for piece in (chunk(stream[i : i + 1]), 0.001)]
    async with gateway(tmp_path / "2") as found, wire(found, OK, SSE, CHUNKED, *slowly, chunk(b"")):
        assert await post(found, body(stream=True)) == (200, stream)


@pytest.mark.parametrize(("end", "whole"), [(DONE, True), (b'data: {"finish_reason": "stop"}\n\n', True), (b"", False)])
async def test_a_stream_that_ends_with_its_connection_must_say_that_it_is_complete(
    tmp_path: Path, end: bytes, whole: bool
) -> None:
    async with gateway(tmp_path) as found, wire(found, OK, SSE, CLOSING, EVENT, 0.02, end):
        if whole:
            assert await post(found, body(stream=True)) == (200, EVENT + end)
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await post(found, body(stream=True))
        assert (await last_record(found)).outcome == ("ok" if whole else "upstream_error")


@pytest.mark.parametrize(("dated", "seconds", "rests"), [(False, 50, 50), (True, 50, 50), (False, 86_400, 60)])
async def test_an_upstream_that_wants_to_be_left_alone_is_for_a_minute_at_most(
    tmp_path: Path, dated: bool, seconds: int, rests: int
) -> None:
    asked = 0

    async def busy(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        until = formatdate(time.time() + seconds, usegmt=True) if dated else str(seconds)
        return web.Response(status=429, headers={"Retry-After": until}, text="{}")

    async with gateway(tmp_path) as found, upstream(busy, found, ("weak",)):
        for _ in range(5):
            assert (await found.ask(EASY))[2]["model"] == "large"
        status, headers, _ = await found.ask(EASY, model="small")  # nobody stands in for a model that was named
        assert (asked, status) == (1, 429)
        assert rests - 15 <= int(headers["Retry-After"]) <= rests


async def test_a_short_retry_after_is_waited_for(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        found.weak.failures.append(web.Response(status=429, headers={"Retry-After": "0.3"}))
        started = time.monotonic()
        assert (await found.ask(EASY))[2]["model"] == "small"
        assert time.monotonic() - started >= 0.3


async def test_a_long_answer_is_sent_on_before_it_ends(tmp_path: Path) -> None:
    half, seen = b"x" * (2 * WHOLE_BYTES), asyncio.Event()

    async def long(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.content_length = 2 * len(half)
        await response.prepare(request)
        await response.write(half)
        await seen.wait()  # the client has had a byte of it
        await response.write(half)
        return response

    async with gateway(tmp_path) as found, upstream(long, found):
        answer = await found.session.post(f"{found.address}/v1/chat/completions", data=body())
        assert answer.content_length == 2 * len(half)
        first = await answer.content.readany()
        seen.set()
        assert first + await answer.content.read() == 2 * half


async def test_an_error_never_shows_the_upstreams_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMUR_TEST_KEY", "sk-upstream-secret")

    async def refuse(request: web.Request) -> web.Response:
        said = request.headers["Authorization"].removeprefix("Bearer ")
        return web.json_response({"error": {"message": f"Incorrect API key: {said}"}}, status=402)

    async with gateway(tmp_path) as found, upstream(refuse, found):
        for side in found.gateway.upstreams.values():
            side.endpoint = replace(side.endpoint, api_key_env="DEMUR_TEST_KEY")
        assert await post(found, body()) == (402, b'{"error": {"message": "Incorrect API key: %s"}}' % (b"*" * 18))


async def test_a_key_that_is_missing_is_said_and_is_no_fault_of_ours(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        side = found.gateway.upstreams["strong"]
        side.endpoint = replace(side.endpoint, api_key_env="DEMUR_TEST_NO_KEY")
        status, _, answer = await found.ask(HARD, model="large")
        assert (status, "its key is missing" in answer["error"]["message"]) == (502, True)
        assert (await found.ask(HARD))[2]["model"] == "small"
        async with found.session.get(f"{found.address}/health/ready") as ready:
            assert (await ready.json())["strong"]["alive"] is False


@pytest.mark.parametrize("count", ['"many"', "NaN", "1e999", "-5", "[1]"])
async def test_garbage_for_usage_costs_nobody_anything_but_an_estimate(tmp_path: Path, count: str) -> None:
    answer = f'{{"choices":[{{"message":{{"content":"{"x" * 40}"}}}}],"usage":{{"prompt_tokens":{count}}}}}'.encode()
    head = b"Content-Length: %d\r\n\r\n" % len(answer)
    async with gateway(tmp_path) as found, wire(found, OK, head, answer):
        assert await post(found, body("z" * 80, "large")) == (200, answer)
        record = await last_record(found)
        assert (record.prompt_tokens, record.completion_tokens, record.tokens_counted) == (27, 10, False)
        assert record.usd == pytest.approx((27 * 1.0 + 10 * 2.0) / 1e6)


async def test_the_usage_chunk_reaches_the_client_and_the_ledger(tmp_path: Path) -> None:
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n'
    said = EVENT.replace(b"]}", b'],"usage":null}') * 2 + usage + DONE
    async with gateway(tmp_path) as found, wire(found, OK, SSE, CHUNKED, chunk(said), chunk(b"")):
        assert await post(found, body(stream=True, stream_options={"include_usage": True})) == (200, said)
        record = await last_record(found)
        assert (record.prompt_tokens, record.completion_tokens, record.tokens_counted) == (7, 2, True)


async def test_a_stream_without_usage_is_estimated_from_the_whole_request(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "s" * 400}, {"role": "user", "content": "aaaa"}]
    async with gateway(tmp_path) as found, wire(found, OK, SSE, CHUNKED, chunk(EVENT * 40 + DONE), chunk(b"")):
        await found.ask(messages=messages, stream=True)
        record = await last_record(found)
        assert (record.prompt_tokens, record.tokens_counted) == (112, False)  # 3 + (404 + 2 * 16) / 4
        assert record.completion_tokens == pytest.approx(10, abs=1)


# -- clients -----------------------------------------------------------------------------------------------------------


async def test_a_client_that_takes_nothing_gives_its_place_back(tmp_path: Path) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while True:
            await response.write(EVENT * 1000)

    async with gateway(tmp_path, body_seconds=0.3) as found, upstream(endless, found):
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            host, port = found.address.removeprefix("http://").split(":")
            client.connect((host, int(port)))
            sent = body(stream=True)
            client.send(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(sent)
                + sent
            )
            await asyncio.sleep(0.2)
            assert found.gateway.in_flight == 1
            for _ in range(60):
                if not found.gateway.in_flight:
                    break
                await asyncio.sleep(0.05)
        assert (found.gateway.in_flight, (await last_record(found)).outcome) == (0, "client_gone")


async def test_bodies_under_way_are_bounded_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_body, "LARGEST_HELD", 9000)  # of a body, and of the text in it that is routed
    async with gateway(tmp_path) as found:
        found.weak.hang_seconds = 0.2
        answers = await asyncio.gather(*(found.ask("a" * 2000) for _ in range(5)))
        assert sorted(status for status, _, _ in answers) == [200, 200, 429, 429, 429]
        assert (await found.ask("a" * 2000))[0] == 200


async def test_a_compressed_request_is_passed_on_inflated(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    seen: list[tuple[bytes, str | None]] = []

    async def keep(request: web.Request) -> web.Response:
        seen.append((await request.content.read(), request.headers.get("Content-Encoding")))
        return web.json_response({})

    async with gateway(tmp_path) as found, upstream(keep, found):
        assert (await post(found, gzip.compress(body()), Content_Encoding="gzip"))[0] == 200
        for _ in range(3):  # and the client learns that this connection ends
            status, answer = await post(found, b"not gzip" * 10, Content_Encoding="gzip")
            assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")
        assert not caplog.records
    assert seen == [(body(model="small"), None)]


async def test_embeddings_and_queries_pass_as_they_are(tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    async def keep(request: web.Request) -> web.Response:
        seen.append((request.raw_path, await request.read()))
        return web.json_response({})

    named = ("text-embedding-3-small",)
    async with gateway(tmp_path, embedding_models=named) as found, upstream(keep, found):
        raw = b'{"model": "text-embedding-3-small", "input": "x", "d": 1.50}'
        await post(found, raw, "/v1/embeddings?api-version=2024-06-01&x=%20%2F")
    assert seen[:2] == [("/v1/embeddings", b"{}")] * 2  # whether each endpoint has the API
    assert seen[2:] == [("/v1/embeddings?api-version=2024-06-01&x=%20%2F", raw)]


async def test_a_model_can_be_looked_up(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        for name, status in (("demur", 200), ("demur@0.3", 200), ("large", 200), ("router-mf-0.1", 200), ("x", 404)):
            async with found.session.get(f"{found.address}/v1/models/{name}") as answer:
                assert answer.status == status
                said = await answer.json()
                assert said["id"] == name if status == 200 else said["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("headers", "says"),
    [({"x-demur-threshold": "nan"}, "'nan' is not a number"), ({"x-demur-route": "cheap"}, "weak or strong")],
)
async def test_headers_that_say_nothing_are_refused(tmp_path: Path, headers: dict[str, str], says: str) -> None:
    async with gateway(tmp_path) as found:
        status, _, answer = await found.ask(EASY, headers=headers)
        assert (status, says in answer["error"]["message"]) == (400, True)


# -- conversations -----------------------------------------------------------------------------------------------------

IMAGE = [{"type": "image_url", "image_url": {"url": "data:x"}}]


@pytest.mark.parametrize("why", ["image", "forced", "fallback"])
async def test_a_conversation_keeps_its_model_however_it_came_to_it(tmp_path: Path, why: str) -> None:
    async with gateway(tmp_path, context_characters=0, default="weak", retries=0) as found:
        first = {"role": "user", "content": HARD if why == "image" else EASY}
        if why == "fallback":
            found.weak.failures.append(web.Response(status=500))
        headers = {"x-demur-route": "strong"} if why == "forced" else {}
        assert (await found.ask(messages=[first], headers=headers))[2]["model"] == "large"
        then = {"role": "user", "content": IMAGE if why == "image" else EASY}
        more = [first, {"role": "assistant", "content": "x"}, then]
        assert (await found.ask(messages=more))[2]["model"] == "large"


async def test_a_header_names_a_conversation_of_single_turns(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        named = {"x-demur-conversation": "c1"}
        assert [(await found.ask(text, headers=named))[2]["model"] for text in (EASY, HARD, EASY)] == [
            "small",
            "large",
            "large",
        ]
        assert (await found.ask(EASY, headers={"x-demur-conversation": "c2"}))[2]["model"] == "small"


async def test_the_same_first_words_of_another_client_change_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, context_characters=0) as found:
        roles = ("user", "assistant")

        async def say(*texts: str) -> str:
            messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
            return str((await found.ask(messages=messages))[2]["model"])

        assert [await say(EASY), await say(EASY, "x", HARD)] == ["small", "large"]
        assert [await say(EASY), await say(EASY, "other", EASY)] == ["small", "small"]
        assert await say(EASY, "x", HARD, "y", EASY) == "large"


# -- faults of our own -------------------------------------------------------------------------------------------------


async def test_what_we_did_not_think_of_is_an_error_in_openais_format_and_on_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(tmp_path) as found:
        monkeypatch.setattr(app, "request_headers", lambda headers: 1 / 0)
        status, _, answer = await found.ask(EASY)
        assert (status, answer["error"]["type"]) == (500, "server_error")
        assert "ZeroDivisionError" in caplog.text
        record = await last_record(found)
        assert (record.status, record.outcome) == (500, "failed")


async def test_a_fault_in_mid_stream_cuts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(tmp_path) as found, wire(found, OK, SSE, CLOSING, EVENT, 0.05):
        monkeypatch.delattr(PassedAnswer, "ended")
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.ask(EASY, stream=True)
        assert (await last_record(found)).outcome == "failed"


async def test_admitted_requests_that_are_refused_are_on_the_books(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_body_bytes=2000, body_seconds=0.2, max_in_flight=1) as found:
        assert (await post(found, b"x" * 5000))[0] == 413
        reader, writer = await asyncio.open_connection(*found.address.removeprefix("http://").split(":"))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        assert b"408" in await reader.readline()
        writer.close()
        found.weak.hang_seconds = 0.1
        statuses = [status for status, _, _ in await asyncio.gather(*(found.ask(EASY) for _ in range(3)))]
        text = await (await found.session.get(f"{found.operator}/metrics")).text()
    records = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert 'demur_refused_total{status="429"} 2' in text
    assert sorted([413, 408, *statuses]) == [200, 408, 413, 429, 429]
    assert sorted(record.status for record in records) == [200, 408, 413]
    assert {record.outcome for record in records if record.status != 200} == {"refused"}


async def test_a_redaction_that_fails_keeps_the_record_and_not_the_prompt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(tmp_path, record_prompts=True, redact="json:loads") as found:
        with caplog.at_level(logging.ERROR):
            assert (await found.ask("aaa 4111-1111"))[0] == 200
    (record,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert (record.prompt, record.model) == ("", "small")
    assert "JSONDecodeError" in caplog.text
    assert "4111" not in caplog.text


async def test_why_the_router_failed_is_not_told(tmp_path: Path) -> None:
    class Leaking:
        def encode(self, texts: Sequence[str], /) -> FloatArray:
            raise EndpointError("http://10.0.0.7:9000/v1/embeddings answered 401: Incorrect API key: sk-proj-secret")

    async with gateway(tmp_path) as found:
        router = found.gateway.decider.router
        found.gateway.decider.router = replace(router, prompt_router=replace(router.prompt_router, encoder=Leaking()))
        _, headers, answer = await found.ask(EASY)
        assert answer["model"] == "large"
        assert headers["x-demur-reason"] == "the router failed (EndpointError)"
