"""A decision as `POST /v1/decide` shows it: model, probability, expected gain, prices, reason, conversation."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur.gate.quality.believed_quality import believed_at
from demur.gate.router import Router
from demur.gateway.decision.choose_model import Choice
from demur.gateway.decision.conversation_model import ANSWER_TOKENS
from demur.gateway.decision.decider import TimedDecision
from demur.gateway.decision.request.question import Question
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.protocols.messages import MESSAGES
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES
from demur.gateway.upstreams.token_estimates import RequestSize
from demur.measure.probability import ProbabilityCurve
from demur.models.prices import Price
from demur.records import Role
from demur.routing.prompt_router import PromptRouter

_BLOCKS = ("tool_use", "tool_result", "thinking", "redacted_thinking")  # of Messages alone


def as_request(raw: bytes) -> tuple[bytes, Protocol]:
    """The request to decide on and its API, from a body: a request of chat, Messages or Responses, or a ``text``.

    A body without a model asks for `demur`. Raises ApiError.
    """
    try:
        fields = json.loads(raw)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body must be a JSON object, in UTF-8.") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "The body must be a JSON object: a request, or one with a text.")
    if isinstance(fields.get("text"), str) and "messages" not in fields and "input" not in fields:
        said = {"messages": [{"role": "user", "content": fields["text"]}]}
        return json.dumps({"model": fields.get("model", "demur"), **said}).encode(), CHAT
    if "model" not in fields:
        raw = json.dumps({"model": "demur", **fields}).encode()
    if "input" in fields:
        return raw, RESPONSES
    return raw, MESSAGES if "system" in fields or _has_blocks(fields.get("messages")) else CHAT


def _has_blocks(messages: object) -> bool:
    contents = [one.get("content") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    return any(isinstance(block, dict) and block.get("type") in _BLOCKS for block in blocks)


def decision_fields(
    router: Router, question: Question, choice: Choice, models: Mapping[Role, str], prices: Mapping[Role, Price | None]
) -> dict[str, Any]:
    """The members of the answer; None for what is not known, or was not asked because something else decided."""
    timed = choice.timed.decision if choice.timed else None
    like = _most_like(router.prompt_router, choice.timed)
    score, curve = timed.score if timed else None, router.prompt_router.curve
    record, tiers = choice.conversation.record if choice.conversation else None, router.prompt_router.tiers
    return {
        "role": choice.role,
        "model": models[choice.role],
        "reason": choice.reason,
        "score": score,
        "threshold": _finite(timed.threshold) if timed else None,
        "probability": None if score is None or curve is None else _probability(curve, score),
        "expected_gain": None if score is None else _gain(router, score),
        **({"values": dict(zip(tiers.names, timed.values, strict=True))} if tiers and timed and timed.values else {}),
        "familiar": timed.familiar if timed else None,
        "usd": {role: _usd(router.prompt_router, question, like, role, price) for role, price in prices.items()},
        "text": question.text,
        "conversation": question.conversation or None,
        "held": record and {"role": record.role, "asks": record.asks, "requests": record.requests},
    }


def _probability(curve: ProbabilityCurve, score: float) -> dict[str, float]:
    """P(strong right and weak wrong) with its 95 % interval."""
    low, high = curve.interval(score)
    return {"value": score, "low": low, "high": high}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _gain(router: Router, score: float) -> float | None:
    """Quality that the strong model is believed to gain at this score, in [-1, 1]."""
    if router.beliefs is None or router.prompt_router.tiers:
        return None
    weak, strong = believed_at(router, np.array([score]))
    return float(strong[0] - weak[0])


def _most_like(router: PromptRouter, timed: TimedDecision | None) -> tuple[str, ...]:
    """The prompts nearest to the routed text of those that the router was to learn from; () where it was not asked."""
    return router.most_like(timed.vector[None])[0] if timed and timed.vector is not None else ()


def _usd(
    router: PromptRouter, question: Question, like: Sequence[str], role: Role, price: Price | None
) -> float | None:
    """What an answer is expected to cost: of a prompt alone as `Router.explain` has it, at the price that is served."""
    if price is None:
        return None
    known, asked = router.cost(role), question.estimate(role).prompt
    if known is None:
        return price.usd(asked, ANSWER_TOKENS)
    alone = question.size == RequestSize(len(question.text), messages=1)
    return price.usd(known.prompt_tokens(question.text) if alone else asked, known.answer_length(question.text, like))
