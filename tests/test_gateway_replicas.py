"""What several machines share through a real PostgreSQL: budgets under way, and which models are down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from conftest import needed
from databases import Postgres, new_postgres
from demur.gateway.clients.budgets import Spent
from demur.gateway.clients.keys import new_key
from demur.gateway.replicas import presence, replicas, shared_accounts
from demur.gateway.replicas.outages import Outages
from demur.gateway.replicas.replicas import Replicas
from demur.gateway.replicas.shared_accounts import Room
from demur.gateway.upstreams.breaker import Breaker
from gateways import EASY, HARD, gateway

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """One server for all of these tests: a start takes seconds."""
    needed("psycopg")
    with TemporaryDirectory(prefix="demur-pg-") as folder:
        found = new_postgres(Path(folder))
        found.start()
        yield found
        found.stop("immediate")


@pytest.fixture
def postgres(server: Postgres) -> Postgres:
    """The server with an empty database."""
    run(server.url, "drop schema public cascade; create schema public")
    return server


CENT = Room({"ever": 0.010})


def joined(url: str, **spent: float) -> tuple[Replicas, dict[str, Spent]]:
    """A process that joins, and what it is told of the accounts."""
    told: dict[str, Spent] = {}
    known = {name: Spent(usd, usd, usd, time.time()) for name, usd in spent.items()}
    found = Replicas(url, "1.0", lambda: known, told.update)
    found.open()
    return found, told


def rows(url: str, statement: str) -> list[Any]:
    with needed("psycopg").connect(url) as db:
        return list(db.execute(statement).fetchall())


def run(url: str, statement: str) -> None:
    with needed("psycopg").connect(url, autocommit=True) as db:
        db.execute(statement)


async def until(holds: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for it, on a busy machine too: the bound only ends a test that hangs."""
    deadline = time.monotonic() + seconds
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


def reserved(url: str) -> float:
    return float(rows(url, "select sum(value::float8) from accounts, jsonb_each_text(reserved)")[0][0] or 0.0)


# -- budgets -----------------------------------------------------------------------------------------------------------


async def test_of_all_requests_under_way_on_all_machines_one_goes_beyond_a_budget(postgres: Postgres) -> None:
    """Of $.010 three requests of $.004 are admitted ($.008 is less than $.010, $.012 is not), whoever gets them."""
    (one, _), (other, _) = joined(postgres.url, ann=0.0), joined(postgres.url, ann=0.0)
    first, _ = await one.reserve("ann", 0.004, CENT)
    for machine in (other, one):
        assert (await machine.reserve("ann", 0.004, CENT))[1] is None
    full = (await other.reserve("ann", 0.004, CENT))[1]
    assert full is not None
    assert full.spent.ever == 0.0
    assert full.reserved == pytest.approx(0.012)
    one.pay("ann", 0.001, first)  # $.001 is spent and $.008 reserved: one more has room
    await until(lambda: reserved(postgres.url) < 0.010)
    assert (await other.reserve("ann", 0.004, CENT))[1] is None
    assert (await one.reserve("ann", 0.004, CENT))[1] is not None
    one.close()
    assert reserved(postgres.url) == pytest.approx(0.008)  # the other's two
    other.close()
    assert rows(postgres.url, "select ever from accounts") == [(0.001,)]


