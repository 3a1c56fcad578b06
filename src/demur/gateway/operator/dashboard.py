"""The page at / and its figures: what all workers of the gateway did in the last hour; nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from demur.gateway.cold_start import learning_sentence
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.operator.last_hour import BYTES, Hour, dashboard_figures
from demur.gateway.operator.metrics import prometheus, sum_series
from demur.gateway.workers.shared_state import Board, map_file

if TYPE_CHECKING:
    from demur.gateway.app import Gateway

SHOWN = 25


def page(gateway: Gateway) -> str:
    """The page; its figures are fetched by its script."""
    template = (files("demur") / "gateway" / "operator" / "dashboard.html").read_text(encoding="utf-8")
    names = {role: escape(upstream.endpoint.model) for role, upstream in gateway.upstreams.items()}
    return template.replace("{{weak}}", names["weak"]).replace("{{strong}}", names["strong"])


def count_with_noun(gateway: Gateway) -> dict[str, Any]:
    """The counts of this process, for the other workers."""
    gauges = gateway.gauges()
    return {
        "series": gateway.metrics.series,
        "recent": recent_decisions(gateway.metrics.recent),
        "in_flight": gauges.in_flight,
        "dropped": gauges.ledger_dropped,
        "failures": gauges.ledger_failures,
        "up": dict(gauges.up),
    }


def metrics_text(gateway: Gateway, board: Board | None) -> str:
    """GET /metrics: of all workers together."""
    own = count_with_noun(gateway)
    if board:
        board.put(own)  # so that the next answer, whichever worker gives it, never counts less
    every = [own, *(board.others() if board else ())]
    sums = {name: sum(int(one[name]) for one in every) for name in ("in_flight", "dropped", "failures")}
    up = {model: all(one.get("up", {}).get(model, True) for one in every) for model in own["up"]}  # each has its own
    own_gauges = gateway.gauges()
    gauges = replace(
        own_gauges, in_flight=sums["in_flight"], ledger_dropped=sums["dropped"], ledger_failures=sums["failures"], up=up
    )
    return prometheus(sum_series(one["series"] for one in every), gauges)


def statistics(gateway: Gateway, board: Board | None) -> dict[str, Any]:
    """GET /admin/stats: what the page draws, of all workers together."""
    others = board.others() if board else []
    hours = [Hour(map_file(file, BYTES)) for file in board.hours()] if board else [gateway.metrics.hour]
    recent = recent_decisions(gateway.metrics.recent) + [one for other in others for one in other["recent"]]
    return dashboard_figures(np.sum([hour.total() for hour in hours], axis=0)) | {
        "threshold": gateway.decider.router.threshold,
        "learning": learning_sentence(gateway.settings),
        "target": gateway.target.sentence if gateway.target else "",
        "recent": sorted(recent, key=lambda one: float(one["at"]), reverse=True)[:SHOWN],
        "in_flight": gateway.in_flight + sum(int(other["in_flight"]) for other in others),
    }


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
