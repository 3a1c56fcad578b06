"""Conversations kept in a database: by several processes in one file, by several machines in PostgreSQL."""

from __future__ import annotations

import asyncio
import stat
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from demur.gateway.decision.conversation_model import ConversationRecord, KnownConversation
from demur.gateway.ledger import held_conversations
from demur.gateway.ledger.held_conversations import ConversationRecords, SqliteTable, open_table
from gateways import EASY, HARD, gateway
from test_gateway_conversations import called, user

ONE = ConversationRecord("strong", "a", 1.5, 70, 2, 3, True, decided_by="0f 30%")
OTHER = ConversationRecord("weak", "b", 2.5)


async def test_what_one_process_keeps_another_finds(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "l.sqlite")
    mine, others = (ConversationRecords(open_table(path, None)) for _ in range(2))
    await mine.keep(["x", "y"], ONE)
    await mine.keep(["y", "z"], OTHER)
    assert await others.find(["nothing", "x", "y"]) == KnownConversation(ONE, "x")
    assert await others.find(["y", "x"]) == KnownConversation(OTHER, "y")
    assert await others.find(["nothing"]) is None
    assert await others.find([]) is None
    mine.close()
    others.close()
    again = ConversationRecords(open_table(path, None))  # after a restart
    assert await again.find(["z"]) == KnownConversation(OTHER, "z")
    again.close()
    file = tmp_path / "run" / "l-conversations.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_without_a_ledger_workers_share_a_file_and_a_process_alone_none(tmp_path: Path) -> None:
    mine, others, alone = (ConversationRecords(open_table("", folder)) for folder in (tmp_path, tmp_path, None))
    await mine.keep(["x"], ONE)
    assert await others.find(["x"]) == KnownConversation(ONE, "x")
    assert await alone.find(["x"]) is None
    for one in (mine, others, alone):
        one.close()


async def test_a_process_alone_asks_the_file_only_where_another_has_written(tmp_path: Path) -> None:
    path = str(tmp_path / "c.sqlite")
    other = ConversationRecords(SqliteTable(path))
    await other.keep(["before"], ONE)
    table = Counted(path)
    alone = ConversationRecords(table, alone=True)
    table.asked = 0
    assert await alone.find(["before"]) == KnownConversation(ONE, "before")
    await alone.keep(["x"], OTHER)
    assert await alone.find(["x"]) == KnownConversation(OTHER, "x")
    assert await alone.find(["nothing"]) is None
    assert table.asked == 0
    await other.keep(["after"], ONE)
    assert await alone.find(["after"]) == KnownConversation(ONE, "after")
    table.asked = 0
    assert await alone.find(["after"]) == KnownConversation(ONE, "after")  # all rows were read again
    assert table.asked == 0
    alone.close()  # what waits is written
    assert await other.find(["x"]) == KnownConversation(OTHER, "x")
    other.close()


async def test_a_process_alone_writes_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_conversations, "LATER_SECONDS", 0.01)
    path = str(tmp_path / "c.sqlite")
    alone = ConversationRecords(SqliteTable(path), alone=True)
    await alone.keep(["x"], ONE)
    await asyncio.sleep(0.2)
    assert SqliteTable(path).execute("select name from conversations") == [("x",)]
    alone.close()


class Counted(SqliteTable):
    """Counts the statements that it is asked."""

    asked = 0

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[object]:
        self.asked += 1
        return super().execute(statement, values)


class Away(SqliteTable):
    """A database that fails when it is told to."""

    away = False

    def execute(self, statement: str, values: object = ()) -> list[object]:
        if self.away:
            raise OSError("secret-password")
        return super().execute(statement, values)  # type: ignore[arg-type]


