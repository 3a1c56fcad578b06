"""Chat completions, Messages and Responses through the gateway: what holds for one of them holds for all."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from apis import APIS, MESSAGES_API, MODELS, RESPONSES_API, Api, error_of, post, speaking
from demur.errors import InputError
from demur.gateway.clients.keys import new_key
from demur.gateway.http.json_edit import body_of
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.settings import ServedModel, read_settings
from demur.records import Role
from gateways import BOTH, EASY, HARD, Running, gateway, upstream, wire

each = pytest.mark.parametrize("api", APIS.values(), ids=APIS)
new = pytest.mark.parametrize("api", [MESSAGES_API, RESPONSES_API], ids=["messages", "responses"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


async def last_record(found: Running) -> LedgerRecord:
    for _ in range(100):
        if found.gateway.metrics.recent:
            break
        await asyncio.sleep(0.02)
    return found.gateway.metrics.recent[-1]


# -- what passes -------------------------------------------------------------------------------------------------------


@each
async def test_a_request_is_routed_by_what_the_user_says_last(tmp_path: Path, api: Api) -> None:
    async with gateway(tmp_path) as found, speaking(found) as heard:
        asked: tuple[tuple[str, Role], ...] = ((EASY, "weak"), (HARD, "strong"))
        for text, role in asked:
            status, headers, answer = await post(found, api, api.body(text))
            assert (status, headers["x-demur-model"]) == (200, MODELS[role]), answer
            assert api.text(json.loads(answer)) == f"{MODELS[role]} says"
        assert [one.role for one in heard] == ["weak", "strong"]


@each
@pytest.mark.parametrize("stream", [False, True])
async def test_every_byte_passes_but_the_models_name(tmp_path: Path, api: Api, stream: bool) -> None:
    """Odd spaces, escapes, unknown members and the query arrive as they were; the answer's bytes do, too."""
    rest = json.dumps(api.ask(HARD))[1:]
    raw = b'{ "x_unknown" : [1.50, "\\u00e9", {}],\n"stream":%s,  "model" : "demur" ,' % str(stream).lower().encode()
    raw += rest.encode()
    async with gateway(tmp_path) as found, speaking(found) as heard:
        status, _, answer = await post(found, api, raw, path=f"{api.path}?beta=true")
    assert status == 200
    assert heard[0].raw == raw.replace(b'"demur"', b'"large"')
    assert heard[0].query == "beta=true"
    assert (
        (answer == api.stream("large", "large says"))
        if stream
        else json.loads(answer) == api.answer("large", "large says")
    )


@each
async def test_a_client_key_may_come_as_either_clients_send_it_and_goes_no_further(tmp_path: Path, api: Api) -> None:
    keys = tmp_path / "keys.json"
    secret = new_key(keys, "ann")
    sent = {"anthropic-version": "2023-06-01", "anthropic-beta": "tools-2026"}
    async with gateway(tmp_path, keys=str(keys)) as found, speaking(found) as heard:
        for headers in ({"x-api-key": secret}, {"Authorization": f"Bearer {secret}"}):
            assert (await post(found, api, api.body(EASY), {**sent, **headers}))[0] == 200
        record = await last_record(found)
        assert (await post(found, api, api.body(EASY), {"x-api-key": "demur-wrong"}))[0] == 401
    assert record.key == "ann"
    assert len(heard) == 2
    for one in heard:
        assert secret not in str(one)
        assert {name: one.headers.get(name) for name in sent} == sent


@each
@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_and_usd_are_read_from_an_answer_and_from_a_stream(tmp_path: Path, api: Api, stream: bool) -> None:
    """11 and 3 tokens at $1 and $2 a million: $0.000017."""
    async with gateway(tmp_path) as found, speaking(found):
        await post(found, api, api.body(HARD, stream=stream))
        record = await last_record(found)
    assert (record.prompt_tokens, record.completion_tokens, record.tokens_counted) == (11, 3, True)
    assert record.usd == pytest.approx(17e-6)
    assert (record.path, record.streamed, record.role) == (api.path, stream, "strong")


