"""Bodies: what they may cost, what is held of them, and what must not leave in an answer."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import threading
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway import app
from demur.gateway.clients.keys import Admission, ClientKey, new_key
from demur.gateway.http.key_mask import KeyMask
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.http.read_body import check_structure, count_structure
from gateways import EASY, Running, gateway, upstream
from test_gateway_trust import post, records

SAID = b'"model":"demur","messages":[{"role":"user","content":"aaa"}]'
PACKED = gzip.compress(b"{" + SAID + b"}", mtime=0)  # a test's name holds it: the same in every process
URL = "/v1/chat/completions"


def padded(filler: bytes, size: int) -> bytes:
    """A valid request whose member x is an array of so many bytes."""
    return b'{"x":[' + filler * (size // len(filler)) + filler.rstrip(b",") + b"]," + SAID + b"}"


# -- structure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "count"),
    [
        (b"{}", 1),
        (b'{"a":1,"b":[2,3]}', 6),  # { : , : [ ,
        (b'{"a":",,,[[["}', 2),
        (b'{"a":"\\",,[","b":1}', 4),  # an escaped quote does not end a text
        (b'{"a":"\\\\","b":[]}', 5),  # an escaped backslash does not escape the quote
    ],
)
def test_structure_is_what_stands_outside_texts(raw: bytes, count: int) -> None:
    assert count_structure(raw, 0) == count


json_values = st.recursive(
    st.none() | st.integers() | st.text('a"\\,:[{é\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('a"\\,:[{'), inner),
)


def count_of(value: object) -> int:
    """The same by the tree."""
    if isinstance(value, dict):
        return 1 + len(value) + max(0, len(value) - 1) + sum(map(count_of, value.values()))
    if isinstance(value, list):
        return 1 + max(0, len(value) - 1) + sum(map(count_of, value))
    return 0


@given(st.dictionaries(st.text('a"\\,:[{'), json_values), st.booleans())
def test_structure_is_that_of_the_tree(body: dict[str, object], escaped: bool) -> None:
    assert count_structure(json.dumps(body, ensure_ascii=escaped).encode(), 0) == count_of(body)


def test_texts_alone_are_never_too_much_structure() -> None:
    table = json.dumps({"content": "1,2,3\n" * 100_000}).encode()
    assert check_structure(table, 1000) == 2 * 80  # { and :
    with pytest.raises(ApiError) as error:
        check_structure(padded(b"[],", 30_000), 1000)
    assert "max_json_values" in error.value.message


@pytest.mark.parametrize("filler", [b"[],", b"{},", b'"a",', b'{"a":1},', b"1e9,", b"1,"])
async def test_a_body_of_structure_alone_is_refused_by_the_limits_name(tmp_path: Path, filler: bytes) -> None:
    async with gateway(tmp_path) as found:
        status, answer = await post(found, padded(filler, 1_000_000))
        assert (status, "max_json_values" in json.loads(answer)["error"]["message"]) == (413, True)
        status, answer = await post(found, gzip.compress(padded(filler, 2**20)), headers={"Content-Encoding": "gzip"})
        assert (status, "max_inflated_bytes" in json.loads(answer)["error"]["message"]) == (413, True)
        assert not found.weak.requests
        assert (await post(found, padded(filler, 20_000)))[0] == 200


async def test_members_by_the_thousand_are_no_request(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        assert (await post(found, b"{" + b'"a":1,' * 5000 + SAID + b"}"))[0] == 400


@pytest.mark.parametrize("letters", [500_000, 2_000_000])  # of two bytes: below and above what is sent at once
async def test_a_large_body_keeps_no_tree_and_arrives_as_it_was(tmp_path: Path, letters: int) -> None:
    seen: list[bytes] = []

    async def keep(request: web.Request) -> web.Response:
        seen.append(await request.read())
        return web.json_response({})

    raw = b'{"x":"' + "é".encode() * letters + b'",' + SAID + b"}"
    async with gateway(tmp_path) as found, upstream(keep, found):
        assert (await post(found, raw))[0] == 200
    assert seen == [raw.replace(b'"demur"', b'"small"')]


async def test_a_large_body_is_counted_and_read_off_the_event_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_loop: list[tuple[str, bool]] = []

    def watched(name: str) -> None:
        real = getattr(app, name)

        def watch(*given: Any, **named: Any) -> Any:
            in_loop.append((name, threading.current_thread() is threading.main_thread()))
            return real(*given, **named)

        monkeypatch.setattr(app, name, watch)

    watched("check_structure")
    watched("read_question")
    async with gateway(tmp_path) as found:
        for padding, where in ((100, True), (70_000, False)):
            in_loop.clear()
            assert (await post(found, b'{"x":"' + b"a" * padding + b'",' + SAID + b"}"))[0] == 200
            assert in_loop == [("check_structure", where), ("read_question", where)]


# -- encodings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoding", "data", "status"),
    [
        ("gzip", PACKED, 200),
        ("x-gzip", PACKED, 200),
        ("GZIP", PACKED, 200),
        ("deflate", zlib.compress(b"{" + SAID + b"}"), 200),
        ("deflate", zlib.compress(b"{" + SAID + b"}")[2:-4], 200),  # bare
        ("identity", b"{" + SAID + b"}", 200),
        ("gzip", PACKED[:-9], 400),  # cut
        ("gzip", b"", 400),
        ("gzip", b"{" + SAID + b"}", 400),
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
    ],
)
async def test_what_a_body_is_encoded_with(tmp_path: Path, encoding: str, data: bytes, status: int) -> None:
    async with gateway(tmp_path) as found:
        got, answer = await post(found, data, headers={"Content-Encoding": encoding})
        assert got == status
        assert status == 200 or set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}


# -- what is held ------------------------------------------------------------------------------------------------------


async def test_small_bodies_of_unknown_length_do_not_fill_the_gateway(tmp_path: Path) -> None:
    """80 chunked requests at once, each of 60 bytes; each reserved 20 MiB while its answer was waited for."""

    async def chunked() -> AsyncIterator[bytes]:
        yield b"{" + SAID + b"}"

    async with gateway(tmp_path) as found:
        found.weak.hang_seconds = 0.5

        async def ask() -> int:
            async with found.session.post(found.address + URL, data=chunked()) as answer:
                return answer.status

        assert {await one for one in asyncio.as_completed([ask() for _ in range(80)])} == {200}
        assert found.gateway._held.total == 0


async def test_what_is_announced_and_does_not_come_holds_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path, body_seconds=5.0) as found:
        place = found.address.removeprefix("http://").split(":")
        silent = [await asyncio.open_connection(*place) for _ in range(60)]
        for _, writer in silent:
            writer.write(b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20000000\r\n\r\n{" % URL.encode())
        await asyncio.sleep(0.3)
        assert found.gateway.in_flight == 60
        assert found.gateway._held.total <= 60
        assert (await found.ask(EASY))[0] == 200
        for _, writer in silent:
            writer.close()


async def test_too_much_is_refused_before_it_comes(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        reader, writer = await asyncio.open_connection(*found.address.removeprefix("http://").split(":"))
        writer.write(b"POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n{" % URL.encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        assert b" 413 " in head
        assert b"max_body_bytes" in await reader.readuntil(b"}}")
        writer.close()


# -- budgets -----------------------------------------------------------------------------------------------------------


def test_requests_under_way_take_up_a_budget() -> None:
    """A budget of $0.01 and requests of $0.006: two at once would spend $0.012, three are not let in."""
    admission = Admission([ClientKey("ann", "0" * 64, usd=0.01), ClientKey("bob", "1" * 64)])
    assert admission.reserve("ann", 0.006) == 0.006
    assert admission.reserve("ann", 0.006) == 0.006
    with pytest.raises(ApiError) as error:
        admission.reserve("ann", 0.006)
    assert (error.value.status, error.value.code) == (429, "insufficient_quota")
    admission.charge("ann", 0.002, reserved=0.006)
    assert admission.reserve("ann", 0.001) == 0.001  # $0.002 spent, $0.006 under way
    assert admission.reserve("bob", 5.0) == 0.0  # no budget, nothing to keep


async def test_a_budget_bounds_what_is_asked_at_once_and_hung_up(tmp_path: Path) -> None:
    """60 requests of 25,000 tokens ($0.025 each) on a key of $0.01, all hung up: one reaches the model."""
    keys = tmp_path / "keys.json"
    held = {"Authorization": f"Bearer {new_key(keys, 'ann', usd=0.01)}"}
    async with gateway(tmp_path, keys=str(keys)) as found:
        found.strong.hang_seconds = 60.0
        asked = [asyncio.ensure_future(found.ask("z" * 100_000, model="large", headers=held)) for _ in range(60)]
        refused, under_way = await asyncio.wait(asked, timeout=0.05)
        while len(refused) < 59 or not found.strong.requests:
            refused, under_way = await asyncio.wait(asked, timeout=0.05)
        assert {one.result()[0] for one in refused} == {429}
        assert found.gateway.admission.accounts.read("ann")[1] == pytest.approx(
            0.027, rel=0.01
        )  # with 1,000 tokens of answer
        for one in under_way:
            one.cancel()
        await records(found, 60)
        assert len(found.strong.requests) == 1
        assert found.gateway.admission.accounts.read("ann")[0].ever == pytest.approx(0.025, rel=0.01)
        assert found.gateway.admission.accounts.read("ann")[1] == 0.0
        assert (await found.ask(EASY, headers=held))[0] == 429


async def test_a_stream_of_an_image_is_not_free(tmp_path: Path) -> None:
    image = [{"type": "image_url", "image_url": {"url": "data:" + "A" * 1000}}, {"type": "text", "text": "zzz?"}]
    async with gateway(tmp_path) as found:
        await found.ask(model="large", messages=[{"role": "user", "content": image}], stream=True)
        (record,) = await records(found, 1)
        assert record.prompt_tokens == 1008
        assert not record.tokens_counted


# -- an upstream's key -------------------------------------------------------------------------------------------------

KEY = "sk-upstream/secret-1"
ESCAPED = "".join(f"\\u{ord(letter):04X}" for letter in KEY)
SPELLED = [KEY, KEY.replace("/", "\\/"), KEY.replace("-", "\\u002d"), ESCAPED]


def shows(data: bytes) -> bool:
    """Is the key in these bytes, in any spelling?"""
    plain = re.sub(rb"\\u([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)).encode(), data)
    return KEY.encode() in plain.replace(b"\\/", b"/")


async def with_keys(found: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMUR_TEST_KEY", KEY)
    for side in found.gateway.upstreams.values():
        side.endpoint = replace(side.endpoint, api_key_env="DEMUR_TEST_KEY")


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize("shape", ["error", "long error", "answer", "stream", "header"])
async def test_no_answer_shows_the_upstreams_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, spelled: str
) -> None:
    said = f'{{"error":{{"message":"Incorrect API key: {spelled}"}}}}'.encode()

    async def show(request: web.Request) -> web.StreamResponse:
        await request.read()
        if shape == "stream":
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(request)
            event = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\ndata: ' + said + b"\n\ndata: [DONE]\n\n"
            for at in range(0, len(event), 7):
                await response.write(event[at : at + 7])
                await asyncio.sleep(0.001)
            return response
        if shape == "header":
            return web.json_response({}, status=400, headers={"X-Error": f"key {KEY} is wrong"})
        body = b" " * 2**20 + said + b" " * 2**20 if shape == "long error" else said
        status = 200 if shape == "answer" else 402
        return web.Response(body=body, status=status, content_type="application/json")

    async with gateway(tmp_path) as found, upstream(show, found):
        await with_keys(found, monkeypatch)
        raw = b"{" + SAID + (b',"stream":true}' if shape == "stream" else b"}")
        async with found.session.post(found.address + URL, data=raw) as answer:
            data = await answer.read()
            assert not shows(data)
            assert KEY not in str(answer.headers)
            assert b"*" * 20 in data or "*" * 20 in answer.headers.get("X-Error", "")


@given(st.data())
def test_a_key_is_masked_however_it_is_spelled_and_cut(data: st.DataObject) -> None:
    forms = [[one, f"\\u{ord(one):04x}", f"\\u{ord(one):04X}"] for one in KEY]
    spelled = "".join(data.draw(st.sampled_from(each)) for each in forms)
    around = st.text("sk-u\\0p", max_size=12)
    whole = (data.draw(around) + spelled + data.draw(around)).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def given_pieces() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    async def passed() -> bytes:
        return b"".join([piece async for piece in KeyMask([KEY]).mask_pieces(given_pieces())])

    masked = asyncio.run(passed())
    assert not shows(masked)
    assert masked == KeyMask([KEY]).mask(whole)
    assert len(masked) == len(whole)


async def test_a_stream_without_a_key_is_not_held_back() -> None:
    events = [b'data: {"a": "s"}\n\n', b'data: {"b": "sk-"}\n\n', b"data: s", b"k-x\n\n"]

    async def come() -> AsyncIterator[bytes]:
        for event in events:
            yield event

    got = [piece async for piece in KeyMask([KEY]).mask_pieces(come())]
    assert got == [events[0], events[1], b"data: ", b"sk-x\n\n"]
