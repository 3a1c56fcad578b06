"""The handling of one request: admit, read, choose a model, ask it, send the answer, record it.

Answers are passed on byte for byte, streams piece by piece. Counting happens after the answer was sent.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from aiohttp import web

from demur.gateway.answer_headers import answer_headers
from demur.gateway.clients.budgets import kept_share
from demur.gateway.clients.keys import Admission
from demur.gateway.clients.spending import Spending
from demur.gateway.decision.abilities import Abilities
from demur.gateway.decision.aliases import check_aliases
from demur.gateway.decision.choose_model import Choice, Chooser, named_models, others_of
from demur.gateway.decision.conversations import identity_in
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.draft.check_draft import Outgoing
from demur.gateway.decision.learned_abilities import Lessons
from demur.gateway.decision.request.question import Question, read_question
from demur.gateway.decision.request.routed_text import RoutedText
from demur.gateway.decision.request.system_message import OTHER_SYSTEM_ADVICE
from demur.gateway.decision.shown_decision import as_request, decision_fields
from demur.gateway.exchange import (
    Arrived,
    Ended,
    Exchange,
    answer_outcome,
    decided_record,
    learn_abilities,
    learn_from,
    ledger_record,
    ordinary_record,
)
from demur.gateway.http.failures import Later, failures
from demur.gateway.http.key_mask import KeyMask
from demur.gateway.http.openai_bodies import ApiError, request_headers
from demur.gateway.http.origins import refuse_other_sites
from demur.gateway.http.read_body import MemoryInUse, MemoryShare, check_structure, read_body
from demur.gateway.http.send import send_pieces
from demur.gateway.http.told_errors import told_error
from demur.gateway.learning.asked_again import AskedAgain
from demur.gateway.learning.canary import Routers, Serving
from demur.gateway.learning.changes import Changes
from demur.gateway.learning.kept_prompts import kept_answer, kept_prompt
from demur.gateway.ledger.feedback import Feedback, Source, keep_feedback
from demur.gateway.ledger.held_conversations import ConversationRecords
from demur.gateway.ledger.ledger import Ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.operator.in_force import InForce
from demur.gateway.operator.metrics import Gauges, Metrics
from demur.gateway.operator.webhook import tell
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.replicas.replicas import Replicas
from demur.gateway.settings import GatewaySettings
from demur.gateway.target.held_target import HeldTarget, threshold_in_force
from demur.gateway.target.request_costs import RequestCosts, most_usd, request_costs, waited_seconds
from demur.gateway.upstreams.answers.answer import Answer
from demur.gateway.upstreams.answers.usable_answer import usable_answer
from demur.gateway.upstreams.answers.voted_answer import is_voted, voted_answer
from demur.gateway.upstreams.ask_upstreams import Sent, checked_draft, first_answer
from demur.gateway.upstreams.call_trace import TRACE, RequestTrace
from demur.gateway.upstreams.spoken_apis import SpokenApis
from demur.gateway.upstreams.token_estimates import TokenEstimates
from demur.gateway.upstreams.upstream import Upstream
from demur.models.prices import Price
from demur.records import Role
from demur.routing.known.length_ratios import length_ratio_at

LARGEST_IN_LOOP = 2**16  # bytes of a body that is parsed in the event loop; larger ones are in a thread
PARSED_AT_ONCE = 2  # of the larger ones
ROLES: tuple[Role, Role] = ("weak", "strong")
AGAIN: Source = "asked again"
TURNED_AWAY = (401, 403, 429)  # if no model was chosen: counted, since as many records would fill a disk
log = logging.getLogger("demur.gateway")


class Gateway:
    """The state of one gateway process; its public coroutines are its routes."""

    def __init__(
        self,
        settings: GatewaySettings,
        decider: Decider,
        upstreams: Mapping[Role, Upstream],
        admission: Admission,
        ledger: Ledger | None,
        conversations: ConversationRecords,
        *,
        redact: Callable[[str], str] = str,
        begin_trace: Callable[[Mapping[str, str], float], RequestTrace] | None = None,
        lessons: Lessons | None = None,
        target: HeldTarget | None = None,
        replicas: Replicas | None = None,
    ) -> None:
        self.settings, self.decider, self.upstreams = settings, decider, upstreams
        self.admission, self.ledger, self.redact, self._begin_trace = admission, ledger, redact, begin_trace
        self.metrics = Metrics()
        self.target, self.spending = target, Spending(admission, replicas)
        self.changes, self._again = Changes(), AskedAgain()
        self._later = Later()
        self.in_flight = 0
        self.leaving = self.draining = False  # leaving: no more requests should come; draining: no more are taken
        self.read_again: Callable[[], GatewaySettings] | None = None  # how a reload reads its settings
        self.reloading = asyncio.Lock()
        self.last_told: InForce | None = None  # where reloads since have not been told
        self.loaded: Callable[[], None] = lambda: None  # called when a reload has taken over a router
        self._held = MemoryInUse()
        self._parsing = asyncio.Semaphore(PARSED_AT_ONCE)
        self._name, self._count = uuid.uuid4().hex[:20], itertools.count()  # of request ids, in every process its own
        for role, up in upstreams.items():
            up.charge_ordinary = partial(self._charge_ordinary, role)
        decider.alone = lambda: self.in_flight <= 1
        direct = named_models({role: up.endpoint.model for role, up in upstreams.items()}, decider.router.prompt_router)
        check_aliases(settings.aliases, direct)
        self.abilities = Abilities(
            {role: settings.served_model(role) for role in upstreams}, settings.cannot_seconds, lessons
        )
        self.texts = RoutedText.of(settings.route, decider.router.prompt_router)
        self._estimates = TokenEstimates(upstreams)
        self._read_question = partial(read_question, texts=self.texts, estimates=self._estimates)
        self._spoken = SpokenApis(self.abilities.stated, upstreams)
        costs, busy = (lambda role: upstreams[role].price), (lambda: upstreams["weak"].under_way)
        known = (direct, settings.aliases, self.abilities, conversations, costs, busy)
        self.chooser = Chooser(
            decider,
            *known,
            lambda of: (self.target.threshold(self._costs(of)), self.target.basis) if self.target else (None, ""),
        )
        self.routers = Routers(Serving(decider, self.chooser), lambda decider: Chooser(decider, *known))

    def gauges(self) -> Gauges:
        """Current values of the gauges."""
        dropped, failures = (self.ledger.dropped, self.ledger.failures) if self.ledger else (0, 0)
        up = {upstream.endpoint.model: upstream.healthy for upstream in self.upstreams.values()}
        held = self.target.held if self.target else None
        threshold = threshold_in_force(self.decider.router, self.target)
        return Gauges(self.in_flight, dropped, failures, threshold, up, held)

    async def decide(self, request: web.Request) -> web.Response:
        """POST /v1/decide: which model would answer a request, and why. No upstream is asked; the conversation is kept
        as if that model had answered."""
        arrived, key, hold = self._arrival(request.path), self.admit_reader(request), MemoryShare(self._held)
        try:
            raw = await read_body(request, self.settings, hold)
            identity = identity_in(request.headers, self.settings.conversation_headers)

            def read() -> Question:
                check_structure(raw, self.settings.max_json_values)
                body, protocol = as_request(raw)
                routes = self.chooser.routes
                return self._read_question(body, protocol, routes, self.settings, key=key, identity=identity)

            question = read() if len(raw) <= LARGEST_IN_LOOP else await asyncio.to_thread(read)
        finally:
            hold.give_back()
        question = replace(question, one_answer=False, kept_share=kept_share(self.admission.most_used_budget(key)))
        choice = await self.chooser.choose(self.settings, request.headers, question, {})
        await self.chooser.keep(question, choice, choice.role, choice.role, "")
        models: dict[Role, str] = {role: up.endpoint.model for role, up in self.upstreams.items()}
        kept = kept_prompt(question.text, key, self.settings, self.redact)
        self._keep(decided_record(arrived, question, choice, models[choice.role], kept))
        shown = await asyncio.to_thread(decision_fields, self.decider.router, question, choice, models, self._prices())
        return web.json_response(shown)

    # -- one request ---------------------------------------------------------------------------------------------

    async def respond(self, protocol: Protocol, request: web.Request) -> web.StreamResponse:
        """POST to an API's path: routed, or passed to the model that it names."""
        exchange = Exchange(self._arrival(request.path, request.headers), protocol)
        if exchange.arrived.trace:
            TRACE.set(exchange.arrived.trace)  # in the task of this request alone
        hold = MemoryShare(self._held)
        self.in_flight += 1
        try:
            return await self._serve(request, exchange, hold)
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
            hold.give_back()
            if exchange.choice is None and exchange.ended and exchange.ended.status in TURNED_AWAY:
                self.metrics.refuse(exchange.ended.status)
                self.spending.charge(exchange, self.target, 0.0)
            else:
                asyncio.get_running_loop().call_soon(self._write_down, exchange)  # once the answer is on its way

    def _arrival(self, path: str, headers: Mapping[str, str] | None = None) -> Arrived:
        name, at = f"{self._name}{next(self._count):012x}", time.time()
        trace = self._begin_trace(headers, at) if self._begin_trace and headers is not None else None
        return Arrived(name, path, time.perf_counter(), at, trace)

    async def _serve(self, request: web.Request, exchange: Exchange, hold: MemoryShare) -> web.StreamResponse:
        exchange.key = self._admit(request)
        exchange.question = await self._read(request, exchange, hold)
        if not exchange.protocol.free:
            if self.admission.keys:
                most = most_usd(exchange.question, ((up.price, up.votes) for up in self.upstreams.values()))
                exchange.reserved = await self.spending.reserve(exchange.key, most)
            exchange.question = await self._within_target(exchange, exchange.question)
        exchange.strained = self.admission.most_used_budget(exchange.key)
        if exchange.strained:
            exchange.question = replace(exchange.question, kept_share=kept_share(exchange.strained))
        sent, protocol = await self._ask(request, exchange, exchange.question), exchange.protocol
        exchange.sent = told_error(sent, protocol, chats=self.upstreams[sent.role].chats)
        return await self._answer(request, exchange, exchange.sent)

    async def _within_target(self, exchange: Exchange, question: Question) -> Question:
        """The question, marked where the target's budget allows the weak model alone; its cost is reserved."""
        if self.target is None:
            return question
        reserved, weak_alone = await self.spending.reserve_target(self.target, self._costs(question))
        exchange.target_reserved = reserved
        return replace(question, spent=self.target.spent_error()) if weak_alone else question

    def _prices(self) -> dict[Role, Price | None]:
        return {role: up.price for role, up in self.upstreams.items()}

    def _costs(self, question: Question) -> RequestCosts | None:
        return request_costs(question, self._prices(), self.decider.router.prompt_router)

    def _admit(self, request: web.Request) -> str:
        """Admit a request; returns the name of its key. Raises ApiError."""
        if self.in_flight > self.settings.max_in_flight:
            raise ApiError(429, "The gateway is full; try again.", "overloaded", "overloaded", retry_after=1)
        return self.admit_client(request)

    def admit_client(self, request: web.Request) -> str:
        """The name of a request's key; without keys only clients on this machine are admitted. Raises ApiError."""
        if self.admission.keys is None:
            refuse_other_sites(request.headers, self.settings.host, self.settings.allowed_origins)
        return self.admission.admit(request.headers)

    def admit_reader(self, request: web.Request) -> str:
        """Admit a request that no model answers; returns the name of its key. Raises ApiError."""
        try:
            return self.admit_client(request)
        except ApiError as error:
            self.metrics.refuse(error.status)
            raise

    async def _read(self, request: web.Request, exchange: Exchange, hold: MemoryShare) -> Question:
        """What the request asks, read once; raises ApiError."""
        raw = await read_body(request, self.settings, hold)
        key, protocol = exchange.key, exchange.protocol
        routes = self.chooser.routes if protocol.routed else lambda name: False
        identity = identity_in(request.headers, self.settings.conversation_headers)
        read = partial(self._read_question, raw, protocol, routes, self.settings, key=key, identity=identity)
        if len(raw) <= LARGEST_IN_LOOP:
            check_structure(raw, self.settings.max_json_values)
            question = read()
        else:
            async with self._parsing:
                values = await asyncio.to_thread(check_structure, raw, self.settings.max_json_values)
                hold.set(3 * len(raw) + values)  # its bytes, its text, the texts in it
                question = await asyncio.to_thread(read)
        hold.set(len(raw) + len(question.text))
        return question

    async def _ask(self, request: web.Request, exchange: Exchange, question: Question) -> Sent:
        """The answer of the chosen model, or of the other one if that fails. Raises ApiError."""
        query = request.rel_url.raw_query_string
        protocol = exchange.protocol
        path = protocol.path + (f"?{query}" if query else "")
        unspoken = await self._spoken.models_without(protocol)
        unproven = bool(self.abilities.unproven_needs(question.kind))
        serving = self.routers.of(question)
        if protocol.routed:
            exchange.version = serving.version
            choice = await serving.chooser.choose(self.settings, request.headers, question, unspoken)
        else:
            choice = self.chooser.choose_unrouted(self.settings, question, unspoken)
        if question.spent and choice.role == "strong":
            raise question.spent
        exchange.choice = choice
        if choice.other_system and self.metrics.count_other_system(choice.other_system):
            print(f"demur: {OTHER_SYSTEM_ADVICE[choice.other_system]}", file=sys.stderr)
        outgoing = Outgoing(
            *(path, question, request_headers(request.headers), protocol, unproven),
            chosen=not choice.named,
            record=choice.conversation.record if choice.conversation else None,
            asked_as=serving.decider.router.prompt_router.served_as,
        )
        others = self.chooser.others(self.settings, choice, question, unspoken)
        sent = await self._first_answer(exchange, serving.decider, choice, outgoing, others)
        if "strong" in others and not choice.forced and protocol.writes and sent.role != "strong":
            return await usable_answer(self.upstreams, sent, outgoing, exchange.calls)
        return sent

    async def _first_answer(
        self, exchange: Exchange, decider: Decider, choice: Choice, outgoing: Outgoing, others: Sequence[Role]
    ) -> Sent:
        """The answer of the chosen model, after the gate has looked at it where it is to."""
        if is_voted(self.upstreams[choice.role], choice, outgoing):
            return await voted_answer(decider, self.upstreams, choice, outgoing, exchange.calls, others=others)
        if not choice.to_check:
            return await first_answer(self.upstreams, choice, outgoing, exchange.calls, others=others)
        checked = exchange.checked = await checked_draft(
            *(decider, self.upstreams, choice, choice.to_check, outgoing, exchange.calls), fallback=bool(others)
        )
        if checked.draft:
            weak = self.upstreams["weak"].endpoint.model
            return Sent("weak", weak, checked.draft, checked.reason, checked.seconds)
        rest = others_of(checked.role, list(self.upstreams)) if others else ()
        return await first_answer(self.upstreams, checked, outgoing, exchange.calls, others=rest)

    async def _answer(self, request: web.Request, exchange: Exchange, sent: Sent) -> web.StreamResponse:
        """Send the client its answer, once what it shows of the models and its conversation are kept."""
        learn_abilities(exchange, sent, self.abilities)
        await self._keep_conversation(exchange, sent)
        mask = KeyMask([key for upstream in self.upstreams.values() if (key := upstream.key)])
        if sent.answer.whole is None:
            return await self._stream(request, exchange, sent, mask)
        data = mask.mask(sent.answer.whole)
        exchange.passed.set_whole(data)
        exchange.ended = Ended(sent.answer.status, answer_outcome(exchange, sent))
        headers = answer_headers(self.settings, self.upstreams, exchange, sent, mask)
        return web.Response(body=data, status=sent.answer.status, headers=headers)

    async def _stream(self, request: web.Request, exchange: Exchange, sent: Sent, mask: KeyMask) -> web.StreamResponse:
        answer = replace(sent.answer, pieces=mask.mask_pieces(sent.answer.pieces)) if mask else sent.answer
        headers = answer_headers(self.settings, self.upstreams, exchange, sent, mask)
        response, outcome = await send_pieces(request, answer, headers, exchange.passed)
        exchange.ended = Ended(answer.status, answer_outcome(exchange, sent) if outcome == "ok" else outcome)
        return response

    async def _keep_conversation(self, exchange: Exchange, sent: Sent) -> None:
        answer, question, choice = sent.answer, exchange.question, exchange.choice
        if answer.status < 400 and choice and question:
            last = exchange.checked or choice
            kept_as = exchange.protocol.id_of(answer.start if answer.whole is None else answer.whole)
            await self.chooser.keep(question, choice, last.role, sent.role, kept_as)

    # -- what it came to -----------------------------------------------------------------------------------------

    def _write_down(self, exchange: Exchange) -> None:
        """Count a request and keep its record, also if a user's hook raises."""
        text = exchange.question.text if exchange.question else ""
        record = self._record_of(exchange, text)
        learn_from(exchange, self._estimates)
        self._charge(exchange, record)
        self._keep(record)
        if self.settings.learn and (earlier := self._again.doubted_decision(record, text)):
            self._later.do(keep_feedback, self.settings.ledger, Feedback(earlier, record.key, record.at, "bad", AGAIN))
        if exchange.arrived.trace:
            try:
                exchange.arrived.trace.end(record)
            except Exception as error:
                failures.say("a request could not be traced", error)

    def _record_of(self, exchange: Exchange, text: str) -> LedgerRecord:
        router = self.decider.router.prompt_router
        decided = None if exchange.score is None else exchange.threshold
        lengths = None if router.other_pair else length_ratio_at(router.record, decided)
        kept = kept_prompt(text, exchange.key, self.settings, self.redact)
        answer = kept_answer(exchange, kept, self.settings, self.redact)
        record = ledger_record(exchange, self.upstreams, kept, lengths)
        return replace(record, answer=answer) if answer else record

    def _charge(self, exchange: Exchange, record: LedgerRecord) -> None:
        """Charge what a request has cost in place of what was reserved for it."""
        usd = exchange.reserved.usd if record.usd is None else record.usd  # of a service tier whose price is unknown
        self.spending.charge(exchange, self.target, usd)
        if self.target and record.role in ROLES:
            timed = exchange.choice.timed if exchange.choice and exchange.version == self.routers.main.version else None
            costs = self._costs(exchange.question) if exchange.question else None
            made = timed.decision if timed else None
            how = {"unknown": made.unknown, "settled": made.stage == "unknown"} if made else {}
            self.target.finish(record.role, made.score if made else None, costs, waited_seconds(record), **how)

    def _keep(self, record: LedgerRecord) -> None:
        for change in self.changes.add(record):
            self.metrics.series["demur_changes_total"] += 1
            print(f"demur: {change}", file=sys.stderr)
            self._later.do(tell, self.settings, "change", change)
        self.metrics.add(replace(record, prompt="", answer="") if record.prompt else record)
        if self.ledger:
            self.ledger.add(record)

    def _charge_ordinary(self, role: Role, protocol: Protocol, answer: Answer) -> None:
        """Record a request of our own, which told an outage from requests that fail."""
        self._keep(ordinary_record(self._arrival(f"/v1{protocol.path}"), role, protocol, answer, self.upstreams))
