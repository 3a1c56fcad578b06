"""Spans by OpenTelemetry's GenAI conventions: one of each request, and one below it of each request to an upstream."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from demur.errors import require
from demur.gateway.ledger.record import LedgerRecord

NANOSECONDS = 1_000_000_000
FLUSH_MILLISECONDS = 5000


class Tracer:
    """Makes spans and sends them.

    To where OTEL_EXPORTER_OTLP_ENDPOINT says, over HTTP; or by the provider that is set up already, as under
    ``opentelemetry-instrument``. Raises MissingExtraError without OpenTelemetry.
    """

    def __init__(self) -> None:
        self._trace = require("opentelemetry.trace", extra="otel", purpose="tracing")
        self._propagation = require("opentelemetry.trace.propagation.tracecontext", extra="otel", purpose="tracing")
        set_up = self._trace.get_tracer_provider()
        self._provider = _exporting() if isinstance(set_up, self._trace.ProxyTracerProvider) else set_up
        self._source = self._provider.get_tracer("demur")
        self._propagator = self._propagation.TraceContextTextMapPropagator()

    def begin(self, headers: Mapping[str, str], at: float) -> RequestSpan:
        """A request with these headers arrives, ``at`` seconds since 1970."""
        given = {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}
        span = self._source.start_span(
            "request",
            context=self._propagator.extract(given) if given else None,
            kind=self._trace.SpanKind.SERVER,
            start_time=int(at * NANOSECONDS),
        )
        return RequestSpan(self._trace, self._source, self._propagator, span)

    def close(self) -> None:
        """Send pending spans."""
        flush = getattr(self._provider, "force_flush", None)  # of the SDK's providers
        if flush is not None:
            flush(FLUSH_MILLISECONDS)


class RequestSpan:
    """The SERVER span of a client's request, and the CLIENT spans below it of its requests to upstreams."""

    def __init__(self, trace: Any, source: Any, propagator: Any, span: Any) -> None:
        self._trace, self._source, self._propagator, self._span = trace, source, propagator, span

    def call(self, model: str, base_url: str, path: str) -> CallSpan:
        """See `RequestTrace`."""
        made = self._source.start_span(
            f"{operation(path)} {model}",
            context=self._trace.set_span_in_context(self._span),
            kind=self._trace.SpanKind.CLIENT,
            attributes=_call_attributes(model, base_url, path),
        )
        headers: dict[str, str] = {}
        self._propagator.inject(headers, context=self._trace.set_span_in_context(made))
        return CallSpan(made, headers, self._trace.StatusCode.ERROR)

    def end(self, record: LedgerRecord) -> None:
        """The request is over."""
        self._span.update_name(f"{operation(record.path)} {record.asked}")
        self._span.set_attributes(attributes(record))
        if error_type(record):
            self._span.set_status(self._trace.StatusCode.ERROR, record.outcome)
        self._span.end(end_time=int((record.at + record.total_seconds) * NANOSECONDS))


class CallSpan:
    """The CLIENT span of a request to an upstream."""

    def __init__(self, span: Any, headers: Mapping[str, str], failed: Any) -> None:
        self._span, self.headers, self._failed = span, headers, failed

    def end(self, status: int, error: str, answer_id: str, finish_reasons: tuple[str, ...]) -> None:
        """See `CallTrace`; only the first time counts."""
        if not self._span.is_recording():
            return
        error = error or (str(status) if status >= 400 else "")
        found = {
            "http.response.status_code": status,
            "gen_ai.response.id": answer_id,
            "gen_ai.response.finish_reasons": finish_reasons,
            "error.type": error,
        }
        self._span.set_attributes({name: value for name, value in found.items() if value})
        if error:
            self._span.set_status(self._failed, error)
        self._span.end()


def _call_attributes(model: str, base_url: str, path: str) -> dict[str, Any]:
    url = urlsplit(base_url)
    known = {
        "gen_ai.operation.name": operation(path),
        "gen_ai.request.model": model,
        "server.address": url.hostname,
        "server.port": url.port or {"http": 80, "https": 443}.get(url.scheme),
    }
    return {name: value for name, value in known.items() if value is not None}


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


def operation(path: str) -> str:
    """What was asked for at this path, in the conventions' words."""
    last = path.partition("?")[0].rpartition("/")[2]
    known = {"completions": "chat" if "chat/" in path else "text_completion", "messages": "chat", "responses": "chat"}
    return known.get(last, last)


def error_type(record: LedgerRecord) -> str | None:
    """Why a request failed, as the conventions name it: its status, or, where that says nothing, how it ended."""
    if record.status >= 400:
        return str(record.status)
    return None if record.outcome in ("ok", "fallback", "cannot") else record.outcome


def attributes(record: LedgerRecord) -> dict[str, Any]:
    """A record as span attributes; what is unknown is left out."""
    answered = bool(record.prompt_tokens or record.completion_tokens)
    known = {
        "gen_ai.operation.name": operation(record.path),
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
