"""A request's way through the gateway: admitted, read, a model chosen, asked, its answer sent on, written down.

Bytes pass through as they are, streams piece by piece. What is counted is counted after the answer has gone.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from aiohttp import web

from demur.gateway.decision.check_draft import Outgoing
from demur.gateway.decision.choose_model import ALIAS, Chooser, unknown_model
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.question import Question, read_question
from demur.gateway.exchange import Arrived, Ended, Exchange, ledger_record
from demur.gateway.http.openai_bodies import (
    ApiError,
    model_entry,
    model_list,
    request_headers,
    response_headers,
)
from demur.gateway.http.send import send_pieces
from demur.gateway.keys import Doorkeeper
from demur.gateway.ledger.ledger import Ledger, LedgerRecord
from demur.gateway.operator.metrics import Gauges, Metrics
from demur.gateway.settings import GatewaySettings
from demur.gateway.upstreams.ask_upstreams import Sent, checked_draft, first_answer
from demur.gateway.upstreams.upstream import Upstream
from demur.records import Role

LARGEST_HELD = 2**30  # bytes of all requests that are under way; a request beyond them is answered 429
log = logging.getLogger("demur.gateway")


class Gateway:
    """Everything that one gateway process holds; its public coroutines are its routes."""

    def __init__(
        self,
        settings: GatewaySettings,
        decider: Decider,
        upstreams: Mapping[Role, Upstream],
        doorkeeper: Doorkeeper,
        ledger: Ledger | None,
        *,
        redact: Callable[[str], str] = str,
        trace: Callable[[LedgerRecord, str], None] | None = None,
    ) -> None:
        self.settings, self.decider, self.upstreams = settings, decider, upstreams
        self.doorkeeper, self.ledger, self._redact, self._trace = doorkeeper, ledger, redact, trace
        self.metrics = Metrics()
        self.in_flight = 0
        self.draining = False
        self.read_again: Callable[[], GatewaySettings] | None = None  # how a reload reads its settings
        self.reloading = asyncio.Lock()
        self._held_bytes = 0
        self._name, self._count = uuid.uuid4().hex[:20], itertools.count()  # of request ids, in every process its own
        self._chooser = Chooser(decider, {up.endpoint.model: role for role, up in upstreams.items()})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions and /v1/completions: routed."""
        return await self._respond(request, routed=True)

    async def pass_on(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/embeddings: passed to the upstream that the model names."""
        return await self._respond(request, routed=False)

    async def models(self, request: web.Request) -> web.Response:
        """GET /v1/models."""
        self.doorkeeper.admit(request.headers)
        names = [ALIAS, *self._chooser.direct]
        return web.Response(body=model_list(names, int(time.time())), content_type="application/json")

    async def model(self, request: web.Request) -> web.Response:
        """GET /v1/models/NAME."""
        self.doorkeeper.admit(request.headers)
        name = request.match_info["name"]
        if not self._chooser.knows(name):
            raise unknown_model(name, self._chooser.direct)
        return as_json(model_entry(name, int(time.time())))

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
        up = {upstream.endpoint.model: upstream.healthy for upstream in self.upstreams.values()}
        return Gauges(self.in_flight, dropped, failures, self.decider.policy.threshold, up)

    # -- one request ---------------------------------------------------------------------------------------------

    async def _respond(self, request: web.Request, *, routed: bool) -> web.StreamResponse:
        arrived = Arrived(
            f"{self._name}{next(self._count):012x}",
            request.path,
            time.perf_counter(),
            time.time(),
            request.headers.get("traceparent", ""),
        )
        exchange = Exchange(arrived)
        held = _expected_bytes(request, self.settings.max_body_bytes)
        self.in_flight += 1
        self._held_bytes += held
        try:
            return await self._serve(request, exchange, routed=routed)
        except (ApiError, web.HTTPException) as error:
            exchange.ended = Ended(error.status, getattr(error, "outcome", "refused"))
            raise
        except (asyncio.CancelledError, ConnectionError):
            exchange.ended = Ended(exchange.sent.answer.status if exchange.sent else 0, "client_gone")
            raise
        except Exception:
            exchange.ended = Ended(500, "failed")
            raise
        finally:
            self.in_flight -= 1
            self._held_bytes -= held
            asyncio.get_running_loop().call_soon(self._write_down, exchange)  # once the answer is on its way

    async def _serve(self, request: web.Request, exchange: Exchange, *, routed: bool) -> web.StreamResponse:
        exchange.key = self._admit(request)
        exchange.question = await self._read(request, exchange.key, routed=routed)
        exchange.sent = await self._ask(request, exchange, exchange.question, routed=routed)
        return await self._answer(request, exchange, exchange.sent)

    def _admit(self, request: web.Request) -> str:
        """Let a request in: the name of its key; raises ApiError."""
        if self.in_flight > self.settings.max_in_flight or self._held_bytes > LARGEST_HELD:
            raise ApiError(429, "The gateway is full; try again.", "overloaded", "overloaded", retry_after=1)
        return self.doorkeeper.admit(request.headers)

    async def _read(self, request: web.Request, key: str, *, routed: bool) -> Question:
        """What the request asks, read once; raises ApiError."""
        try:
            if request.content.is_eof():  # all of it came with the header, as it mostly does
                raw = await request.read()
            else:
                async with asyncio.timeout(self.settings.body_seconds):
                    raw = await request.read()
        except TimeoutError:
            raise ApiError(408, "The request's body did not come in time.") from None
        except (web.RequestPayloadError, ValueError):  # it is not what its Content-Encoding says, say
            raise ApiError(400, "The body cannot be read.") from None
        routes = self._chooser.routes if routed else lambda name: False
        return read_question(
            raw, routes, self.settings, key=key, conversation=request.headers.get("x-demur-conversation")
        )

    async def _ask(self, request: web.Request, exchange: Exchange, question: Question, *, routed: bool) -> Sent:
        """The answer of the model that is chosen, or of the one that stands in for it. Raises ApiError."""
        query = request.rel_url.raw_query_string
        path = request.path.removeprefix("/v1") + (f"?{query}" if query else "")
        sent = Outgoing(path, question, request_headers(request.headers))
        if routed:
            choice = await self._chooser.choose(self.settings, request.headers, question)
        else:
            choice = self._chooser.choose_for_embeddings(self.settings, question)
        exchange.choice = choice
        fallback = self.settings.fallback and not choice.named
        if not choice.to_check:
            return await first_answer(self.upstreams, choice, sent, exchange.calls, fallback=fallback)
        checked = exchange.checked = await checked_draft(
            self.decider,
            self.upstreams,
            self._chooser,
            choice,
            choice.to_check,
            sent,
            exchange.calls,
            fallback=fallback,
        )
        if checked.draft:
            weak = self.upstreams["weak"].endpoint.model
            return Sent("weak", weak, checked.draft, checked.reason, checked.seconds)
        return await first_answer(self.upstreams, checked, sent, exchange.calls, fallback=fallback)

    async def _answer(self, request: web.Request, exchange: Exchange, sent: Sent) -> web.StreamResponse:
        answer, choice = sent.answer, exchange.choice
        if answer.status < 400 and choice and exchange.question and not choice.named:
            last = exchange.checked or choice
            self._chooser.keep(exchange.question.turn, last.role, sent.role)
        fallback = sent.fallback or (exchange.checked is not None and exchange.checked.fallback)
        if answer.whole is None:
            response, outcome = await send_pieces(request, answer, self._headers(exchange, sent), exchange.passed)
            outcome = "upstream_error" if answer.status >= 400 and outcome == "ok" else outcome
            exchange.ended = Ended(answer.status, "fallback" if fallback and outcome == "ok" else outcome)
            return response
        data = self._mask_keys(answer.whole) if answer.status >= 400 else answer.whole
        exchange.passed.set_whole(data)
        outcome = "upstream_error" if answer.status >= 400 else "fallback" if fallback else "ok"
        exchange.ended = Ended(answer.status, outcome)
        return web.Response(body=data, status=answer.status, headers=self._headers(exchange, sent))

    def _mask_keys(self, data: bytes) -> bytes:
        """An error of an upstream; some show the key that they were asked with."""
        for upstream in self.upstreams.values():
            data = upstream.mask_key(data)
        return data

    def _headers(self, exchange: Exchange, sent: Sent) -> dict[str, str]:
        headers = response_headers(sent.answer.headers)
        return headers | self._explain(exchange, sent) if self.settings.headers else headers

    def _explain(self, exchange: Exchange, sent: Sent) -> dict[str, str]:
        found = {"x-demur-model": sent.model, "x-demur-decision-id": exchange.arrived.id}
        found["x-demur-reason"] = " ".join(sent.reason.encode("ascii", "replace").decode().split())
        if exchange.score is not None and exchange.threshold is not None:
            found |= {"x-demur-score": f"{exchange.score:.6f}", "x-demur-threshold": f"{exchange.threshold:.6f}"}
        if sent.answer.status >= 400:
            found["x-demur-upstream-error"] = sent.model  # not the gateway's own
        if exchange.checked:
            found |= {"x-demur-stage": "gate", "x-demur-extra-samples": str(exchange.checked.extra_samples)}
        # A stream's cost is known at its end: the ledger has it.
        cost = exchange.usd(self.upstreams) if exchange.passed.sent_bytes else None
        return found | ({} if cost is None else {"x-demur-cost-usd": f"{cost:.8f}"})

    # -- what it came to -----------------------------------------------------------------------------------------

    def _write_down(self, exchange: Exchange) -> None:
        """Count a request and keep its record; whatever a user's hook raises, the record stays."""
        text = exchange.question.text if exchange.question else ""
        record = ledger_record(exchange, self.upstreams, self._kept_prompt(text))
        self.doorkeeper.charge(record.key, record.usd)
        self.metrics.add(replace(record, prompt="") if record.prompt else record)
        if self.ledger:
            self.ledger.add(record)
        if self._trace:
            try:
                self._trace(record, exchange.arrived.traceparent)
            except Exception:
                log.exception("a request could not be traced")

    def _kept_prompt(self, text: str) -> str:
        """The prompt as the ledger may have it: none where redaction fails, whose error may show what it hides."""
        if not self.settings.record_prompts:
            return ""
        try:
            return self._redact(text)
        except Exception as error:
            log.error("redact raised %s: the prompt is not kept", type(error).__name__)
            return ""


def _expected_bytes(request: web.Request, most: int) -> int:
    """How long a request's body can be: as it says, or as long as bodies may be."""
    says = request.content_length
    inflated = says is None or "Content-Encoding" in request.headers
    return most if inflated and request.body_exists else min(says or 0, most)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def errors_as_openai(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every error of ours in OpenAI's format, and no traceback to a client."""
    try:
        return await handler(request)
    except ApiError as error:
        return _error(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _error(request, ApiError(error.status, error.reason or "error"))
    except ConnectionError:  # the client's: there is nobody to tell
        raise
    except Exception as error:
        log.exception("a request failed: %s", type(error).__name__)
        return _error(request, ApiError(500, "The gateway failed at this request.", "server_error", "internal_error"))


def _error(request: web.Request, error: ApiError) -> web.Response:
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else {}
    response = web.Response(body=error.body, status=error.status, headers=headers, content_type="application/json")
    if request.content.exception() is not None:  # where the next request would begin is not known
        request.content.feed_eof()
        response.force_close()
    return response


def as_json(value: object) -> web.Response:
    """A JSON response."""
    return web.Response(text=json.dumps(value), content_type="application/json")
