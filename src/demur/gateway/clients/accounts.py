"""What each key has spent, and what is reserved for its requests under way: of one process, or shared by several."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from demur.gateway.clients.budgets import Spent

# (spent, USD reserved for requests under way) -> (spent, USD that this process reserves beside that; negative: less)
Step = Callable[[Spent, float], tuple[Spent, float]]


class Accounts(Protocol):
    """Accounts of keys, by name."""

    def read(self, name: str) -> tuple[Spent, float]:
        """What a key has spent, and the USD reserved for its requests under way."""
        ...

    def change(self, name: str, step: Step) -> None:
        """Take a step while nobody else takes one; if it raises, nothing changes."""
        ...


class OwnAccounts:
    """Accounts of this process alone."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[Spent, float]] = {}
        self._lock = threading.Lock()  # the ledger's thread learns what was spent

    def read(self, name: str) -> tuple[Spent, float]:
        """See `Accounts`."""
        return self._held.get(name, (Spent(), 0.0))

    def change(self, name: str, step: Step) -> None:
        """See `Accounts`."""
        with self._lock:
            spent, reserved = self.read(name)
            changed, more = step(spent, reserved)
            self._held[name] = changed, max(0.0, reserved + more)
