"""The last hour's sums, by hand."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from demur.gateway.ledger.record import DECIDED, LedgerRecord
from demur.gateway.operator.last_hour import BYTES, Hour, dashboard_figures
from demur.gateway.workers.shared_state import SharedBuckets, map_file
from gateways import RECORD

PLAIN = replace(RECORD, stage="prompt", usd=1.0, usd_strong=4.0)


def test_shares_and_money_are_those_of_the_requests() -> None:
    hour = Hour()
    hour.add(replace(PLAIN, score=0.2, role="weak"))
    hour.add(replace(PLAIN, score=0.7, role="strong", usd=4.0))
    hour.add(replace(PLAIN, score=0.7, role="strong", usd=4.0, outcome="fallback", stage="unknown"))
    hour.add(replace(PLAIN, score=None, role="direct", status=502))
    found = dashboard_figures(hour.total())
    assert (found["requests"], found["routed"]) == (4, 3)
    assert found["strong_share"] == pytest.approx(2 / 3)
    assert found["unknown"] == 1
    assert (found["usd"], found["usd_strong"]) == (10.0, 16.0)
    assert (found["errors"], found["fallbacks"]) == (0.25, 0.25)
    assert found["scores"] == [[0.2, 1, 1, 1.0, 4.0], [0.7, 1, 0, 0.0, 4.0]]
    assert found["settled"] == {"requests": 1, "strong": 1, "usd": 4.0}  # the unknown one
    assert found["priced"]


@pytest.mark.parametrize(
    ("settled", "strong"),
    [
        (replace(PLAIN, score=0.2, role="strong", stage="unknown"), 1),
        (replace(PLAIN, score=0.2, role="strong", reason="score .2 < threshold .5; the conversation stays"), 1),
        (replace(PLAIN, score=0.2, role="strong", reason="score .2 < threshold .5; the weak answer is of no use"), 1),
        (replace(PLAIN, score=0.7, role="weak", outcome="fallback"), 0),  # the strong model is down
        (replace(PLAIN, score=0.7, role="weak", threshold=math.inf), 0),  # a spent budget
        (replace(PLAIN, score=0.7, role="strong", reason="score .7 >= threshold .5 (as asked)"), 1),
        (replace(PLAIN, score=0.7, role="", status=502), 0),
    ],
)
def test_what_no_threshold_moves_keeps_its_model_and_its_cost(settled: LedgerRecord, strong: int) -> None:
    hour = Hour()
    for one in (settled, replace(PLAIN, score=0.2, role="weak"), replace(PLAIN, score=0.7, role="strong", usd=4.0)):
        hour.add(one)
    found = dashboard_figures(hour.total())
    assert found["settled"] == {"requests": 1, "strong": strong, "usd": 1.0}
    assert [row[:2] for row in found["scores"]] == [[0.2, 1], [0.7, 1]]


def test_a_decision_alone_is_no_request_that_a_threshold_moves() -> None:
    hour = Hour()
    hour.add(replace(PLAIN, role=DECIDED, outcome=DECIDED))
    found = dashboard_figures(hour.total())
    assert (found["routed"], found["scores"], found["settled"]["requests"]) == (0, [], 0)


def test_a_request_without_a_price_makes_the_cost_unknown() -> None:
    hour = Hour()
    hour.add(replace(PLAIN, usd=None))
    assert not dashboard_figures(hour.total())["priced"]


def test_only_requests_that_met_a_stage_count_for_it() -> None:
    hour = Hour()
    for _ in range(10):
        hour.add(replace(PLAIN, score=None, queue_seconds=0.0, total_seconds=2.0))
    hour.add(replace(PLAIN, queue_seconds=0.5))
    shown = dashboard_figures(hour.total())
    found = shown["latency_ms"]
    assert (shown["measured"]["gate"], shown["measured"]["queue"], shown["measured"]["total"]) == (0, 1, 11)
    assert found["gate"] is None
    assert found["queue"] == pytest.approx([500, 500, 500], rel=0.07)
    assert found["total"][0] == pytest.approx(2000, rel=0.07)


def test_percentiles_are_right_to_a_bins_width() -> None:
    chance, hour = random.Random(0), Hour()
    seconds = [10 ** chance.uniform(-4, 1) for _ in range(5000)]
    for one in seconds:
        hour.add(replace(PLAIN, total_seconds=one))
    expected = 1000 * np.quantile(seconds, [0.5, 0.95, 0.99])
    assert dashboard_figures(hour.total())["latency_ms"]["total"] == pytest.approx(expected, rel=0.08)


def test_what_is_older_than_an_hour_is_forgotten() -> None:
    now = 1
    hour = Hour(minute=lambda: now)
    hour.add(PLAIN)
    now = 60
    hour.add(PLAIN)
    assert dashboard_figures(hour.total())["requests"] == 2
    now = 61
    assert dashboard_figures(hour.total())["requests"] == 1
    hour.add(PLAIN)  # stands where minute 1 stood
    assert dashboard_figures(hour.total())["requests"] == 2
    now = 1000
    assert dashboard_figures(hour.total())["requests"] == 0


def test_a_file_of_an_hour_outlives_who_wrote_it(tmp_path: Path) -> None:
    Hour(map_file(tmp_path / "0.hour", BYTES)).add(PLAIN)
    assert dashboard_figures(Hour(map_file(tmp_path / "0.hour", BYTES)).total())["requests"] == 1


def test_two_processes_draw_from_one_bucket_and_keys_do_not_mix(tmp_path: Path) -> None:
    one, other = SharedBuckets(tmp_path / "rates"), SharedBuckets(tmp_path / "rates")
    assert [buckets.take("ann", 3) == 0.0 for buckets in (one, other, one, other)] == [True, True, True, False]
    names = [f"key {i}" for i in range(300)]  # some of them fall on the same place
    assert all(one.take(name, 1) == 0.0 for name in names)
    assert all(other.take(name, 1) > 0.0 for name in names)
