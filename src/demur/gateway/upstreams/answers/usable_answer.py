"""The strong model's answer in place of a weak one that its client could not use: one that is empty, a call that does
not fit the tools of its request, JSON that does not fit the response format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from demur.gate.form.requested_form import EMPTY, OF_NO_USE
from demur.gateway.decision.choose_model import Choice
from demur.gateway.decision.draft.check_draft import Outgoing
from demur.gateway.decision.draft.check_form import check_form, requested_form
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.upstreams.answers.answer import is_temporary
from demur.gateway.upstreams.answers.passed_answer import PassedAnswer
from demur.gateway.upstreams.ask_upstreams import Sent, first_answer
from demur.gateway.upstreams.calls import Call, charge_if_cut
from demur.gateway.upstreams.upstream import BROKEN, Upstream
from demur.records import Role

LIMITS = frozenset({"max_tokens", "max_completion_tokens", "max_output_tokens"})  # of an answer, set by its request


async def usable_answer(upstreams: Mapping[Role, Upstream], found: Sent, sent: Outgoing, calls: list[Call]) -> Sent:
    """The weak model's answer if it says anything, and has the requested form, as far as that can be told; else the
    strong model's. An empty answer is a failed one; of several, all of them.

    Where the strong model cannot be asked, the weak one's answer stays. ``calls`` takes what is paid beside the answer.
    Raises ApiError where the weak model breaks off and the strong one is down.
    """
    form = requested_form(sent.question.body, sent.protocol) if sent.question.single else {}
    if found.answer.status != 200:
        return found
    limited = any(span.name in LIMITS for span in sent.question.body.spans)
    read, asked = PassedAnswer(sent.protocol), sent.question.estimate(found.role)
    try:
        with charge_if_cut(calls, found.role, asked.prompt, lambda: read.tokens(asked).completion):
            formed = await check_form(found.answer, form, sent.protocol, read, limited=limited)
    except BROKEN:
        found.answer.close()
        reason = f"{found.reason}; {found.model} broke off its answer, so the strong model answers"
        return replace(await _strong(upstreams, reason, sent, calls), fallback=True)
    except BaseException:  # the client has disconnected
        found.answer.close()
        raise
    found = replace(found, answer=formed.answer)
    if not formed.problem:
        return found
    reason = f"{found.reason}; {OF_NO_USE}: {formed.problem}"
    try:
        strong = await _strong(upstreams, f"{reason}, so the strong model answers", sent, calls)
    except ApiError as error:
        return replace(found, reason=f"{reason}; {error.message}")
    if is_temporary(strong.answer.status):
        strong.answer.close()
        return replace(found, reason=f"{reason}; {strong.model} answered {strong.answer.status}")
    calls.append(Call(found.role, read.tokens(asked)))
    return replace(strong, fallback=True) if formed.problem == EMPTY else strong


async def _strong(upstreams: Mapping[Role, Upstream], reason: str, sent: Outgoing, calls: list[Call]) -> Sent:
    return await first_answer(upstreams, Choice("strong", reason), sent, calls)
