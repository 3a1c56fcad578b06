"""A request's way through the gateway: admitted, decided, sent on, answered, written down.

Bytes pass through as they are, streams chunk by chunk. What is counted is counted after the answer has gone.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import aiohttp
from aiohttp import web

from demur.errors import DemurError
from demur.gateway.checking import Checked, DraftChecker, can_be_checked
from demur.gateway.decisions import Decider
from demur.gateway.keys import Doorkeeper
from demur.gateway.ledger import Ledger, LedgerRecord
from demur.gateway.metrics import Gauges, Metrics
from demur.gateway.passage import TAIL_BYTES, Passage, Prices
from demur.gateway.sessions import Conversations
from demur.gateway.settings import GatewaySettings
from demur.gateway.upstreams import Upstream, UpstreamDown
from demur.gateway.wire import (
    HOP_HEADERS,
    ApiError,
    conversation_of,
    model_list,
    parse_body,
    routed_text,
    threshold_of,
    turns,
    with_model,
)
from demur.prices import CHARACTERS_PER_TOKEN
from demur.records import Role
from demur.router import Decision

ALIAS = "demur"


class Gateway:
    """Everything that one gateway process holds; ``handlers`` are its routes."""

    def __init__(
        self,
        settings: GatewaySettings,
        decider: Decider,
        upstreams: Mapping[Role, Upstream],
        doorkeeper: Doorkeeper,
        ledger: Ledger | None,
        *,
        redact: Callable[[str], str] = str,
        trace: Callable[[LedgerRecord], None] | None = None,
    ) -> None:
        self.settings, self.decider, self.upstreams = settings, decider, upstreams
        self.doorkeeper, self.ledger, self._redact, self._trace = doorkeeper, ledger, redact, trace
        self.metrics, self.conversations = Metrics(), Conversations()
        self.in_flight = 0
        self.draining = False
        self.read_again: Callable[[], GatewaySettings] | None = None  # how a reload reads its settings
        self._direct: dict[str, Role] = {up.endpoint.model: role for role, up in upstreams.items()}

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions and /v1/completions: routed."""
        return await self._answered(request, routed=True)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/embeddings: passed to the upstream that the model names, else to the weak one."""
        return await self._answered(request, routed=False)

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        self.doorkeeper.admit(request.headers)
        names = [ALIAS, *self._direct]
        return web.Response(body=model_list(names, int(time.time())), content_type="application/json")

    async def live(self, request: web.Request) -> web.Response:
        """GET /health: the process answers."""
        return web.json_response(
            {"status": "draining" if self.draining else "ok"}, status=503 if self.draining else 200
        )

    async def ready(self, request: web.Request) -> web.Response:
        """GET /health/ready: both upstreams' state; 200 as long as one of them answers."""
        states = await asyncio.gather(*(up.alive() for up in self.upstreams.values()))
        found = {
            role: {"model": up.endpoint.model, "alive": state, "circuit": "open" if up.breaker.open else "closed"}
            for (role, up), state in zip(self.upstreams.items(), states, strict=True)
        }
        return web.json_response(found, status=200 if any(states) and not self.draining else 503)

    def gauges(self) -> Gauges:
        """What is true now."""
        dropped, failures = (self.ledger.dropped, self.ledger.failures) if self.ledger else (0, 0)
        return Gauges(self.in_flight, dropped, failures, self.decider.policy.router.threshold)

    # -- one request ---------------------------------------------------------------------------------------------

    async def _answered(self, request: web.Request, *, routed: bool) -> web.StreamResponse:
        passage = Passage(uuid.uuid4().hex, request.path, time.perf_counter(), time.time())
        if self.in_flight >= self.settings.max_in_flight or self.draining:
            raise ApiError(429, "The gateway is full; try again.", "overloaded", "overloaded", retry_after=1)
        self.in_flight += 1
        try:
            passage.key = self.doorkeeper.admit(request.headers)
            async with asyncio.timeout(self.settings.body_seconds):
                raw = await request.read()
            return await self._routed(request, raw, passage, routed=routed)
        except TimeoutError:
            raise ApiError(408, "The request's body did not come in time.") from None
        except ApiError as error:
            passage.status, passage.outcome = error.status, passage.outcome if passage.model else "refused"
            raise
        except (asyncio.CancelledError, ConnectionResetError):
            passage.outcome = "client_gone"
            raise
        finally:
            self.in_flight -= 1
            asyncio.get_running_loop().call_soon(self._write_down, passage)  # once the answer is on its way

    async def _routed(self, request: web.Request, raw: bytes, passage: Passage, *, routed: bool) -> web.StreamResponse:
        body = parse_body(raw)
        passage.asked, passage.streamed = body["model"], bool(body.get("stream"))
        role = await self._role(request.headers, body, passage) if routed else self._direct.get(body["model"], "weak")
        headers = {name: value for name, value in request.headers.items() if _passes(name)}
        path = request.path.removeprefix("/v1")
        if passage.to_check:
            draft = await self._draft(passage.to_check, path, body, headers, request.headers, passage)
            if draft is not None:
                return await self._let_go(request, draft, passage)
            role = "strong" if passage.role == "strong" else "weak"
        order: list[Role] = [role]
        if self.settings.fallback and passage.role != "direct" and routed:
            order.append("weak" if role == "strong" else "strong")
        for attempt, side in enumerate(order):
            upstream, last = self.upstreams[side], attempt == len(order) - 1
            asked_at = time.perf_counter()
            try:
                sent = with_model(raw, body, upstream.endpoint.model)
                response = await upstream.send(path, sent, headers)
            except UpstreamDown as error:
                if last:
                    passage.outcome = "upstream_error"
                    raise ApiError(502, f"No model answers ({error}).", "upstream_error", "upstream_error") from error
                passage.reason += f"; {error}, so the {order[-1]} model answers"
                continue
            if (response.status >= 500 and not last) or (response.status == 429 and not last):
                passage.reason += (
                    f"; {upstream.endpoint.model} answered {response.status}, so the {order[-1]} model does"
                )
                response.release()
                continue
            passage.first_byte_seconds = time.perf_counter() - asked_at
            passage.model = upstream.endpoint.model
            if attempt:
                passage.role, passage.outcome = side, "fallback"
            return await self._passed(request, response, passage)
        raise AssertionError("unreachable")

    async def _role(self, headers: Mapping[str, str], body: Mapping[str, Any], passage: Passage) -> Role:
        """Which model answers: the one that was named, or the policy's choice."""
        asked = body["model"]
        if asked in self._direct:
            passage.role, passage.reason = "direct", "the request names this model"
            return self._direct[asked]
        threshold = self._threshold(asked, headers)
        passage.text = routed_text(body, self.settings.context_characters)
        forced = headers.get("x-demur-route", "")
        if forced in ("weak", "strong"):
            passage.role, passage.reason = forced, "the request's header asks for it"
            return forced  # type: ignore[return-value]  # one of the two
        if not passage.text.strip():
            passage.role, passage.reason = self.settings.default, "the request has no text to route"
            return self.settings.default
        name = self._conversation(headers, body)
        gate = can_be_checked(body) and not (name and turns(body) > 1 and self.conversations.has_strong(name))
        try:
            made = await self.decider.decide(passage.text, threshold, gate=gate)
        except (DemurError, RuntimeError) as error:  # a router that fails must not take the service down
            passage.role, passage.reason = "strong", f"the router failed ({error})"
            return "strong"
        passage.score, passage.threshold = made.decision.score, made.decision.threshold
        passage.queue_seconds, passage.embed_seconds, passage.score_seconds = made.queued, made.embedded, made.scored
        passage.role, passage.reason = made.decision.role, made.decision.reason
        if made.decision.wants_samples:
            passage.to_check = made.decision
            return "weak"
        return self._settled(headers, body, passage, made.decision.role)

    async def _draft(
        self,
        first: Decision,
        path: str,
        body: Mapping[str, Any],
        sent_headers: Mapping[str, str],
        headers: Mapping[str, str],
        passage: Passage,
    ) -> Checked | None:
        """The weak model's answer where the gate lets it go; None, and the passage's role, where another path is."""
        started, passage.stage = time.perf_counter(), "gate"
        try:
            draft = await DraftChecker(self.decider, self.upstreams["weak"]).check(
                first, passage.text, path, body, sent_headers
            )
        except UpstreamDown as error:
            if not self.settings.fallback:
                passage.outcome = "upstream_error"
                raise ApiError(502, f"No model answers ({error}).", "upstream_error", "upstream_error") from error
            passage.role, passage.outcome = "strong", "fallback"
            passage.reason += f"; {error}, so the strong model answers"
            return None
        finally:
            passage.gate_seconds = time.perf_counter() - started
        if draft is None:
            alone = self.decider.policy.router.decide(first.score, threshold=first.threshold)
            passage.calibration_void = True
            passage.reason = f"{alone.reason}; the weak model refused a draft that can be checked: the gate is void"
            self._settled(headers, body, passage, alone.role)
            return None
        made = draft.decision
        passage.score, passage.reason, passage.calibration_void = made.score, made.reason, made.void
        passage.extra_samples, passage.gate_tokens = draft.extra_samples, draft.extra_tokens
        if self._settled(headers, body, passage, made.role) == "weak":
            return draft
        draft.response.close()
        prompt, completion = draft.draft_tokens
        prompt = prompt or len(passage.text) // CHARACTERS_PER_TOKEN
        passage.gate_tokens = passage.gate_tokens[0] + prompt, passage.gate_tokens[1] + completion
        return None

    def _conversation(self, headers: Mapping[str, str], body: Mapping[str, Any]) -> str | None:
        return conversation_of(body, headers.get("x-demur-conversation")) if self.settings.sticky else None

    def _settled(self, headers: Mapping[str, str], body: Mapping[str, Any], passage: Passage, decided: Role) -> Role:
        """The decision, unless the conversation has its model already."""
        name = self._conversation(headers, body)
        if name is None:
            passage.role = decided
            return decided
        role, kept = self.conversations.settle(name, decided, first=turns(body) <= 1)
        passage.role = role
        if kept:
            passage.reason += "; the conversation stays with its model"
        return role

    def _threshold(self, asked: str, headers: Mapping[str, str]) -> float | None:
        """The threshold that a request asks for; None for the router's own. Raises ApiError for unknown models."""
        header = headers.get("x-demur-threshold")
        if header:
            try:
                return float(header)
            except ValueError:
                raise ApiError(400, f"x-demur-threshold {header[:40]!r} is not a number.") from None
        threshold = threshold_of(asked)
        if threshold is None and asked != ALIAS:
            names = ", ".join([ALIAS, f"{ALIAS}@0.5", *self._direct])
            raise ApiError(404, f"The model {asked[:80]!r} does not exist; known: {names}.", code="model_not_found")
        return threshold

    async def _passed(
        self, request: web.Request, response: aiohttp.ClientResponse, passage: Passage
    ) -> web.StreamResponse:
        """The upstream's answer, byte for byte: streams as they come, others whole."""
        passage.status = response.status
        async with response:
            if "text/event-stream" not in response.headers.get("Content-Type", ""):
                try:
                    data = await response.read()
                except (aiohttp.ClientError, TimeoutError) as error:
                    passage.outcome = "upstream_error"
                    raise ApiError(502, f"{passage.model} broke off its answer.", "upstream_error") from error
                return self._whole(data, response, passage)
            return await self._streamed(request, response.content.iter_any(), response, passage)

    async def _let_go(self, request: web.Request, draft: Checked, passage: Passage) -> web.StreamResponse:
        """The weak model's answer, which the gate has looked at."""
        passage.model, passage.first_byte_seconds = self.upstreams["weak"].endpoint.model, passage.gate_seconds
        passage.status = draft.response.status
        async with draft.response:
            if draft.stream is None:
                return self._whole(draft.whole, draft.response, passage)
            return await self._streamed(request, draft.stream.chunks(), draft.response, passage)

    def _answer_headers(self, response: aiohttp.ClientResponse, passage: Passage) -> dict[str, str]:
        headers = {name: value for name, value in response.headers.items() if _passes(name)}
        return headers | self._explained(passage) if self.settings.headers else headers

    def _whole(self, data: bytes, response: aiohttp.ClientResponse, passage: Passage) -> web.Response:
        passage.sent_bytes, passage.tail = len(data), bytearray(data[-TAIL_BYTES:])
        return web.Response(body=data, status=passage.status, headers=self._answer_headers(response, passage))

    async def _streamed(
        self,
        request: web.Request,
        chunks: AsyncIterator[bytes],
        response: aiohttp.ClientResponse,
        passage: Passage,
    ) -> web.StreamResponse:
        answer = web.StreamResponse(status=passage.status, headers=self._answer_headers(response, passage))
        await answer.prepare(request)
        try:
            async for chunk in chunks:
                await answer.write(chunk)
                passage.sent_bytes += len(chunk)
                passage.tail += chunk
                del passage.tail[:-TAIL_BYTES]
            await answer.write_eof()
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, TimeoutError):
            passage.outcome = "upstream_error"
            if request.transport is not None:
                request.transport.abort()  # a stream that broke must not look complete
        return answer

    def _explained(self, passage: Passage) -> dict[str, str]:
        found = {"x-demur-model": passage.model, "x-demur-decision-id": passage.id}
        found["x-demur-reason"] = " ".join(passage.reason.encode("ascii", "replace").decode().split())
        if passage.score is not None and passage.threshold is not None:
            found |= {"x-demur-score": f"{passage.score:.6f}", "x-demur-threshold": f"{passage.threshold:.6f}"}
        if passage.stage == "gate":
            found |= {"x-demur-stage": "gate", "x-demur-extra-samples": str(passage.extra_samples)}
        cost = passage.usd(self._prices) if passage.sent_bytes else None  # a stream's is known at its end: the ledger
        return found | ({} if cost is None else {"x-demur-cost-usd": f"{cost:.8f}"})

    # -- what it came to -----------------------------------------------------------------------------------------

    def _write_down(self, passage: Passage) -> None:
        prompt = self._redact(passage.text) if self.settings.record_prompts else ""
        record = passage.record(self._prices, prompt)
        self.doorkeeper.charge(passage.key, record.usd)
        self.metrics.add(replace(record, prompt="") if prompt else record)
        if self._trace:
            self._trace(record)
        if self.ledger:
            self.ledger.add(record)

    @property
    def _prices(self) -> Prices:
        return {role: (up.endpoint.model, up.endpoint.price) for role, up in self.upstreams.items()}


@lru_cache(1024)
def _passes(header: str) -> bool:
    """Does a header belong to the other side? Ours and a hop's own do not."""
    name = header.lower()
    return name not in HOP_HEADERS and not name.startswith("x-demur-") and name != "cookie"


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error of ours in OpenAI's format, and no traceback to a client."""
    try:
        return await handler(request)
    except ApiError as error:
        headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
        return web.Response(body=error.body, status=error.status, headers=headers, content_type="application/json")
    except web.HTTPException as error:
        if error.status < 400:
            raise
        body = ApiError(error.status, error.reason or "error").body
        return web.Response(body=body, status=error.status, content_type="application/json")


def as_json(value: object) -> web.Response:
    """A JSON response."""
    return web.Response(text=json.dumps(value), content_type="application/json")
