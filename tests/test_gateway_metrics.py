"""The gateway's metrics: Prometheus' text format, every series documented."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from demur.gateway.operator.metrics import DESCRIBED, Gauges, Metrics, prometheus
from gateways import RECORD

ROOT = Path(__file__).parents[1]


def test_metrics_are_prometheus_and_documented() -> None:
    metrics = Metrics()
    metrics.add(RECORD)
    metrics.add(replace(RECORD, model='odd"name', status=502, outcome="upstream_error"))
    text = prometheus(metrics.series, Gauges(3, 0, 0, 0.5))
    line = re.compile(
        r'^[a-z_]+(\{[a-z_]+="(\\.|[^"\\])*"(,[a-z_]+="(\\.|[^"\\])*")*\})? -?[0-9.e+-]+$|^# (HELP|TYPE) .+$'
    )
    assert all(line.match(row) for row in text.strip().splitlines())
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    for name, kind, help_text in DESCRIBED:
        assert f"# TYPE {name} {kind}" in text
        assert f"| `{name}` | {kind} | {help_text} |" in page
    assert 'demur_stage_seconds_count{stage="total"} 2' in text
