"""Counters and histograms in Prometheus's text format, and what the dashboard shows of the last hour.

No library: a request adds to a few numbers. docs/gateway.md lists every metric, and a test holds the two together.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from demur.gateway.ledger import LedgerRecord

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
KEPT, HOUR = 20_000, 3600.0


class Histogram:
    """Cumulative buckets of seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BUCKETS) + 1)
        self._sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one observation."""
        self._sum += seconds
        for i, edge in enumerate(BUCKETS):
            if seconds <= edge:
                self._counts[i] += 1
                return
        self._counts[-1] += 1

    def lines(self, name: str, labels: str) -> Iterator[str]:
        """Its lines in Prometheus's text format."""
        total = 0
        for edge, count in zip((*map(str, BUCKETS), "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{edge}"}} {total}'
        yield f"{name}_sum{{{labels}}} {self._sum:.6f}"
        yield f"{name}_count{{{labels}}} {total}"


STAGES = ("queue", "embed", "score", "gate", "first_byte", "total")

# name, type, help; the table of docs/gateway.md says the same.
DESCRIBED = (
    ("demur_requests_total", "counter", "Requests by role, model, status and outcome."),
    ("demur_tokens_total", "counter", "Tokens by model and kind (prompt, completion)."),
    ("demur_cost_usd_total", "counter", "USD spent, where the price is known."),
    ("demur_cost_always_strong_usd_total", "counter", "USD that always-strong would have cost."),
    ("demur_stage_seconds", "histogram", "Seconds by stage: queue, embed, score, gate, first_byte, total."),
    ("demur_checked_total", "counter", "Requests whose weak answer the gate has looked at."),
    ("demur_extra_samples_total", "counter", "Weak samples that the gate asked for beside the drafts."),
    ("demur_in_flight", "gauge", "Requests under way."),
    ("demur_ledger_dropped_total", "counter", "Ledger records lost because the database was away too long."),
    ("demur_ledger_failures_total", "counter", "Ledger commits that failed and were tried again."),
    ("demur_threshold", "gauge", "The router's threshold."),
)


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is read when metrics are asked for."""

    in_flight: int
    ledger_dropped: int
    ledger_failures: int
    threshold: float


class Metrics:
    """What the gateway counts."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int, str]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._usd = self._usd_strong = 0.0
        self._checked = self._extra_samples = 0
        self._stages = {stage: Histogram() for stage in STAGES}
        self.recent: deque[LedgerRecord] = deque(maxlen=KEPT)

    def add(self, record: LedgerRecord) -> None:
        """Count one request."""
        self._requests[record.role, record.model, record.status, record.outcome] += 1
        self._tokens[record.model, "prompt"] += record.prompt_tokens
        self._tokens[record.model, "completion"] += record.completion_tokens
        self._usd += record.usd or 0.0
        self._usd_strong += record.usd_strong or 0.0
        if record.score is not None:
            self._stages["queue"].add(record.queue_seconds)
            self._stages["embed"].add(record.embed_seconds)
            self._stages["score"].add(record.score_seconds)
        if record.stage == "gate":
            self._stages["gate"].add(record.gate_seconds)
            self._checked += 1
            self._extra_samples += record.extra_samples
        self._stages["first_byte"].add(record.first_byte_seconds)
        self._stages["total"].add(record.total_seconds)
        self.recent.append(record)

    def text(self, gauges: Gauges) -> str:
        """All of it in Prometheus's text format."""
        values = {
            "demur_requests_total": [
                f'{{role="{role}",model="{_label(model)}",status="{status}",outcome="{outcome}"}} {count}'
                for (role, model, status, outcome), count in sorted(self._requests.items())
            ],
            "demur_tokens_total": [
                f'{{model="{_label(model)}",kind="{kind}"}} {count}'
                for (model, kind), count in sorted(self._tokens.items())
            ],
            "demur_cost_usd_total": [f" {self._usd:.9f}"],
            "demur_cost_always_strong_usd_total": [f" {self._usd_strong:.9f}"],
            "demur_checked_total": [f" {self._checked}"],
            "demur_extra_samples_total": [f" {self._extra_samples}"],
            "demur_in_flight": [f" {gauges.in_flight}"],
            "demur_ledger_dropped_total": [f" {gauges.ledger_dropped}"],
            "demur_ledger_failures_total": [f" {gauges.ledger_failures}"],
            "demur_threshold": [f" {gauges.threshold:.6f}"],
        }
        lines: list[str] = []
        for name, kind, help_text in DESCRIBED:
            lines += [f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{value}" for value in values.get(name, [])]
            if kind == "histogram":
                lines += [
                    line
                    for stage, histogram in self._stages.items()
                    for line in histogram.lines(name, f'stage="{stage}"')
                ]
        return "\n".join(lines) + "\n"

    def last_hour(self) -> dict[str, Any]:
        """What the dashboard draws, from the decisions of the last hour that are kept."""
        since = time.time() - HOUR
        records = [record for record in self.recent if record.at >= since]
        routed = [record for record in records if record.score is not None]
        return {
            "requests": len(records),
            "strong_share": _share([record.role == "strong" for record in routed]),
            "usd": sum(record.usd or 0.0 for record in records),
            "usd_strong": sum(record.usd_strong or 0.0 for record in records),
            "errors": _share([record.status >= 500 for record in records]),
            "fallbacks": _share([record.outcome == "fallback" for record in records]),
            "latency_ms": {stage: _percentiles(_seconds(records, stage)) for stage in STAGES},
            "scores": [round(record.score or 0.0, 4) for record in routed[-5000:]],
            "costs": [_costs(record) for record in routed[-5000:]],
        }


def _costs(record: LedgerRecord) -> tuple[float, float] | None:
    """(USD on the weak, USD on the strong model) as far as one request tells: its own and always-strong's."""
    if record.usd is None or record.usd_strong is None:
        return None
    return (record.usd if record.role == "weak" else 0.0, record.usd_strong)


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def _seconds(records: Sequence[LedgerRecord], stage: str) -> list[float]:
    """A stage's seconds of those records that met it."""
    met = [record for record in records if stage != "gate" or record.stage == "gate"]
    return [getattr(record, f"{stage}_seconds") for record in met]


def _percentiles(seconds: Sequence[float]) -> list[float]:
    if not seconds:
        return [0.0, 0.0, 0.0]
    return [round(1000 * float(value), 3) for value in np.quantile(seconds, [0.5, 0.95, 0.99])]


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
