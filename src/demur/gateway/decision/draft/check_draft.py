"""The gate in the gateway: the weak model's answer is checked before the client gets any of it.

An answer that is not streamed is read whole, with extra samples if they may reverse the decision. Of a stream the first
tokens are held back, then it is passed on or dropped. Log-probs that the client did not request are requested and
removed again; otherwise the answer is passed on unchanged.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import aiohttp

from demur.errors import EndpointError
from demur.gate.gate import HEAD_TOKENS
from demur.gateway.decision.abilities import is_refusal
from demur.gateway.decision.as_labelled import as_labelled
from demur.gateway.decision.conversation_model import ConversationRecord
from demur.gateway.decision.decider import Decider
from demur.gateway.decision.draft.check_form import requested_form
from demur.gateway.decision.request.question import Question
from demur.gateway.decision.request.thinking import LEFT_OUT, foreign, without_thinking
from demur.gateway.http.json_edit import Body, without_logprobs
from demur.gateway.http.request_record import request_record
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.answers.answer import WHOLE_BYTES, Answer, is_temporary
from demur.gateway.upstreams.calls import Call, charge_if_cut, charge_unanswered
from demur.gateway.upstreams.events import data_of, split_events, with_data
from demur.gateway.upstreams.token_counts import whole_tokens
from demur.gateway.upstreams.upstream import BROKEN, Upstream, UpstreamDown
from demur.models.prices import Tokens
from demur.models.requests.completion import parse_completion
from demur.models.requests.retries import retry_after
from demur.records import Role, Sample
from demur.routing.asked_as import ALONE, AskedAs
from demur.routing.prompt_router import Decision


@dataclass(frozen=True, slots=True)
class Draft:
    """The weak model's draft and the gate's decision on it."""

    answer: Answer
    decision: Decision
    call: Call  # its tokens, as far as it was read
    extra_samples: int = 0


@request_record(frozen=True, slots=True)
class Outgoing:
    """A request as the upstreams get it, apart from the model."""

    path: str  # below the upstream's base URL, with its query
    question: Question
    headers: Mapping[str, str]
    protocol: Protocol
    unproven: bool = False  # the weak model may not be able to answer such a request
    chosen: bool = False  # demur chose the model, so that it may be another one than before
    record: ConversationRecord | None = None  # what is known of the conversation
    asked_as: AskedAs | None = None  # what the settings put around the prompt

    def body(self, role: Role) -> tuple[Body, str]:
        """The body for a model, and what was left out of it, in words."""
        if not self.chosen:
            return self.question.body, ""
        body, left_out = self._own_thinking(role)
        asked = self.asked_as
        return as_labelled(body, self.protocol.name, asked) if asked and asked != ALONE else body, left_out

    def _own_thinking(self, role: Role) -> tuple[Body, str]:
        """The body without the other model's thinking."""
        thinking = self.question.thinking
        if not (thinking.before or thinking.since):
            return self.question.body, ""
        before, since = foreign(thinking, self.record, role)
        if not before and not since:
            return self.question.body, ""
        return without_thinking(self.question.body, before=before, since=since), f"; {LEFT_OUT}"

    def charge_unanswered(self, calls: list[Call], role: Role) -> Callable[[float], None]:
        """Takes the seconds of a request that was sent to a model and not answered, and records what it may cost."""
        written = self.question.most_tokens if self.protocol.writes else 0
        return partial(charge_unanswered, calls, role, self.question.estimate(role).prompt, written)


