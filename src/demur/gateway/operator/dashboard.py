"""The page at / and its figures: now and in the last hour by all workers, over time by the ledger; nothing is loaded
from elsewhere. Its charts are drawn by uPlot, which comes with demur (MIT licence, page/uPlot.LICENSE).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from html import escape
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from demur.gateway.learning.cold_start import learning_status
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.ledger.totals.series import series
from demur.gateway.operator.last_hour import BYTES, Hour, dashboard_figures
from demur.gateway.operator.metrics import prometheus, sum_series
from demur.gateway.target.held_target import HeldTarget, threshold_in_force
from demur.gateway.workers.shared_state import Board, map_file
from demur.routing.prompt_router import PromptRouter

if TYPE_CHECKING:
    from demur.gateway.app import Gateway

SHOWN = 25
FILES = {
    "dashboard.js": "text/javascript",
    "dashboard.css": "text/css",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
}


def page(gateway: Gateway) -> str:
    """The page; its figures are fetched by its script."""
    names = {role: escape(upstream.endpoint.model) for role, upstream in gateway.upstreams.items()}
    return page_file("dashboard.html").replace("{{weak}}", names["weak"]).replace("{{strong}}", names["strong"])


@lru_cache
def page_file(name: str) -> str:
    """A file of the page, such as its script."""
    return (files("demur") / "gateway" / "operator" / "page" / name).read_text(encoding="utf-8")


def over_time(gateway: Gateway, period: str, key: str | None, model: str | None) -> dict[str, Any]:
    """GET /admin/series: a period of the ledger, of one key or model; raises InputError, StoreError."""
    pair = gateway.upstreams["weak"].endpoint.model, gateway.upstreams["strong"].endpoint.model
    found = series(gateway.settings.ledger, period, key=key, model=model, pair=pair, newest=SHOWN)
    return found.as_dict() | {"recent": recent_decisions(reversed(found.recent), gateway.decider.router.prompt_router)}


def own_counts(gateway: Gateway) -> dict[str, Any]:
    """The counts of this process, for the other workers."""
    gauges = gateway.gauges()
    return {
        "series": gateway.metrics.series,
        "recent": recent_decisions(gateway.metrics.recent, gateway.decider.router.prompt_router),
        "in_flight": gauges.in_flight,
        "dropped": gauges.ledger_dropped,
        "failures": gauges.ledger_failures,
        "up": dict(gauges.up),
    }


def metrics_text(gateway: Gateway, board: Board | None) -> str:
    """GET /metrics: of all workers together."""
    own = own_counts(gateway)
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
    own_up = gateway.gauges().up
    up = {model: all(one["up"].get(model, True) for one in others) and well for model, well in own_up.items()}
    hours = [Hour(map_file(file, BYTES)) for file in board.hours()] if board else [gateway.metrics.hour]
    router = gateway.decider.router.prompt_router
    recent = recent_decisions(gateway.metrics.recent, router) + [one for other in others for one in other["recent"]]
    said, curve = learning_status(gateway.settings)
    return dashboard_figures(np.sum([hour.total() for hour in hours], axis=0)) | {
        "threshold": threshold_in_force(gateway.decider.router, gateway.target),
        "learning": said,
        "curve": curve,
        "target": gateway.target.sentence if gateway.target else "",
        "in_common": in_common(router, gateway.target),
        "recent": sorted(recent, key=lambda one: float(one["at"]), reverse=True)[:SHOWN],
        "in_flight": gateway.in_flight + sum(int(other["in_flight"]) for other in others),
        "up": up,
        "health": health(up, [one.problem for one in gateway.upstreams.values()]),
        "kept": bool(gateway.settings.ledger),
        "weak": gateway.upstreams["weak"].endpoint.model,
        "strong": gateway.upstreams["strong"].endpoint.model,
    }


def health(up: Mapping[str, bool], problems: Iterable[str] = ()) -> str:
    """Which models fail and which answer, and what keeps one from answering, with what to do."""
    seen = [f"{one[:1].upper() if one.startswith('the ') else one[:1]}{one[1:]}." for one in problems if one]
    if seen and all(up.values()):
        return " ".join(seen)
    return " ".join([_health(up), *seen])


def _health(up: Mapping[str, bool]) -> str:
    failing, answering = ([model for model, well in up.items() if well is wanted] for wanted in (False, True))
    if not failing:
        return "All models answer."
    if not answering:
        return f"No model answers. Failing, and asked again after a while: {', '.join(failing)}."
    return f"Failing, and not asked for a while: {', '.join(failing)}. Still answering: {', '.join(answering)}."


def in_common(router: PromptRouter, target: HeldTarget | None = None) -> str:
    """What the reasons of all decisions have in common, in one sentence; the page says it once."""
    if target and (held := target.threshold_sentence):
        said = f"{held}, in place of the router's own of {router.threshold:.4f}{router.pair_note}."
        return said[:1].upper() + said[1:]
    set_by = router.calibration.sentence if router.calibration else "not calibrated"
    return f"Each score is compared with the threshold of {router.threshold:.4f} ({set_by}){router.pair_note}."


def own_reason(reason: str, router: PromptRouter) -> str:
    """What is a decision's own in its reason: score, threshold, what the gate has found, why another model answered."""
    return reason.replace(router.pair_note, "") if router.pair_note else reason


def recent_decisions(records: Iterable[LedgerRecord], router: PromptRouter) -> list[dict[str, Any]]:
    """The newest requests, newest first, as the page shows them."""
    newest = islice(reversed(list(records)), SHOWN)
    return [
        {
            "id": record.id,
            "at": record.at,
            "asked": record.asked,
            "model": record.model or "-",
            "role": record.role,
            "score": record.score,
            "status": record.status,
            "ms": round(1000 * record.total_seconds, 1),
            "usd": record.usd,
            "reason": own_reason(record.reason, router),
            "outcome": record.outcome,
        }
        for record in newest
    ]
