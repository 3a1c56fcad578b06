"""What keys have spent by a ledger, beside their budgets."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path

from demur.errors import InputError
from demur.gateway.clients.budgets import start_of
from demur.gateway.clients.keys import key_command, read_keys
from demur.gateway.ledger.totals.bills import bills
from demur.records import dollars


@dataclass(frozen=True, slots=True)
class KeySpend:
    """One key's USD in this day and month (UTC) and in all; budgets are None where there is none."""

    name: str
    requests: int
    usd_today: float
    usd_per_day: float | None
    usd_this_month: float
    usd_per_month: float | None
    usd_in_all: float
    usd: float | None
    saved_in_all: float  # against always-strong; negative for a loss

    def as_dict(self) -> dict[str, object]:
        """As columns."""
        return asdict(self)

    @property
    def shown(self) -> dict[str, object]:
        """As columns of a narrow table: an amount and its budget are one cell."""
        return {
            "name": self.name,
            "requests": self.requests,
            "today": _of(self.usd_today, self.usd_per_day),
            "this_month": _of(self.usd_this_month, self.usd_per_month),
            "in_all": _of(self.usd_in_all, self.usd),
            "saved": dollars(self.saved_in_all),
        }


def _of(usd: float, budget: float | None) -> str:
    return dollars(usd) if budget is None else f"{dollars(usd)} of {dollars(budget)}"


def key_spend(file: str | Path, ledger: str, *, name: str | None = None, now: float | None = None) -> list[KeySpend]:
    """What the keys of a file have spent, or one of them; raises InputError, StoreError."""
    keys = [key for key in read_keys(file) if name in (None, key.name)]
    if not keys:
        add = key_command("add NAME", file)
        raise InputError(f"{file}: no key is called {name!r}" if name else f"{file} has no keys; `{add}`")
    at = time.time() if now is None else now
    ever, this_month, today = (
        {one.name: one for one in bills(ledger, by="key", since=since)}
        for since in (0.0, start_of("month", at), start_of("day", at))
    )
    found = []
    for key in keys:
        whole, month, day = (one.get(key.name) for one in (ever, this_month, today))
        found.append(
            KeySpend(
                key.name,
                whole.requests if whole else 0,
                usd_today=day.usd if day else 0.0,
                usd_per_day=key.usd_per_day,
                usd_this_month=month.usd if month else 0.0,
                usd_per_month=key.usd_per_month,
                usd_in_all=whole.usd if whole else 0.0,
                usd=key.usd,
                saved_in_all=whole.saved if whole else 0.0,
            )
        )
    return found
