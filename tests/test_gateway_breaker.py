"""Outages and requests that fail by themselves: the first shut an upstream off for a while, the second nobody out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from demur.gateway.ledger.export import bill_page, ledger
from demur.gateway.ledger.ledger import SqliteBackend
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.totals.bills import bill_of, bills
from demur.gateway.ledger.totals.series import series
from demur.gateway.operator.last_hour import dashboard_figures
from demur.gateway.protocols.served_protocols import PROTOCOLS
from demur.gateway.upstreams.breaker import Breaker
from demur.serving_file import requests_in
from gateways import EASY, Running, gateway, point, upstream

COMPLETION = {"choices": [{"message": {"content": "an answer"}}], "usage": {"prompt_tokens": 8, "completion_tokens": 1}}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demur.gateway.upstreams.upstream.backoff_seconds", lambda attempt: 0.002)


async def until(holds: Callable[[], object], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.005)


def is_ordinary(body: Mapping[str, Any]) -> bool:
    return bool(body["messages"][0]["content"] == "Hello")


def breaks_at_poison(asked: list[dict[str, Any]]) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        asked.append(body)
        poison = "poison" in body["messages"][0]["content"]
        return web.json_response({"error": "template"} if poison else COMPLETION, status=500 if poison else 200)

    return answer


# -- the fault is the requests' ----------------------------------------------------------------------------------------


async def test_different_requests_that_fail_by_themselves_shut_nobody_out(tmp_path: Path) -> None:
    """Twenty requests, each another one, make both models answer 500: an ordinary one is asked of each, once."""
    asked: list[dict[str, Any]] = []
    async with gateway(tmp_path, sticky=False) as found, upstream(breaks_at_poison(asked), found):
        for i in range(20):
            assert (await found.ask(f"poison {i}"))[0] == 500
        answers = await asyncio.gather(*(found.ask(EASY) for _ in range(20)))
        assert {headers["x-demur-model"] for _, headers, _ in answers} == {"small"}
        assert not any(up.breaker.open for up in found.gateway.upstreams.values())
        await until(lambda: len([one for one in asked if is_ordinary(one)]) == 2)
    assert sorted(one["model"] for one in asked if is_ordinary(one)) == ["large", "small"]


async def test_an_ordinary_request_is_paid_for_and_on_the_books_and_nobodys(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """8 tokens of $1 and one of $2 a million: $0.000010."""
    async with gateway(tmp_path, breaker_failures=2, retries=0) as found, upstream(breaks_at_poison([]), found):
        for i in range(2):
            await found.ask(f"poison {i}", model="large")
        await until(lambda: len(found.gateway.metrics.recent) == 3)
        assert found.gateway.metrics.series["demur_cost_usd_total"] == pytest.approx(1e-5)
    row = next(one for one in read_ledger(str(tmp_path / "ledger.sqlite")) if one.usd)
    assert (row.model, row.key, row.role, row.status) == ("large", "", "", 200)
    assert "of demur's own" in row.reason
    assert row.usd == pytest.approx(1e-5)
    assert [line for line in capfd.readouterr().err.splitlines() if "upstream" in line] == [
        "demur: upstream large fails at 2 requests in a row (answered 500) but not at an ordinary one: it is asked on"
    ]


async def test_a_request_of_demurs_own_is_no_clients_request(tmp_path: Path) -> None:
    """Everywhere: the bills of every kind, the ledger's lines, the dashboard, the metrics and `demur status`."""
    path, now = str(tmp_path / "ledger.sqlite"), time.time()
    async with gateway(tmp_path, breaker_failures=2, retries=0) as found, upstream(breaks_at_poison([]), found):
        for i in range(2):
            await found.ask(f"poison {i}", model="large")
        await until(lambda: len(found.gateway.metrics.recent) == 3)
        await until(lambda: len(read_ledger(path)) == 3)
        hour = dashboard_figures(found.gateway.metrics.hour.total())
        counted = await metrics(found)
    assert 'demur_requests_total{role="test",model="large",status="200",outcome="ok"} 1' in counted
    assert 'demur_stage_seconds_count{stage="total"} 2' in counted
    records, (whole,), points = read_ledger(path), bills(path), series(path, "hour", now=now + 1)
    for one in (whole, bill_of(records), points.whole.bill):
        assert (one.requests, one.tests, one.usd_checks) == (2, 1, 0.0)
        assert one.usd_tests == pytest.approx(1e-5)
        assert "$0.00001 paid, $0.00001 of it for 1 test request of demur's own, " in one.sentence
    assert (hour["requests"], hour["tests"], hour["errors"]) == (2, 1, 1.0)
    assert (points.whole.errors, hour["measured"]["total"]) == (2, 2)
    assert requests_in(Path(path)) == 2
    assert ledger(path).lines[-1].startswith("2 requests, none routed; ")
    keyed = str(tmp_path / "keyed.sqlite")
    SqliteBackend(keyed).write([one if one.is_test else replace(one, key="ann") for one in records])
    own, ann = bill_page(keyed, "key").lines[1:3]
    assert own.split()[:3] == ["(demur's", "own)", "0"]
    assert own.endswith(", 1 test request of demur's own, $0.00001")
    assert ann.split()[:2] == ["ann", "2"]


