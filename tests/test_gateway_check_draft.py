"""The gate in the gateway: drafts are looked at, streams held back, and nothing that was sent is taken back."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.gate.gate import HEAD_TOKENS, Gate, GateStep, GateVerdict
from demur.gateway.decision.request.question import is_one_answer
from demur.gateway.http.json_edit import without_logprobs
from demur.gateway.ledger.read import read_ledger
from gateways import EASY, Running, gateway, point, upstream, wire

SURE, WAVERING = -0.1, -3.0
VERDICT = GateVerdict(0.1, 0.1, 0.05, 0.15)
BY_DRAFT = (0.5, 0.0, 0.0, 0.0, 0.0, 0.0)  # the draft's NLL: .05 when sure, 1.5 when wavering, threshold .5
BY_SHARE = (0.0, 0.0, 0.0, 0.0, -2.0, 0.0)  # how many samples mean what the draft does


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


def by_draft() -> Gate:
    """Decides by the draft alone, or by a stream's first tokens; every prompt is checked."""
    return Gate((GateStep(0.0, 0.0, BY_DRAFT),), GateStep(0.0, 0.0, (0.5, 0.0)), 10.0, VERDICT)


def by_samples() -> Gate:
    """Asks for three extra samples: strong where most of them mean something else than the draft."""
    steps = tuple(GateStep(1.5, 0.0, BY_SHARE, spread=9.0 if left else 0.0) for left in (3, 2, 1, 0))
    return Gate(steps, None, 10.0, VERDICT)


def priced(found: Running) -> None:
    """A weak model that costs 1,000 USD per million tokens either way."""
    side = found.gateway.upstreams["weak"]
    side.endpoint = replace(side.endpoint, usd_per_million_input=1000.0, usd_per_million_output=1000.0)


async def test_a_checked_draft_says_whose_threshold_decided(tmp_path: Path) -> None:
    asked = {"demur": ("held for the target 50%; ", "held for the target 50%"), "demur@0.4": ("as asked; ", "as asked")}
    async with gateway(tmp_path, gate=by_draft(), target="50%") as found:
        for model, (checked, alone) in asked.items():
            found.weak.answer = lambda prompt, seed: "small says"
            _, headers, _ = await found.ask(EASY, model=model)
            assert f"({checked}weak answer checked)" in headers["x-demur-reason"]
            found.weak.answer = lambda prompt, seed: ""  # which cannot be checked: the prompt's score decides
            _, headers, _ = await found.ask(EASY, model=model)
            assert f"({alone})" in headers["x-demur-reason"]
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.answer = lambda prompt, seed: ""
        _, headers, _ = await found.ask(EASY)
        assert "as asked" not in headers["x-demur-reason"]


async def test_a_stream_waits_only_where_its_first_tokens_were_found_to_pay(tmp_path: Path) -> None:
    idle = replace(by_draft(), head_verdict=GateVerdict(0.1, 0.0, -0.01, 0.01))
    async with gateway(tmp_path, gate=idle) as found:
        found.weak.logprob = WAVERING
        status, headers, _ = await found.ask(EASY, stream=True)
        assert (status, headers["x-demur-model"]) == (200, "small")  # by its prompt alone
        assert "x-demur-stage" not in headers
        assert "logprobs" not in found.weak.requests[0]
        _, headers, _ = await found.ask(EASY)
        assert headers["x-demur-model"] == "large"  # read whole, the draft wavers


