"""An hour, a day and a week of a ledger, each by hand."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demur.errors import InputError
from demur.gateway.ledger.ledger import SqliteBackend
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.ledger.totals.bills import bills
from demur.gateway.ledger.totals.series import Period, series
from demur.gateway.ledger.totals.sums import KEPT_SECONDS, SumWriter
from gateways import RECORD

NOW = 1_800_000_000.0 + 59 * 60 + 30.0  # 1,800,000,000 is a full hour: half a minute before the next one
PAIR = ("small", "large")
WEAK = replace(RECORD, stage="prompt", score=0.2, role="weak", model="small", usd=1.0, usd_strong=4.0, usd_checks=0.0)
STRONG = replace(WEAK, score=0.7, role="strong", model="large", usd=4.0)


def kept(tmp_path: Path, *records: LedgerRecord) -> str:
    """A ledger of these records; each has an id of its own."""
    url = str(tmp_path / "ledger.sqlite")
    backend = SqliteBackend(url)
    backend.write([replace(record, id=str(i)) for i, record in enumerate(records)])
    backend.close()
    return url


@pytest.fixture(autouse=True)
def nothing_is_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's clock is the one of these records."""
    monkeypatch.setattr("demur.gateway.ledger.totals.sums.time.time", lambda: NOW)


def test_the_last_hour_by_hand(tmp_path: Path) -> None:
    url = kept(
        tmp_path,
        replace(WEAK, at=NOW - 3601),  # before it
        replace(WEAK, at=NOW - 600),
        replace(STRONG, at=NOW - 600, outcome="fallback"),
        replace(STRONG, at=NOW),
        replace(WEAK, at=NOW, stage="gate", usd=5.0, usd_checks=1.0),  # checked, and dearer than always-strong
        replace(WEAK, at=NOW, role="direct", score=None, status=502, outcome="upstream_error"),
        replace(WEAK, at=NOW, role="", model="", score=None, status=404, usd=0.0, usd_strong=0.0, outcome="refused"),
    )
    found = series(url, "hour", pair=PAIR, now=NOW)
    assert (len(found.points), found.seconds) == (60, 60)
    assert [point.at for point in found.points[:2]] == [1_800_000_000, 1_800_000_060]
    busy = [i for i, point in enumerate(found.points) if point.sums.bill.requests]
    assert busy == [49, 59]
    first, last = (found.points[i] for i in busy)
    assert (first.sums.bill.requests, first.sums.bill.usd, first.sums.bill.saved) == (2, 5.0, 3.0)
    # 5 paid of 4: a loss of 1; the other weak one saves 3; the strong one and the 404 nothing.
    assert (last.sums.bill.requests, last.sums.bill.usd, last.sums.bill.saved) == (4, 10.0, 2.0)
    assert last.answered == {"small": 2, "large": 1, "": 1}
    # The small model failed the one that the large one answered in its place; then one of its own two.
    assert (first.failed["small"], first.failed["large"]) == (0.5, 0.0)
    assert (last.failed["small"], last.failed["large"]) == (0.5, 0.0)
    assert found.points[0].failed == {"small": None, "large": None}
    whole = found.whole.as_dict()
    assert (whole["requests"], whole["routed"], whole["checked"]) == (6, 4, 1)
    assert whole["strong_share"] == 0.5
    assert (whole["usd"], whole["saved"]) == (15.0, 5.0)
    assert (whole["fallbacks"], whole["errors"], found.whole.failures) == (1 / 6, 2 / 6, 1)


def test_what_is_estimated_is_added_up(tmp_path: Path) -> None:
    """Also in a ledger whose sums were made before they told it."""
    url = kept(tmp_path, replace(WEAK, at=NOW))
    with closing(sqlite3.connect(url)) as db, db:
        for name in ("bill_estimated", "bill_usd_estimated"):
            db.execute(f"alter table decisions_sums drop column {name}")
    backend = SqliteBackend(url)
    backend.write([replace(STRONG, id="later", at=NOW, tokens_counted=False)])
    backend.close()
    whole = series(url, "hour", pair=PAIR, now=NOW).whole.as_dict()
    assert (whole["requests"], whole["usd"], whole["estimated"], whole["usd_estimated"]) == (2, 5.0, 1, 4.0)


@pytest.mark.parametrize(
    ("period", "seconds", "points", "requests"), [("hour", 60, 60, 1), ("day", 900, 96, 3), ("week", 3600, 168, 5)]
)
def test_every_period_holds_what_is_younger_than_it(
    tmp_path: Path, period: Period, seconds: int, points: int, requests: int
) -> None:
    ages = (0, 3_600, 86_000, 86_400, 600_000, 604_800)
    url = kept(tmp_path, *(replace(WEAK, at=NOW - age) for age in ages))
    found = series(url, period, now=NOW)
    assert (found.seconds, len(found.points)) == (seconds, points)
    assert found.whole.bill.requests == sum(point.sums.bill.requests for point in found.points) == requests
    assert found.points[-1].at <= NOW < found.points[-1].at + seconds