async def test_counting_tokens_is_free_and_the_weak_models(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found, speaking(found) as heard:
        for model, leaves in (("demur", "small"), ("demur@0.2", "small"), ("large", "large")):
            raw = MESSAGES_API.body(HARD, model=model)
            status, _, answer = await post(found, MESSAGES_API, raw, path="/v1/messages/count_tokens")
            assert (status, json.loads(answer), heard[-1].model) == (200, {"input_tokens": 11}, leaves)
        record = await last_record(found)
    assert (record.prompt_tokens, record.completion_tokens, record.usd) == (0, 0, 0.0)


# -- errors of ours ----------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    ("raw", "status", "kind"),
    [
        (b"no json", 400, "invalid_request_error"),
        (b'{"model": "demur", "model": "large"}', 400, "invalid_request_error"),
        (b'{"model": "demur", "Model": "large"}', 400, "invalid_request_error"),
        (b'{"messages": [], "input": []}', 400, "invalid_request_error"),
        (b'{"model": "demur", "messages": [], "input": []}', 400, "invalid_request_error"),
        (b'{"model": "demur", "messages": "hi", "input": 7}', 400, "invalid_request_error"),
        (b'{"model": "demur", "messages": [1], "input": ["a"]}', 400, "invalid_request_error"),
        (b'{"model": "gpt-9", "messages": [{}], "input": "a"}', 404, None),
        (b"[" * 60_000, 413, None),
    ],
)
async def test_a_bad_request_is_told_so_in_its_apis_form(
    tmp_path: Path, api: Api, raw: bytes, status: int, kind: str | None
) -> None:
    async with gateway(tmp_path) as found, speaking(found) as heard:
        answered, headers, body = await post(found, api, raw)
        found_kind, _ = error_of(api, body)
        assert (answered, headers["Content-Type"]) == (status, "application/json")
        if api is MESSAGES_API:
            kind = {404: "not_found_error", 413: "request_too_large"}.get(status, kind)
        assert found_kind == (kind or "invalid_request_error")
        assert not heard


@each
async def test_keys_budgets_and_rates_refuse_in_the_apis_form(tmp_path: Path, api: Api) -> None:
    keys = tmp_path / "keys.json"
    poor, slow = new_key(keys, "poor", usd=0.0), new_key(keys, "slow", requests_per_minute=0)
    kinds = []
    async with gateway(tmp_path, keys=str(keys)) as found, speaking(found) as heard:
        for key in ("", "wrong", poor, slow):
            status, _, body = await post(found, api, api.body(EASY), {"x-api-key": key} if key else {})
            kinds.append((status, error_of(api, body)[0]))
    assert not heard
    if api is MESSAGES_API:
        assert kinds == [(401, "authentication_error")] * 2 + [(429, "rate_limit_error")] * 2
    else:
        refused = (401, "invalid_request_error")
        assert kinds == [refused, refused, (429, "insufficient_quota"), (429, "requests")]


@each
async def test_no_model_left_is_said_in_the_apis_form(tmp_path: Path, api: Api) -> None:
    async with gateway(tmp_path, retries=0) as found:
        async with speaking(found):
            assert (await post(found, api, api.body(EASY)))[0] == 200
        status, _, body = await post(found, api, api.body(EASY))
    assert (status, error_of(api, body)[0]) == (502, "api_error" if api is MESSAGES_API else "upstream_error")