@pytest.mark.parametrize(("logprob", "answers"), [(SURE, "small"), (WAVERING, "large")])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_weak_answer_decides(tmp_path: Path, logprob: float, answers: str, stream: bool) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        priced(found)
        found.weak.logprob = logprob
        text = EASY + " and some more words for a stream that goes on"
        status, headers, body = await found.ask(text, stream=stream)
        assert (status, headers["x-demur-model"], headers["x-demur-stage"]) == (200, answers, "gate")
        assert found.weak.requests[0]["logprobs"] is True
        assert len(found.strong.requests) == (answers == "large")
        if stream:
            said = "".join(
                json.loads(line[6:])["choices"][0]["delta"]["content"]
                for line in body.decode().split("\n\n")
                if line.startswith("data: {")
            )
            assert said.split() == f"{answers} says {text[:20]}".split()
            assert b'logprob"' not in body
            assert body.endswith(b"data: [DONE]\n\n")
        else:
            assert body["choices"][0]["message"]["content"] == f"{answers} says {text[:20]}"
            if answers == "small":
                assert body["choices"][0]["logprobs"] is None
    (record,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert (record.stage, record.extra_samples, record.calibration_void) == ("gate", 0, False)
    assert 0 < record.gate_seconds <= record.total_seconds
    assert record.usd is not None
    drafted = 1e-3 * (len(text.split()) + len(f"small says {text[:20]}".split()))
    if not stream:
        assert record.usd == pytest.approx(drafted, rel=0.01)  # the strong model costs a thousandth of the draft
    elif answers == "large":
        assert record.usd > 1e-3 * (HEAD_TOKENS - 1)


async def test_a_checked_answers_reason_says_how_many_lines_were_left_out(tmp_path: Path) -> None:
    rules = "\n".join(f"{n}. Every block must use the format that stands in rule {n} of this list." for n in range(6))
    async with gateway(tmp_path, gate=by_draft(), sticky=False) as found:
        found.weak.logprob = SURE
        for number in range(3):
            _, headers, _ = await found.ask(f"{EASY} {number}\n{rules}")
        assert headers["x-demur-stage"] == "gate"
        assert headers["x-demur-reason"].count("routed without 6 lines that other requests share") == 1


async def test_a_checked_answers_reason_says_that_the_system_message_is_another(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.logprob = SURE
        router = found.gateway.decider.router
        asked = replace(router.prompt_router, record={"sampling": {"system": "Be brief."}})
        found.gateway.decider.router = replace(router, prompt_router=asked)
        messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": EASY}]
        _, headers, _ = await found.ask(messages=messages)
        assert headers["x-demur-stage"] == "gate"
        assert headers["x-demur-reason"].count("a system message that the labels were not made with") == 1


@pytest.mark.parametrize(("wavers", "answers"), [(False, "small"), (True, "large")])
async def test_extra_samples_are_asked_one_at_a_time(tmp_path: Path, wavers: bool, answers: str) -> None:
    async with gateway(tmp_path, gate=by_samples()) as found:
        priced(found)
        number = itertools.count()
        found.weak.answer = lambda prompt, seed: f"answer {next(number)}" if wavers else "the answer"
        _, headers, body = await found.ask(EASY, temperature=0, seed=7)
        assert (body["model"], headers["x-demur-extra-samples"]) == (answers, "3")
        draft, *extra = found.weak.requests
        assert (draft["temperature"], draft["seed"]) == (0, 7)
        assert [one["temperature"] for one in extra] == [1.0] * 3
        assert [one["seed"] for one in extra] == [8, 9, 10]  # else they would be the draft again
        assert not any("logprobs" in one for one in (*extra, draft))
    (record,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert record.usd == pytest.approx(4e-3 * (len(EASY.split()) + 2), rel=0.01)


async def test_an_extra_sample_that_fails_ends_the_asking(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_samples(), retries=0) as found:
        found.weak.fail_every = 2
        status, headers, body = await found.ask(EASY)
        assert (status, body["model"], headers["x-demur-extra-samples"]) == (200, "small", "0")


@pytest.mark.parametrize("stream", [False, True])
async def test_without_logprobs_the_prompt_decides_and_the_calibration_is_void(tmp_path: Path, stream: bool) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.logprob = None
        with pytest.warns(UserWarning, match="no log-probs"):
            status, headers, _ = await found.ask(EASY, stream=stream)
        assert (status, headers["x-demur-model"]) == (200, "small")
        assert "void" in headers["x-demur-reason"]
    assert read_ledger(str(tmp_path / "ledger.sqlite"))[0].calibration_void


async def test_an_endpoint_that_refuses_logprobs_answers_as_if_there_were_no_gate(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.unknown_fields = frozenset({"logprobs"})
        status, headers, body = await found.ask(EASY)
        assert (status, body["model"]) == (200, "small")
        assert "void" in headers["x-demur-reason"]


async def test_a_weak_model_that_is_down_is_replaced(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        point(found, "127.0.0.1:9", ("weak",))
        assert (await found.ask(EASY))[2]["model"] == "large"
    assert read_ledger(str(tmp_path / "ledger.sqlite"))[0].outcome == "fallback"


async def test_logprobs_that_the_client_asked_for_stay(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        _, _, body = await found.ask(EASY, logprobs=True)
        assert body["choices"][0]["logprobs"]["content"][0]["logprob"] == SURE
        _, _, streamed = await found.ask(EASY, logprobs=True, stream=True)
        assert b'"logprob": -0.1' in streamed


async def test_a_checked_request_passes_byte_for_byte_but_for_model_and_logprobs(tmp_path: Path) -> None:
    seen: list[bytes] = []
    logprobs = b'{"content":[{"logprob":-0.1}]}'
    answer = b'{ "choices":[{"message":{"content":"x"},"logprobs":%s}],"f":1.50,"d":1,"d":2}' % logprobs

    async def keep(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.Response(body=answer, content_type="application/json")

    said = b'[{"role":"user","content":"aaa \\u00e9 \\ud83d"}]'
    raw = b'{"model":"demur","messages":%s, "t":1.50,"x":1,"x":2,"big":1e400}' % said
    async with gateway(tmp_path, gate=by_draft()) as found, upstream(keep, found):
        for sent, then in ((raw, raw[:-1] + b',"logprobs":true}'), (raw[:-1] + b',"logprobs": true}', None)):
            async with found.session.post(f"{found.address}/v1/chat/completions", data=sent) as got:
                body = await got.read()
            assert seen.pop() == (then or sent).replace(b'"demur"', b'"small"')
            assert body == (answer if then is None else answer.replace(logprobs, b"null"))


async def test_a_weak_model_that_cannot_give_a_draft_now_is_replaced(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft(), retries=0) as found:
        found.weak.failures.append(web.Response(status=429, headers={"Retry-After": "60"}))
        _, headers, body = await found.ask(EASY)
        assert (body["model"], len(found.weak.requests)) == ("large", 1)
        assert "small answered 429, so the strong model answers" in headers["x-demur-reason"]


async def test_a_legacy_completion_is_checked_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        for logprob, answers in ((SURE, "small"), (WAVERING, "large")):
            found.weak.logprob = logprob
            body = {"model": "demur", "prompt": EASY}
            async with found.session.post(f"{found.address}/v1/completions", json=body) as answer:
                assert (await answer.json())["model"] == answers
        (first, _) = (one for one in found.weak.requests if one)  # beside an empty one: does it have this API?
        assert first["logprobs"] == 1


async def test_a_conversation_keeps_what_the_gate_decided(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.logprob = WAVERING
        first = [{"role": "user", "content": EASY}]
        assert (await found.ask(messages=first))[2]["model"] == "large"
        found.weak.logprob = SURE
        more = [*first, {"role": "assistant", "content": "x"}, {"role": "user", "content": EASY}]
        _, headers, body = await found.ask(messages=more)
        assert body["model"] == "large"
        assert "stays with its model" in headers["x-demur-reason"]
        assert len(found.weak.requests) == 1  # no second draft


@pytest.mark.parametrize("more", [{"n": 2}, {"tools": [{"type": "function", "function": {"name": "f"}}]}])
async def test_what_cannot_be_compared_is_not_checked(tmp_path: Path, more: dict[str, Any]) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.logprob = WAVERING
        _, headers, body = await found.ask(EASY, **more)
        assert body["model"] == "small"
        assert "x-demur-stage" not in headers


async def test_a_client_that_goes_takes_its_held_stream_along(tmp_path: Path) -> None:
    async with gateway(tmp_path, gate=by_draft()) as found:
        found.weak.hang_seconds = 5
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(found.ask(EASY, stream=True), 0.2)
        for _ in range(40):
            if not found.gateway.in_flight:
                break
            await asyncio.sleep(0.05)
        assert found.gateway.in_flight == 0


def test_what_is_one_answer() -> None:
    assert is_one_answer({"messages": [], "n": 1, "tools": [{}]})
    assert not is_one_answer({"prompt": ["a", "b"]})
    assert not is_one_answer({"messages": [], "n": 2})
    assert not is_one_answer({"prompt": "a", "best_of": 3})


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"choices": 3}', b'{"choices": [4]}'])
def test_what_is_no_completion_stays_as_it_is(data: bytes) -> None:
    assert without_logprobs(data) == data


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"


def token(logprob: str, text: str = "a ") -> str:
    return (
        f'{{"choices": [{{"delta": {{"content": "{text}"}}, "logprobs": {{"content": [{{"logprob": {logprob}}}]}}}}]}}'
    )


@pytest.mark.parametrize("logprob", ["NaN", "-Infinity", "-1e400", f"-1{'0' * 400}", "null", '"x"'])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.filterwarnings("ignore:the weak endpoint gives no log-probs")
async def test_one_logprob_that_is_no_number_makes_the_gate_void_and_loses_no_record(
    tmp_path: Path, logprob: str, stream: bool
) -> None:
    events = [token("-0.1"), token(logprob), *[token("-0.1")] * 8, "[DONE]"]
    said = OK + "".join(f"data: {event}\n\n" for event in events).encode()
    if not stream:
        said = WHOLE + token(logprob).replace("delta", "message").encode()
    async with gateway(tmp_path, gate=by_draft()) as found, wire(found, said, roles=("weak",)):
        status, headers, _ = await found.ask(EASY, stream=stream)
        assert (status, headers["x-demur-model"]) == (200, "small")
        assert 0 <= float(headers["x-demur-score"]) <= 1
    (record,) = read_ledger(str(tmp_path / "ledger.sqlite"))
    assert record.calibration_void
    assert record.score is not None


@pytest.mark.parametrize(
    "framed",
    [
        lambda data: f"id: 1\ndata: {data}\n\n",
        lambda data: f"data: {data}\nid: 1\n\n",
        lambda data: f": data: not yet\ndata: {data}\n\n",
        lambda data: f": data: ping\n\ndata: {data}\n\n",
        lambda data: f"data: {data}\r\r",
        lambda data: f"data:{data}\r\n\r\n",
    ],
    ids=["id before", "id after", "comment before", "comment event", "CR", "CRLF"],
)
async def test_the_gate_reads_every_framing_of_events(tmp_path: Path, framed: Any) -> None:
    said = OK + "".join(framed(data) for data in [*[token("-3.0")] * 9, "[DONE]"]).encode()
    sure = said.replace(b"-3.0", b"-0.1")
    async with gateway(tmp_path, gate=by_draft()) as found:
        async with wire(found, said, roles=("weak",)):
            _, headers, _ = await found.ask(EASY, stream=True)
            assert headers["x-demur-model"] == "large"
        async with wire(found, sure, roles=("weak",)):
            _, headers, body = await found.ask(EASY, stream=True, user="another")  # not another try
            assert headers["x-demur-model"] == "small"
            assert b'"logprob"' not in body
            assert body.count(b'"logprobs": null') == 9
            assert body.count(b"data: [DONE]") + body.count(b"data:[DONE]") == 1
