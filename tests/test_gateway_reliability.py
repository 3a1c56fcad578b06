"""When processes, databases and clocks do not hold: real processes, and everything that was sent is counted."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sqlite3
import sys
import time
from collections import Counter
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import needed
from databases import Postgres
from demur.gateway.decision.conversation_model import ConversationRecord, KnownConversation
from demur.gateway.ledger.held_conversations import ConversationRecords, open_table
from demur.gateway.ledger.ledger import Ledger, PostgresBackend, open_backend
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.totals.bills import bills, replaced_counts
from demur.gateway.ledger.totals.saved_so_far import saved_so_far
from demur.gateway.ledger.totals.tried_versions import requests_of_versions
from demur.methods import SimilarityWeighted
from demur.models.encoders.encoder import load_encoder
from demur.quickstart import STRONG, WEAK, demo_config
from demur.routing.prompt_router import TrainingPrompt
from demur.routing.train import train_router
from gateways import EASY, HARD, RECORD
from test_gateway_processes import ask, configured, fakes, served

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]


async def test_kill_9_tears_nothing_and_loses_the_last_second_at_most(tmp_path: Path) -> None:
    path = str(tmp_path / "l.sqlite")
    answered: dict[str, float] = {}  # decision -> when its answer was here

    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=path)
        async with served(command) as (child, address), aiohttp.ClientSession() as session:

            async def keep_asking() -> None:
                body = {"model": "demur", "messages": [{"role": "user", "content": EASY}]}
                while True:
                    async with session.post(f"{address}/v1/chat/completions", json=body) as answer:
                        await answer.read()
                        answered[answer.headers["x-demur-decision-id"]] = time.monotonic()

            clients = [asyncio.create_task(keep_asking()) for _ in range(8)]
            await asyncio.sleep(3.2)
            killed = time.monotonic()
            child.kill()
            await asyncio.gather(*clients, return_exceptions=True)
    with closing(sqlite3.connect(path)) as db:  # whoever opens it next: the log that was left is played back
        assert db.execute("pragma integrity_check").fetchall() == [("ok",)]
    kept = {record.id: record for record in read_ledger(path, last=100_000)}
    assert len(answered) > 100
    owed = {one for one, at in answered.items() if at < killed - 1.0}
    assert owed - set(kept) == set()
    assert len(owed) > len(answered) / 3
    for record in kept.values():  # whole rows
        assert (record.status, record.role, record.model, record.outcome) == (200, "weak", "small", "ok")
        assert 0 < record.total_seconds < 30


async def test_sigterm_under_load_finishes_streams(tmp_path: Path) -> None:
    async with fakes() as (weak, strong):
        weak.answer = strong.answer = lambda prompt, seed: "word " * 50
        weak.hang_seconds = strong.hang_seconds = 0.3
        path = str(tmp_path / "l.sqlite")
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=path)
        async with served(command) as (child, address), aiohttp.ClientSession() as session:
            asked = [asyncio.create_task(ask(session, address, EASY, stream=True)) for _ in range(40)]
            await asyncio.sleep(0.25)
            child.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    whole = [one for one in answers if not isinstance(one, BaseException) and one[0] == 200]
    assert len(whole) >= 30
    assert all(body.count(b"word") == 50 and body.endswith(b"data: [DONE]\n\n") for _, body in whole)
    late = [one for one in answers if isinstance(one, BaseException) or one[0] == 503]  # they came after the signal
    assert len(whole) + len(late) == 40
    records = read_ledger(path, last=1000)
    assert Counter(record.outcome for record in records) == {"ok": len(whole)}


async def test_sent_is_answered_and_refused(tmp_path: Path) -> None:
    """Overload: what the clients counted, the ledger and the metrics agree."""
    async with fakes() as (weak, strong):
        weak.hang_seconds = strong.hang_seconds = 0.2
        path = str(tmp_path / "l.sqlite")
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=path, max_in_flight=10)
        connector = aiohttp.TCPConnector(limit=0)
        async with served(command) as (_, address), aiohttp.ClientSession(connector=connector) as session:
            statuses: Counter[int] = Counter()

            async def client(i: int) -> None:
                for j in range(5):
                    status, _ = await ask(session, address, EASY if i % 2 else HARD, stream=(i + j) % 3 == 0)
                    statuses[status] += 1

            await asyncio.gather(*(client(i) for i in range(60)))
            await asyncio.sleep(1.2)
            async with session.get(f"{address.operator}/metrics") as answer:
                text = await answer.text()
            records = read_ledger(path, last=1000)
    assert sum(statuses.values()) == 300
    assert set(statuses) == {200, 429}
    assert statuses[429] > 50
    assert Counter(record.status for record in records) == {200: statuses[200]}
    counted: Counter[int] = Counter()
    for line in text.splitlines():
        if line.startswith("demur_requests_total{"):
            counted[int(line.partition('status="')[2].partition('"')[0])] += int(line.split()[-1])
    assert counted == {200: statuses[200]}
    assert f'demur_refused_total{{status="429"}} {statuses[429]}\n' in text
    assert "\ndemur_in_flight 0\n" in text
    assert len(weak.requests) + len(strong.requests) - embeddings(weak, strong) == statuses[200]


def embeddings(*fakes: Any) -> int:
    return sum("input" in body for fake in fakes for body in fake.requests)


async def test_a_postgres_that_is_stopped_and_started_again_misses_nothing(tmp_path: Path, postgres: Postgres) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger=postgres.url)
        async with served(command) as (child, address), aiohttp.ClientSession() as session:
            for mode in ("fast", "immediate"):
                for _ in range(10):
                    assert (await ask(session, address, EASY))[0] == 200
                await asyncio.to_thread(postgres.stop, mode)
                for _ in range(10):
                    assert (await ask(session, address, EASY))[0] == 200  # serving goes on
                await asyncio.sleep(1.2)
                await asyncio.to_thread(postgres.start)
            await asyncio.sleep(2)
            async with session.get(f"{address.operator}/metrics") as answer:
                text = await answer.text()
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    assert "\ndemur_ledger_dropped_total 0\n" in text
    assert "\ndemur_ledger_failures_total 0\n" not in text
    records = await asyncio.to_thread(read_ledger, postgres.url, last=100)
    assert len(records) == 40
    assert len({record.id for record in records}) == 40


def test_postgres_keeps_odd_text_and_drops_what_it_cannot_keep_alone(postgres: Postgres) -> None:
    book = Ledger(PostgresBackend(postgres.url))
    odd = ["a\0b", "\ud800", "größer", ""]
    for i, text in enumerate(odd):
        book.add(replace(RECORD, id=str(i), asked=text, prompt_tokens=10**20, usd=float("nan")))
    for i, wrong in enumerate([{"status": "many"}, {"role": None}, {"at": {}}]):
        book.add(replace(RECORD, id=f"wrong {i}", **wrong))  # type: ignore[arg-type]
    book.close()
    assert (book.dropped, book.failures) == (3, 0)
    kept = {record.id: record for record in read_ledger(postgres.url)}
    assert [kept[str(i)].asked for i in range(4)] == ["a?b", "?", "größer", ""]
    assert {record.prompt_tokens for record in kept.values()} == {2**63 - 1}
    assert {record.usd for record in kept.values()} == {None}


def test_a_day_of_the_bills_ends_at_midnight_in_every_database(tmp_path: Path, postgres: Postgres) -> None:
    day = 86_400
    for url in (str(tmp_path / "l.sqlite"), postgres.url):
        book = Ledger(open_backend(url))
        for i, at in enumerate((3 * day - 0.001, 3 * day - 0.5, 3 * day, 4 * day - 0.4)):
            book.add(replace(RECORD, id=str(i), at=at, outcome="fallback"))
        book.close()
        found = {bill.name: bill.requests for bill in bills(url, by="day")}
        assert found == {"1970-01-03": 2, "1970-01-04": 2}, url
        assert replaced_counts(url, by="day")[0] == found, url


def test_a_ledger_of_an_earlier_version_is_read_before_a_gateway_opens_it(tmp_path: Path, postgres: Postgres) -> None:
    """It lacks a number, a text and a number that may be unknown."""
    record = replace(RECORD, score=0.2, threshold=0.5, role="weak", usd=0.25, usd_strong=1.0)
    lost: dict[str, Any] = {"usd_spared": 0.0, "answered_by": "", "usd_strong_error": None}
    for url in (str(tmp_path / "l.sqlite"), postgres.url):
        backend = open_backend(url)
        backend.write([replace(record, usd_spared=0.5, answered_by="x"), replace(record, id="b", threshold=0.4)])
        backend.close()
        with closing(needed("psycopg").connect(url) if url == postgres.url else sqlite3.connect(url)) as db:
            for name in lost:
                db.execute(f"alter table decisions drop column {name}")
            db.commit()
        assert replace(record, **lost) in read_ledger(url)
        assert bills(url)[0].saved == 1.5
        assert bills(url)[0].unguarded == 2
        assert saved_so_far(url, 0.5) is None
        assert requests_of_versions(url, 0.0) == {0: (2, 0)}


async def test_conversations_in_postgres_are_known_to_every_machine(postgres: Postgres) -> None:
    mine, others = (ConversationRecords(open_table(postgres.url, None)) for _ in range(2))
    record = ConversationRecord("strong", "ask", 1.5, 70, 2, 3, True)
    await mine.keep(["x", "y"], record)
    assert await others.find(["nothing", "y"]) == KnownConversation(record, "y")
    await others.keep(["y"], ConversationRecord("weak", "", 2.5))
    assert await mine.find(["y"]) == KnownConversation(ConversationRecord("weak", "", 2.5), "y")
    await asyncio.to_thread(postgres.stop, "immediate")
    await mine.keep(["z"], ConversationRecord("weak", "", 3.5))
    assert await mine.find(["z"]) == KnownConversation(ConversationRecord("weak", "", 3.5), "z")  # its own
    await asyncio.to_thread(postgres.start)
    mine._ask_again = 0.0
    assert await mine.find(["x"]) == KnownConversation(ConversationRecord("strong", "ask", 1.5, 70, 2, 3, True), "x")
    mine.close()
    others.close()


JUMPING = """
import signal, sys, time
real, ahead = time.time, [0.0]
time.time = lambda: real() + ahead[0]
def jump(number, frame):
    ahead[0] += 86_400.0 if number == signal.SIGUSR1 else -172_800.0
