"""Counters and histograms in Prometheus's text format, and the last requests for the dashboard.

No library: a request adds to a few numbers. docs/gateway.md lists every metric, and a test holds the two together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from demur.gateway.ledger.record import DECIDED, LedgerRecord
from demur.gateway.operator.last_hour import STAGES, Hour, stages_of

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
EDGES = (*map(str, BUCKETS), "+Inf")
KEPT = 100  # of the last requests

# name, type, help; the table of docs/gateway.md says the same.
DESCRIBED = (
    ("demur_requests_total", "counter", "Requests by role (test: of demur's own), model, status and outcome."),
    ("demur_decisions_total", "counter", "Decisions of /v1/decide by the chosen model, which was not asked."),
    ("demur_refused_total", "counter", "Requests turned away by status: key, rate, budget, load, another site, path."),
    ("demur_tokens_total", "counter", "Tokens by model and kind (prompt, completion)."),
    ("demur_cost_usd_total", "counter", "USD spent, where the price is known."),
    ("demur_cost_always_strong_usd_total", "counter", "USD that always-strong would have cost."),
    (
        "demur_cost_spared_usd_total",
        "counter",
        "USD of that which were not paid because the chosen, dearer model was down: no saving.",
    ),
    ("demur_stage_seconds", "histogram", "Seconds by stage: queue, embed, score, gate, first_byte, total."),
    ("demur_checked_total", "counter", "Requests whose weak answer the gate examined."),
    ("demur_extra_samples_total", "counter", "Extra weak samples that the gate asked for."),
    (
        "demur_unknown_total",
        "counter",
        "Requests that went by the setting `unknown`: like prompts that could not be labelled.",
    ),
    (
        "demur_other_system_total",
        "counter",
        "Requests that were routed with another system message than the labels were made with, or without it.",
    ),
    (
        "demur_changes_total",
        "counter",
        "Alarms: scores, lengths of answers, seconds or a model's version have changed.",
    ),
    ("demur_in_flight", "gauge", "Requests under way."),
    ("demur_ledger_dropped_total", "counter", "Ledger records lost: the database was away too long, or refused them."),
    ("demur_ledger_failures_total", "counter", "Ledger commits that failed and were tried again."),
    (
        "demur_threshold",
        "gauge",
        "The threshold in force: the router's, or the one that the setting `target` sets.",
    ),
    (
        "demur_target_held",
        "gauge",
        "Of the setting `target`: share of strong calls, USD of today, share of slow answers, or kept quality.",
    ),
    (
        "demur_upstream_up",
        "gauge",
        "By model: 0 while no requests go to it, because some failed or it asked for a pause; else 1.",
    ),
)
WITHOUT_LABELS = (
    *("demur_cost_usd_total", "demur_cost_always_strong_usd_total", "demur_cost_spared_usd_total"),
    *("demur_checked_total", "demur_extra_samples_total", "demur_unknown_total", "demur_changes_total"),
    "demur_other_system_total",
)


@dataclass(frozen=True, slots=True)
class Gauges:
    """Values that are read when metrics are requested."""

    in_flight: int
    ledger_dropped: int
    ledger_failures: int
    threshold: float
    up: Mapping[str, bool] = field(default_factory=dict)  # by model: False while no requests go to it
    target: float | None = None  # what the quantity of the setting `target` is now; None without one


class Metrics:
    """What the gateway counts. ``series``: name and labels as Prometheus writes them -> value; buckets not summed."""

    def __init__(self, hour: Hour | None = None, series: Mapping[str, float] | None = None) -> None:
        self.series: defaultdict[str, float] = defaultdict(
            float, dict.fromkeys(WITHOUT_LABELS, 0.0) | dict(series or {})
        )
        self.hour = hour or Hour()
        self.recent: deque[LedgerRecord] = deque(maxlen=KEPT)
        self._other_systems: set[str] = set()

    def add(self, record: LedgerRecord) -> None:
        """Count one request."""
        series = self.series
        if record.role == DECIDED:
            series[f'demur_decisions_total{{model="{_label(record.model)}"}}'] += 1
            self.recent.append(record)
            return
        role = "test" if record.is_test else record.role
        requests, prompts, completions = _names(role, record.model, record.status, record.outcome)
        series[requests] += 1
        series[prompts] += record.prompt_tokens
        series[completions] += record.completion_tokens
        series["demur_cost_usd_total"] += record.usd or 0.0
        series["demur_cost_always_strong_usd_total"] += record.usd_strong or 0.0
        series["demur_cost_spared_usd_total"] += record.usd_spared
        for stage, seconds in () if record.is_test else stages_of(record):
            series[_BUCKET[stage][bisect_left(BUCKETS, seconds)]] += 1
            series[_SUM[stage]] += seconds
        if record.stage == "gate":
            series["demur_checked_total"] += 1
            series["demur_extra_samples_total"] += record.extra_samples
        if record.stage == "unknown":
            series["demur_unknown_total"] += 1
        self.hour.add(record)
        self.recent.append(record)

    def count_other_system(self, how: str) -> bool:
        """Count a request whose system message differs so from the labels'; is it the first one that does?"""
        self.series["demur_other_system_total"] += 1
        first = how not in self._other_systems
        self._other_systems.add(how)
        return first

    def refuse(self, status: int) -> None:
        """Count a request that was turned away before a model was chosen; it is not recorded otherwise."""
        self.series[f'demur_refused_total{{status="{status}"}}'] += 1


