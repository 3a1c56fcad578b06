"""The records of a request's steps, from its arrival to its end, and the ledger record built from them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from demur.gateway.clients.budgets import BudgetUse
from demur.gateway.decision.abilities import Abilities
from demur.gateway.decision.choose_model import Choice
from demur.gateway.decision.request.question import Question
from demur.gateway.http.request_record import request_record
from demur.gateway.ledger.record import DECIDED, LedgerRecord
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.replicas.replicas import Ticket
from demur.gateway.upstreams.answers.answer import Answer
from demur.gateway.upstreams.answers.passed_answer import PassedAnswer
from demur.gateway.upstreams.ask_upstreams import Checked, Sent
from demur.gateway.upstreams.call_trace import RequestTrace
from demur.gateway.upstreams.calls import Call
from demur.gateway.upstreams.token_counts import whole_tokens
from demur.gateway.upstreams.token_estimates import TokenEstimate, TokenEstimates
from demur.gateway.upstreams.upstream import Upstream
from demur.models.prices import LengthRatio, Price, Tokens
from demur.records import Role
from demur.serving_file import OWN_REASON

COMPLETE = ("ok", "fallback", "cannot")  # outcomes of answers that were sent to their end
OF_OUR_OWN = f"{OWN_REASON}: is the model down, or do requests fail by themselves?"


@request_record(frozen=True, slots=True)
class Arrived:
    """The arrival of a request's header."""

    id: str
    path: str
    started: float  # seconds, of perf_counter
    at: float  # seconds since 1970
    trace: RequestTrace | None = None


@dataclass(frozen=True, slots=True)
class Reserved:
    """What is reserved for a request in one account, until it is known what the request costs."""

    usd: float = 0.0
    ticket: Ticket | None = None  # the same in the account that all machines share


@request_record(frozen=True, slots=True)
class Ended:
    """The end of a request."""

    status: int
    outcome: str = "ok"


@dataclass(slots=True)
class Exchange:
    """The steps of one request so far: the record that each of them returned. The gateway's app alone sets them."""

    arrived: Arrived
    protocol: Protocol
    key: str = ""  # name of the client's key
    reserved: Reserved = Reserved()  # of the key's budget
    target_reserved: Reserved = Reserved()  # of the target's budget
    strained: BudgetUse | None = None  # a budget of the key that is nearly used up
    question: Question | None = None
    version: int = 0  # of the learned router that decides; 0: none does
    choice: Choice | None = None
    checked: Checked | None = None
    sent: Sent | None = None
    ended: Ended | None = None
    calls: list[Call] = field(default_factory=list)  # paid beside the answer: taken as they are made, a step may fail
    passed: PassedAnswer = field(init=False)

    def __post_init__(self) -> None:
        self.passed = PassedAnswer(self.protocol)

    @property
    def score(self) -> float | None:
        """P(the strong model is needed), by the last stage."""
        if self.checked:
            return self.checked.score
        return self.choice.timed.score if self.choice and self.choice.timed else None

    @property
    def threshold(self) -> float | None:
        """The threshold that the score was compared with."""
        return self.choice.timed.decision.threshold if self.choice and self.choice.timed else None

    @property
    def reason(self) -> str:
        """Why this model answers."""
        last = self.sent or self.checked or self.choice
        return last.reason if last else ""

    @property
    def role(self) -> str:
        """Weak, strong, or direct: the client named the model."""
        if self.choice and self.choice.named:
            return "direct"
        last = self.sent or self.checked or self.choice
        return last.role if last else ""

    @property
    def answered(self) -> Call | None:
        """The request that the client's answer comes from; None where it got none, or an error."""
        status = self.ended.status if self.ended else 0
        if not self.sent or not self.question or status >= 400 or self.protocol.free:
            return None
        return Call(self.sent.role, self.passed.tokens(self.question.estimate(self.sent.role)))

    @property
    def paid(self) -> list[Call]:
        """Every request to a model that has to be paid for."""
        answered = self.answered
        return [*self.calls, answered] if answered else self.calls

    def usd(self, upstreams: Mapping[Role, Upstream]) -> float | None:
        """USD of all that was asked for this request; None when a price is unknown."""
        return usd_of(self.paid, upstreams)