class DraftChecker:
    """Asks the weak upstream for a draft and, where they may turn the decision, for extra samples.

    ``calls`` takes what must be paid beside the draft.
    """

    def __init__(self, decider: Decider, upstream: Upstream, sent: Outgoing, calls: list[Call]) -> None:
        self._decider, self._upstream, self._sent, self._calls = decider, upstream, sent, calls

    async def check(self, first: Decision) -> Draft | None:
        """The draft and the final decision; None when the upstream refuses. Raises UpstreamDown."""
        answer = await self._send(self._draft())
        try:
            if answer.status != 200:
                self._refusal(answer)
                return None
            return await (self._first_tokens if answer.is_stream else self._whole)(first, answer)
        except BROKEN as error:
            answer.close()
            raise UpstreamDown(f"{self._upstream.endpoint.model} broke off its answer") from error
        except BaseException:  # the client has disconnected, so the draft is closed
            answer.close()
            raise

    async def _send(self, changed: Mapping[str, object]) -> Answer:
        body = self._upstream.request(self._sent.body("weak")[0], **changed)
        sent = self._sent
        unanswered = sent.charge_unanswered(self._calls, "weak")
        return await self._upstream.send(
            *(sent.path, body, sent.headers, sent.protocol, unanswered), unproven=sent.unproven
        )

    def _refusal(self, answer: Answer) -> None:
        """A temporary failure counts as down; a refused request is tried again without log-probs."""
        answer.close()
        if is_temporary(answer.status):
            said = f"{self._upstream.endpoint.model} answered {answer.status}"
            refused = is_refusal(answer.status, unproven=self._sent.unproven)
            raise UpstreamDown(said, retry_after=retry_after(answer.headers.get("Retry-After")), refused=refused)

    async def _first_tokens(self, first: Decision, answer: Answer) -> Draft:
        tokens = self._sent.question.estimate("weak").prompt
        stream = DraftStream(answer.pieces, strip=self._strips)
        with charge_if_cut(self._calls, "weak", tokens, lambda: stream.tokens):
            await stream.read_head()
        decision = self._decider.router.check_head(first, stream.logprobs)
        call = Call("weak", Tokens(tokens, stream.tokens, counted=False))
        return Draft(replace(answer, pieces=stream.chunks()), decision, call)

    async def _whole(self, first: Decision, answer: Answer) -> Draft:
        if answer.whole is None:
            raise UpstreamDown(f"{self._upstream.endpoint.model} answers more than can be checked")
        draft, call = sample_of(answer.whole, 0), self._call(answer.whole)
        if self._strips:
            answer = replace(answer, whole=without_logprobs(answer.whole))
        if draft is None or not draft.text.strip():  # an answer without text cannot be compared with anything
            alone = self._decider.router.prompt_router.decide(first.score, threshold=first.threshold, basis=first.basis)
            return Draft(answer, alone, call)
        text, samples = self._sent.question.text, [draft]
        form = requested_form(self._sent.question.body, self._sent.protocol)
        with charge_if_cut(self._calls, "weak", call.tokens.prompt, lambda: call.tokens.completion):
            made = await self._decider.check(first, text, samples, form)
            while made.wants_samples:
                extra = await self._extra_sample(len(samples))
                samples += [extra] if extra else []
                made = await self._decider.check(made, text, samples, form, final=extra is None)
        return Draft(answer, made, call, len(samples) - 1)

    async def _extra_sample(self, index: int) -> Sample | None:
        """One more sample of the weak model, drawn as the gate's training samples were; None when there is none."""
        try:
            answer = await self._send(self._extra(index))
        except UpstreamDown:
            return None
        answer.close()
        if answer.status != 200 or answer.whole is None:
            return None
        self._calls.append(self._call(answer.whole))
        return sample_of(answer.whole, index)

    def _call(self, data: bytes) -> Call:
        """The tokens of an answer of the weak model."""
        return Call("weak", whole_tokens(data, self._sent.question.estimate("weak")))

    def _draft(self) -> dict[str, object]:
        """The fields of the draft's request that differ from the client's."""
        asked: dict[str, object] = {"model": self._upstream.endpoint.model}
        if self._strips:
            asked["logprobs"] = True if self._sent.question.chat else 1
        return asked

    def _extra(self, index: int) -> dict[str, object]:
        """As `_draft`, for an extra sample: with the gate's sampling settings and another seed."""
        question, sampling = self._sent.question, self._decider.router.prompt_router.record.get("sampling", {})
        asked = self._draft()
        asked |= {"temperature": sampling.get("temperature", 1.0), "top_p": sampling.get("top_p", 1.0)}
        if "seed" in question.body:
            asked["seed"] = None if question.seed is None else question.seed + index
        return asked

    @property
    def _strips(self) -> bool:
        """True if log-probs are added to the request and removed from the answer."""
        gate = self._decider.router.serving_gate
        return gate is not None and gate.needs_logprobs and not self._sent.question.logprobs


class DraftStream:
    """A stream of which the first tokens are held back."""

    def __init__(self, pieces: AsyncIterator[bytes], *, strip: bool) -> None:
        self._chunks = pieces
        self._ended: deque[bytes] = deque()  # events that have come whole
        self._buffer = b""  # of one that has not
        self._strip = strip
        self._held = bytearray()
        self._logprobs: list[Any] = []
        self._void = False  # one of them is not finite
        self.tokens = 0  # events with text so far

    async def read_head(self) -> None:
        """Read until the gate has enough tokens or the stream ends."""
        async for event in self._events():
            self._held += event
            if self.tokens >= HEAD_TOKENS or len(self._held) > WHOLE_BYTES:
                return

    async def chunks(self) -> AsyncIterator[bytes]:
        """What was held back, then the rest as it comes."""
        if self._held:
            yield bytes(self._held)
        if self._strip:
            async for event in self._events():
                yield event
            return
        if self._ended or self._buffer:
            yield b"".join([*self._ended, self._buffer])
        async for chunk in self._chunks:
            yield chunk

    async def _events(self) -> AsyncIterator[bytes]:
        while True:
            while self._ended:
                yield self._read(self._ended.popleft())
            chunk = await anext(self._chunks, b"")
            if not chunk:
                break
            ended, self._buffer = split_events(self._buffer + chunk, seen=len(self._buffer))
            self._ended += ended
            if len(self._buffer) > WHOLE_BYTES:
                raise aiohttp.ClientPayloadError("an event of the stream does not end")
        rest, self._buffer = self._buffer, b""
        if rest:
            yield self._read(rest)

    def _read(self, event: bytes) -> bytes:
        """Record an event's tokens; returns the event for the client."""
        data = data_of(event)
        try:
            chunk = json.loads(data) if data else None
        except (ValueError, RecursionError):  # [DONE], or something other than a completion
            return event
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not data or not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            return event
        for choice in choices:
            self._count(choice)
        if not self._strip or not any(choice.get("logprobs") for choice in choices):
            return event
        return with_data(event, without_logprobs(data))

    def _count(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        found = choice.get("logprobs")
        tokens: list[Any] = []
        if isinstance(found, dict):
            in_chat = [one.get("logprob") for one in found.get("content") or [] if isinstance(one, dict)]
            tokens = in_chat or list(found.get("token_logprobs") or [])
        self._void = self._void or not all(map(_is_finite, tokens))
        self._logprobs += tokens
        self.tokens += max(len(tokens), 1 if text else 0)

    @property
    def logprobs(self) -> list[float]:
        """Log-probs of the tokens so far; none if one of them is not finite."""
        return [] if self._void else list(map(float, self._logprobs))


def _is_finite(value: object) -> bool:
    """A number that a float holds: JSON can spell NaN, infinities and 10**400."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def sample_of(data: bytes, index: int) -> Sample | None:
    """The answer in a completion, without its log-probs where one is not a number; None when there is no text in it."""
    for read in (data, without_logprobs(data)):
        try:
            return parse_completion(json.loads(read), [index], "draft")[0]
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, EndpointError):
            continue
    return None
