"""The last hour in sums per minute: shares, money, latencies, and what another threshold would have done.

A fixed table of numbers, so that asking costs the same whatever the load, and workers add theirs up by adding tables.
Minutes are monotonic: a clock that is set does not touch them.
"""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from demur.gateway.latencies import BINS, latency_bin, percentiles
from demur.gateway.ledger.record import DECIDED, LedgerRecord
from demur.gateway.ledger.totals.bills import SUMS, bill_of_sums, sums_of
from demur.records import FloatArray
from demur.routing.decision import AS_ASKED

MINUTES = 60
STAGES = ("queue", "embed", "score", "gate", "first_byte", "total")
SCORES = 1000  # bins of scores; the last holds 1 too

# Columns of a minute: its number, sums, then bins.
MINUTE, ERRORS, FALLBACKS, UNPRICED, UNKNOWN, SETTLED, SETTLED_STRONG, SETTLED_USD, FIRST_SUM = range(9)
FIRST_STAGE = FIRST_SUM + SUMS  # the sums are those of a `Bill`
START_OF = {stage: FIRST_STAGE + i * BINS for i, stage in enumerate(STAGES)}
FIRST_SCORE = FIRST_STAGE + len(STAGES) * BINS
COUNT, WEAK_COUNT, WEAK_USD, ALWAYS_STRONG_USD, PER_SCORE = range(5)
WIDTH = FIRST_SCORE + PER_SCORE * SCORES
BYTES = MINUTES * WIDTH * 8


def monotonic_minute() -> int:
    """Minutes that have passed, whatever the clock says; never 0, which marks a row without any."""
    return int(time.monotonic() // 60) + 1


class Hour:
    """Sums of the last 60 minutes; ``memory`` where other processes read them too."""

    def __init__(self, memory: mmap.mmap | None = None, *, minute: Callable[[], int] = monotonic_minute) -> None:
        kept = bytearray(BYTES) if memory is None else memory
        self._cells = memoryview(kept).cast("d")  # single numbers are added five times as fast as in an array
        self._rows: FloatArray = np.frombuffer(kept, dtype=np.float64).reshape(MINUTES, WIDTH)
        self._minute = minute

    def add(self, record: LedgerRecord) -> None:
        """Count one request."""
        cells, row = self._cells, self._row()
        for place, value in enumerate(sums_of(record), row + FIRST_SUM):
            if value:  # most are zero
                cells[place] += value
        if record.is_test:
            return
        cells[row + ERRORS] += record.status >= 400
        cells[row + FALLBACKS] += record.outcome == "fallback"
        for stage, seconds in stages_of(record):
            cells[row + START_OF[stage] + latency_bin(seconds)] += 1
        if record.score is not None and record.role != DECIDED:
            self._add_score(row, record, record.score)

    def _add_score(self, row: int, record: LedgerRecord, score: float) -> None:
        cells = self._cells
        cells[row + UNKNOWN] += record.stage == "unknown"
        if record.usd is None or record.usd_strong is None:
            cells[row + UNPRICED] += 1
        if not goes_by_score(record):
            cells[row + SETTLED] += 1
            cells[row + SETTLED_STRONG] += record.role not in ("", "weak")
            cells[row + SETTLED_USD] += record.usd or 0.0
            return
        at = row + FIRST_SCORE + PER_SCORE * min(SCORES - 1, max(0, int(score * SCORES)))
        cells[at + COUNT] += 1
        cells[at + ALWAYS_STRONG_USD] += record.usd_strong or 0.0
        if record.role == "weak":
            cells[at + WEAK_COUNT] += 1
            cells[at + WEAK_USD] += record.usd or 0.0

    def _row(self) -> int:
        """Where this minute's cells begin."""
        now = self._minute()
        at = now % MINUTES
        if self._cells[at * WIDTH + MINUTE] != now:
            self._rows[at] = 0.0
            self._cells[at * WIDTH + MINUTE] = now
        return at * WIDTH

    def total(self) -> FloatArray:
        """The sum of the last hour's minutes, (WIDTH,)."""
        alive = self._rows[:, MINUTE] > self._minute() - MINUTES
        return np.asarray(self._rows[alive & (self._rows[:, MINUTE] > 0)].sum(axis=0))


def goes_by_score(record: LedgerRecord) -> bool:
    """Whether another threshold could have sent a scored request to the other model.

    It could not where the setting `unknown` or the client's own threshold decided, and is taken not to where another
    model answered than the score asked for: because of a conversation, a model that was down or of no use, a limit, or
    a spent budget.
    """
    if record.score is None or record.threshold is None or record.stage == "unknown" or not record.role:
        return False
    if math.isinf(record.threshold) or f"({AS_ASKED})" in record.reason:
        return False
    return (record.role != "weak") == (record.score >= record.threshold)


def stages_of(record: LedgerRecord) -> list[tuple[str, float]]:
    """The stages that a request went through, and their seconds."""
    found = [("total", record.total_seconds)]
    if record.model and record.status:  # else its client hung up before the answer
        found.append(("first_byte", record.first_byte_seconds))
    if record.score is not None:
        found.append(("queue", record.queue_seconds))
        found.append(("embed", record.embed_seconds))
        found.append(("score", record.score_seconds))
    if record.stage == "gate":
        found.append(("gate", record.gate_seconds))
    return found


def dashboard_figures(total: FloatArray) -> dict[str, Any]:
    """What the dashboard draws of an hour's sums."""
    bill = bill_of_sums(total[FIRST_SUM:FIRST_STAGE])
    bins = total[FIRST_SCORE:].reshape(SCORES, PER_SCORE)
    return {
        **bill.as_dict(),
        "unknown": int(total[UNKNOWN]),  # of the routed ones, by the setting `unknown`
        "errors": _share(total[ERRORS], bill.requests),
        "fallbacks": _share(total[FALLBACKS], bill.requests),
        "latency_ms": {stage: percentiles(_stage(total, stage)) for stage in STAGES},
        "measured": {stage: int(_stage(total, stage).sum()) for stage in STAGES},  # requests that met a stage
        "priced": bool(total[UNPRICED] == 0),
        # Routed ones that another threshold would not have moved: how many, of them not answered weak, and their USD.
        "settled": {
            "requests": int(total[SETTLED]),
            "strong": int(total[SETTLED_STRONG]),
            "usd": float(total[SETTLED_USD]),
        },
        # Of the others: [score, requests, of them answered weak, their USD, USD of always-strong]
        "scores": [[i / SCORES, *map(float, bins[i])] for i in np.flatnonzero(bins[:, COUNT]).tolist()],
    }


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _stage(total: FloatArray, stage: str) -> FloatArray:
    return total[START_OF[stage] : START_OF[stage] + BINS]
