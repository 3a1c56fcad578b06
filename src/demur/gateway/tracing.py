"""A span a request, by OpenTelemetry's GenAI conventions, made when the request has ended: it costs nothing before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from demur.errors import require
from demur.gateway.ledger import LedgerRecord

NANOSECONDS = 1_000_000_000


def tracer() -> Callable[[LedgerRecord], None]:
    """A function that makes a record's span; raises MissingExtraError without OpenTelemetry.

    Where spans go is configured the usual way (OTEL_EXPORTER_OTLP_ENDPOINT and the SDK's own set-up).
    """
    trace = require("opentelemetry.trace", extra="otel", purpose="tracing")
    source = trace.get_tracer("demur")

    def span(record: LedgerRecord) -> None:
        started = int(record.at * NANOSECONDS)
        made = source.start_span(
            f"chat {record.asked}", kind=trace.SpanKind.SERVER, start_time=started, attributes=attributes(record)
        )
        if record.status >= 500:
            made.set_status(trace.StatusCode.ERROR, record.outcome)
        made.end(end_time=started + int(record.total_seconds * NANOSECONDS))

    return span


def attributes(record: LedgerRecord) -> dict[str, Any]:
    """A record as span attributes; what is unknown is left out."""
    known = {
        "gen_ai.operation.name": "embeddings" if record.path.endswith("embeddings") else "chat",
        "gen_ai.provider.name": "demur",
        "gen_ai.request.model": record.asked,
        "gen_ai.response.model": record.model or None,
        "gen_ai.response.id": record.id,
        "gen_ai.usage.input_tokens": record.prompt_tokens,
        "gen_ai.usage.output_tokens": record.completion_tokens,
        "http.response.status_code": record.status,
        "demur.role": record.role or None,
        "demur.score": record.score,
        "demur.threshold": record.threshold,
        "demur.reason": record.reason or None,
        "demur.stage": record.stage,
        "demur.extra_samples": record.extra_samples or None,
        "demur.cost_usd": record.usd,
        "demur.outcome": record.outcome,
    }
    return {name: value for name, value in known.items() if value is not None}
