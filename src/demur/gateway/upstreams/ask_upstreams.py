"""Asking the models: the chosen one, then the other where that fails before the client has had a byte of its answer."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from demur.gateway.decision.check_draft import DraftChecker
from demur.gateway.decision.choose_model import Chooser
from demur.gateway.decision.decider import Decider
from demur.gateway.exchange import Passage
from demur.gateway.http.json_edit import Body
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.upstreams.token_counts import request_tokens
from demur.gateway.upstreams.upstream import Answer, Upstream, UpstreamDown
from demur.records import Role
from demur.routing.prompt_router import Decision


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request as the upstreams get it, apart from the model."""

    path: str  # below the upstream's base URL, with its query
    body: Body
    headers: Mapping[str, str]


async def first_answer(
    upstreams: Mapping[Role, Upstream], role: Role, sent: Outgoing, passage: Passage, *, fallback: bool
) -> Answer:
    """The answer of a model, or of the other one where it fails and may be replaced. Raises ApiError 502 or 429."""
    other: Role = "weak" if role == "strong" else "strong"
    order: list[Role | None] = [role, other, None] if fallback else [role, None]
    for side, then in pairwise(order):
        assert side is not None, "None stands last"
        upstream, asked_at = upstreams[side], time.perf_counter()
        try:
            answer = await upstream.send(sent.path, _named(sent.body, upstream, passage), sent.headers)
        except UpstreamDown as error:
            if then is None:
                raise nobody(passage, error) from error
            passage.reason += f"; {error}, so the {then} model answers"
            continue
        if then and (answer.status >= 500 or answer.status == 429):
            passage.reason += f"; {upstream.endpoint.model} answered {answer.status}, so the {then} model does"
            answer.close()
            continue
        passage.first_byte_seconds = answer.began - asked_at
        passage.model = upstream.endpoint.model
        if side != role:
            passage.role, passage.outcome = side, "fallback"
        return answer
    raise AssertionError("unreachable")


def _named(body: Body, upstream: Upstream, passage: Passage) -> bytes:
    """The body for an upstream: with its model's name where demur chose it, else as it came."""
    return body.raw if passage.chosen is None else body.replace_member(model=upstream.endpoint.model)


def nobody(passage: Passage, error: UpstreamDown) -> ApiError:
    """No model is left to ask."""
    passage.outcome = "upstream_error"
    if error.retry_after is not None:
        wait = math.ceil(error.retry_after)
        return ApiError(429, f"No model answers ({error}).", "requests", "rate_limit_exceeded", retry_after=wait)
    return ApiError(502, f"No model answers ({error}).", "upstream_error", "upstream_error")


async def checked_draft(
    decider: Decider,
    upstreams: Mapping[Role, Upstream],
    chooser: Chooser,
    first: Decision,
    sent: Outgoing,
    passage: Passage,
    *,
    fallback: bool,
) -> Answer | Role:
    """The weak model's answer where the gate lets it go, else the model that is to answer. Raises ApiError."""
    started, passage.stage = time.perf_counter(), "gate"
    checker = DraftChecker(decider, upstreams["weak"])
    try:
        draft = await checker.check(first, passage.text, sent.path, sent.body, sent.headers)
    except UpstreamDown as error:
        if not fallback:
            raise nobody(passage, error) from error
        passage.role, passage.outcome = "strong", "fallback"
        passage.reason += f"; {error}, so the strong model answers"
        return "strong"
    finally:
        passage.gate_seconds = time.perf_counter() - started
    if draft is None:
        alone = decider.policy.prompt_router.decide(first.score, threshold=first.threshold)
        passage.calibration_void = True
        reason = f"{alone.reason}; the weak model refused a draft that can be checked: the gate is void"
        return chooser.settle(passage, alone.role, reason)
    made = draft.decision
    passage.score, passage.calibration_void = made.score, made.void
    passage.extra_samples, passage.gate_tokens = draft.extra_samples, draft.extra_tokens
    if chooser.settle(passage, made.role, made.reason) == "weak":
        passage.model, passage.first_byte_seconds = upstreams["weak"].endpoint.model, passage.gate_seconds
        return draft.answer
    draft.answer.close()
    prompt, completion = draft.draft_tokens
    prompt = prompt or request_tokens(sent.body.fields)
    passage.gate_tokens = passage.gate_tokens[0] + prompt, passage.gate_tokens[1] + completion
    return "strong"
