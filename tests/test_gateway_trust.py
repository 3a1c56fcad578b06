"""What a client must not be able to do: reach another model, hang up for nothing, read what is the operator's."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.http.openai_bodies import READ_MEMBERS, ApiError, parse_body
from demur.gateway.ledger.ledger import LedgerRecord
from gateways import EASY, Running, gateway, upstream


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


SAID = b'"messages":[{"role":"user","content":"aaa"}]'


async def post(
    found: Running, raw: bytes, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    async with found.session.post(f"{found.address}{path}", data=raw, headers=headers) as answer:
        return answer.status, await answer.read()


async def records(found: Running, count: int) -> list[LedgerRecord]:
    for _ in range(100):
        if len(found.gateway.metrics.recent) >= count:
            break
        await asyncio.sleep(0.02)
    return list(found.gateway.metrics.recent)


# -- only the routed name leaves ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "members",
    [
        b'"model":"gpt-secret","model":"small"',
        b'"model":"small","model":"gpt-secret"',
        b'"model":"demur","Model":"gpt-secret"',
        b'"model":"demur","MODEL":"gpt-secret"',
        b'"mod\\u0065l":"small"',
        b'"model":"demur","me\xc5\xbf\xc5\xbfages":[]',  # the long s, which some readers take for an s
        b'"model":"demur","messages":[]',
    ],
)
async def test_a_body_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, members: bytes) -> None:
    async with gateway(tmp_path) as found:
        status, answer = await post(found, b"{" + members + b"," + SAID + b"}")
        assert (status, json.loads(answer)["error"]["type"]) == (400, "invalid_request_error")
        assert not found.weak.requests
        assert not found.strong.requests


@given(st.sampled_from(sorted(READ_MEMBERS)), st.data())
def test_no_spelling_of_a_member_that_is_read_passes_beside_it(name: str, data: st.DataObject) -> None:
    letters_of = [data.draw(st.sampled_from([one, one.upper(), f"\\u{ord(one):04x}"])) for one in name]
    spelled = "".join(letters_of)
    raw = f'{{"model":"demur","{spelled}":1}}'.encode()
    if spelled == name != "model":
        assert name in parse_body(raw)[1]
    else:
        with pytest.raises(ApiError) as error:
            parse_body(raw)
        assert error.value.status == 400


@pytest.mark.parametrize("name", ["gpt-secret", "small2", "demur@0.5"])
async def test_embeddings_pass_known_names_alone(tmp_path: Path, name: str) -> None:
    async with gateway(tmp_path, embedding_models=("bge",)) as found:
        status, answer = await post(found, json.dumps({"model": name, "input": ["a"]}).encode(), "/v1/embeddings")
        assert (status, json.loads(answer)["error"]["code"]) == (404, "model_not_found")
        assert "bge" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize(("name", "leaves"), [("demur", "small"), ("large", "large"), ("bge", "bge")])
async def test_what_leaves_for_embeddings(tmp_path: Path, name: str, leaves: str) -> None:
    seen: list[str] = []

    async def keep(request: web.Request) -> web.Response:
        seen.append((await request.json())["model"])
        return web.json_response({})

    async with gateway(tmp_path, embedding_models=("bge",)) as found, upstream(keep, found):
        assert (await post(found, json.dumps({"model": name, "input": ["a"]}).encode(), "/v1/embeddings"))[0] == 200
    assert seen == [leaves]


# -- who hangs up has asked all the same -------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_hangs_up_is_charged_for_what_it_sent(tmp_path: Path, stream: bool) -> None:
    """4,000 characters to a model of $1 a million tokens: 1,000 tokens, estimated, $0.001."""
    async with gateway(tmp_path) as found:
        found.strong.hang_seconds = 3.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(found.ask("z" * 4000, model="large", stream=stream), 0.2)
        (record,) = await records(found, 1)
        assert (record.outcome, record.model, record.prompt_tokens) == ("client_gone", "large", 1000)
        assert not record.tokens_counted
        assert record.usd == pytest.approx(0.001)


async def test_a_client_that_hangs_up_before_anything_was_sent_is_not_charged(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        reader, writer = await asyncio.open_connection(*found.address.removeprefix("http://").split(":"))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        await asyncio.sleep(0.1)
        writer.close()
        (record,) = await records(found, 1)
        assert (record.outcome, record.model, record.usd) == ("client_gone", "", 0.0)
        assert reader.at_eof() or not await reader.read()


async def test_an_easy_prompt_is_named_by_the_upstreams_own_name(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        await found.ask(EASY)
        assert found.weak.requests[0]["model"] == "small"
