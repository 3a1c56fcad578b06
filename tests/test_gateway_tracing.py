"""Spans: what they are called, whom they belong to, and that they are sent."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from conftest import needed
from demur.gateway.operator.tracing import Tracer, attributes, operation
from gateways import RECORD, gateway

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


def test_a_request_becomes_a_span_that_is_sent(exported: Any) -> None:
    trace = Tracer()
    trace(replace(RECORD, status=502, outcome="upstream_error"))
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
    trace(replace(RECORD, status=status, outcome=outcome))
    trace.close()
    (span,) = exported.get_finished_spans()
    assert span.attributes.get("error.type") == kind
    assert (span.status.status_code.name == "ERROR") == (kind is not None)


def test_without_an_answer_no_usage_is_said(exported: Any) -> None:
    assert "gen_ai.usage.input_tokens" not in attributes(replace(RECORD, prompt_tokens=0, completion_tokens=0))
    assert attributes(RECORD)["gen_ai.usage.input_tokens"] == 10


def test_a_span_belongs_to_the_trace_that_the_client_began(exported: Any) -> None:
    trace = Tracer()
    trace(RECORD, PARENT)
    trace(RECORD, "nonsense")
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
    ],
)
def test_operations_have_the_conventions_names(path: str, name: str) -> None:
    assert operation(replace(RECORD, path=path)) == name


def test_without_an_exporter_the_pip_line_is_said() -> None:
    needed("opentelemetry.sdk")
    code = (
        "import sys; sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
        "from demur.gateway.operator.tracing import Tracer\nTracer()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'demur[otel]'" in done.stderr


async def test_a_request_brings_its_trace(tmp_path: Path, exported: Any) -> None:
    async with gateway(tmp_path, otel=True) as found:
        await found.ask(headers={"traceparent": PARENT})
    (span,) = exported.get_finished_spans()
    assert f"{span.context.trace_id:032x}" == PARENT.split("-")[1]


def test_spans_follow_the_genai_conventions() -> None:
    found = attributes(replace(RECORD, score=None, usd=None))
    assert found["gen_ai.request.model"] == "demur"
    assert found["gen_ai.response.model"] == "small"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (10, 20)
    assert "demur.score" not in found
    assert "prompt" not in " ".join(found).replace("prompt_tokens", "")
