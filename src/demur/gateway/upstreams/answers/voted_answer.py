"""An answer by vote: a model is asked several times at once, and the answer that most of its answers mean is sent.

Only whole answers can be compared: a stream, a request for several answers or with tools gets one answer, unvoted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from demur.gateway.decision.choose_model import Choice
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.draft.check_draft import Outgoing, sample_of
from demur.gateway.upstreams.answers.answer import Answer
from demur.gateway.upstreams.ask_upstreams import Sent, first_answer
from demur.gateway.upstreams.calls import Call
from demur.gateway.upstreams.token_counts import whole_tokens
from demur.gateway.upstreams.upstream import Upstream, UpstreamDown
from demur.labels.beliefs.votes import winner
from demur.records import Role


@dataclass(frozen=True, slots=True)
class Vote:
    """One of the answers, with its text."""

    answer: Answer
    text: str
    data: bytes


def is_voted(upstream: Upstream, choice: Choice, sent: Outgoing) -> bool:
    """Whether a request is answered by vote."""
    question = sent.question
    plain = question.one_answer and not question.streamed and "tools" not in question.kind
    return upstream.votes > 1 and not choice.named and plain


async def voted_answer(
    decider: Decider,
    upstreams: Mapping[Role, Upstream],
    choice: Choice,
    sent: Outgoing,
    calls: list[Call],
    *,
    others: Sequence[Role],
) -> Sent:
    """The answer that most answers of the chosen model mean; ``calls`` takes what the others cost.

    Where none of them can be read, the model is asked once, as `first_answer` asks. Raises ApiError.
    """
    upstream, started = upstreams[choice.role], time.perf_counter()
    asked = await asyncio.gather(*(_ask(upstream, choice, sent, calls, i, decider) for i in range(upstream.votes)))
    votes = [vote for vote in asked if vote is not None]
    if not votes:
        return await first_answer(upstreams, choice, sent, calls, others=others)
    ids = await decider.meanings(sent.question.text, [vote.text for vote in votes])
    at = winner(ids)
    calls += [_call(choice.role, vote, sent) for i, vote in enumerate(votes) if i != at]
    reason = f"{choice.reason}; by vote: {int((ids == ids[at]).sum())} of {len(votes)} answers mean this"
    seconds = time.perf_counter() - started
    return Sent(choice.role, upstream.endpoint.model, votes[at].answer, reason, seconds)


async def _ask(
    upstream: Upstream, choice: Choice, sent: Outgoing, calls: list[Call], index: int, decider: Decider
) -> Vote | None:
    """One answer, sampled as the labels' samples were; None where there is none that can be read."""
    sampling, question = decider.router.prompt_router.record.get("sampling", {}), sent.question
    changed: dict[str, object] = {"model": upstream.endpoint.model}
    changed |= sent.protocol.effort(upstream.endpoint.reasoning_effort)
    changed |= {"temperature": sampling.get("temperature", 1.0), "top_p": sampling.get("top_p", 1.0)}
    if question.seed is not None:
        changed["seed"] = question.seed + index
    body = upstream.request(sent.body(choice.role)[0], **changed)
    try:
        unanswered = sent.charge_unanswered(calls, choice.role)
        answer = await upstream.send(sent.path, body, sent.headers, sent.protocol, unanswered)
    except UpstreamDown:
        return None
    sample = sample_of(answer.whole, index) if answer.status == 200 and answer.whole is not None else None
    if sample is None or answer.whole is None:
        answer.close()
        return None
    return Vote(answer, sample.text, answer.whole)


def _call(role: Role, vote: Vote, sent: Outgoing) -> Call:
    return Call(role, whole_tokens(vote.data, sent.question.estimate(role)))