def usd_of(calls: Sequence[Call], upstreams: Mapping[Role, Upstream]) -> float | None:
    """USD of these requests; None when the price of one is unknown."""
    total = 0.0
    for call in calls:
        price = upstreams[call.role].price
        usd = price.usd_of(call.tokens) if price else None
        if usd is None:
            return None
        total += usd
    return total


def always_strong(
    billed: Call | None, price: Price | None, ratio: LengthRatio | None
) -> tuple[float | None, float | None, float | None]:
    """USD that an answered request would have cost with the strong model alone, at its price, and two standard
    deviations of that guess: the one that all requests share, and this answer's own (None: not known, because nothing
    was learned of lengths).

    Nothing is guessed where the strong model answered.
    """
    if billed is None:
        return 0.0, 0.0, 0.0
    if price is None:
        return None, 0.0, 0.0
    if billed.role == "strong":
        return price.usd_of(billed.tokens), 0.0, 0.0
    per_token = price.usd_per_output_token * billed.tokens.completion
    asked = price.usd_of(Tokens(billed.tokens.prompt, 0, cached=billed.tokens.cached))
    if asked is None or ratio is None:
        return None if asked is None else asked + per_token, None, None
    guess = ratio.ratio * per_token
    return asked + guess, ratio.error * per_token, ratio.spread * guess


def ledger_record(
    exchange: Exchange, upstreams: Mapping[Role, Upstream], prompt: str, ratio: LengthRatio | None = None
) -> LedgerRecord:
    """The ledger record of a finished request; ``ratio`` is of the two models' answers' lengths."""
    arrived, question, checked, sent = exchange.arrived, exchange.question, exchange.checked, exchange.sent
    ended, answered = exchange.ended or Ended(0, "failed"), exchange.answered
    paid = [*exchange.calls, answered] if answered else exchange.calls
    # Where nothing was answered, the last request that may have to be paid for.
    billed = paid[-1] if paid and (answered or not sent) else None
    timed = exchange.choice.timed if exchange.choice else None
    tokens = billed.tokens if billed else Tokens(0, 0)
    model = upstreams[billed.role].endpoint.model if billed and not sent else ""
    usd, role = usd_of(paid, upstreams), exchange.role
    usd_strong: float | None = usd
    error: float | None = 0.0
    spread: float | None = 0.0
    spared = 0.0
    if not billed or role != "direct":  # else demur had no choice
        known = ratio if billed is None or billed.role == "weak" else None  # of the weak model's answers
        usd_strong, error, spread = always_strong(billed, upstreams["strong"].price if billed else None, known)
        if _replaces_dearer(exchange, list(upstreams)) and usd is not None and usd_strong is not None:
            spared, error, spread = usd_strong - usd, 0.0, 0.0
    return LedgerRecord(
        id=arrived.id,
        at=arrived.at,
        key=exchange.key,
        path=arrived.path,
        asked=question.model[:200] if question else "",
        model=sent.model if sent else model,
        role=role,
        score=exchange.score,
        threshold=exchange.threshold,
        reason=exchange.reason,
        stage="gate" if checked else timed.decision.stage if timed else "prompt",
        extra_samples=checked.extra_samples if checked else 0,
        calibration_void=bool(checked and checked.void),
        status=ended.status,
        streamed=bool(question and question.streamed),
        prompt_tokens=tokens.prompt,
        completion_tokens=tokens.completion,
        tokens_counted=all(call.tokens.counted for call in paid),
        usd=usd,
        usd_strong=usd_strong,
        queue_seconds=timed.queued if timed else 0.0,
        embed_seconds=timed.embedded if timed else 0.0,
        score_seconds=timed.scored if timed else 0.0,
        gate_seconds=checked.seconds if checked else 0.0,
        first_byte_seconds=sent.first_byte_seconds if sent else 0.0,
        total_seconds=time.perf_counter() - arrived.started,
        outcome=ended.outcome,
        prompt=prompt,
        cached_tokens=tokens.cached,
        cache_written_tokens=tokens.written,
        reasoning_tokens=tokens.reasoning,
        service_tier=tokens.tier,
        conversation=question.conversation if question else "",
        usd_checks=usd_of(exchange.calls, upstreams),
        usd_strong_error=error,
        usd_strong_spread=spread,
        answered_by=exchange.passed.answering_model if answered else "",
        version=exchange.version,
        usd_spared=spared,
    )