signal.signal(signal.SIGUSR1, jump)
signal.signal(signal.SIGUSR2, jump)
from demur.cli.main import main
main()
"""


async def test_a_clock_that_is_set_confuses_neither_rates_nor_durations(tmp_path: Path) -> None:
    """A day forward, then two days back, under way."""
    from demur.gateway.clients.keys import new_key

    key = new_key(tmp_path / "keys.json", "ann", requests_per_minute=12)
    path = str(tmp_path / "l.sqlite")
    async with fakes() as (weak, strong):
        weak.hang_seconds = 0.2
        command = await asyncio.to_thread(
            configured, tmp_path, weak, strong, ledger=path, keys=str(tmp_path / "keys.json")
        )
        started = [sys.executable, "-c", JUMPING, *command[3:]]
        headers = {"Authorization": f"Bearer {key}"}
        async with served(started) as (child, address), aiohttp.ClientSession(headers=headers) as session:
            statuses = []
            for number in (0, signal.SIGUSR1, signal.SIGUSR2):
                asked = [asyncio.create_task(ask(session, address, EASY)) for _ in range(5)]
                await asyncio.sleep(0.1)
                if number:
                    os.kill(child.pid, number)
                statuses += [status for status, _ in await asyncio.gather(*asked)]
            async with session.get(f"{address.operator}/admin/stats") as answer:
                stats = await answer.json()
            child.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(child.wait(), 20) == 0
    assert Counter(statuses) == {200: 12, 429: 3}  # a day is no minute: the bucket did not fill up
    assert stats["requests"] == 12
    records = read_ledger(path, last=100)
    assert len(records) == 12
    assert all(0 <= record.total_seconds < 10 for record in records)
    assert max(record.at for record in records) - min(record.at for record in records) > 86_000


def demo_router(folder: Path) -> None:
    """As the demo trains one, of eight prompts: what is tried here is how it is served."""
    questions = ["How many legs do {} spiders have?", "Who was {}?"]
    training = [TrainingPrompt(questions[i % 2].format(w), float(i % 2), 1.0, 0.0) for i, w in enumerate("abcdefgh")]
    config = demo_config()
    record = {"models": {"weak": asdict(config.weak), "strong": asdict(config.strong)}}
    train_router(
        load_encoder("bge-small"), SimilarityWeighted(), training, weak=WEAK, strong=STRONG, record=record
    ).save(folder)


async def test_the_demo_answers_the_readmes_calls(tmp_path: Path) -> None:
    """`serve --demo`, two real models; then the README's own curl and client call, and a stream from each model."""
    openai = needed("openai")
    needed("xllamacpp")
    await asyncio.to_thread(demo_router, tmp_path / "run" / "demo" / "router")
    command = [sys.executable, "-m", "demur.cli.main", "serve", "--demo", "--port", "0"]
    child = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, env=os.environ | {"COLUMNS": "200"}
    )
    assert child.stdout is not None
    try:
        line = await asyncio.wait_for(child.stdout.readline(), 300)
        address = line.decode().split()[2]
        page = (ROOT / "README.md").read_text(encoding="utf-8").replace("http://127.0.0.1:8111/v1", address)
        shell = next(block for block in re.findall(r"```sh\n(.*?)```", page, re.S) if "curl" in block)
        answer = await said("sh", "-c", shell[shell.index("curl") :].replace("curl ", "curl -s -i "))
        assert "x-demur-model: " in answer.lower()
        assert "x-demur-reason: " in answer.lower()
        assert '"choices"' in answer
        call = next(block for block in re.findall(r"```python\n(.*?)```", page, re.S) if "OpenAI(" in block)
        assert (await said(sys.executable, "-c", call)).strip()
        messages: Any = [{"role": "user", "content": "What is the capital of Spain?"}]
        async with openai.AsyncOpenAI(base_url=address, api_key="none", timeout=120) as client:
            for model in ("demur@0", "demur@1.1"):
                stream = await client.chat.completions.create(model=model, messages=messages, max_tokens=8, stream=True)
                assert "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 40) == 0
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def said(*command: str) -> str:
    """What a command prints."""
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(child.communicate(), 180)
    assert child.returncode == 0
    return out.decode()