async def test_a_path_that_is_not_served_answers_anthropics_clients_in_their_form(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        sent = {"anthropic-version": "2023-06-01"}
        for path, headers in (("/v1/complete", sent), ("/v1/messages/batches", {})):
            status, _, body = await post(found, MESSAGES_API, b"{}", headers, path=path)
            assert (status, error_of(MESSAGES_API, body)[0]) == (404, "not_found_error")
        _, _, body = await post(found, MESSAGES_API, b"{}", sent, path="/v1/v1/messages")
        assert "leave it out there" in error_of(MESSAGES_API, body)[1]


# -- which model speaks what -------------------------------------------------------------------------------------------


@new
@pytest.mark.parametrize("role", BOTH)
async def test_a_request_goes_to_the_one_model_that_speaks_its_api(tmp_path: Path, api: Api, role: Role) -> None:
    async with gateway(tmp_path) as found, speaking(found, **{role: ("chat",)}) as heard:
        for text in (EASY, HARD):
            status, headers, _ = await post(found, api, api.body(text))
            other = "large" if role == "weak" else "small"
            assert (status, headers["x-demur-model"]) == (200, other)
            assert f"the endpoint of {MODELS[role]} lacks {api.path}" in headers["x-demur-reason"]
        assert {one.model for one in heard} == {other}
        status, _, body = await post(found, api, api.body(EASY, model=MODELS[role]))
        assert status == 400
        assert f"lacks {api.path}" in error_of(api, body)[1]


@new
async def test_where_no_model_speaks_an_api_the_error_says_what_to_do(tmp_path: Path, api: Api) -> None:
    async with gateway(tmp_path) as found:
        status, _, body = await post(found, api, api.body(EASY))
        _, said = error_of(api, body)
        assert status == 400
        lacks = (f"the endpoint of {model} lacks {api.path}" for model in MODELS.values())
        for part in (*lacks, "/v1/chat/completions", "demur doctor"):
            assert part in said
        assert (found.weak.requests, found.strong.requests) == ([], [])


async def test_the_settings_overrule_what_is_found(tmp_path: Path) -> None:
    weak = ServedModel("small", "http://127.0.0.1:9/v1", speaks=("chat",), usd_per_million_input=0.0)
    async with gateway(tmp_path, weak=weak) as found, speaking(found) as heard:
        assert (await post(found, MESSAGES_API, MESSAGES_API.body(EASY)))[0] == 200
        assert [one.role for one in heard] == ["strong"]


@new
async def test_a_model_that_does_not_speak_the_api_is_no_fallback(tmp_path: Path, api: Api) -> None:
    async with gateway(tmp_path, retries=0) as found, speaking(found, weak=("chat",)):
        assert (await post(found, api, api.body(HARD)))[0] == 200
        async with wire(found, roles=("strong",)):
            status, _, body = await post(found, api, api.body(HARD))
    assert status == 502
    assert "small" not in error_of(api, body)[1]


# -- failures ----------------------------------------------------------------------------------------------------------


@each
async def test_a_model_that_is_down_is_replaced(tmp_path: Path, api: Api) -> None:
    async with gateway(tmp_path, retries=0) as found, speaking(found):
        await post(found, api, api.body(EASY))
        async with wire(found, roles=("weak",)):
            status, headers, _ = await post(found, api, api.body(EASY))
    assert (status, headers["x-demur-model"]) == (200, "large")


@each
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_stream_that_is_cut_anywhere_never_looks_complete(tmp_path: Path, api: Api, chunked: bool) -> None:
    """At every byte where an event has just ended, and in the middle of each: the client's connection breaks too."""
    whole = api.stream("large", "large says")
    framing = b"Transfer-Encoding: chunked" if chunked else b"Connection: close"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n%s\r\n\r\n" % framing
    places = [at for at in range(len(whole)) if whole[:at].endswith(b"\n\n") or at % 97 == 50]
    last = whole.rindex(b'"finish_reason": "stop"') if api.done else whole.rindex(b"event: ")
    async with gateway(tmp_path, fallback=False, retries=0, breaker_failures=10**6) as found, speaking(found):
        await post(found, api, api.body(HARD))  # what is spoken is known
        for at in (place for place in places if place < last):
            said = b"%x\r\n%s\r\n" % (at, whole[:at]) if chunked else whole[:at]
            async with wire(found, head, *([said] if at else []), roles=("strong",)):
                try:
                    status, _, body = await post(found, api, api.body(HARD, stream=True))
                except aiohttp.ClientPayloadError:
                    continue
                assert status == 502, whole[:at]  # it had not begun
                error_of(api, body)


@each
async def test_a_complete_stream_that_ends_with_its_connection_is_complete(tmp_path: Path, api: Api) -> None:
    """Also one whose last event, which repeats the answer, is longer than the end that is looked at."""
    whole = api.stream("large", "large says " * 500)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    async with gateway(tmp_path) as found, speaking(found):
        await post(found, api, api.body(HARD))
        async with wire(found, head, whole, roles=("strong",)):
            assert (await post(found, api, api.body(HARD, stream=True)))[::2] == (200, whole)
        assert (await last_record(found)).outcome == "ok"


@pytest.mark.parametrize(
    ("api", "event"),
    [
        (
            MESSAGES_API,
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"full"}}\n\n',
        ),
        (RESPONSES_API, b'data: {"type":"error","code":"x","message":"full"}\n\n'),
        (RESPONSES_API, b'data: {"type":"response.failed","response":{"error":{"code":"x","message":"full"}}}\n\n'),
    ],
)
async def test_a_stream_that_fails_before_it_says_anything_is_tried_elsewhere(
    tmp_path: Path, api: Api, event: bytes
) -> None:
    start = api.stream("small", "x").split(b"\n\n")[0] + b"\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    async with gateway(tmp_path, retries=0) as found, speaking(found):
        await post(found, api, api.body(EASY))
        async with wire(found, head, start, event, roles=("weak",)):
            status, headers, answer = await post(found, api, api.body(EASY, stream=True))
    assert (status, headers["x-demur-model"], answer) == (200, "large", api.stream("large", "large says"))
    assert "full" in headers["x-demur-reason"]


