"""Accounts that several workers share: a budget is one budget, whoever spends it and whoever is killed."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demur.gateway.clients.accounts import OwnAccounts
from demur.gateway.clients.budgets import Spent
from demur.gateway.clients.keys import Admission, ClientKey
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.replicas.outages import Outages
from demur.gateway.upstreams.breaker import Breaker
from demur.gateway.workers.shared_state import Board, SharedAccounts

KEYS = [ClientKey("ann", "0" * 64, usd=0.01), ClientKey("bob", "1" * 64, usd=1.0)]


def doors(file: Path, count: int) -> list[Admission]:
    return [Admission(KEYS, accounts=SharedAccounts(file, number, count)) for number in range(count)]


def test_what_is_under_way_in_one_worker_takes_up_the_budget_in_the_other(tmp_path: Path) -> None:
    """A budget of $0.01 and requests of $0.006: two at once, one in each worker; a third is let in nowhere."""
    one, other = doors(tmp_path / "accounts", 2)
    assert one.reserve("ann", 0.006) == other.reserve("ann", 0.006) == 0.006
    for admission in (one, other):
        with pytest.raises(ApiError, match="or reserved by its requests under way"):
            admission.reserve("ann", 0.006)
    other.charge("ann", 0.002, reserved=0.006)  # known to the first at once, before it is in any ledger
    assert one.accounts.read("ann")[0].ever == 0.002
    assert one.reserve("ann", 0.003) == 0.003
    one.charge("ann", 0.007, reserved=0.009)
    assert other.reserve("ann", 0.001) == 0.001
    with pytest.raises(ApiError):
        one.reserve("ann", 0.001)
    assert other.reserve("bob", 0.5) == 0.5  # a key of its own


def test_what_a_killed_worker_had_reserved_is_released_by_its_successor(tmp_path: Path) -> None:
    one, other = doors(tmp_path / "accounts", 2)
    one.reserve("ann", 0.004)
    other.reserve("ann", 0.005)
    other.charge("bob", 0.25)
    again = SharedAccounts(tmp_path / "accounts", 1, 2)
    assert again.read("ann")[1] == 0.004
    assert again.read("bob")[0].ever == 0.25  # what was spent stays


def test_a_step_that_raises_changes_nothing(tmp_path: Path) -> None:
    accounts = SharedAccounts(tmp_path / "accounts", 0, 1)
    with pytest.raises(ZeroDivisionError):
        accounts.change("ann", lambda spent, under_way: (Spent(1 / 0), 1.0))
    assert accounts.read("ann") == (Spent(), 0.0)


@given(st.lists(st.tuples(st.sampled_from(["ann", "bob"]), st.floats(0, 9), st.floats(-9, 9)), max_size=20))
def test_shared_accounts_of_one_worker_are_those_of_a_process(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, float, float]]
) -> None:
    shared = SharedAccounts(tmp_path_factory.mktemp("a") / "accounts", 0, 1)
    own = OwnAccounts()
    for name, usd, more in changes:

        def step(spent: Spent, under_way: float, usd: float = usd, more: float = more) -> tuple[Spent, float]:
            return spent.plus(usd, 1e9), more

        shared.change(name, step)
        own.change(name, step)
        assert shared.read(name) == own.read(name)


def test_processes_that_spend_at_once_lose_nothing_and_stay_within_the_budget(tmp_path: Path) -> None:
    """Four processes, each 300 requests of $0.001 to $0.004: at most one goes beyond $1, and what each says that it was
    charged adds up.
    """
    file, largest = tmp_path / "accounts", 0.004
    SharedAccounts(file, 0, 4)
    pids = [_spend(file, number, tmp_path / f"{number}.txt") for number in range(4)]
    for pid in pids:
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    spent, under_way = SharedAccounts(file, 0, 4).read("bob")
    charged = sum(float((tmp_path / f"{number}.txt").read_text()) for number in range(4))
    assert spent.ever == pytest.approx(charged)
    assert under_way == pytest.approx(0.0)
    assert 1.0 <= spent.ever <= 1.0 + largest


def _spend(file: Path, number: int, told: Path) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        admission, draw = Admission(KEYS, accounts=SharedAccounts(file, number, 4)), random.Random(number)
        under_way, charged = [], 0.0
        for _ in range(300):
            with suppress(ApiError):
                under_way.append(admission.reserve("bob", draw.choice((0.001, 0.002, 0.004))))
            while len(under_way) > 3 or (under_way and draw.random() < 0.3):
                usd = under_way.pop(0)
                admission.charge("bob", usd, reserved=usd)
                charged += usd
        for usd in under_way:
            admission.charge("bob", usd, reserved=usd)
            charged += usd
        told.write_text(repr(charged))
        code = 0
    finally:
        os._exit(code)


async def test_workers_tell_each_other_which_models_are_down(tmp_path: Path) -> None:
    """Worker 0 finds it: worker 1 asks from where it is, and believes it where its own request fails, too."""
    asked = [0, 0]
    well = False

    def breaker(number: int) -> Breaker:
        async def ask() -> bool:
            asked[number] += 1
            return well

        return Breaker(2, 60.0, ask, lambda said: None)

    boards = [Board(tmp_path, number, 2) for number in range(2)]
    breakers = [breaker(number) for number in range(2)]
    outages = [Outages({"m": one}) for one in breakers]

    def exchange() -> None:
        for board, found in zip(boards, outages, strict=True):
            board.tell_down(found.found)
        for board, found in zip(boards, outages, strict=True):
            found.apply_reports(board.reported_down())

    for _ in range(2):
        breakers[0].record(False, "broke", certain=True)
    exchange()
    assert [one.open for one in breakers] == [True, True]
    assert [one.found_down for one in breakers] == [True, False]
    await asyncio.sleep(0.05)
    exchange()
    assert asked == [0, 1]
    assert [one.found_down for one in breakers] == [True, True]
    Board(tmp_path, 0, 2)  # worker 0 was killed: the next one of its number has found nothing yet
    assert boards[1].reported_down() == {}
    well = True
    breakers[1].record(True)
    exchange()
    await asyncio.sleep(0.05)
    assert [one.open for one in breakers] == [False, False]
    for one in breakers:
        await one.close()