def prometheus(series: Mapping[str, float], gauges: Gauges) -> str:
    """All metrics in Prometheus's text format."""
    known: dict[str, list[str]] = {name: [] for name, _, _ in DESCRIBED}
    for key, value in sorted(series.items()):
        found = known.get(key.partition("{")[0])
        if found is not None:
            found.append(f"{key} {_number(value)}")
    known["demur_stage_seconds"] = [line for stage in STAGES for line in _histogram(series, stage)]
    known["demur_in_flight"] = [f"demur_in_flight {gauges.in_flight}"]
    known["demur_ledger_dropped_total"] = [f"demur_ledger_dropped_total {gauges.ledger_dropped}"]
    known["demur_ledger_failures_total"] = [f"demur_ledger_failures_total {gauges.ledger_failures}"]
    known["demur_threshold"] = [f"demur_threshold {gauges.threshold:.6f}"]
    known["demur_target_held"] = [] if gauges.target is None else [f"demur_target_held {gauges.target:.6f}"]
    known["demur_upstream_up"] = [f'demur_upstream_up{{model="{_label(m)}"}} {int(up)}' for m, up in gauges.up.items()]
    lines: list[str] = []
    for name, kind, help_text in DESCRIBED:
        lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}", *known[name]]
    return "\n".join(lines) + "\n"


def sum_series(counted: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Series of several processes as one."""
    found: defaultdict[str, float] = defaultdict(float)
    for series in counted:
        for key, value in series.items():
            found[key] += value
    return found


_BUCKET = {stage: [f'demur_stage_seconds_bucket{{stage="{stage}",le="{edge}"}}' for edge in EDGES] for stage in STAGES}

_SUM = {stage: f'demur_stage_seconds_sum{{stage="{stage}"}}' for stage in STAGES}


@lru_cache(1024)
def _names(role: str, model: str, status: int, outcome: str) -> tuple[str, str, str]:
    """The series of a request, of its prompt's tokens and of its completion's."""
    named = f'model="{_label(model)}"'
    return (
        f'demur_requests_total{{role="{_label(role)}",{named},status="{status}",outcome="{_label(outcome)}"}}',
        f'demur_tokens_total{{{named},kind="prompt"}}',
        f'demur_tokens_total{{{named},kind="completion"}}',
    )


def _histogram(series: Mapping[str, float], stage: str) -> Iterator[str]:
    total = 0.0
    for key in _BUCKET[stage]:
        total += series.get(key, 0)
        yield f"{key} {_number(total)}"
    yield f"{_SUM[stage]} {_number(series.get(_SUM[stage], 0.0))}"
    yield f'demur_stage_seconds_count{{stage="{stage}"}} {_number(total)}'


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:.9f}"


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
