"""What a trace takes of a request to an upstream: its own traceparent, its answer's id and finish reasons, its failure.

Where requests are not traced, `TRACE` is None and nothing is read.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import replace
from typing import Protocol

from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.upstreams.answers.answer import Answer

_ID = re.compile(rb'"id"\s*:\s*"([^"\\]{1,200})"')
_REASON = re.compile(rb'"(?:finish_reason|stop_reason)"\s*:\s*"(\w{1,40})"')
_OVERLAP = 300  # bytes of a piece that may hold the beginning of either


class CallTrace(Protocol):
    """The trace of one request to an upstream."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the request: the trace that the upstream's own spans belong to."""
        ...

    def end(self, status: int, error: str, answer_id: str, finish_reasons: tuple[str, ...]) -> None:
        """It is over; ``status`` 0: it was not answered, ``error`` says why."""
        ...


class RequestTrace(Protocol):
    """The trace of a client's request."""

    def call(self, model: str, base_url: str, path: str) -> CallTrace:
        """A request to an upstream begins."""
        ...

    def end(self, record: LedgerRecord) -> None:
        """It is over."""
        ...


TRACE: ContextVar[RequestTrace | None] = ContextVar("demur_trace", default=None)  # of the request under way


class Marks:
    """An answer's id and finish reasons, read as it passes."""

    def __init__(self) -> None:
        self.id, self.error = "", ""
        self.finish_reasons: tuple[str, ...] = ()
        self._rest = b""

    def add(self, piece: bytes) -> None:
        """Another piece has come."""
        data = self._rest + piece
        if not self.id and (found := _ID.search(data)):
            self.id = found[1].decode("utf-8", "replace")
        reasons = list(_REASON.finditer(data))
        self.finish_reasons += tuple(one[1].decode() for one in reasons)
        self._rest = data[max(reasons[-1].end() if reasons else 0, len(data) - _OVERLAP) :]


def trace_answer(answer: Answer, call: CallTrace) -> Answer:
    """The same answer, whose call ends when it was read, or when it is closed."""
    marks = Marks()
    if answer.whole is not None:
        marks.add(answer.whole)
        call.end(answer.status, "", marks.id, marks.finish_reasons)
        return answer

    def end() -> None:
        call.end(answer.status, marks.error, marks.id, marks.finish_reasons)

    return replace(answer, pieces=_mark_pieces(answer.pieces, marks), on_close=end)


async def _mark_pieces(pieces: AsyncIterator[bytes], marks: Marks) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            marks.add(piece)
            yield piece
    except (Exception, asyncio.CancelledError) as error:
        marks.error = type(error).__name__
        raise
