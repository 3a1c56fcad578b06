"""What a request may cost at most is reserved, in the budget of its key and in the target's; what it cost is counted.

Own accounts come first, and cost nothing to ask; where several machines share a PostgreSQL ledger, theirs decides.
"""

from __future__ import annotations

from demur.gateway.clients.budgets import Spent, uses
from demur.gateway.clients.keys import Admission
from demur.gateway.exchange import Exchange
from demur.gateway.replicas.replicas import Replicas
from demur.gateway.replicas.shared_accounts import Room
from demur.gateway.target.held_target import ACCOUNT, HeldTarget
from demur.gateway.target.request_costs import RequestCosts


class Spending:
    """The accounts of a gateway. ``replicas``: those that it shares with other machines."""

    def __init__(self, admission: Admission, replicas: Replicas | None = None) -> None:
        self._admission, self._replicas = admission, replicas

    async def reserve(self, exchange: Exchange, usd: float) -> None:
        """Reserve what a request may cost its key. Raises ApiError 429."""
        exchange.reserved = self._admission.reserve(exchange.key, usd)
        key = self._admission.key_with_budget(exchange.key)
        if key and self._replicas:
            room = Room({use.period: use.budget for use in uses(key, Spent())})
            exchange.ticket, full = await self._replicas.reserve(key.name, usd, room)
            if full:
                exchange.ticket = None
                raise self._admission.spent_error(key, full.spent, full.reserved)

    async def reserve_target(self, exchange: Exchange, target: HeldTarget, costs: RequestCosts | None) -> bool:
        """Reserve what a request may cost the gateway; True: only the weak model may answer. Raises ApiError 429."""
        exchange.target_reserved, weak_alone = target.admit(costs)
        if self._replicas is None or target.target.kind != "usd" or costs is None:
            return weak_alone
        if await self._has_room(self._replicas, exchange, target):
            return weak_alone
        if weak_alone:
            raise target.spent_error()
        target.pay(0.0, reserved=exchange.target_reserved - costs.weak_at_most)
        exchange.target_reserved = costs.weak_at_most
        if not await self._has_room(self._replicas, exchange, target):
            raise target.spent_error()
        return True

    async def _has_room(self, replicas: Replicas, exchange: Exchange, target: HeldTarget) -> bool:
        room = Room({"day": target.target.value}, whole=True)
        ticket, full = await replicas.reserve(ACCOUNT, exchange.target_reserved, room)
        exchange.target_ticket = None if full else ticket
        return full is None

    def charge(self, exchange: Exchange, target: HeldTarget | None, usd: float) -> None:
        """Count what a request has cost; what was reserved for it is released."""
        self._admission.charge(exchange.key, usd, reserved=exchange.reserved)
        if target:
            target.pay(usd, reserved=exchange.target_reserved)
        if self._replicas:
            if exchange.ticket:
                self._replicas.pay(exchange.key, usd, exchange.ticket)
            if target and target.target.kind == "usd":
                self._replicas.pay(ACCOUNT, usd, exchange.target_ticket)