@each
async def test_a_client_that_hangs_up_is_charged_for_what_it_sent(tmp_path: Path, api: Api) -> None:
    """4,000 characters to a model of $1 a million tokens: 1,000 tokens, estimated, $0.001, plus what was written."""

    async def hang(request: web.Request) -> web.Response:
        if await request.read() == b"{}":
            return web.json_response({}, status=400)
        await asyncio.sleep(3)
        return web.Response()

    async with gateway(tmp_path) as found, upstream(hang, found):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(post(found, api, api.body("z" * 4000, model="large")), 0.3)
        record = await last_record(found)
    assert (record.outcome, record.prompt_tokens, record.tokens_counted) == ("client_gone", 1007, False)
    assert record.usd is not None
    assert 0.001 <= record.usd < 0.0015


@each
async def test_what_the_weak_model_refuses_the_strong_one_answers(tmp_path: Path, api: Api) -> None:
    async def refuse(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"error": {"message": "tools are not supported"}}, status=400)

    tool: dict[str, Any] = {"name": "f", "input_schema": {}}
    if api is not MESSAGES_API:
        tool = {"type": "function", "name": "f", "function": {"name": "f"}}
    async with gateway(tmp_path, sticky=False) as found, speaking(found), upstream(refuse, found, ("weak",)):
        for reason in ("cannot answer this: it answered 400", "the weak model cannot: it refused a request with tools"):
            status, headers, _ = await post(found, api, api.body(EASY, tools=[tool]))
            assert (status, headers["x-demur-model"]) == (200, "large")
            assert reason in headers["x-demur-reason"]


# -- conversations -----------------------------------------------------------------------------------------------------


def history(api: Api, *turns: tuple[str, Any]) -> bytes:
    """A request with what was said before it; a tool's turn is its result."""
    messages: list[dict[str, Any]] = []
    for role, said in turns:
        if role != "tool":
            messages.append({"role": role, "content": said})
        elif api is MESSAGES_API:
            call = {"type": "tool_use", "id": "toolu_01", "name": "f", "input": {}}
            result = {"type": "tool_result", "tool_use_id": "toolu_01", "content": said}
            messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
        elif api is RESPONSES_API:
            messages.append({"type": "function_call", "call_id": "call_01", "name": "f", "arguments": "{}"})
            messages.append({"type": "function_call_output", "call_id": "call_01", "output": said})
        else:
            call = {"id": "call_01", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": "call_01", "content": said})
    said_as: dict[str, Any] = {"input" if api is RESPONSES_API else "messages": messages}
    return api.body("", **said_as)


@each
async def test_a_conversation_stays_with_the_strong_model(tmp_path: Path, api: Api) -> None:
    async with gateway(tmp_path) as found, speaking(found) as heard:
        await post(found, api, history(api, ("user", HARD)))
        _, headers, _ = await post(
            found, api, history(api, ("user", HARD), ("assistant", "large says"), ("user", EASY))
        )
        assert "the conversation stays with its model" in headers["x-demur-reason"]
        assert [one.role for one in heard] == ["strong", "strong"]
        assert (await post(found, api, history(api, ("user", EASY + " alone"))))[1]["x-demur-model"] == "small"


@each
async def test_a_tool_loop_never_changes_its_model(tmp_path: Path, api: Api) -> None:
    """Its results are not routed: a hard text in one changes nothing."""
    async with gateway(tmp_path) as found, speaking(found) as heard:
        for turns in range(4):
            results = [("tool", HARD)] * turns
            assert (await post(found, api, history(api, ("user", EASY), *results)))[0] == 200
        assert {one.role for one in heard} == {"weak"}


# -- Responses: answers that an upstream keeps -------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_continued_by_the_model_that_gave_it(tmp_path: Path, stream: bool) -> None:
    api = RESPONSES_API
    async with gateway(tmp_path) as found, speaking(found) as heard:
        await post(found, api, api.body(HARD, stream=stream))
        status, headers, _ = await post(found, api, api.body(EASY, previous_response_id="resp_large"))
        assert (status, headers["x-demur-model"]) == (200, "large")
        assert "continues this model's answer" in headers["x-demur-reason"]
        assert [one.role for one in heard] == ["strong", "strong"]


async def test_a_chain_of_answers_stays_with_its_model(tmp_path: Path) -> None:
    api = RESPONSES_API
    async with gateway(tmp_path) as found, speaking(found) as heard:
        await post(found, api, api.body(HARD))
        for _ in range(3):
            assert (await post(found, api, api.body(EASY, previous_response_id="resp_large")))[0] == 200
        assert [one.role for one in heard] == ["strong"] * 4


async def test_an_answer_of_another_key_or_of_nobody_is_not_continued(tmp_path: Path) -> None:
    api, keys = RESPONSES_API, tmp_path / "keys.json"
    ann, bob = ({"x-api-key": new_key(keys, name)} for name in ("ann", "bob"))
    raw = api.body(EASY, previous_response_id="resp_large")
    async with gateway(tmp_path, keys=str(keys)) as found, speaking(found) as heard:
        await post(found, api, api.body(HARD), ann)
        status, _, body = await post(found, api, raw, bob)
        assert (status, "send all of the input" in error_of(api, body)[1]) == (400, True)
        assert len(heard) == 1
        assert (await post(found, api, raw, ann))[0] == 200


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"background": True}, "background"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_reference"),
    ],
)
async def test_what_only_a_gateway_that_keeps_answers_could_serve_is_refused(
    tmp_path: Path, more: dict[str, Any], says: str
) -> None:
    async with gateway(tmp_path) as found, speaking(found) as heard:
        status, _, body = await post(found, RESPONSES_API, RESPONSES_API.body(EASY, **more))
        assert (status, says in error_of(RESPONSES_API, body)[1], heard) == (400, True, [])


