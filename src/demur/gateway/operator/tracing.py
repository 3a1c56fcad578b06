"""One span per request, by OpenTelemetry's GenAI conventions, made when the request has ended."""

from __future__ import annotations

import os
from typing import Any

from demur.errors import require
from demur.gateway.ledger.ledger import LedgerRecord

NANOSECONDS = 1_000_000_000
FLUSH_MILLISECONDS = 5000


class Tracer:
    """Makes spans of records, and sends them.

    To where OTEL_EXPORTER_OTLP_ENDPOINT says, over HTTP; or by the provider that is set up already, as under
    ``opentelemetry-instrument``. Raises MissingExtraError without OpenTelemetry.
    """

    def __init__(self) -> None:
        self._trace = require("opentelemetry.trace", extra="otel", purpose="tracing")
        self._propagation = require("opentelemetry.trace.propagation.tracecontext", extra="otel", purpose="tracing")
        set_up = self._trace.get_tracer_provider()
        self._provider = _exporting() if isinstance(set_up, self._trace.ProxyTracerProvider) else set_up
        self._source = self._provider.get_tracer("demur")

    def __call__(self, record: LedgerRecord, traceparent: str = "") -> None:
        """Make the span of a request; ``traceparent`` is the header that it came with."""
        started = int(record.at * NANOSECONDS)
        propagator = self._propagation.TraceContextTextMapPropagator()
        made = self._source.start_span(
            f"{operation(record)} {record.asked}",
            context=propagator.extract({"traceparent": traceparent}) if traceparent else None,
            kind=self._trace.SpanKind.SERVER,
            start_time=started,
            attributes=attributes(record),
        )
        if error_type(record):
            made.set_status(self._trace.StatusCode.ERROR, record.outcome)
        made.end(end_time=started + int(record.total_seconds * NANOSECONDS))

    def close(self) -> None:
        """Send pending spans."""
        flush = getattr(self._provider, "force_flush", None)  # of the SDK's providers
        if flush is not None:
            flush(FLUSH_MILLISECONDS)


def _exporting() -> Any:
    """A provider that exports over OTLP."""
    sdk, export, resources, otlp = (
        require(module, extra="otel", purpose="exporting spans")
        for module in (
            "opentelemetry.sdk.trace",
            "opentelemetry.sdk.trace.export",
            "opentelemetry.sdk.resources",
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
        )
    )
    service = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "demur")}
    provider = sdk.TracerProvider(resource=resources.Resource.create(service))
    provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    return provider


def operation(record: LedgerRecord) -> str:
    """What was asked for, in the conventions' words."""
    last = record.path.rpartition("/")[2]
    return {"embeddings": "embeddings", "completions": "chat" if "chat/" in record.path else "text_completion"}.get(
        last, last
    )


def error_type(record: LedgerRecord) -> str | None:
    """Why a request failed, as the conventions name it: its status, or, where that says nothing, how it ended."""
    if record.status >= 400:
        return str(record.status)
    return None if record.outcome in ("ok", "fallback", "cannot") else record.outcome


def attributes(record: LedgerRecord) -> dict[str, Any]:
    """A record as span attributes; what is unknown is left out."""
    answered = bool(record.prompt_tokens or record.completion_tokens)
    known = {
        "gen_ai.operation.name": operation(record),
        "gen_ai.provider.name": "demur",
        "gen_ai.request.model": record.asked,
        "gen_ai.response.model": record.model or None,
        "gen_ai.usage.input_tokens": record.prompt_tokens if answered else None,
        "gen_ai.usage.output_tokens": record.completion_tokens if answered else None,
        "error.type": error_type(record),
        "http.response.status_code": record.status,
        "demur.decision_id": record.id,
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
