"""One request on its way through the gateway: filled in as it goes, and at its end what it came to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from demur.gateway.ledger import LedgerRecord
from demur.gateway.wire import usage_of
from demur.prices import CHARACTERS_PER_TOKEN, Price
from demur.records import Role
from demur.router import Decision

TAIL_BYTES = 8192  # of a response that are kept to read its usage

# The models of the pair and what a token costs; None where that is unknown.
Prices = Mapping[Role, tuple[str, Price | None]]


@dataclass(slots=True)
class Passage:
    """Where a request is, and where it went."""

    id: str
    path: str
    started: float
    at: float
    key: str = ""
    asked: str = ""
    role: str = ""
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
    tail: bytearray = field(default_factory=bytearray)

    @property
    def tokens(self) -> tuple[int, int, bool]:
        """Prompt and completion tokens of the answer, and whether the upstream counted them; else by length."""
        found = usage_of(bytes(self.tail), self.streamed)
        if found:
            return (*found, True)
        return len(self.text) // CHARACTERS_PER_TOKEN, self.sent_bytes // (4 * CHARACTERS_PER_TOKEN), False

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
