"""The target of a gateway's settings as it begins: with what was spent today, by the ledger."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from demur.gate.router import Router
from demur.gateway.clients.accounts import Accounts
from demur.gateway.learning.cold_start import router_in_force
from demur.gateway.ledger.totals.target_use import use_so_far
from demur.gateway.settings import GatewaySettings
from demur.gateway.target.arrivals import Arrivals
from demur.gateway.target.held_target import HeldTarget, checked_target
from demur.gateway.workers.shared_state import Board


def begin_target(
    settings: GatewaySettings, router: Router, accounts: Accounts, unpriced: Sequence[str], board: Board | None
) -> HeldTarget | None:
    """The target of the settings, warm-started from the ledger; None without one. Raises InputError.

    ``unpriced``: models of unknown price; ``board``: of several workers, of which the first says what it begins with.
    """
    target = checked_target(settings, unpriced)
    if target is None:
        return None
    arrivals = Arrivals(board.count if board else 1)
    found = HeldTarget(target, router, accounts, arrivals, cold=router_in_force(settings) is None)
    if settings.ledger:
        found.learn(*use_so_far(settings.ledger, time.time()))
    if board is None or board.first:
        print(f"demur: {found.first_sentence}", file=sys.stderr)
    return found
