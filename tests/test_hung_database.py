"""A PostgreSQL that hangs: it keeps its connections and answers nothing, as one whose disk has stopped."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from pathlib import Path

import aiohttp
import pytest

from conftest import needed
from databases import Postgres
from demur.gateway.clients.keys import new_key
from demur.gateway.ledger.ledger import LAST_TRIES_SECONDS
from demur.store.connection import PostgresConnection
from gateways import EASY
from test_gateway_processes import ask, configured, fakes, served

pytestmark = pytest.mark.slow


async def test_requests_are_answered_and_the_gateway_ends_in_the_time_that_kubernetes_gives_it(
    tmp_path: Path, postgres: Postgres
) -> None:
    key = new_key(tmp_path / "keys.json", "ann", usd=5.0)
    settings = {"ledger": postgres.url, "keys": str(tmp_path / "keys.json"), "drain_seconds": 1.0}
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, **settings)
        async with (
            served(command, errors=asyncio.subprocess.STDOUT) as (child, address),
            aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}) as session,
        ):
            assert (await ask(session, address, EASY))[0] == 200
            postgres.signal_all(signal.SIGSTOP)
            try:
                answers = await asyncio.gather(*(ask(session, address, f"{EASY} {i}") for i in range(10)))
                assert [status for status, _ in answers] == [200] * 10
                child.send_signal(signal.SIGTERM)
                # As deploy/helm/demur gives: the drain, and 35 seconds.
                said, _ = await asyncio.wait_for(child.communicate(), 1.0 + 3 * LAST_TRIES_SECONDS + 20)
            finally:
                postgres.signal_all(signal.SIGCONT)
    assert child.returncode == 0
    assert b"records are lost" in said


def test_closing_a_connection_ends_the_statement_for_which_a_thread_waits(postgres: Postgres) -> None:
    needed("psycopg")
    found = PostgresConnection(postgres.url, lambda execute: None)
    raised: list[Exception] = []

    def wait() -> None:
        try:
            found.execute("select pg_sleep(60)")
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    found.close()
    thread.join(10)
    assert not thread.is_alive()
    with pytest.raises(type(raised[0]), match="the connection is closed"):  # it is not opened again
        found.execute("select 1")
