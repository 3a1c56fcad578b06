"""The record of one request, and which values of it databases accept."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from demur.gateway.http.request_record import request_record
from demur.records import encodable
from demur.serving_file import OWN_REASON

DECIDED = "decided"  # role and outcome of a decision that was asked for alone (/v1/decide)
LARGEST_INTEGER = 2**63 - 1  # of SQLite and PostgreSQL


@request_record(frozen=True, slots=True)
class LedgerRecord:
    """The record of one request."""

    id: str
    at: float  # seconds since 1970
    key: str  # name of the client's key; empty without keys
    path: str
    asked: str  # model that the client named
    model: str  # model that answered; empty when none did; of a decision alone the chosen one
    role: str  # weak, strong, the name of a tier, direct (the client named a real model), decided (no model answered)
    score: float | None  # P(the strong model is needed)
    threshold: float | None
    reason: str
    stage: str  # prompt; gate: the weak model's answer was looked at; unknown: sent by the setting `unknown`
    extra_samples: int  # of the weak model, asked by the gate
    calibration_void: bool  # the gate's signals were missing
    status: int
    streamed: bool
    prompt_tokens: int
    completion_tokens: int
    tokens_counted: bool  # False: a part of tokens or USD is an estimate, the upstream did not say
    usd: float | None  # drafts and extra samples included; None: the price is unknown
    usd_strong: float | None  # what always-strong would have cost; a guess where another model answered
    queue_seconds: float
    embed_seconds: float
    score_seconds: float
    gate_seconds: float  # the weak model's draft and extra samples, until the gate had decided
    first_byte_seconds: float  # of the upstream
    total_seconds: float
    outcome: str  # ok, upstream_error, fallback, cannot, client_gone, refused, decided
    prompt: str  # empty unless record_prompts is on
    cached_tokens: int = 0  # of prompt_tokens, read from the upstream's prompt cache
    cache_written_tokens: int = 0  # of prompt_tokens, written to it
    reasoning_tokens: int = 0  # of completion_tokens
    service_tier: str = ""  # that the upstream says it answered at
    conversation: str = ""  # a name for the conversation; empty without one
    usd_checks: float | None = 0.0  # of usd: drafts that were dropped, extra samples, requests that were cut
    # Standard deviations of what was saved: of the guess in usd_strong, the one that all requests share, and this
    # answer's own. Zero where the strong model answered, or was to and was down; None: not known.
    usd_strong_error: float | None = 0.0
    usd_strong_spread: float | None = 0.0
    answer: str = ""  # of the strong model; empty unless it may be learned from
    answered_by: str = ""  # model and build, as the upstream names them; empty: not said
    version: int = 0  # of the learned router that decided; 0: none did
    # Of usd_strong: what was not paid because the chosen, dearer model was down, which is no saving. Saved is
    # usd_strong - usd - usd_spared.
    usd_spared: float = 0.0

    @property
    def is_test(self) -> bool:
        """Whether demur asked it by itself: no client did."""
        return self.reason.startswith(OWN_REASON)


COLUMNS = tuple(field.name for field in fields(LedgerRecord))
_TEXTS = frozenset(field.name for field in fields(LedgerRecord) if field.type == "str")
_values = attrgetter(*COLUMNS)  # dataclasses.astuple copies each value, and would hold up the requests


def storable_rows(records: Iterable[LedgerRecord]) -> list[tuple[Any, ...]]:
    """The values of records in the order of `COLUMNS`, each of them `storable`.

    They are looked at a column at a time, since nearly every column is storable as it is.
    """
    columns = zip(*map(_values, records), strict=True)
    fit = (
        values if _all_storable(values, text=name in _TEXTS) else list(map(storable, values))
        for name, values in zip(COLUMNS, columns, strict=False)  # no records have no columns
    )
    return list(zip(*fit, strict=True))


def _all_storable(values: Sequence[Any], *, text: bool) -> bool:
    """Whether all values of a column are storable; False also where that cannot be told of them together."""
    given = list(filter(None, values))  # without zeros, empty texts and what is not known
    if text:
        joined = "".join(given)
        return joined.isascii() and "\0" not in joined
    return bool(sum(map(abs, given)) <= LARGEST_INTEGER)  # False for NaN and infinity


def storable(value: Any) -> Any:
    """A value that both databases accept: clients and upstreams may send lone surrogates or numbers that are not
    finite.
    """
    if isinstance(value, str):
        return encodable(value).replace("\0", "?")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return LARGEST_INTEGER if value > 0 else -LARGEST_INTEGER
    return value
