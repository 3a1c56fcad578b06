"""What a request may cost at most is reserved, in the budget of its key and in the target's; what it cost is counted.

Own accounts come first, and cost nothing to ask; where several machines share a PostgreSQL ledger, theirs decides.
"""

from __future__ import annotations

from demur.gateway.clients.budgets import Spent, uses
from demur.gateway.clients.keys import Admission
from demur.gateway.exchange import Exchange, Reserved
from demur.gateway.replicas.replicas import Replicas, Ticket
from demur.gateway.replicas.shared_accounts import Room
from demur.gateway.target.held_target import ACCOUNT, HeldTarget
from demur.gateway.target.request_costs import RequestCosts


class Spending:
    """The accounts of a gateway. ``replicas``: those that it shares with other machines."""

    def __init__(self, admission: Admission, replicas: Replicas | None = None) -> None:
        self._admission, self._replicas = admission, replicas

    async def reserve(self, key: str, usd: float) -> Reserved:
        """Reserve what a request may cost its key. Raises ApiError 429; nothing is reserved then."""
        own = self._admission.reserve(key, usd)
        try:
            return Reserved(own, await self._ticket_of_key(key, usd))
        except BaseException:  # the shared account has no room, or the client has gone
            self._admission.charge(key, 0.0, reserved=own)
            raise

    async def _ticket_of_key(self, name: str, usd: float) -> Ticket | None:
        key = self._admission.key_with_budget(name)
        if key is None or self._replicas is None:
            return None
        room = Room({use.period: use.budget for use in uses(key, Spent())})
        ticket, full = await self._replicas.reserve(key.name, usd, room)
        if full:
            raise self._admission.spent_error(key, full.spent, full.reserved)
        return ticket

    async def reserve_target(self, target: HeldTarget, costs: RequestCosts | None) -> tuple[Reserved, bool]:
        """Reserve what a request may cost the gateway; True: only the weak model may answer.

        Raises ApiError 429; nothing is reserved then.
        """
        usd, weak_alone = target.admit(costs)
        if self._replicas is None or target.target.kind != "usd" or costs is None:
            return Reserved(usd), weak_alone
        try:
            ticket = await _ticket_of_target(self._replicas, target, usd)
            if ticket is None and not weak_alone:
                target.pay(0.0, reserved=usd - costs.weak_at_most)
                usd, weak_alone = costs.weak_at_most, True
                ticket = await _ticket_of_target(self._replicas, target, usd)
            if ticket is None:
                raise target.spent_error()
        except BaseException:
            target.pay(0.0, reserved=usd)
            raise
        return Reserved(usd, ticket), weak_alone

    def charge(self, exchange: Exchange, target: HeldTarget | None, usd: float) -> None:
        """Count what a request has cost; what was reserved for it is released."""
        reserved, of_target = exchange.reserved, exchange.target_reserved
        self._admission.charge(exchange.key, usd, reserved=reserved.usd)
        if target:
            target.pay(usd, reserved=of_target.usd)
        if self._replicas:
            if reserved.ticket:
                self._replicas.pay(exchange.key, usd, reserved.ticket)
            if target and target.target.kind == "usd":
                self._replicas.pay(ACCOUNT, usd, of_target.ticket)


async def _ticket_of_target(replicas: Replicas, target: HeldTarget, usd: float) -> Ticket | None:
    """What is reserved in the account that all machines share; None where it has no room."""
    ticket, full = await replicas.reserve(ACCOUNT, usd, Room({"day": target.target.value}, whole=True))
    return None if full else ticket