def test_a_key_and_a_model_are_filters_and_both_are_listed_whole(tmp_path: Path) -> None:
    url = kept(
        tmp_path,
        *(replace(one, key=key, at=NOW) for key in ("ann", "bob") for one in (WEAK, WEAK, STRONG)),
        replace(STRONG, key="ann", at=NOW, total_seconds=9.0),
    )
    every = {
        (key, model): series(url, "hour", key=key, model=model, pair=PAIR, now=NOW)
        for key in (None, "ann", "bob", "o'x")
        for model in (None, "large")
    }
    assert [found.whole.bill.requests for found in every.values()] == [7, 3, 4, 2, 3, 1, 0, 0]
    for found in every.values():
        assert [(bill.name, bill.requests) for bill in found.keys] == [("ann", 4), ("bob", 3)]
        assert [(bill.name, bill.requests) for bill in found.models] == [("small", 4), ("large", 3)]
    assert len(every["ann", "large"].recent) == 2
    assert every["bob", None].whole.p95_ms == pytest.approx(200, rel=0.07)
    assert every["ann", "large"].whole.p95_ms == pytest.approx(9000, rel=0.07)


def test_the_dashboard_and_the_bills_say_the_same_of_the_same_requests(tmp_path: Path) -> None:
    records = [replace(WEAK, at=NOW, usd_strong_error=0.5, usd_strong_spread=0.25), STRONG, replace(WEAK, usd=None)]
    url = kept(tmp_path, *(replace(one, at=NOW) for one in records))
    (bill,) = bills(url)
    assert series(url, "week", now=NOW).whole.bill == bill
    assert bill.unpriced == 1


def test_a_record_that_is_written_again_is_counted_once(tmp_path: Path) -> None:
    """As after a commit of which the answer was lost."""
    url = str(tmp_path / "ledger.sqlite")
    backend = SqliteBackend(url)
    backend.write([replace(WEAK, id="a", at=NOW)])
    backend.write([replace(WEAK, id="a", at=NOW), replace(WEAK, id="b", at=NOW), replace(WEAK, id="b", at=NOW)])
    backend.close()
    assert series(url, "hour", now=NOW).whole.bill.requests == 2


def test_old_sums_are_removed_and_decisions_are_not(tmp_path: Path) -> None:
    ages = [0, *(seconds + 3600 for seconds in KEPT_SECONDS.values())]
    url = kept(tmp_path, *(replace(WEAK, at=NOW - age) for age in ages))
    with closing(sqlite3.connect(url)) as db:
        rows = dict(db.execute('select "grain", count(*) from decisions_sums group by "grain"').fetchall())
        assert db.execute("select count(*) from decisions").fetchone() == (4,)
        assert db.execute('select count(*) from decisions_latencies where "grain" = 60').fetchone() == (1,)
    assert rows == {60: 1, 900: 2, 3600: 3}


def test_values_that_are_no_numbers_spoil_no_sum(tmp_path: Path) -> None:
    url = kept(tmp_path, replace(WEAK, at=NOW, usd=float("nan"), prompt_tokens=10**30), replace(WEAK, at=NOW))
    assert series(url, "hour", now=NOW).whole.bill.usd == 1.0


def test_a_period_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="period is 'year'; it can be hour, day, week"):
        series(kept(tmp_path, WEAK), "year")


def test_a_week_under_load_is_read_in_a_moment_from_few_rows(tmp_path: Path) -> None:
    """20,000 requests of a week: rows are by time, key and model, whatever was served."""
    url = str(tmp_path / "ledger.sqlite")
    backend, writer = SqliteBackend(url), SumWriter("?")
    with backend._db:
        writer.write(backend._db.cursor(), [replace(WEAK, at=NOW - 30 * i) for i in range(20_000)])
    backend.close()
    with closing(sqlite3.connect(url)) as db:
        assert db.execute('select count(*) from decisions_sums where "grain" = 3600').fetchone()[0] <= 168
        plan: list[Any] = db.execute(
            'explain query plan select * from decisions_sums where "grain" = 3600 and "start" >= 5'
        ).fetchall()
    assert "USING INDEX" in str(plan)
    start = time.perf_counter()
    assert series(url, "week", now=NOW).whole.bill.requests == 20_000
    assert time.perf_counter() - start < 1.0


@pytest.mark.slow
def test_both_databases_keep_the_same(tmp_path: Path, postgres: Any) -> None:
    from demur.gateway.ledger.ledger import PostgresBackend

    records = [
        replace(one, id=f"{i}{one.role}", at=NOW - 60 * i, key="ann", tokens_counted=i > 0)
        for i in range(3)
        for one in (WEAK, STRONG)
    ]
    backend = PostgresBackend(postgres.url)
    backend.write(records)
    backend.write(records)
    backend.close()
    for period in ("hour", "day", "week"):
        one = series(postgres.url, period, key="ann", pair=PAIR, now=NOW)
        other = series(kept(tmp_path, *records), period, key="ann", pair=PAIR, now=NOW)
        assert one.as_dict() == other.as_dict()
        assert one.whole.bill.requests == 6
    assert [(one.estimated, one.usd_estimated) for one in bills(postgres.url)] == [(2, 5.0)]
