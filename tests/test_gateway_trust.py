"""What a client must not be able to do: reach another model, hang up for nothing, read what is the operator's."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import random
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.clients.keys import new_key
from demur.gateway.http.openai_bodies import READ_MEMBERS, ApiError, parse_body
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.routing.prompt_router import Decision
from gateways import EASY, Running, gateway, point, upstream, wire


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


SAID = b'"messages":[{"role":"user","content":"aaa"}]'


async def post(
    found: Running, raw: bytes, path: str = "/v1/chat/completions", headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    async with found.session.post(f"{found.address}{path}", data=io.BytesIO(raw), headers=headers) as answer:
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
    escaped, upper = ([one, f"\\u{ord(one):04x}"] for one in name), ([one, one.upper()] for one in name)
    ways = data.draw(st.sampled_from([[*escaped], [*upper]]))
    letters_of = [data.draw(st.sampled_from(way)) for way in ways]
    spelled = "".join(letters_of)
    raw = f'{{"model":"demur","{spelled}":1}}'.encode()
    if spelled == name != "model":
        assert name in parse_body(raw)[1]
    else:
        with pytest.raises(ApiError) as error:
            parse_body(raw)
        assert error.value.status == 400


@pytest.mark.parametrize("name", ["gpt-secret", "small2"])
async def test_embeddings_pass_known_names_alone(tmp_path: Path, name: str) -> None:
    async with gateway(tmp_path, embedding_models=("bge",)) as found:
        status, answer = await post(found, json.dumps({"model": name, "input": ["a"]}).encode(), "/v1/embeddings")
        assert (status, json.loads(answer)["error"]["code"]) == (404, "model_not_found")
        assert "bge" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize(
    ("name", "leaves"), [("demur", "small"), ("demur@0.5", "small"), ("large", "large"), ("bge", "bge")]
)
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
    """4,000 characters to a model of $1 and $2 a million tokens: 1,000 tokens, and 100 a second that it was at work."""
    async with gateway(tmp_path) as found:
        found.strong.hang_seconds = 3.0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(found.ask("z" * 4000, model="large", stream=stream), 0.4)
        (record,) = await records(found, 1)
        assert (record.outcome, record.model, record.prompt_tokens) == ("client_gone", "large", 1007)
        assert 1 <= record.completion_tokens <= 900  # on a busy machine
        assert not record.tokens_counted
        assert record.usd == pytest.approx((1007 * 1.0 + record.completion_tokens * 2.0) / 1e6)


async def test_a_call_that_times_out_upstream_is_charged_as_an_estimate(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    held = {"Authorization": f"Bearer {new_key(keys, 'ann', usd=1.0)}"}
    async with gateway(tmp_path, keys=str(keys), first_byte_seconds=0.3) as found:
        found.strong.hang_seconds = 3.0
        assert (await found.ask("z" * 4000, model="large", headers=held))[0] == 502
        assert (await found.ask("z" * 4000, model="large", headers=held, max_tokens=7))[0] == 502
        long, short = await records(found, 2)
        for record in (long, short):
            assert (record.outcome, record.model, record.prompt_tokens) == ("upstream_error", "large", 1007)
            assert not record.tokens_counted
            assert record.usd == pytest.approx((1007 * 1.0 + record.completion_tokens * 2.0) / 1e6)
        assert 20 <= long.completion_tokens <= 1000
        assert short.completion_tokens == 7
        assert found.gateway.admission.accounts.read("ann")[0].ever == pytest.approx((long.usd or 0) + (short.usd or 0))


async def test_what_the_first_model_may_cost_is_charged_beside_the_others_answer(tmp_path: Path) -> None:
    """The strong model hangs, so the weak one answers, which is free: what is paid is the strong one's estimate."""
    async with gateway(tmp_path, first_byte_seconds=0.1) as found:
        found.strong.hang_seconds = 3.0
        assert (await found.ask("z" * 4000, headers={"x-demur-route": "strong"}))[1]["x-demur-model"] == "small"
        (record,) = await records(found, 1)
        assert (record.model, record.tokens_counted, record.outcome) == ("small", False, "fallback")
        assert record.usd == pytest.approx(0.001, abs=0.0009)


