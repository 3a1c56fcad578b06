"""A gateway among the other processes of its service: replicas that share its PostgreSQL ledger, or workers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import version
from urllib.parse import urlsplit

from demur.config.store_url import SCHEMES
from demur.errors import StoreError
from demur.gateway.clients.budgets import Spent
from demur.gateway.clients.keys import Admission
from demur.gateway.replicas.outages import Outages
from demur.gateway.replicas.replicas import BEAT_SECONDS, Replicas
from demur.gateway.target.held_target import ACCOUNT, HeldTarget
from demur.gateway.upstreams.upstream import Upstream
from demur.gateway.workers.shared_state import Board
from demur.models.endpoint import is_loopback


def join(ledger: str, admission: Admission, target: HeldTarget | None) -> Replicas | None:
    """Join the replicas of a PostgreSQL ledger; None where the ledger is of this machine alone. Raises StoreError."""
    if not ledger.startswith(SCHEMES):
        return None
    of_target = [ACCOUNT] if target and target.target.kind == "usd" else []

    def learn(spent: Mapping[str, Spent]) -> None:
        admission.learn(spent)
        if target:
            target.arrivals.sharers = 1 + len(found.others)

    def read_spent() -> Mapping[str, Spent]:
        return {name: admission.accounts.read(name)[0] for name in (*admission.limited, *of_target)}

    try:
        found = Replicas(ledger, version("demur"), read_spent, learn)
        found.open()
    except Exception as error:  # its text may hold the URL's password
        raise StoreError(
            f"the PostgreSQL ledger cannot be shared: {type(error).__name__}; may its user create tables?"
        ) from None
    return found


def follow(replicas: Replicas | None, board: Board | None, upstreams: Iterable[Upstream]) -> asyncio.Task[None] | None:
    """Tell other processes which models are down, and heed what they tell; the task ends when it is cancelled.

    None for a process that serves alone.
    """
    outages = Outages({_name(one): one.breaker for one in upstreams})
    if replicas:
        return asyncio.ensure_future(replicas.follow(outages))
    return asyncio.ensure_future(follow_workers(board, outages)) if board else None


async def follow_workers(board: Board, outages: Outages) -> None:
    """The same among the workers of one service, by files."""
    while True:
        with suppress(OSError):  # the disk is full
            board.tell_down(outages.found)
            outages.apply_reports(board.reported_down())
        await asyncio.sleep(BEAT_SECONDS)


def _name(upstream: Upstream) -> str:
    """Of a model for all replicas; one on loopback is another one on each machine."""
    url = upstream.endpoint.base_url
    machine = f" on {socket.gethostname()}" if is_loopback(url) else ""
    parts = urlsplit(url)
    return f"{upstream.endpoint.model} at {parts.hostname}:{parts.port}{parts.path}{machine}"
