"""What a request costs by either model: as expected from the router's training, and at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from demur.config import MOST_EXTRA_SAMPLES
from demur.gateway.decision.conversation_model import ANSWER_TOKENS
from demur.gateway.decision.request.question import Question
from demur.gateway.ledger.record import LedgerRecord
from demur.models.prices import Price
from demur.records import Role
from demur.routing.prompt_router import PromptRouter


@dataclass(frozen=True, slots=True)
class RequestCosts:
    """USD of one request."""

    weak: float  # as expected
    strong: float
    weak_at_most: float  # with a draft and the gate's extra samples
    strong_at_most: float


def request_costs(question: Question, prices: Mapping[Role, Price | None], router: PromptRouter) -> RequestCosts | None:
    """Both models' costs of a request; None where a price is unknown."""
    weak, strong = prices["weak"], prices["strong"]
    if weak is None or strong is None:
        return None
    asked, most = {role: question.estimate(role).prompt for role in ("weak", "strong")}, question.most_tokens
    extra = MOST_EXTRA_SAMPLES if question.one_answer else 0
    return RequestCosts(
        weak.usd(asked["weak"], min(most, _answer_tokens(router, "weak"))),
        strong.usd(asked["strong"], min(most, _answer_tokens(router, "strong"))),
        (1 + extra) * weak.most_usd(asked["weak"], most),
        strong.most_usd(asked["strong"], most),
    )


def _answer_tokens(router: PromptRouter, role: Role) -> float:
    known = router.cost(role)
    return known.answer_tokens if known else ANSWER_TOKENS


def waited_seconds(record: LedgerRecord) -> float:
    """How long a client waited: for the first byte of a stream, else for the whole answer."""
    return record.first_byte_seconds if record.streamed else record.total_seconds


def most_usd(question: Question, models: Iterable[tuple[Price | None, int]]) -> float:
    """The most that a request may cost, by the most expensive model; a model of unknown price is not counted.

    ``models``: the price of each, and how many answers it is asked for.
    """
    each = (votes * price.most_usd(question.tokens, question.most_tokens) for price, votes in models if price)
    return max(each, default=0.0)
