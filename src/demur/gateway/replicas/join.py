"""A gateway among the replicas that share its PostgreSQL ledger."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from urllib.parse import urlsplit

from demur.config.store_url import SCHEMES
from demur.errors import StoreError
from demur.gateway.clients.budgets import Spent
from demur.gateway.clients.keys import Admission
from demur.gateway.replicas.replicas import Replicas
from demur.gateway.target.held_target import ACCOUNT, HeldTarget
from demur.gateway.upstreams.upstream import Upstream
from demur.models.endpoint import is_loopback


def join(ledger: str, admission: Admission, target: HeldTarget | None) -> Replicas | None:
    """Join the replicas of a PostgreSQL ledger; None where the ledger is of this machine alone. Raises StoreError."""
    if not ledger.startswith(SCHEMES):
        return None
    names = [*admission.limited, *([ACCOUNT] if target and target.target.kind == "usd" else [])]

    def learn(spent: Mapping[str, Spent]) -> None:
        admission.learn(spent)
        if target:
            target.arrivals.sharers = 1 + len(found.others)

    try:
        found = Replicas(ledger, version("demur"), names, learn)
        found.open({name: admission.accounts.read(name)[0] for name in names})
    except Exception as error:  # its text may hold the URL's password
        raise StoreError(
            f"the PostgreSQL ledger cannot be shared: {type(error).__name__}; may its user create tables?"
        ) from None
    return found


def follow(replicas: Replicas, upstreams: Iterable[Upstream]) -> asyncio.Task[None]:
    """Tell the others which models are down, and heed what they tell; the task ends when it is cancelled."""
    breakers = {_name(one): one.breaker for one in upstreams}

    def fails(model: str) -> None:
        if model in breakers:
            breakers[model].hear_down()

    def answers(model: str) -> None:
        if model in breakers:
            breakers[model].hear_up()

    down = lambda: (name for name, breaker in breakers.items() if breaker.found_down)  # noqa: E731
    return asyncio.ensure_future(replicas.follow(down, fails, answers))


def _name(upstream: Upstream) -> str:
    """Of a model for all replicas; one on loopback is another one on each machine."""
    url = upstream.endpoint.base_url
    machine = f" on {socket.gethostname()}" if is_loopback(url) else ""
    parts = urlsplit(url)
    return f"{upstream.endpoint.model} at {parts.hostname}:{parts.port}{parts.path}{machine}"
