"""Asks the chosen model, and the other one if that fails before the client has received a byte."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

from demur.gateway.decision.abilities import is_refusal
from demur.gateway.decision.choose_model import Choice, settle
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.draft.check_draft import DraftChecker, Outgoing
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.http.request_record import request_record
from demur.gateway.upstreams.answers.answer import Answer, is_temporary
from demur.gateway.upstreams.calls import Call
from demur.gateway.upstreams.upstream import Upstream, UpstreamDown
from demur.records import Role
from demur.routing.prompt_router import Decision


@request_record(frozen=True, slots=True)
class Checked:
    """The gate's result: the weak model's draft if it is to be sent, otherwise the model that is to answer."""

    role: Role
    reason: str
    score: float  # P(the strong model is needed), after what was looked at
    seconds: float
    draft: Answer | None = None
    extra_samples: int = 0
    void: bool = False  # the gate's signals were missing
    fallback: bool = False  # the weak model is down
    failed: tuple[str, ...] = ()  # why, for the error where no other model answers either
    refused: bool = False  # or cannot answer this kind of request
    model: str = ""  # as `Choice.model`
    forced: bool = False  # as `Choice.forced`


@request_record(frozen=True, slots=True)
class Sent:
    """The answer for the client, before any of it is sent."""

    role: Role
    model: str
    answer: Answer
    reason: str
    first_byte_seconds: float
    fallback: bool = False  # the other model answers than the one that was to
    refused: bool = False  # because the weak one cannot


async def first_answer(
    upstreams: Mapping[Role, Upstream],
    choice: Choice | Checked,
    sent: Outgoing,
    calls: list[Call],
    *,
    others: Sequence[Role] = (),
) -> Sent:
    """The answer of a model, or of the first of the ``others`` that answers where it fails or cannot.

    Where the weak model refuses and the strong one is down, it is the weak one's refusal. Raises ApiError 502 or 429.
    """
    role, reason = choice.role, choice.reason
    order: list[Role | None] = [role, *others, None]
    refused, refusal, failed = False, None, list(choice.failed if isinstance(choice, Checked) else ())
    for side, then in pairwise(order):
        assert side is not None, "None stands last"
        upstream, asked_at = upstreams[side], time.perf_counter()
        whole, left_out = sent.body(side)
        new = dict(sent.protocol.effort(upstream.endpoint.reasoning_effort)) if sent.chosen else {}
        if (model := choice.model or upstream.endpoint.model) != sent.question.model:
            new["model"] = model
        body = upstream.request(whole, **new)
        unproven = side == "weak" and sent.unproven
        try:
            unanswered = sent.charge_unanswered(calls, side)
            answer = await upstream.send(*(sent.path, body, sent.headers, sent.protocol, unanswered), unproven=unproven)
        except UpstreamDown as error:
            if refusal:
                return refusal
            failed.append(str(error))
            if then is None:
                raise no_model_left(error, failed, choice.way_out if isinstance(choice, Choice) else "") from error
            refused = error.refused
            reason += f"; {error}, so the {then} model answers"
            continue
        said = reason + left_out
        found = Sent(side, upstream.endpoint.model, answer, said, answer.began - asked_at, side != role, refused)
        refused = side != "strong" and not choice.forced and is_refusal(answer.status, unproven=unproven)
        if then and (refused or is_temporary(answer.status)):
            refusal = found if refused and answer.whole is not None else None
            reason += f"; {_failure(found, refused)}, so the {then} model does"
            failed.append(f"{found.model}: answered {answer.status}")
            answer.close()
            continue
        return found
    raise AssertionError("unreachable")


def _failure(found: Sent, refused: bool) -> str:
    said = f"answered {found.answer.status}"
    return f"{found.model} cannot answer this: it {said}" if refused else f"{found.model} {said}"


def no_model_left(error: UpstreamDown, failed: Sequence[str], way_out: str = "") -> ApiError:
    """The error when no model is left to ask; ``failed``: what each of those that were asked did, the last one too;
    ``way_out``: what a client may ask for that named one."""
    alone = f"The model {'is down' if error.tried_every else 'does not answer'}" if way_out else "No model answers"
    again = f"It is tried again every {error.tried_every:g} s." if error.tried_every and len(failed) == 1 else ""
    said = " ".join(one for one in (f"{alone} ({'; '.join(failed)}).", again, way_out) if one)
    if error.retry_after is not None:
        wait = math.ceil(error.retry_after)
        return ApiError(429, said, "requests", "rate_limit_exceeded", retry_after=wait, outcome="upstream_error")
    return ApiError(502, said, "upstream_error", "upstream_error", outcome="upstream_error")


async def checked_draft(
    decider: Decider,
    upstreams: Mapping[Role, Upstream],
    choice: Choice,
    first: Decision,
    sent: Outgoing,
    calls: list[Call],
    *,
    fallback: bool,
) -> Checked:
    """The gate's result on the weak model's draft; ``calls`` collects the other requests that are paid for. Raises
    ApiError.
    """
    started = time.perf_counter()
    try:
        draft = await DraftChecker(decider, upstreams["weak"], sent, calls).check(first)
    except UpstreamDown as error:
        if not fallback:
            raise no_model_left(error, [str(error)]) from error
        reason = f"{choice.reason}; {error}, so the strong model answers"
        seconds = time.perf_counter() - started
        return Checked(
            "strong", reason, first.score, seconds, fallback=True, failed=(str(error),), refused=error.refused
        )
    seconds = time.perf_counter() - started
    if draft is None:
        alone = decider.router.prompt_router.decide(first.score, threshold=first.threshold, basis=first.basis)
        reason = f"{alone.reason}{choice.note}; the weak model refused a draft that can be checked: the gate is void"
        return Checked(*settle(alone.role, reason, choice.stays), first.score, seconds, void=True)
    made, extra = draft.decision, draft.extra_samples
    role, reason = settle(made.role, made.reason + choice.note, choice.stays)
    if role == "weak":
        return Checked(role, reason, made.score, seconds, draft.answer, extra, made.void)
    draft.answer.close()
    calls.append(draft.call)
    return Checked(role, reason, made.score, seconds, None, extra, made.void)
