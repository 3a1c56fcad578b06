"""A request's records: a step returns its own, the ledger's is built from them once, and nothing stays reserved."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import demur
from demur.gate.router import Router
from demur.gateway.clients.accounts import OwnAccounts
from demur.gateway.clients.budgets import Spent
from demur.gateway.clients.keys import Admission, ClientKey
from demur.gateway.clients.spending import Spending
from demur.gateway.exchange import Arrived, Exchange, Reserved
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.protocols.openai import CHAT
from demur.gateway.replicas.replicas import Replicas, Ticket
from demur.gateway.replicas.shared_accounts import Account, Room
from demur.gateway.target.held_target import ACCOUNT, HeldTarget, parse_target
from demur.gateway.target.request_costs import RequestCosts
from gateways import save_router

GATEWAY = Path(demur.__file__).parent / "gateway"
TREES = {
    path.relative_to(GATEWAY).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(GATEWAY.rglob("*.py"))
}


# -- records -----------------------------------------------------------------------------------------------------------

LASTING = {  # what lives as long as the process, or a reservation, and changes; each with its own methods to change it
    "ApiError": "http/openai_bodies.py",  # an exception: Python sets its traceback
    "AskedAgain": "learning/asked_again.py",
    "Arrivals": "target/arrivals.py",
    "HeldTarget": "target/held_target.py",
    "KeptQuality": "target/kept_quality.py",
    "Ticket": "replicas/replicas.py",
    "Worker": "workers/processes.py",
    "_Alarm": "learning/changes.py",
}


def test_what_a_step_returns_is_frozen() -> None:
    """Of a request itself one record changes: the one that gathers what its steps returned."""
    changing = {
        node.name: module
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        if ast.unparse(decorator).startswith("dataclass") and "frozen=True" not in ast.unparse(decorator)
    }
    assert changing == {**LASTING, "Exchange": "exchange.py"}


def targets_of(node: ast.AST) -> list[ast.Attribute]:
    found = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [one for part in found if part for one in ast.walk(part) if isinstance(one, ast.Attribute)]


def test_only_the_app_gathers_them() -> None:
    """No other module sets a field of a request's records, under any name that its signature gives them."""
    setting = {
        f"{module}: {ast.unparse(attribute)}"
        for module, tree in TREES.items()
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign)
        for attribute in targets_of(node)
        if ast.unparse(attribute.value) in {"exchange"} | exchanges_of(function)
    }
    fields = ["key", "reserved", "target_reserved", "question", "strained", "version", "choice", "checked", "sent"]
    assert setting == {f"app.py: exchange.{name}" for name in (*fields, "ended")}


def exchanges_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names of a function's arguments that are an exchange."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return {one.arg for one in arguments if one.annotation and ast.unparse(one.annotation) == "Exchange"}


def test_the_ledgers_record_of_a_request_is_built_in_one_place() -> None:
    """The others are a line that no request has made, and a line read back from the ledger."""
    built = {
        module: sum(isinstance(node, ast.Call) and ast.unparse(node.func) == "LedgerRecord" for node in ast.walk(tree))
        for module, tree in TREES.items()
    }
    assert {module: count for module, count in built.items() if count} == {
        "exchange.py": 1,
        "ledger/learning_cost.py": 1,
        "ledger/read.py": 1,
    }


# -- what is reserved --------------------------------------------------------------------------------------------------


@dataclass
class SharedAccounts(Replicas):
    """Accounts that others share: one that has no room for more than ``most`` USD at once, or does not answer."""

    most: float = 0.0
    silent: bool = False
    paid: list[tuple[str, float, Ticket | None]] = field(default_factory=list)

    async def reserve(self, name: str, usd: float, room: Room) -> tuple[Ticket, Account | None]:
        if self.silent:
            await asyncio.Event().wait()
        return Ticket(name, usd), None if usd <= self.most else Account(Spent(), 1.0)

    def pay(self, name: str, usd: float, ticket: Ticket | None = None) -> None:
        self.paid.append((name, usd, ticket))


def admission() -> Admission:
    return Admission([ClientKey("ann", "0123456789abcdef" * 4, usd=5.0)])


@pytest.fixture
def held(tmp_path: Path) -> HeldTarget:
    save_router(tmp_path / "saved")
    target = parse_target("5 USD/day")
    assert target
    return HeldTarget(target, Router.load(tmp_path / "saved"), OwnAccounts())


COSTS = RequestCosts(0.1, 0.2, weak_at_most=1.0, strong_at_most=2.0)  # $3 with either model, $1 with the weak one


async def test_where_the_shared_account_has_no_room_a_key_keeps_nothing_reserved() -> None:
    own = admission()
    with pytest.raises(ApiError, match="or reserved by its requests under way"):
        await Spending(own, SharedAccounts(most=0.5)).reserve("ann", 1.0)
    assert own.accounts.read("ann") == (Spent(), 0.0)


async def test_a_client_that_leaves_meanwhile_keeps_nothing_reserved(held: HeldTarget) -> None:
    own = admission()
    for waiting in (
        Spending(own, SharedAccounts(silent=True)).reserve("ann", 1.0),
        Spending(own, SharedAccounts(silent=True)).reserve_target(held, COSTS),
    ):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(waiting, 0.05)
    assert own.accounts.read("ann")[1] == 0.0
    assert held.accounts.read(ACCOUNT)[1] == 0.0


@pytest.mark.parametrize(("most", "reserved", "weak_alone"), [(3.0, 3.0, False), (2.0, 1.0, True)])
async def test_a_target_reserves_both_models_or_the_weak_one(
    held: HeldTarget, most: float, reserved: float, weak_alone: bool
) -> None:
    shared = SharedAccounts(most=most)
    found, alone = await Spending(admission(), shared).reserve_target(held, COSTS)
    assert (found, alone) == (Reserved(reserved, Ticket(ACCOUNT, reserved)), weak_alone)
    assert held.accounts.read(ACCOUNT)[1] == reserved


async def test_where_not_even_the_weak_model_has_room_a_target_keeps_nothing_reserved(held: HeldTarget) -> None:
    with pytest.raises(ApiError, match="is spent"):
        await Spending(admission(), SharedAccounts(most=0.5)).reserve_target(held, COSTS)
    assert held.accounts.read(ACCOUNT)[1] == 0.0


async def test_what_a_request_cost_is_counted_and_its_reservations_are_released(held: HeldTarget) -> None:
    own, shared = admission(), SharedAccounts(most=9.0)
    spending = Spending(own, shared)
    exchange = Exchange(Arrived("id", "/v1/chat/completions", 0.0, 0.0), CHAT, key="ann")
    exchange.reserved = await spending.reserve("ann", 3.0)
    exchange.target_reserved, _ = await spending.reserve_target(held, COSTS)
    spending.charge(exchange, held, 0.25)
    for spent, reserved in (own.accounts.read("ann"), held.accounts.read(ACCOUNT)):
        assert (spent.day, reserved) == (0.25, 0.0)
    assert shared.paid == [("ann", 0.25, Ticket("ann", 3.0)), (ACCOUNT, 0.25, Ticket(ACCOUNT, 3.0))]