class Slow(SqliteTable):
    """Waits in its first statement until it may go on; counts statements by their first word."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.asked, self.begun, self.go_on = Counter[str](), threading.Event(), threading.Event()

    def execute(self, statement: str, values: object = ()) -> list[object]:
        self.asked[statement.split()[0]] += 1
        self.begun.set()
        self.go_on.wait(5)
        return super().execute(statement, values)  # type: ignore[arg-type]


async def test_requests_that_come_while_a_statement_runs_share_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One insert runs, twenty records wait: two inserts. Whoever gives up takes nothing with it. Reads likewise."""
    monkeypatch.setattr(held_conversations, "WAIT_SECONDS", 5.0)
    table = Slow(str(tmp_path / "c.sqlite"))
    held = ConversationRecords(table)
    first = asyncio.create_task(held.keep(["first"], ONE))
    await asyncio.to_thread(table.begun.wait, 5)
    rest = [asyncio.create_task(held.keep([f"k{i}"], OTHER)) for i in range(20)]
    await asyncio.sleep(0)
    rest[7].cancel()
    table.go_on.set()
    await asyncio.gather(first, *rest, return_exceptions=True)
    assert table.asked == {"insert": 2}
    other = ConversationRecords(table)
    found = await asyncio.gather(*(other.find([f"k{i}"]) for i in range(20)))
    assert found == [KnownConversation(OTHER, f"k{i}") for i in range(20)]
    assert table.asked == {"insert": 2, "select": 1}
    for one in (held, other):
        one._thread.shutdown()


async def test_while_the_database_is_away_a_process_knows_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Away(str(tmp_path / "c.sqlite"))
    held = ConversationRecords(table)
    await held.keep(["x"], ONE)
    table.away = True
    await held.keep(["y"], OTHER)
    assert await held.find(["y"]) == KnownConversation(OTHER, "y")
    assert await held.find(["x"]) == KnownConversation(ONE, "x")
    table.away = False
    monkeypatch.setattr(held_conversations, "REST_SECONDS", 0.0)
    held._ask_again = 0.0
    assert await held.find(["x"]) == KnownConversation(ONE, "x")
    held.close()
    assert capsys.readouterr().err == f"demur: conversations: {tmp_path / 'c.sqlite'} cannot be used (OSError)\n"


async def test_the_oldest_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_conversations, "LARGEST", 2)
    monkeypatch.setattr(held_conversations, "SWEEP_EVERY", 4)
    table = SqliteTable(str(tmp_path / "c.sqlite"))
    monkeypatch.setattr(
        held_conversations, "_SWEEP", held_conversations._SWEEP.replace(str(held_conversations.MOST_ROWS), "1")
    )
    held = ConversationRecords(table)
    for at in range(4):
        await held.keep([f"n{at}"], ConversationRecord("weak", "", float(at)))
    assert [row[0] for row in table.execute("select name from conversations order by name")] == ["n2", "n3"]
    assert list(held._own) == ["n2", "n3"]
    held.close()


async def test_a_table_of_an_earlier_version_gets_the_columns_that_it_lacks(tmp_path: Path) -> None:
    table = SqliteTable(str(tmp_path / "c.sqlite"))
    await ConversationRecords(table).keep(["x"], ONE)
    table.execute("alter table conversations drop column chosen")
    table.execute("alter table conversations drop column decided_by")
    table.close()
    held = ConversationRecords(SqliteTable(str(tmp_path / "c.sqlite")))
    assert await held.find(["x"]) == KnownConversation(replace(ONE, chosen=False, decided_by=""), "x")
    await held.keep(["x"], ONE)
    assert await held.find(["x"]) == KnownConversation(ONE, "x")
    held.close()


class Fails(SqliteTable):
    """A database that raises or hangs when it is told to."""

    how = ""

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[object]:
        if self.how == "hangs":
            time.sleep(3 * WAIT)
        if self.how:
            raise OSError("secret-password")
        return super().execute(statement, values)


WAIT = 0.03


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_conversations, "WAIT_SECONDS", WAIT)
    monkeypatch.setattr(held_conversations, "PATIENCE_SECONDS", WAIT)
    monkeypatch.setattr(held_conversations, "LATER_SECONDS", 0.001)
    monkeypatch.setattr(held_conversations, "FIRST_REST", 0.001)


def last_steps(number: int) -> list[dict[str, object]]:
    """A history that its client has summed up, so that its last two calls alone tell whose it is."""
    calls = [call for step in (number - 1, number) for call in called(f"call_step{step:04d}")]
    return [user(f"Summary of {number} steps."), *calls]