async def test_long_answers_that_time_out_are_no_outage(tmp_path: Path) -> None:
    async def slow_at_long(request: web.Request) -> web.Response:
        if "long" in (await request.json())["messages"][0]["content"]:
            await asyncio.sleep(5)
        return web.json_response(COMPLETION)

    async with gateway(tmp_path, first_byte_seconds=0.1, breaker_failures=2) as found, upstream(slow_at_long, found):
        for i in range(4):
            assert (await found.ask(f"long {i}", model="small"))[0] == 502
        assert (await found.ask(EASY, model="small"))[0] == 200


# -- an outage ---------------------------------------------------------------------------------------------------------


async def test_an_upstream_that_fails_at_everything_is_left_alone_until_it_answers(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only ordinary requests try it meanwhile, and no client waits for them."""
    async with gateway(tmp_path, retries=0, breaker_failures=3, breaker_seconds=0.2) as found:
        found.weak.refusal = lambda body: (500, "{}")
        for i in range(3):
            assert (await found.ask(f"{EASY} {i}"))[2]["model"] == "large"
        weak = found.gateway.upstreams["weak"]
        await until(lambda: weak.breaker.open)
        assert 'demur_upstream_up{model="small"} 0' in await metrics(found)
        assert 'demur_upstream_up{model="large"} 1' in await metrics(found)
        found.weak.requests.clear()
        for i in range(10):
            assert (await found.ask(f"{EASY} {i}"))[2]["model"] == "large"
        await asyncio.sleep(0.3)
        assert found.weak.requests
        assert all(map(is_ordinary, found.weak.requests))
        assert len(found.weak.requests) <= 3
        found.weak.refusal = None
        await until(lambda: not weak.breaker.open)
        assert (await found.ask(EASY))[2]["model"] == "small"
        assert 'demur_upstream_up{model="small"} 1' in await metrics(found)
    said = [line for line in capfd.readouterr().err.splitlines() if "upstream" in line]
    assert said == [
        "demur: upstream small is down: its last 3 requests failed; at last it answered 500; an ordinary "
        "request fails as well",
        "demur: upstream small answers again",
    ]


async def test_an_upstream_that_hangs_at_everything_is_left_alone(tmp_path: Path) -> None:
    async with gateway(tmp_path, first_byte_seconds=0.1, breaker_failures=2, breaker_seconds=0.1) as found:
        found.weak.hang_seconds = 0.5
        await asyncio.gather(*(found.ask(EASY) for _ in range(3)))
        await until(lambda: found.gateway.upstreams["weak"].breaker.open)
        found.weak.hang_seconds = 0.0
        await until(lambda: not found.gateway.upstreams["weak"].breaker.open)
        assert (await found.ask(EASY))[2]["model"] == "small"


async def test_an_upstream_that_cannot_be_reached_is_left_alone_without_a_question(tmp_path: Path) -> None:
    async with gateway(tmp_path, retries=0, breaker_failures=3) as found:
        point(found, "127.0.0.1:9", ("weak",))
        for _ in range(3):
            assert (await found.ask(EASY))[2]["model"] == "large"
        assert found.gateway.upstreams["weak"].breaker.open


async def test_what_is_refused_at_once_is_an_answer(tmp_path: Path) -> None:
    """An ordinary request that is answered 400 (a model that knows no max_tokens) has reached a model that is well."""
    async with gateway(tmp_path, retries=0, breaker_failures=2) as found:
        found.weak.refusal = lambda body: (400, "{}") if is_ordinary(body) else (500, "{}")
        for i in range(2):
            await found.ask(f"{EASY} {i}", model="small")
        await until(lambda: any(map(is_ordinary, found.weak.requests)))
        await asyncio.sleep(0.02)
        assert not found.gateway.upstreams["weak"].breaker.open
        assert {record.usd for record in found.gateway.metrics.recent} == {0.0}


async def metrics(found: Running) -> str:
    async with found.session.get(f"{found.operator}/metrics") as answer:
        return await answer.text()


# -- the parts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "member"),
    [
        ("/chat/completions", "messages"),
        ("/completions", "prompt"),
        ("/embeddings", "input"),
        ("/messages", "messages"),
        ("/messages/count_tokens", "messages"),
        ("/responses", "input"),
    ],
)
def test_an_ordinary_request_is_of_its_paths_kind_and_short(path: str, member: str) -> None:
    (protocol,) = [one for one in PROTOCOLS if one.path == path]
    assert member in protocol.ordinary
    assert len(json.dumps(protocol.ordinary)) < 100


async def test_failures_in_a_row_are_those_without_one_that_works_between() -> None:
    asked = []

    async def ask() -> bool:
        asked.append(1)
        return False

    circuit = Breaker(3, 0.01, ask, lambda said: None)
    for _ in range(5):
        circuit.record(False)
        circuit.record(False)
        circuit.record(True)
    assert (circuit.failures, circuit.open, asked) == (0, False, [])
    for _ in range(3):
        circuit.record(False)
    await until(lambda: circuit.open)
    circuit.record(True)  # one that was under way
    assert not circuit.open
    await circuit.close()


async def test_while_bad_requests_go_on_an_ordinary_one_is_asked_now_and_then() -> None:
    asked = []

    async def ask() -> bool:
        asked.append(1)
        return True

    circuit = Breaker(2, 0.2, ask, lambda said: None)
    for _ in range(50):
        circuit.record(False)
        await asyncio.sleep(0.001)
    assert len(asked) == 1
    await asyncio.sleep(0.2)
    circuit.record(False)
    circuit.record(False)
    await until(lambda: len(asked) == 2)
    assert not circuit.open
    await circuit.close()