# -- members that one side refuses -------------------------------------------------------------------------------------


@each
async def test_members_are_dropped_and_renamed_for_the_side_that_refuses_them(tmp_path: Path, api: Api) -> None:
    """Every other member keeps its bytes, and only its own; of two that become one, the endpoint's own name stays."""
    rest = api.body(HARD, model="large")[1:-1].replace(b'"max_tokens": 64, ', b"")
    raw = b'{ "temperature": 0.50 , "max_tokens" :  16,"x": 1.50,' + rest + b', "top_k": 4, "seed": 1, "seed_2": 2 }'
    async with gateway(tmp_path) as found, speaking(found) as heard:
        side = found.gateway.upstreams["strong"]
        side._drop, side._rename = ("temperature", "top_k"), {"max_tokens": "max_completion_tokens", "seed": "seed_2"}
        assert (await post(found, api, raw))[0] == 200
        assert (await post(found, api, raw.replace(b'"large"', b'"small"')))[0] == 200
    kept = rest.replace(b'"large", ', b'"large",')
    assert heard[0].raw == b'{ "max_completion_tokens":16,"x": 1.50,' + kept + b',"seed_2": 2}'
    assert heard[1].raw == raw.replace(b'"large"', b'"small"')


@given(
    st.dictionaries(st.sampled_from(["a", "b", "é", "d e"]), st.integers() | st.text(), min_size=1),
    st.sets(st.sampled_from(["a", "é"])),
    st.booleans(),
)
def test_a_fitted_body_reads_as_if_it_had_been_written_so(
    members: dict[str, object], drop: set[str], spaced: bool
) -> None:
    raw = json.dumps(members, indent=1 if spaced else None, ensure_ascii=False).encode()
    fitted = body_of(raw)[0].with_members(drop, {"b": "new"})
    wanted = {("new" if name == "b" else name): value for name, value in members.items() if name not in drop}
    assert body_of(fitted.raw) == (fitted, wanted)
    assert json.loads(fitted.replace_member(model="m")) == {**wanted, "model": "m"}


@pytest.mark.parametrize(
    ("row", "says"), [('drop = ["model"]', "drop: 'model'"), ('rename = {max_tokens = "stream"}', "rename: 'stream'")]
)
def test_what_is_asked_is_neither_dropped_nor_renamed(tmp_path: Path, row: str, says: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(f'[weak]\nmodel = "small"\nbase_url = "http://127.0.0.1:9/v1"\n{row}\n')
    with pytest.raises(InputError, match=says):
        read_settings(file)