async def test_many_at_once_are_admitted_exactly_as_often_as_they_fit(postgres: Postgres) -> None:
    """Requests of half a dollar that must fit whole into $10 of a day: twenty of ninety, from three machines."""
    machines = [joined(postgres.url, target=0.0)[0] for _ in range(3)]
    room = Room({"day": 10.0}, whole=True)
    asked = await asyncio.gather(*(machine.reserve("target", 0.5, room) for machine in machines for _ in range(30)))
    admitted = [(i // 30, ticket) for i, (ticket, full) in enumerate(asked) if full is None]
    assert len(admitted) == 20
    for i, ticket in admitted:
        machines[i].pay("target", 0.25, ticket)
    for machine in machines:
        machine.close()
    assert rows(postgres.url, "select day from accounts") == [(5.0,)]
    assert reserved(postgres.url) == 0.0


async def test_a_client_that_hangs_up_while_its_budget_is_asked_leaves_nothing_reserved(postgres: Postgres) -> None:
    machine, _ = joined(postgres.url, ann=0.0)
    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await machine.reserve("ann", 0.001, CENT)
    ticket, full = await machine.reserve("ann", 0.002, CENT)
    assert full is None
    await until(lambda: reserved(postgres.url) == 0.002)
    machine.pay("ann", 0.0, ticket)
    await until(lambda: reserved(postgres.url) == 0.0)
    machine.close()


async def test_what_a_killed_process_had_reserved_is_released(postgres: Postgres) -> None:
    killed, _ = joined(postgres.url, ann=0.0)
    living, _ = joined(postgres.url, ann=0.0)
    assert (await killed.reserve("ann", 0.010, CENT))[1] is None
    assert (await living.reserve("ann", 0.001, CENT))[1] is not None
    run(postgres.url, f"update replicas set seen = seen - interval '11 seconds' where name = '{killed.name}'")
    following = asyncio.create_task(living.follow(Outages({})))
    await until(lambda: reserved(postgres.url) == 0.0)
    assert (await living.reserve("ann", 0.001, CENT))[1] is None
    following.cancel()
    killed.close()
    living.close()


async def test_while_postgres_is_away_each_goes_by_itself_and_what_it_owes_is_written_later(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replicas, "AWAY_SECONDS", 0.1)
    machine, _ = joined(postgres.url, ann=0.0)
    following = asyncio.create_task(machine.follow(Outages({})))
    first, _ = await machine.reserve("ann", 0.004, CENT)
    await asyncio.sleep(0.8)  # until the server has written its log: three times 200 ms
    await asyncio.to_thread(postgres.stop, "immediate")
    second, full = await machine.reserve("ann", 9.0, CENT)
    assert full is None  # its own account has admitted it before
    machine.pay("ann", 0.003, first)
    await asyncio.to_thread(postgres.start)
    await until(lambda: rows(postgres.url, "select ever from accounts") == [(0.003,)])
    assert reserved(postgres.url) == pytest.approx(9.0)
    await until(lambda: machine._there)
    assert (await machine.reserve("ann", 0.001, CENT))[1] is not None  # now the sum counts
    machine.pay("ann", 0.002, second)
    await until(lambda: rows(postgres.url, "select ever from accounts") == [(pytest.approx(0.005),)])
    assert reserved(postgres.url) == 0.0
    following.cancel()
    machine.close()
    said = [line for line in capfd.readouterr().err.splitlines() if "replicas:" in line]
    assert len(said) == 2
    assert said[0].endswith("budgets go by what this process knows")
    assert said[1] == "demur: replicas: PostgreSQL is back"


async def test_what_a_crash_of_the_server_forgets_is_told_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an account all is gone: what the ledger says was spent, and what this process has reserved, come back."""
    monkeypatch.setattr(replicas, "AWAY_SECONDS", 0.1)
    machine, _ = joined(postgres.url, ann=0.002)
    await machine.reserve("ann", 0.004, CENT)
    following = asyncio.create_task(machine.follow(Outages({})))
    run(postgres.url, "delete from accounts")
    await asyncio.to_thread(postgres.stop)
    await until(lambda: not machine._there)
    await asyncio.to_thread(postgres.start)
    await until(lambda: reserved(postgres.url) == 0.004)
    assert rows(postgres.url, "select ever from accounts") == [(0.002,)]
    following.cancel()
    machine.close()


async def test_a_day_and_a_month_that_have_ended_are_forgotten(postgres: Postgres) -> None:
    """$1 on 31 October, $2 on 1 November, $4 on 2 November."""
    machine, _ = joined(postgres.url)
    execute = machine._db.execute
    for month, day, usd in ((10, 31, 1.0), (11, 1, 2.0), (11, 2, 4.0)):
        now = datetime(2026, month, day, 12, tzinfo=UTC).timestamp()
        shared_accounts.pay(execute, "ann", "p", held=0.0, usd=usd, now=now)
    found = shared_accounts.read(execute, ["ann"])["ann"].spent
    assert (found.ever, found.month, found.day) == (7.0, 6.0, 4.0)
    room = {"name": "ann", "process": "p", "held": 0.0, "usd": 1.0}
    day_after = datetime(2026, 11, 3, 12, tzinfo=UTC).timestamp()
    for limits, admitted in (({"day": 1.0}, True), ({"month": 6.5}, False), ({"day": 1.0, "ever": 7.5}, False)):
        whole = Room(limits, whole=True)  # type: ignore[arg-type]  # names of periods
        asked: Mapping[str, Any] = {**room, "room": whole, "now": day_after}
        assert (shared_accounts.reserve(execute, **asked) is not None) is admitted
    machine.close()


async def test_the_first_begins_with_the_ledger_and_the_next_with_what_the_others_know(postgres: Postgres) -> None:
    first, told = joined(postgres.url, ann=0.5)
    first.pay("ann", 0.25)
    await until(lambda: rows(postgres.url, "select ever from accounts") == [(0.75,)])
    second, _ = joined(postgres.url, ann=0.5)  # the ledger is behind
    following = asyncio.create_task(first.follow(Outages({})))
    await until(lambda: bool(told))
    assert told["ann"].ever == 0.75
    following.cancel()
    first.close()
    second.close()
    again, _ = joined(postgres.url, ann=0.125)  # rows of the ledger were erased while none served
    assert rows(postgres.url, "select ever from accounts") == [(0.125,)]
    again.close()


async def test_what_a_key_that_a_reload_brings_has_spent_by_the_ledger_is_told(postgres: Postgres) -> None:
    """Before its first request is admitted: a key whose budget is spent gets none."""
    known: dict[str, Spent] = {}
    machine = Replicas(postgres.url, "1.0", lambda: known, known.update)
    machine.open()
    for name, usd in (("new", 0.008), ("spent", 0.010)):
        known[name] = Spent(usd, usd, usd, time.time())
    assert (await machine.reserve("new", 0.001, CENT))[1] is None
    assert (await machine.reserve("spent", 0.001, CENT))[1] is not None
    assert rows(postgres.url, "select ever from accounts order by name") == [(0.008,), (0.010,)]
    assert (await machine.reserve("new", 0.002, CENT))[1] is None  # $.009 are taken
    assert (await machine.reserve("new", 0.001, CENT))[1] is not None  # $.011
    machine.close()


async def test_a_gateway_heeds_what_other_machines_have_reserved(tmp_path: Path, postgres: Postgres) -> None:
    """What is reserved elsewhere leaves nothing of a key's budget, and too little of a target for the large model."""
    key = new_key(tmp_path / "keys.json", "ann", usd_per_day=1.0)
    keys = str(tmp_path / "keys.json")
    async with gateway(tmp_path, ledger=postgres.url, keys=keys, target="2 USD/day") as found:
        auth = {"Authorization": f"Bearer {key}"}
        assert (await found.ask(EASY, headers=auth))[0] == 200
        other, _ = joined(postgres.url)
        target = found.gateway.target
        assert target is not None
        await until(lambda: target.arrivals.sharers == 2)  # of the requests that are still to come
        ticket, _ = await other.reserve("ann", 1.0, Room({"day": 5.0}))
        status, _, body = await found.ask(EASY, headers=auth)
        assert (status, body["error"]["code"]) == (429, "insufficient_quota")
        assert "reserved by its requests under way" in body["error"]["message"]
        other.pay("ann", 0.0, ticket)
        await until(lambda: reserved(postgres.url) == 0.0)
        assert (await found.ask(EASY, headers=auth))[0] == 200
        # $.001 is left of the target: the large model's thousand tokens of $2 a million do not fit.
        ticket, _ = await other.reserve("\ttarget", 1.999, Room({"day": 5.0}))
        answers = [await found.ask(text, headers=auth) for text in (EASY, HARD)]
        assert [headers["x-demur-model"] for _, headers, _ in answers] == ["small", "small"]  # whose price is 0
        other.pay("\ttarget", 0.0, ticket)
        await until(lambda: reserved(postgres.url) == 0.0)
        assert (await found.ask(HARD, headers=auth))[1]["x-demur-model"] == "large"
        await until(lambda: reserved(postgres.url) == 0.0)
        other.close()


# -- which models are down ---------------------------------------------------------------------------------------------


class Model:
    """An upstream that can be well or not, and the breaker of one machine."""

    def __init__(self, well: bool = False) -> None:
        self.well, self.asked = well, 0
        self.breaker = Breaker(2, 60.0, self.ask, lambda said: None)

    async def ask(self) -> bool:
        self.asked += 1
        return self.well


def following(machine: Replicas, model: Model) -> asyncio.Task[None]:
    return asyncio.create_task(machine.follow(Outages({"m": model.breaker})))


async def test_an_outage_that_one_machine_finds_is_known_to_all_within_a_second(postgres: Postgres) -> None:
    machines = [joined(postgres.url)[0] for _ in range(3)]
    models = [Model() for _ in machines]
    tasks = [following(*pair) for pair in zip(machines, models, strict=True)]
    await until(lambda: all(len(one.others) == 2 for one in machines))
    for _ in range(2):
        models[0].breaker.record(False, "broke", certain=True)
    await until(lambda: all(one.breaker.open for one in models), 1.0)
    await until(lambda: all(one.breaker.found_down for one in models), 1.0)  # asked, each from its own machine
    assert [one.asked for one in models] == [0, 1, 1]
    await until(lambda: all(other.down for one in machines for other in one.others))
    for one in models:
        one.well = True
    models[1].breaker.report_up()  # as if its minute were over: one finds that it answers again
    await until(lambda: not any(one.breaker.open for one in models), 1.0)
    for task, machine, model in zip(tasks, machines, models, strict=True):
        task.cancel()
        await model.breaker.close()
        machine.close()


async def test_a_machine_that_alone_cannot_reach_a_model_takes_it_from_nobody(postgres: Postgres) -> None:
    (cut, _), (well, _) = joined(postgres.url), joined(postgres.url)
    gone, there = Model(well=False), Model(well=True)
    tasks = [following(cut, gone), following(well, there)]
    for _ in range(2):
        gone.breaker.record(False, "broke", certain=True)
    await until(lambda: there.asked == 1, 1.0)
    await asyncio.sleep(0.8)
    assert there.asked == 1  # heard once
    assert not there.breaker.open
    assert gone.breaker.open
    for task in tasks:
        task.cancel()
    for machine, model in ((cut, gone), (well, there)):
        await model.breaker.close()
        machine.close()


async def test_a_replica_of_another_version_is_said_once_and_its_columns_are_left_alone(
    postgres: Postgres, capfd: pytest.CaptureFixture[str]
) -> None:
    machine, _ = joined(postgres.url, ann=0.0)
    run(postgres.url, "alter table accounts add column currency text not null default 'usd'")
    run(postgres.url, "alter table replicas add column zone text")
    run(postgres.url, "insert into replicas (name, version) values ('newer', '2.0')")
    task = asyncio.create_task(machine.follow(Outages({})))
    await until(lambda: len(machine.others) == 1)
    await asyncio.sleep(0.6)
    assert (await machine.reserve("ann", 0.004, CENT))[1] is None
    task.cancel()
    machine.close()
    said = [line for line in capfd.readouterr().err.splitlines() if line]
    assert said == ["demur: another replica is demur 2.0, this one 1.0; serve with one version"]
    assert presence.GONE_SECONDS == 10.0
