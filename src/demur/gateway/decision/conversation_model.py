"""Which model a conversation stays with, and when it may leave the strong one. Pure functions.

Inside a tool loop the model never changes. At a new ask a weak decision is followed only where the ask is expected to
save more at the weak model than reading the conversation again at the strong one costs, once its prompt cache is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from demur.gateway.decision.conversations import Turn
from demur.models.prices import Price
from demur.records import Role, dollars

ANSWER_TOKENS = 300  # of an answer, where the router's record does not know
# The reason of a question that is asked again, and the longest that it is one.
AGAIN = "the same words again"
SAME_WORDS = f"{AGAIN} within 10 minutes stay with their model, as another try; x-demur-threshold asks anew"
STAYS = "the conversation stays with its model"
HELD_MARKS = (f"; {STAYS}", f"; {AGAIN}")  # what reasons hold where a conversation stayed against the router's decision
REPEATED_SECONDS = 600.0  # the same beginning again within this time is another try, after it another conversation


@dataclass(frozen=True, slots=True)
class ConversationRecord:
    """What is known of a conversation after its last request."""

    role: Role  # that answered, or was to
    ask: str  # `Turn.ask` of that request
    at: float  # seconds since 1970
    tokens: int = 0  # of the last request, estimated: so many a prompt cache may hold
    asks: int = 1
    requests: int = 1
    mixed: bool = False  # both models have answered in it
    chosen: bool = True  # by demur, for what the ask says; False: by the client, or because the other one was down
    decided_by: str = ""  # `router_identity`, target and the threshold asked for, by which it was chosen; or ""


@dataclass(frozen=True, slots=True)
class KnownConversation:
    """A conversation's record, and the name of the turn under which it was found."""

    record: ConversationRecord
    name: str


@dataclass(frozen=True, slots=True)
class NextCosts:
    """What the models' next answer in a conversation costs."""

    weak: Price | None
    strong: Price | None  # of the model that the conversation is with, where there are several
    tokens: int  # of the request
    weak_answer: float = ANSWER_TOKENS  # tokens
    strong_answer: float = ANSWER_TOKENS
    cache_seconds: float = 300.0  # that the strong model's prompt cache lasts


def tool_loop_role(turn: Turn | None, known: KnownConversation | None) -> Role | None:
    """The model that a tool loop has begun with; None outside of one."""
    if turn is None or known is None or not turn.loops:
        return None
    return known.record.role if _goes_on(turn, known) else None


def may_be_unseen(turn: Turn | None, known: KnownConversation | None, *, answered: bool = False) -> bool:
    """Whether a request may go on with an ask that only another process has seen: with the strong model, perhaps.

    ``answered``: by the database, which may lack what could not be written lately.
    """
    if turn is None or turn.begins:
        return False
    if known is None:
        return True
    return not _goes_on(turn, known) and (known.record.role != "weak" or (turn.loops and not answered))


def stays(
    turn: Turn | None, known: KnownConversation | None, costs: NextCosts, now: float, *, decides: str = ""
) -> str:
    """Why a conversation stays with its model whatever cheaper one the router says; empty where it need not.

    ``decides``: what `ConversationRecord.decided_by` is for this request; a beginning that something else has decided
    is decided anew, so that another threshold shows at once, and the same words in a history as a new ask would be.
    """
    if turn is None or known is None or known.record.role == "weak":
        return ""
    record = known.record
    alike = record.decided_by in ("", decides) and _same_ask(turn, record)
    if turn.begins:  # of a beginning it is not known whether it is another try or another conversation
        return SAME_WORDS if record.chosen and alike and now - record.at < REPEATED_SECONDS else ""
    if turn.loops or alike:
        return STAYS
    if costs.weak is None or costs.strong is None or costs.strong.usd_per_cached_token is None:
        return f"{STAYS}: what its prompt cache is worth is unknown"
    saved, lost = _saving(record, costs, now)
    if saved > lost:
        return ""
    return f"{STAYS}: {dollars(saved)} less for this ask, {dollars(lost)} of prompt cache"


def _saving(record: ConversationRecord, costs: NextCosts, now: float) -> tuple[float, float]:
    """USD that an ask of the conversation's usual length saves at the weak model, and what the strong one's prompt
    cache is worth."""
    assert costs.weak is not None and costs.strong is not None and costs.strong.usd_per_cached_token is not None
    cached = min(record.tokens, costs.tokens) if now - record.at < costs.cache_seconds else 0
    more = record.requests / record.asks - 1  # requests of the ask after its first, whose cache is warm
    at_strong = _usd(costs.strong, costs.tokens, costs.strong_answer, cached)
    at_strong += more * _usd(costs.strong, costs.tokens, costs.strong_answer, costs.tokens)
    at_weak = _usd(costs.weak, costs.tokens, costs.weak_answer, 0)
    at_weak += more * _usd(costs.weak, costs.tokens, costs.weak_answer, costs.tokens)
    return at_strong - at_weak, cached * (costs.strong.usd_per_input_token - costs.strong.usd_per_cached_token)


def _usd(price: Price, tokens: int, answer: float, cached: int) -> float:
    """Of one request whose cached tokens have a price of their own."""
    full = price.usd_per_input_token
    read = full if price.usd_per_cached_token is None else price.usd_per_cached_token
    return (tokens - cached) * full + cached * read + answer * price.usd_per_output_token


def next_record(
    turn: Turn,
    before: KnownConversation | None,
    role: Role,
    *,
    chosen: bool,
    tokens: int,
    now: float,
    decides: str = "",
) -> ConversationRecord:
    """A conversation's record after this turn. ``chosen``: demur chose the model for what the ask says; ``decides``: by
    what, as in `stays`.
    """
    record = before.record if before else None
    if record is None:
        return ConversationRecord(role, turn.ask, now, tokens, chosen=chosen, decided_by=decides)
    now = max(now, record.at)  # machines' clocks differ, and the later record counts
    if turn.begins and not _same_ask(turn, record):
        return ConversationRecord(role, turn.ask, now, tokens, chosen=chosen, decided_by=decides)
    goes_on = turn.loops or _same_ask(turn, record)
    return replace(
        record,
        role=role,
        ask=turn.ask,
        at=now,
        tokens=tokens,
        asks=record.asks + (not goes_on),
        requests=record.requests + 1,
        mixed=record.mixed or record.role != role,
        chosen=chosen or (goes_on and record.chosen and record.role == role),
        decided_by=record.decided_by if goes_on and not chosen else decides,
    )


def _goes_on(turn: Turn, known: KnownConversation) -> bool:
    """Whether the request is of the ask that the record is of."""
    return known.name in turn.ongoing or _same_ask(turn, known.record)


def _same_ask(turn: Turn, record: ConversationRecord) -> bool:
    return bool(turn.ask) and turn.ask == record.ask
