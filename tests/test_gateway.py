"""The gateway between two real loopback endpoints: what passes, what is decided, what happens when things break."""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from threadpoolctl import threadpool_info, threadpool_limits

from demur.gate.router import Router
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.totals.bills import bills
from demur.measure.threshold import Calibration
from demur.records import FloatArray, dollars
from demur.routing.artifact import save_calibration
from gateways import EASY, HARD, gateway, point, save_router, upstream


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


async def test_easy_prompts_go_to_the_weak_and_hard_ones_to_the_strong_model(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        for text, role in ((EASY, "small"), (HARD, "large")):
            status, headers, body = await found.ask(text)
            assert (status, headers["x-demur-model"], body["model"]) == (200, role, role)
            assert body["choices"][0]["message"]["content"] == f"{role} says {text}"
            assert "threshold" in headers["x-demur-reason"]
        assert float(headers["x-demur-score"]) >= float(headers["x-demur-threshold"])
        usage = body["usage"]
        dollars = (usage["prompt_tokens"] * 1.0 + usage["completion_tokens"] * 2.0) / 1e6
        assert float(headers["x-demur-cost-usd"]) == pytest.approx(dollars, abs=1e-8)


@pytest.mark.parametrize(
    ("model", "answers"),
    [("demur@0", "large"), ("demur@1.1", "small"), ("router-mf-0.0", "large"), ("small", "small"), ("large", "large")],
)
async def test_aliases_set_the_threshold_and_real_names_pass_straight(tmp_path: Path, model: str, answers: str) -> None:
    async with gateway(tmp_path) as found:
        assert (await found.ask(EASY, model=model))[2]["model"] == answers


@pytest.mark.parametrize(
    ("headers", "answers"),
    [
        ({"x-demur-route": "strong"}, "large"),
        ({"x-demur-route": "weak"}, "small"),
        ({"x-demur-threshold": "0"}, "large"),
    ],
)
async def test_a_request_may_overrule(tmp_path: Path, headers: dict[str, str], answers: str) -> None:
    async with gateway(tmp_path) as found:
        assert (await found.ask(EASY, headers=headers))[2]["model"] == answers


async def test_every_other_byte_of_a_request_passes(tmp_path: Path) -> None:
    raw = (
        b'{"messages": [{"role":"user","content":[{"type":"text","text":"aaa \\u00e9 \xc3\xa9"},'
        b'{"type":"image_url","image_url":{"url":"data:x"}}]}],\n "model" :  "demur", "tools":[{"x":1.50}], "n": 2,'
        b' "unknown": null, "seed": 12345678901234567890}'
    )
    seen: list[bytes] = []

    async def keep(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(body=b'{ "odd":   [1.0, 2.00] }', content_type="application/json")

    async with gateway(tmp_path) as found, upstream(keep, found):
        answer = await found.session.post(f"{found.address}/v1/chat/completions", data=raw)
        assert await answer.read() == b'{ "odd":   [1.0, 2.00] }'
    assert seen == [raw.replace(b'"demur"', b'"small"')]


async def test_a_request_that_names_its_model_passes_as_it_came(tmp_path: Path) -> None:
    """Also where the name is spelled with an escape."""
    raw = b'{ "messages": [{"role": "user", "content": "Hi"}], "model" : "l\\u0061rge", "x": 1.0 }'
    seen: list[bytes] = []

    async def read(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.json_response({"choices": [{"message": {"content": "ok"}}]})

    async with gateway(tmp_path) as found, upstream(read, found, ("strong",)):
        answer = await found.session.post(f"{found.address}/v1/chat/completions", data=raw)
        assert (answer.status, answer.headers["x-demur-model"]) == (200, "large")
    assert seen == [raw]


async def test_streams_come_as_they_are_and_are_counted(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        status, headers, body = await found.ask(HARD, stream=True)
        assert (status, headers["x-demur-model"]) == (200, "large")
        assert headers["Content-Type"].startswith("text/event-stream")
        assert body.endswith(b"data: [DONE]\n\n")
        assert body.count(b"data: ") == len(f"large says {HARD}".split()) + 1
    (record,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert record.streamed
    assert not record.tokens_counted


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b"[1]", 400),
        (b'{"messages": []}', 400),
        (b'{"model": 7}', 400),
        (b'{"model": "demur", "messages": []}', 400),
        (b'{"model": "demur", "messages": [7]}', 400),
        (b'{"model": "gpt-9", "messages": [{"role": "user", "content": "x"}]}', 404),
        (b'{"model": "router-mf-1.2.3", "messages": [{"role": "user", "content": "x"}]}', 404),
        (b"\xff\xfe", 400),
        (b"[" * 40_000, 400),  # nested too deeply
        (b"[" * 100_000, 413),
    ],
)
async def test_bad_requests_get_openais_error_format(tmp_path: Path, raw: bytes, status: int) -> None:
    async with gateway(tmp_path) as found:
        async with found.session.post(f"{found.address}/v1/chat/completions", data=raw) as answer:
            body = await answer.json()
        assert answer.status == status
        assert set(body["error"]) == {"message", "type", "param", "code"}
        assert not found.weak.requests
        assert not found.strong.requests


async def test_upstream_errors_keep_status_and_body(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        found.weak.failures.append(web.Response(status=422, text='{"error": {"message": "bad tool"}}'))
        async with found.session.post(
            f"{found.address}/v1/chat/completions",
            json={"model": "small", "messages": [{"role": "user", "content": EASY}]},
        ) as answer:
            assert (answer.status, await answer.text()) == (422, '{"error": {"message": "bad tool"}}')


async def test_a_model_that_is_down_is_replaced_and_the_reason_kept(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        found.weak.failures += [web.Response(status=500) for _ in range(2)]
        status, headers, body = await found.ask(EASY)
        assert (status, body["model"]) == (200, "large")
        assert "small answered 500, so the strong model does" in headers["x-demur-reason"]
        assert (await found.ask(EASY))[2]["model"] == "small"  # it is back
    assert [record.outcome for record in read_ledger(str(tmp_path / "ledger.sqlite"))] == ["ok", "fallback"]


async def test_an_outage_of_the_strong_model_saves_nothing(tmp_path: Path) -> None:
    """Nor does it leave its requests out of what the saving is a share of: that rose towards 100 %."""
    async with gateway(tmp_path) as found:
        assert (await found.ask(EASY))[2]["model"] == "small"
        found.strong.failures += [web.Response(status=500) for _ in range(2)]
        assert (await found.ask(HARD))[2]["model"] == "small"
        series = found.gateway.metrics.series
        counted, spared = (series[f"demur_cost_{name}_usd_total"] for name in ("always_strong", "spared"))
    fallback, routed = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert (fallback.outcome, fallback.usd) == ("fallback", 0.0)
    assert fallback.usd_strong is not None
    assert fallback.usd_strong == fallback.usd_spared > 0
    assert (fallback.usd_strong_error, fallback.usd_strong_spread) == (0.0, 0.0)
    assert routed.usd_strong is not None
    assert routed.usd_strong > 0
    (bill,) = bills(str(tmp_path / "ledger.sqlite"))
    assert bill.saved == pytest.approx(routed.usd_strong)  # of the first request alone
    assert bill.saved_share == pytest.approx(routed.usd_strong / (routed.usd_strong + fallback.usd_strong))
    assert f"{dollars(fallback.usd_strong)} spared by outages: {dollars(routed.usd_strong)} saved" in bill.sentence
    assert counted - spared == pytest.approx(routed.usd_strong)


async def test_an_outage_of_both_models_names_both(tmp_path: Path) -> None:
    async with gateway(tmp_path, retries=0) as found:
        point(found, "127.0.0.1:1", ("weak", "strong"))
        for prompt, first, then in ((HARD, "large", "small"), (EASY, "small", "large")):
            status, _, body = await found.ask(prompt)
            assert status == 502
            assert body["error"]["message"] == (
                f"No model answers ({first}: could not be reached; {then}: could not be reached)."
            )


async def test_an_outage_is_said_in_words_with_its_address(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with gateway(tmp_path, retries=0, breaker_failures=1, fallback=False) as found:
        point(found, "127.0.0.1:1", ("strong",))
        _, _, body = await found.ask(HARD)
        assert body["error"]["message"] == "No model answers (large: could not be reached)."
    said = capfd.readouterr().err
    assert "upstream large is down: its last request failed: it could not be reached, at 127.0.0.1:1" in said
    assert "ClientConnectorError" not in said


async def test_who_names_a_model_that_is_down_is_told_so_and_the_way_out(tmp_path: Path) -> None:
    async with gateway(tmp_path, retries=0, breaker_failures=1, breaker_seconds=30) as found:
        point(found, "127.0.0.1:1", ("strong",))
        way_out = "Ask for the model `demur`: then another one answers in its place."
        for why in (
            "The model does not answer (large: could not be reached).",
            "The model is down (large: not asked, its last request failed). It is tried again every 30 s.",
        ):
            status, _, body = await found.ask(HARD, model="large")
            assert (status, body["error"]["message"]) == (502, f"{why} {way_out}")
        assert (await found.ask(HARD))[2]["model"] == "small"
    async with gateway(tmp_path / "alone", retries=0, fallback=False) as found:  # no other one would answer
        point(found, "127.0.0.1:1", ("strong",))
        assert (await found.ask(HARD, model="large"))[2]["error"]["message"].endswith("(large: could not be reached).")


async def test_a_named_model_is_never_replaced(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        found.weak.failures += [web.Response(status=500, text="broken") for _ in range(2)]
        assert (await found.ask(EASY, model="small"))[0] == 500
        assert not found.strong.requests


async def test_a_hanging_upstream_is_given_up(tmp_path: Path) -> None:
    async with gateway(tmp_path, first_byte_seconds=0.1) as found:
        found.weak.hang_seconds = 5
        assert (await found.ask(EASY))[2]["model"] == "large"
        found.strong.hang_seconds = 5
        status, _, body = await found.ask(EASY)
        assert status == 502
        assert "No model answers" in body["error"]["message"]


async def test_a_stream_that_breaks_does_not_look_complete(tmp_path: Path) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: {}\n\n")
        assert request.transport is not None
        request.transport.abort()
        return response

    async with gateway(tmp_path) as found, upstream(broken, found):
        with pytest.raises(aiohttp.ClientError):
            await found.ask(EASY, stream=True)
    assert read_ledger(str(tmp_path / "ledger.sqlite"))[0].outcome == "upstream_error"


async def test_a_client_that_goes_cancels_its_upstream_request(tmp_path: Path) -> None:
    gone = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            for _ in range(200):
                await response.write(b"data: {}\n\n")
                await asyncio.sleep(0.01)
        except (ConnectionResetError, asyncio.CancelledError):
            gone.set()
            raise
        return response

    async with gateway(tmp_path) as found, upstream(slow, found):
        body = {"model": "demur", "stream": True, "messages": [{"role": "user", "content": EASY}]}
        answer = await found.session.post(f"{found.address}/v1/chat/completions", json=body)
        await answer.content.read(4)
        answer.close()
        await asyncio.wait_for(gone.wait(), 3)
    assert read_ledger(str(tmp_path / "ledger.sqlite"))[0].outcome in ("client_gone", "upstream_error")


def conversation(*texts: str) -> list[dict[str, Any]]:
    roles = ["user", "assistant"]
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


async def test_a_conversation_stays_with_its_model_unless_it_must_escalate(tmp_path: Path) -> None:
    async with gateway(tmp_path, context_characters=0) as found:

        async def say(*texts: str) -> tuple[str, str]:
            _, headers, body = await found.ask(messages=conversation(*texts))
            return body["model"], headers["x-demur-reason"]

        assert (await say(HARD))[0] == "large"
        model, reason = await say(HARD, "yes", EASY)
        assert model == "large"
        assert "stays with its model" in reason
        assert (await say(EASY))[0] == "small"
        assert (await say(EASY, "yes", HARD))[0] == "large"
        assert (await say(EASY, "yes", HARD, "no", EASY))[0] == "large"
        assert (await say(HARD, "yes", EASY))[0] == "large"


async def test_a_request_without_text_goes_to_the_default(tmp_path: Path) -> None:
    async with gateway(tmp_path, default="strong") as found:
        image = [{"type": "image_url", "image_url": {"url": "data:x"}}]
        messages = [{"role": "user", "content": image}]
        _, headers, body = await found.ask(messages=messages)
        assert body["model"] == "large"
        assert "no text" in headers["x-demur-reason"]


async def test_other_routes(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        async with found.session.get(f"{found.address}/v1/models") as answer:
            assert [one["id"] for one in (await answer.json())["data"]] == ["demur", "small", "large"]
        async with found.session.get(f"{found.address}/health") as answer:
            assert (await answer.json())["status"] == "ok"
        async with found.session.post(
            f"{found.address}/v1/embeddings", json={"model": "demur", "input": ["a"]}
        ) as answer:
            assert len((await answer.json())["data"]) == 1
        body = {"model": "demur", "prompt": HARD}
        async with found.session.post(f"{found.address}/v1/completions", json=body) as answer:
            assert (await answer.json())["choices"][0]["text"].startswith("large says")
        async with found.session.get(f"{found.address}/nothing") as answer:
            assert answer.status == 404
            assert "error" in await answer.json()


async def test_headers_can_be_switched_off_and_secrets_never_leave(tmp_path: Path) -> None:
    async with gateway(tmp_path, headers=False) as found:
        _, headers, _ = await found.ask(EASY, headers={"Authorization": "Bearer client-secret", "Cookie": "a=b"})
        assert not [name for name in headers if name.lower().startswith("x-demur")]
        assert "client-secret" not in json.dumps([dict(r) for r in found.weak.requests])
    assert "client-secret" not in str(read_ledger(str(tmp_path / "ledger.sqlite")))


async def test_prompts_are_kept_only_when_asked(tmp_path: Path) -> None:
    for record in (False, True):
        folder = tmp_path / str(record)
        async with gateway(folder, record_prompts=record) as found:
            await found.ask("aaa secret question")
        (kept,) = read_ledger(str(folder / "ledger.sqlite"))
        assert ("secret question" in kept.prompt) is record


async def test_the_ledger_adds_up(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        await asyncio.gather(*(found.ask(HARD if i % 3 == 0 else EASY) for i in range(60)))
        await found.ask(EASY, model="gpt-9")
        text = await (await found.session.get(f"{found.operator}/metrics")).text()
        spent = sum(record.usd or 0 for record in found.gateway.metrics.recent)
    records = read_ledger(str(tmp_path / "ledger.sqlite"), last=1000)
    assert len(records) == 61
    assert sum(record.role == "strong" for record in records) == 20
    assert [record.status for record in records].count(404) == 1
    by_hand = sum((r.prompt_tokens + 2 * r.completion_tokens) / 1e6 for r in records if r.model == "large")
    assert spent == pytest.approx(by_hand)
    assert all(r.usd_strong == pytest.approx((r.prompt_tokens + 2 * r.completion_tokens) / 1e6) for r in records)
    assert 'demur_requests_total{role="strong",model="large",status="200",outcome="ok"} 20' in text
    assert len({record.id for record in records}) == 61


async def test_a_full_gateway_says_so_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_in_flight=4) as found:
        found.weak.hang_seconds = 0.3
        answers = await asyncio.gather(*(found.ask(EASY) for _ in range(30)))
        statuses = [status for status, _, _ in answers]
        assert statuses.count(200) == 4
        assert statuses.count(429) == 26
        assert next(headers for status, headers, _ in answers if status == 429)["Retry-After"] == "1"
        assert found.gateway.in_flight == 0


async def test_a_new_router_is_taken_over_and_a_bad_one_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        assert (await found.ask(EASY))[2]["model"] == "small"
        save_calibration(tmp_path / "router", Calibration(-1.0, 1.0, 5, "strong share 100%"))
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            assert (await answer.json())["threshold"] == -1.0
        assert (await found.ask(EASY))[2]["model"] == "large"
        (tmp_path / "router" / "router.json").write_text("{")
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            assert answer.status == 409
            assert "the old stays" in (await answer.json())["error"]["message"]
        assert (await found.ask(EASY))[2]["model"] == "large"
        save_router(tmp_path / "router")


async def test_a_router_that_fails_does_not_take_the_service_down(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:

        class Broken:
            def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> Broken:
                return self

            def predict_proba(self, X: FloatArray) -> FloatArray:
                raise ValueError("no numbers today")

        router = found.gateway.decider.router
        found.gateway.decider.router = Router(replace(router.prompt_router, method=Broken()))
        _, headers, body = await found.ask(EASY)
        assert body["model"] == "large"
        assert "the router failed" in headers["x-demur-reason"]


async def test_bodies_over_the_limit_are_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path, max_body_bytes=10_000) as found:
        assert (await found.ask("a" * 20_000))[0] == 413
        assert (await found.ask("a" * 5_000))[0] == 200


async def test_a_header_that_never_ends_is_given_up_and_a_kept_connection_is_not(tmp_path: Path) -> None:
    async with gateway(tmp_path, body_seconds=0.3) as found:
        address = found.address.removeprefix("http://").split(":")
        slow_reader, slow = await asyncio.open_connection(*address)
        slow.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
        reader, kept = await asyncio.open_connection(*address)
        for _ in range(2):
            kept.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert b"200 OK" in await reader.readuntil(b'"ok"}')
            await asyncio.sleep(0.5)
        assert slow_reader.at_eof() or not await slow_reader.read()
        kept.close()
        slow.close()


async def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    async with gateway(tmp_path, body_seconds=0.1) as found:
        host, _, port = found.address.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        assert b"408" in await asyncio.wait_for(reader.readline(), 2)
        writer.close()


async def test_what_only_a_restart_can_change_is_refused_and_the_rest_taken_over(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        held = found.gateway.settings
        found.gateway.read_again = lambda: replace(held, headers=False)
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            assert answer.status == 200
        assert "x-demur-model" not in (await found.ask(EASY))[1]
        found.gateway.read_again = lambda: replace(held, port=9)
        async with found.session.post(f"{found.operator}/admin/reload") as answer:
            assert "port has changed" in (await answer.json())["error"]["message"]


async def test_prompts_pass_the_redaction_before_they_are_kept(tmp_path: Path) -> None:
    async with gateway(tmp_path, record_prompts=True, redact="html:escape") as found:
        await found.ask("aaa <b>")
    assert read_ledger(str(tmp_path / "ledger.sqlite"))[0].prompt == "aaa &lt;b&gt;"


async def test_admin_has_its_own_key_and_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMUR_TEST_ADMIN", "secret-admin")
    async with gateway(tmp_path, admin_key_env="DEMUR_TEST_ADMIN") as found:
        for headers, status in (({}, 401), ({"Authorization": "Bearer secret-admin"}, 200)):
            async with found.session.get(f"{found.operator}/metrics", headers=headers) as answer:
                assert answer.status == status
                assert "secret-admin" not in await answer.text()
    async with gateway(tmp_path, admin_port=random.randrange(20_000, 30_000)) as found:
        async with found.session.get(f"{found.address}/metrics") as answer:
            assert answer.status == 404
        port = found.gateway.settings.admin_port
        async with found.session.get(f"http://127.0.0.1:{port}/metrics") as answer:
            assert answer.status == 200


async def test_a_gateway_computes_on_one_thread(tmp_path: Path) -> None:
    """A product that is shared among threads waits for the slowest of them, on a busy machine for milliseconds."""

    def threads() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, user_api="blas"):
        assert threads() == {2}
        async with gateway(tmp_path):
            assert threads() == {1}
        assert threads() == {2}