@pytest.mark.parametrize("how", ["raises", "hangs"])
@pytest.mark.parametrize("fails", [lambda number: True, lambda number: number % 3], ids=["always", "on and off"])
@pytest.mark.parametrize(("ask", "expected"), [(HARD, "large"), (EASY, "small")])
async def test_a_loop_of_one_process_keeps_its_model_whatever_the_database_does(
    tmp_path: Path, impatient: None, how: str, fails: Callable[[int], bool], ask: str, expected: str
) -> None:
    table = Fails(str(tmp_path / "c.sqlite"))
    async with gateway(tmp_path, context_characters=0) as found:
        found.gateway.chooser._conversations = held = ConversationRecords(table)
        assert (await found.ask(messages=[user(ask), *called("call_step0000")]))[2]["model"] == expected
        for number in range(1, 13):
            table.how = how if fails(number) else ""
            asked = await found.ask(messages=last_steps(number), model="demur@-9" if expected == "small" else "demur@9")
            assert asked[2]["model"] == expected, number
        table.how = ""
        held.close()


@pytest.mark.parametrize("how", ["raises", "hangs"])
async def test_no_loop_of_two_processes_goes_to_the_weak_model_while_their_database_fails(
    tmp_path: Path, impatient: None, how: str
) -> None:
    """Each sees every other step, so it does not know the steps before it by itself."""
    tables = [Fails(str(tmp_path / "c.sqlite")) for _ in range(2)]
    held = [ConversationRecords(table) for table in tables]
    async with gateway(tmp_path, context_characters=0) as found:
        found.gateway.chooser._conversations = held[0]
        assert (await found.ask(messages=[user(HARD), *called("call_step0000")]))[2]["model"] == "large"
        for number in range(1, 17):
            for table in tables:
                table.how = how if number % 8 in (3, 4, 5) else ""
            found.gateway.chooser._conversations = held[number % 2]
            asked = await found.ask(messages=last_steps(number), model="demur@9")
            assert asked[2]["model"] == "large", number
    for one, table in zip(held, tables, strict=True):
        table.how = ""
        one.close()


async def test_what_the_database_has_missed_is_written_when_it_returns(tmp_path: Path, impatient: None) -> None:
    """But it replaces nothing that another process has written since."""
    table, path = Fails(str(tmp_path / "c.sqlite")), str(tmp_path / "c.sqlite")
    mine, others = ConversationRecords(table), ConversationRecords(SqliteTable(path))
    table.how = "raises"
    await mine.keep(["x", "y"], ONE)
    await others.keep(["y"], OTHER)
    table.how = ""
    await asyncio.sleep(0.3)
    assert await others.find(["x"]) == KnownConversation(ONE, "x")
    assert await mine.find(["y"]) == await others.find(["y"]) == KnownConversation(OTHER, "y")
    for one in (mine, others):
        one.close()


async def test_an_answer_that_came_in_time_to_a_busy_loop_is_taken(tmp_path: Path, impatient: None) -> None:
    """A loop that does something else for longer than the database is waited for does not make the database late."""
    held = ConversationRecords(SqliteTable(str(tmp_path / "c.sqlite")))
    found = asyncio.create_task(held.search(["x"]))
    await asyncio.sleep(0)
    time.sleep(3 * WAIT)  # noqa: ASYNC251 - the loop is to stand still
    assert (await found).sure
    held.close()


class FailsOnce(SqliteTable):
    """A database that raises once when it is told to."""

    once = False

    def execute(self, statement: str, values: Sequence[object] = ()) -> list[object]:
        if self.once:
            self.once = False
            raise OSError
        return super().execute(statement, values)


async def test_a_loop_that_another_process_has_seen_waits_for_a_database_that_has_just_failed(tmp_path: Path) -> None:
    """So the weak model's loop stays where it is, too."""
    tables = [FailsOnce(str(tmp_path / "c.sqlite")) for _ in range(2)]
    held = [ConversationRecords(table) for table in tables]
    async with gateway(tmp_path, context_characters=0) as found:
        found.gateway.chooser._conversations = held[0]
        assert (await found.ask(messages=[user(EASY), *called("call_step0000")]))[2]["model"] == "small"
        for number in range(1, 5):
            found.gateway.chooser._conversations = held[number % 2]
            tables[number % 2].once = True
            asked = await found.ask(messages=last_steps(number), model="demur@-9")
            assert asked[2]["model"] == "small", number
    for one in held:
        one.close()
