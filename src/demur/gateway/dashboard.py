"""The page at /: what the gateway does now, server-rendered, a little script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from demur.gateway.ledger import LedgerRecord

if TYPE_CHECKING:
    from demur.gateway.app import Gateway

SHOWN = 25


def page(gateway: Gateway) -> str:
    """The page; its figures are fetched by its script."""
    template = (files("demur") / "gateway" / "dashboard.html").read_text(encoding="utf-8")
    names = {role: escape(upstream.endpoint.model) for role, upstream in gateway.upstreams.items()}
    return template.replace("{{weak}}", names["weak"]).replace("{{strong}}", names["strong"])


def recent_decisions(records: Iterable[LedgerRecord]) -> list[dict[str, Any]]:
    """The newest requests, newest first, as the page shows them."""
    newest = islice(reversed(list(records)), SHOWN)
    return [
        {
            "at": record.at,
            "asked": record.asked,
            "model": record.model or "-",
            "role": record.role,
            "score": record.score,
            "status": record.status,
            "ms": round(1000 * record.total_seconds, 1),
            "usd": record.usd,
            "reason": record.reason,
            "outcome": record.outcome,
        }
        for record in newest
    ]