HEADED = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("said", "times"),
    [
        ((), 2),  # it takes the request and hangs up, twice
        ((HEADED + b'Content-Length: 100\r\n\r\n{"half',), 2),
        ((HEADED + b'Connection: close\r\n\r\n{"half',), 2),
        ((b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\n{}",), 0),  # it says that it failed
        ((HEADED + b'Content-Length: 16\r\n\r\n{"error":"full"}',), 0),
    ],
    ids=["nothing", "cut", "cut at its end", "error", "error inside a 200"],
)
async def test_an_answer_that_breaks_off_is_charged_and_an_error_is_not(
    tmp_path: Path, said: tuple[bytes, ...], times: int
) -> None:
    async with gateway(tmp_path, retries=1) as found, wire(found, *said):
        assert (await found.ask("z" * 4000, model="large"))[0] in (500, 502)
        (record,) = await records(found, 1)
        assert record.usd == pytest.approx(0.001 * times, abs=0.0004)
        assert record.tokens_counted is (times == 0)


async def test_what_cannot_be_reached_costs_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        point(found, "127.0.0.1:9")
        assert (await found.ask("z" * 4000, model="large"))[0] == 502
        (record,) = await records(found, 1)
        assert (record.usd, record.prompt_tokens) == (0.0, 0)


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


# -- pages of other sites ----------------------------------------------------------------------------------------------

PAGE = "https://evil.example"
BODY = b'{"model":"demur",' + SAID + b"}"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": PAGE}, 403),
        ({"Origin": PAGE, "Content-Type": "text/plain"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:9"}, 403),  # another port is another site
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": "localhost:8111"}, 200),
        ({"Host": "127.0.0.2"}, 200),
        ({"Host": "[::1]:8111"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
    ],
)
async def test_without_keys_no_page_of_another_site_may_ask(
    tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    async with gateway(tmp_path) as found:
        assert (await post(found, BODY, headers=headers))[0] == status
        assert len(found.weak.requests) == (status == 200)
        async with found.session.get(f"{found.address}/v1/models", headers=headers) as answer:
            assert answer.status == status


async def test_allowed_origins_may_ask_and_read(tmp_path: Path) -> None:
    async with gateway(tmp_path, allowed_origins=("https://app.example",)) as found:
        own = {"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}
        asked = own | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
        url = f"{found.address}/v1/chat/completions"
        async with found.session.options(url, headers=asked) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, own["Origin"])
            assert answer.headers["Access-Control-Allow-Headers"] == "authorization"
        async with found.session.post(url, data=BODY, headers=own) as answer:
            assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, own["Origin"])
            assert "x-demur-model" in answer.headers["Access-Control-Expose-Headers"]
        for method in ("OPTIONS", "POST"):
            async with found.session.request(method, url, data=BODY, headers={"Origin": PAGE}) as answer:
                assert answer.status == 403
                assert "Access-Control-Allow-Origin" not in answer.headers


async def test_what_is_said_to_browsers_stays_on_its_side(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def reflect(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        headers = {"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true", "Alt-Svc": 'h3=":1"'}
        return web.json_response({}, headers=headers)

    async with gateway(tmp_path) as found, upstream(reflect, found):
        given = {"Referer": "http://127.0.0.1/secret", "Sec-Fetch-Mode": "cors", "Origin": found.address}
        async with found.session.post(f"{found.address}/v1/chat/completions", data=BODY, headers=given) as answer:
            assert answer.status == 200
            assert not [name for name in answer.headers if name.lower().startswith(("access-control", "alt-svc"))]
    assert not {"Referer", "Sec-Fetch-Mode", "Origin"} & seen[0].keys()


async def test_headers_that_stand_twice_pass_twice(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    async def twice(request: web.Request) -> web.Response:
        seen.append(request.headers.getall("X-Trace"))
        response = web.json_response({})
        for value in ("<a>; rel=next", "<b>; rel=last"):
            response.headers.add("Link", value)
        return response

    async with gateway(tmp_path) as found, upstream(twice, found):
        headers = [("X-Trace", "a"), ("X-Trace", "b")]
        async with found.session.post(f"{found.address}/v1/chat/completions", data=BODY, headers=headers) as answer:
            assert answer.headers.getall("Link") == ["<a>; rel=next", "<b>; rel=last"]
    assert seen == [["a", "b"]]


# -- the operator's routes ---------------------------------------------------------------------------------------------

OPERATORS = (("GET", "/"), ("GET", "/metrics"), ("GET", "/admin/stats"), ("POST", "/admin/reload"))


@pytest.mark.parametrize(("method", "path"), OPERATORS)
async def test_what_a_proxy_passes_on_never_reaches_the_operators_routes(
    tmp_path: Path, method: str, path: str
) -> None:
    """As nginx's plain proxy_pass sends it: HTTP/1.0, the upstream's own host, no header that names a client."""
    async with gateway(tmp_path) as found:
        host = found.address.removeprefix("http://")
        answer = await wired(found, f"{method} {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.0 404")
        async with found.session.request(method, f"{found.operator}{path}") as own:
            assert own.status == 200


async def wired(found: Running, raw: bytes) -> bytes:
    """What these bytes are answered, until the connection ends."""
    reader, writer = await asyncio.open_connection(*found.address.removeprefix("http://").split(":"))
    writer.write(raw)
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


@pytest.mark.parametrize("headers", [{"Host": "[::1"}, {"Origin": "http://["}, {"Host": ""}])
async def test_odd_hosts_are_not_the_operators(tmp_path: Path, headers: dict[str, str]) -> None:
    async with gateway(tmp_path) as found:
        answer = await found.session.get(f"{found.operator}/metrics", headers=headers)
        assert answer.status == 403
        assert "error" in await answer.json()


# -- the log -----------------------------------------------------------------------------------------------------------

SECRET = b"sk-client-secret-1234"
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
BROKEN = [
    HEAD + b"Authorization: Bearer " + SECRET + b"\x01\r\n\r\n",
    HEAD + b"Authorization: Bearer x\r\n " + SECRET + b"\r\nContent-Length: 1\r\n\r\n{",
    HEAD + b"Authorization: Bearer " + SECRET + b"\xff\r\nContent-Length: 1\r\n\r\n{",
    b"POST /v1/chat/completions?api_key=" + SECRET + b"\xff HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"POST /v1/chat/completions HTTP/1.1\nHost: 127.0.0.1\nAuthorization: Bearer " + SECRET + b"\n\n" + SAID,
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + SECRET + b"\r\n",
    HEAD + b"X-Long: " + SECRET * 2000 + b"\r\n\r\n",
    HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n" + SECRET,
    HEAD + b"Content-Length: " + SECRET + b"\r\n\r\n",
    HEAD + b"Expect: " + SECRET + b"\r\nContent-Length: 1\r\n\r\n{",
    SECRET + b" / HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("raw", BROKEN)
async def test_what_is_not_http_is_json_and_leaves_no_byte_in_the_log(
    tmp_path: Path, raw: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    async with gateway(tmp_path) as found:
        reader, writer = await asyncio.open_connection(*found.address.removeprefix("http://").split(":"))
        writer.write(raw)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.split()[1] in (b"400", b"403", b"417"), head
        assert b"application/json" in head
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        answer = await reader.readexactly(length)
        assert set(json.loads(answer)["error"]) == {"message", "type", "param", "code"}
        assert SECRET not in answer
        writer.close()
        assert (await found.ask(EASY))[0] == 200
    out, err = capfd.readouterr()
    assert "sk-client" not in caplog.text + out + err


@pytest.mark.slow
async def test_no_bytes_of_a_header_are_logged_or_our_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Five hundred requests with a key in them, each with one to three bytes changed or put in somewhere."""
    caplog.set_level(logging.DEBUG)
    draw = random.Random(7)
    whole = HEAD + b"Authorization: Bearer " + SECRET + b"\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    statuses: set[bytes] = set()
    async with gateway(tmp_path, body_seconds=0.2) as found:
        for _ in range(500):
            raw = bytearray(whole)
            for _ in range(draw.randint(1, 3)):
                at = draw.randrange(len(raw) - len(BODY))
                raw[at : at + draw.randint(0, 1)] = bytes([draw.randrange(256)])
            reader, writer = await asyncio.open_connection(*found.address.removeprefix("http://").split(":"))
            writer.write(raw)
            try:
                answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            except (asyncio.IncompleteReadError, ConnectionError):  # it waited for more, and was cut
                answer = b""
            answer += await reader.read(10_000) if answer else b""
            writer.close()
            assert not answer or answer.startswith(b"HTTP/1."), raw
            statuses.add(answer.split()[1] if answer else b"")
            assert SECRET not in answer, raw
    assert b"400" in statuses
    assert not {one for one in statuses if one.startswith(b"5") and one != b"503"}
    out, err = capfd.readouterr()
    assert "sk-client" not in caplog.text + out + err


async def test_a_kind_of_failure_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    from demur.gateway.http.failures import FailureLog

    log = FailureLog(seconds=0.05)
    for _ in range(50):
        log.say("a request failed", ValueError("secret"))
    assert [record.getMessage() for record in caplog.records] == ["a request failed: ValueError"]
    await asyncio.sleep(0.06)
    log.say("a request failed", ValueError("secret"))
    assert caplog.records[1].getMessage() == "a request failed: ValueError (50 times)"


async def test_a_key_that_is_no_text_is_wrong_and_no_fault(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    new_key(keys, "ann")
    async with gateway(tmp_path, keys=str(keys)) as found:
        raw = HEAD + b"Authorization: Bearer \xff\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        answer = await wired(found, raw)
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"invalid_api_key" in answer


# -- what is turned away -----------------------------------------------------------------------------------------------


async def test_who_is_turned_away_is_counted_and_not_written_down(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    new_key(keys, "ann")
    async with gateway(tmp_path, keys=str(keys)) as found:
        for _ in range(3):
            assert (await found.ask(EASY))[0] == 401
        assert (await post(found, b"{}", "/v1/moderations"))[0] == 404
        text = await (await found.session.get(f"{found.operator}/metrics")).text()
        assert 'demur_refused_total{status="401"} 3' in text
        assert 'demur_refused_total{status="404"} 1' in text
    assert read_ledger(str(tmp_path / "ledger.sqlite")) == []


@pytest.mark.parametrize("limit", ["rate", "budget spent", "budget under way", "load", "bodies"])
async def test_a_flood_of_429_leaves_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """Of each key's or the gateway's limits: one request is let in where any is, twenty more are counted alone."""
    keys = tmp_path / "keys.json"
    usd = {"budget spent": 0.0, "budget under way": 1e-9}.get(limit)
    key = new_key(keys, "ann", requests_per_minute=1 if limit == "rate" else None, usd=usd)
    async with gateway(tmp_path, keys=str(keys), max_in_flight=1 if limit == "load" else 2000) as found:
        found.strong.hang_seconds = 0.3
        if limit == "bodies":
            monkeypatch.setattr("demur.gateway.http.read_body.LARGEST_HELD", 1)
        held = {"Authorization": f"Bearer {key}"}
        first = asyncio.ensure_future(found.ask("zzz", model="large", headers=held))
        await asyncio.sleep(0.1)
        assert {(await found.ask("zzz", model="large", headers=held))[0] for _ in range(20)} == {429}
        let_in = int((await first)[0] == 200)
        text = await (await found.session.get(f"{found.operator}/metrics")).text()
        assert f'demur_refused_total{{status="429"}} {21 - let_in}' in text
        assert len(await records(found, let_in)) == let_in
    assert let_in == (limit not in ("budget spent", "bodies"))
    assert [record.status for record in read_ledger(str(tmp_path / "ledger.sqlite"))] == [200] * let_in


async def test_other_paths_and_methods_say_what_is_served(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        status, answer = await post(found, b"{}", "/v1/moderations")
        said = json.loads(answer)["error"]["message"]
        assert (status, "/v1/moderations" in said, "/v1/chat/completions" in said) == (404, True, True)
        async with found.session.get(f"{found.address}/v1/chat/completions") as wrong:
            assert wrong.status == 405
            assert {"POST"} <= set(wrong.headers["Allow"].split(","))


# -- streams behind proxies and to old clients -------------------------------------------------------------------------


async def test_a_stream_is_not_held_back_by_a_proxy_and_ends_with_an_old_clients_connection(tmp_path: Path) -> None:
    async with gateway(tmp_path) as found:
        _, headers, _ = await found.ask(EASY, stream=True)
        assert headers["X-Accel-Buffering"] == "no"
        raw = b'{"model":"small","stream":true,' + SAID + b"}"
        old = HEAD.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\nContent-Length: %d\r\n\r\n"
        answer = await wired(found, old % len(raw) + raw)
        assert answer.endswith(b"data: [DONE]\n\n")


# -- the operator's terminal -------------------------------------------------------------------------------------------

ESCAPES = "\x1b[2J\x1b]0;owned\x07\nname\x9b\u202e"


def test_what_others_write_is_shown_by_its_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    from demur.cli import printing

    made = Decision(ESCAPES, "weak", 0.4, 0.5, f"a reason {ESCAPES}", ())
    printing.decision(f"a prompt {ESCAPES}", made)
    printing.lines([ESCAPES])
    shown = capsys.readouterr().out
    assert not [letter for letter in shown if not letter.isprintable() and letter != "\n"]
    assert "\\x1b[2J" in shown
    assert "\\nname\\x9b\\u202e" in shown  # a line break in a name is no new line


def test_a_table_shows_escapes_too(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    from demur.cli import printing

    table = Table(title="title")
    table.add_column("name")
    table.add_row(ESCAPES)
    printing.out.print(table)
    assert "\x1b[2J" not in capsys.readouterr().out