def was_refused(exchange: Exchange, sent: Sent) -> bool:
    """Whether the model that was asked first said that it cannot answer such a request."""
    return sent.refused or (exchange.checked is not None and exchange.checked.refused)


def answer_outcome(exchange: Exchange, sent: Sent) -> str:
    """The outcome of a request whose answer was sent to its end."""
    if sent.answer.status >= 400:
        return "upstream_error"
    if was_refused(exchange, sent):
        return "cannot"
    return "fallback" if sent.fallback or (exchange.checked is not None and exchange.checked.fallback) else "ok"


def learn_abilities(exchange: Exchange, sent: Sent, abilities: Abilities) -> None:
    """What an answer shows of the weak model: a request that the strong one refuses, too, shows nothing."""
    question, choice = exchange.question, exchange.choice
    if not question or sent.answer.status >= 400:
        return
    weak_first = exchange.checked is not None or (choice is not None and choice.role == "weak")
    if sent.role == "weak":
        abilities.learn_answer(question.kind)
    elif weak_first and was_refused(exchange, sent):
        abilities.learn_refusal(question.kind)


def learn_from(exchange: Exchange, estimates: TokenEstimates) -> None:
    """Learn from a complete answer, both sides of which its upstream has counted, how the others are estimated."""
    question, answered, ended = exchange.question, exchange.answered, exchange.ended
    complete = ended is not None and ended.outcome in COMPLETE
    if question and answered and answered.tokens.counted and complete and not question.continues:
        estimates.learn(answered.role, question.size, answered.tokens, lambda: exchange.passed.characters)


def _replaces_dearer(exchange: Exchange, by_price: Sequence[Role]) -> bool:
    """Whether a cheaper model answered only because the chosen one is down: an outage saves nothing."""
    sent, chosen = exchange.sent, exchange.checked or exchange.choice
    if not sent or not sent.fallback or not chosen:
        return False
    return by_price.index(sent.role) < by_price.index(chosen.role)


def decided_record(arrived: Arrived, question: Question, choice: Choice, model: str, prompt: str) -> LedgerRecord:
    """The record of a decision that was asked for alone: no model answered, so there is nothing to pay."""
    exchange = Exchange(arrived, CHAT, key=question.key, question=question, choice=choice, ended=Ended(200, DECIDED))
    record = ledger_record(exchange, {}, prompt)
    return replace(record, model=model, role=DECIDED)


def ordinary_record(
    arrived: Arrived, role: Role, protocol: Protocol, answer: Answer, upstreams: Mapping[Role, Upstream]
) -> LedgerRecord:
    """The record of a request of demur's own: no client asked, so nothing would have cost always-strong."""
    exchange = Exchange(arrived, protocol, ended=Ended(answer.status))
    exchange.calls.append(Call(role, whole_tokens(answer.whole or b"", TokenEstimate(1), protocol)))
    record = ledger_record(exchange, upstreams, "")
    free = replace(record, usd_strong=0.0, usd_strong_error=0.0, usd_strong_spread=0.0)
    return replace(free, usd_checks=0.0, reason=OF_OUR_OWN)
