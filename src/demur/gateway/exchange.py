"""One request on its way through the gateway: filled in as it goes, and at its end what it came to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from demur.gateway.decision.conversations import Turn
from demur.gateway.ledger.ledger import LedgerRecord
from demur.gateway.upstreams.token_counts import (
    TAIL_BYTES,
    answer_tokens,
    request_tokens,
    stream_tokens,
    usage_of,
    usage_of_whole,
)
from demur.models.prices import Price
from demur.records import Role
from demur.routing.prompt_router import Decision

# The models of the pair and what a token costs; None where that is unknown.
Prices = Mapping[Role, tuple[str, Price | None]]


@dataclass(slots=True)
class Passage:
    """Where a request is, and where it went."""

    id: str
    path: str
    started: float
    at: float
    traceparent: str = ""  # the trace that the client began
    key: str = ""
    asked: str = ""
    role: str = ""
    chosen: Role | None = None  # by demur; None where the client named a real model
    turn: Turn | None = None  # of its conversation
    score: float | None = None
    threshold: float | None = None
    reason: str = ""
    to_check: Decision | None = None  # the first stage's, where the weak model's answer has its say
    stage: str = "prompt"
    extra_samples: int = 0
    calibration_void: bool = False
    model: str = ""
    status: int = 0
    streamed: bool = False
    outcome: str = "ok"
    queue_seconds: float = 0.0
    embed_seconds: float = 0.0
    score_seconds: float = 0.0
    gate_seconds: float = 0.0
    gate_tokens: tuple[int, int] = (0, 0)  # of drafts that were thrown away and of extra samples: prompt, completion
    first_byte_seconds: float = 0.0
    sent_bytes: int = 0
    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)  # of the request
    tail: bytes | bytearray = b""  # of the answer
    _tokens: tuple[int, int, bool] | None = None

    def answered_whole(self, data: bytes) -> None:
        """The answer, all of it."""
        self.sent_bytes, self.tail = len(data), data

    def passed(self, chunk: bytes) -> None:
        """Another piece of an answer has been sent on."""
        if not isinstance(self.tail, bytearray):
            self.tail = bytearray()
        self.sent_bytes += len(chunk)
        self.tail += chunk
        del self.tail[:-TAIL_BYTES]

    @property
    def tokens(self) -> tuple[int, int, bool]:
        """Prompt and completion tokens of the answer, and whether the upstream counted them; else by length."""
        if self._tokens is None or not self._whole:  # a stream's change as it comes
            self._tokens = self._count_tokens()
        return self._tokens

    @property
    def _whole(self) -> bool:
        return isinstance(self.tail, bytes)

    def _count_tokens(self) -> tuple[int, int, bool]:
        data = bytes(self.tail)
        found = usage_of_whole(data) if self._whole else usage_of(data)
        if found:
            return (*found, True)
        completion = answer_tokens(data) if self._whole else stream_tokens(data, self.sent_bytes)
        return request_tokens(self.fields), completion, False

    def usd(self, prices: Prices) -> float | None:
        """USD of the answer and of what the gate asked for beside it; None when a price is unknown."""
        return self._usd(prices, *self.tokens[:2])

    def _usd(self, prices: Prices, prompt: int, completion: int) -> float | None:
        own = next((price for model, price in prices.values() if model == self.model), None)
        weak = prices["weak"][1]
        if own is None or (weak is None and self.gate_tokens != (0, 0)):
            return None
        return own.usd(prompt, completion) + (weak.usd(*self.gate_tokens) if weak else 0.0)

    def record(self, prices: Prices, prompt: str) -> LedgerRecord:
        """What is written down at its end."""
        answered = bool(self.model) and self.status < 400
        prompt_tokens, completion_tokens, counted = self.tokens if answered else (0, 0, True)
        strong = prices["strong"][1]
        return LedgerRecord(
            id=self.id,
            at=self.at,
            key=self.key,
            path=self.path,
            asked=self.asked[:200],
            model=self.model,
            role=self.role,
            score=self.score,
            threshold=self.threshold,
            reason=self.reason,
            stage=self.stage,
            extra_samples=self.extra_samples,
            calibration_void=self.calibration_void,
            status=self.status,
            streamed=self.streamed,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            tokens_counted=counted,
            usd=self._usd(prices, prompt_tokens, completion_tokens) if answered else 0.0,
            usd_strong=(strong.usd(prompt_tokens, completion_tokens) if strong else None) if answered else 0.0,
            queue_seconds=self.queue_seconds,
            embed_seconds=self.embed_seconds,
            score_seconds=self.score_seconds,
            gate_seconds=self.gate_seconds,
            first_byte_seconds=self.first_byte_seconds,
            total_seconds=time.perf_counter() - self.started,
            outcome=self.outcome,
            prompt=prompt,
        )
