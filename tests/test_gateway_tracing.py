"""Spans: what they are called, whom they belong to, and that they are sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from conftest import needed
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.operator.tracing import Tracer, attributes, operation
from gateways import RECORD, gateway, upstream, wire

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What the exporter is given, in place of the one that sends over HTTP."""
    memory = needed("opentelemetry.sdk.trace.export.in_memory_span_exporter").InMemorySpanExporter()
    module = ModuleType("trace_exporter")
    module.OTLPSpanExporter = lambda: memory  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", module)
    yield memory
    memory.shutdown()


def traced(trace: Tracer, record: LedgerRecord, parent: str = "") -> None:
    trace.begin({"traceparent": parent} if parent else {}, record.at).end(record)


def test_a_request_becomes_a_span_that_is_sent(exported: Any) -> None:
    trace = Tracer()
    traced(trace, replace(RECORD, status=502, outcome="upstream_error"))
    trace.close()
    (span,) = exported.get_finished_spans()
    assert span.name == "chat demur"
    assert span.end_time - span.start_time == pytest.approx(0.2e9, rel=0.01)
    assert not span.status.is_ok
    assert span.resource.attributes["service.name"] == "demur"
    assert span.attributes["demur.decision_id"] == "id1"
    assert span.parent is None


@pytest.mark.parametrize(
    ("status", "outcome", "kind"),
    [
        (200, "ok", None),
        (200, "fallback", None),
        (200, "cannot", None),
        (400, "upstream_error", "400"),
        (404, "refused", "404"),
        (200, "upstream_error", "upstream_error"),
        (200, "client_gone", "client_gone"),
    ],
)
def test_what_failed_says_how(exported: Any, status: int, outcome: str, kind: str | None) -> None:
    trace = Tracer()
    traced(trace, replace(RECORD, status=status, outcome=outcome))
    trace.close()
    (span,) = exported.get_finished_spans()
    assert span.attributes.get("error.type") == kind
    assert (span.status.status_code.name == "ERROR") == (kind is not None)


def test_without_an_answer_no_usage_is_said(exported: Any) -> None:
    assert "gen_ai.usage.input_tokens" not in attributes(replace(RECORD, prompt_tokens=0, completion_tokens=0))
    assert attributes(RECORD)["gen_ai.usage.input_tokens"] == 10


def test_a_span_belongs_to_the_trace_that_the_client_began(exported: Any) -> None:
    trace = Tracer()
    traced(trace, RECORD, PARENT)
    traced(trace, RECORD, "nonsense")
    trace.close()
    first, second = exported.get_finished_spans()
    assert f"{first.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{first.parent.span_id:016x}" == PARENT.split("-")[2]
    assert second.parent is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "text_completion"),
        ("/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/messages", "chat"),
        ("/v1/responses?x=1", "chat"),
    ],
)
def test_operations_have_the_conventions_names(path: str, name: str) -> None:
    assert operation(path) == name


def test_without_an_exporter_the_pip_line_is_said() -> None:
    needed("opentelemetry.sdk")
    code = (
        "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
        "from demur.gateway.operator.tracing import Tracer\nTracer()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'demur[otel]'" in done.stderr


def kinds(exported: Any) -> tuple[Any, list[Any]]:
    """The span of the client's request, and those of the requests to upstreams."""
    spans = exported.get_finished_spans()
    (server,) = [one for one in spans if one.kind.name == "SERVER"]
    return server, [one for one in spans if one.kind.name == "CLIENT"]


STREAM = (
    b'data: {"id":"chatcmpl-7","choices":[{"delta":{"content":"a"}}]}\n\n'
    b'data: {"id":"chatcmpl-7","choices":[{"delta":{},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
)
WHOLE = b'{"id":"chatcmpl-7","choices":[{"message":{"content":"\\"id\\":\\"no\\""},"finish_reason":"length"}]}'


@pytest.mark.parametrize("stream", [False, True])
async def test_every_request_to_an_upstream_has_a_span_below_the_clients(
    tmp_path: Path, exported: Any, stream: bool
) -> None:
    seen: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers["traceparent"])
        if not stream:
            return web.Response(body=WHOLE, content_type="application/json")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for at in range(0, len(STREAM), 9):
            await response.write(STREAM[at : at + 9])
        return response

    async with gateway(tmp_path, otel=True) as found, upstream(answer, found):
        await found.ask(stream=stream, headers={"traceparent": PARENT, "tracestate": "vendor=1"})
    server, (call,) = kinds(exported)
    assert f"{server.context.trace_id:032x}" == f"{call.context.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{server.parent.span_id:016x}" == PARENT.split("-")[2]
    assert call.parent.span_id == server.context.span_id
    assert seen == [f"00-{call.context.trace_id:032x}-{call.context.span_id:016x}-01"]  # its own, not the client's
    assert call.name == "chat small"
    assert call.attributes["gen_ai.request.model"] == "small"
    assert call.attributes["gen_ai.response.id"] == "chatcmpl-7"
    assert call.attributes["gen_ai.response.finish_reasons"] == ("length",)
    assert call.attributes["server.address"] == "127.0.0.1"
    assert call.status.is_unset
    assert server.start_time <= call.start_time <= call.end_time


async def test_a_request_that_fails_upstream_is_a_span_that_says_how(tmp_path: Path, exported: Any) -> None:
    async with gateway(tmp_path, otel=True, retries=1, first_byte_seconds=0.1) as found:
        found.weak.failures += [web.Response(status=503) for _ in range(2)]
        found.strong.hang_seconds = 1.0
        assert (await found.ask())[0] == 502
    server, calls = kinds(exported)
    assert [(one.name, one.attributes["error.type"]) for one in calls] == [
        ("chat small", "503"),
        ("chat small", "503"),
        ("chat large", "SocketTimeoutError"),
    ]
    assert all(one.status.status_code.name == "ERROR" for one in (server, *calls))
    assert server.attributes["error.type"] == "502"


async def test_a_stream_that_breaks_off_and_a_client_that_goes_are_spans_of_their_own(
    tmp_path: Path, exported: Any
) -> None:
    event = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    said = STREAM.split(b"\n\n")[0] + b"\n\n"
    async with gateway(tmp_path, otel=True) as found, wire(found, event, b"%x\r\n%s\r\n" % (len(said), said), 0.05):
        with pytest.raises(aiohttp.ClientPayloadError):
            await found.ask(stream=True)
    _, (call,) = kinds(exported)
    assert call.attributes["error.type"] == "ClientPayloadError"
    assert call.attributes["gen_ai.response.id"] == "chatcmpl-7"


async def test_who_is_turned_away_has_no_span_and_untraced_requests_keep_their_traceparent(
    tmp_path: Path, exported: Any
) -> None:
    seen: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.headers.get("traceparent"))
        return web.Response(body=WHOLE, content_type="application/json")

    async with gateway(tmp_path, otel=True) as found, upstream(answer, found):
        assert (await found.ask(headers={"Origin": "https://evil.example"}))[0] == 403
    assert not exported.get_finished_spans()
    async with gateway(tmp_path / "plain") as found, upstream(answer, found):
        await found.ask(headers={"traceparent": PARENT})
    assert seen == [PARENT]


def test_spans_follow_the_genai_conventions() -> None:
    found = attributes(replace(RECORD, score=None, usd=None))
    assert found["gen_ai.request.model"] == "demur"
    assert found["gen_ai.response.model"] == "small"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (10, 20)
    assert "demur.score" not in found
    assert "prompt" not in " ".join(found).replace("prompt_tokens", "")
