"""The gate in the gateway: the weak model's answer is looked at before the client gets it. Never is text taken back.

An answer that is not streamed is read whole, with extra samples where they may turn the decision; of a stream the first
tokens are held back, then it is let go or dropped. Log-probs that the client did not ask for are asked for, and
taken out again: apart from them the answer passes as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from demur.errors import EndpointError
from demur.gate.gate import HEAD_TOKENS
from demur.gateway.decision.decider import Decider
from demur.gateway.http.json_edit import Body, without_logprobs
from demur.gateway.upstreams.token_counts import usage_of_whole
from demur.gateway.upstreams.upstream import BROKEN, WHOLE_BYTES, Answer, Upstream, UpstreamDown, retry_after
from demur.models.endpoint import parse_completion
from demur.records import Sample
from demur.routing.prompt_router import Decision

EVENT_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Checked:
    """What the weak model said to a request, and what the gate makes of it."""

    answer: Answer
    decision: Decision
    stream: HeldStream | None = None
    extra_samples: int = 0
    extra_tokens: tuple[int, int] = (0, 0)  # prompt, completion of the extra samples

    @property
    def draft_tokens(self) -> tuple[int, int]:
        """Prompt and completion tokens of the answer itself, as far as it was read."""
        if self.stream is not None:
            return 0, self.stream.tokens
        return usage_of_whole(self.answer.whole or b"") or (0, 0)


def can_be_checked(fields: Mapping[str, Any]) -> bool:
    """One answer in text: what asks for several, or for tools, is routed by its prompt alone."""
    one = fields.get("n") in (None, 1) and fields.get("best_of") in (None, 1)
    text = isinstance(fields.get("prompt", ""), str)
    return one and text and not fields.get("tools") and not fields.get("functions")


class DraftChecker:
    """Asks the weak upstream for a draft and, where they may turn the decision, for extra samples."""

    def __init__(self, decider: Decider, upstream: Upstream) -> None:
        self._decider, self._upstream = decider, upstream

    async def check(
        self, first: Decision, text: str, path: str, body: Body, headers: Mapping[str, str]
    ) -> Checked | None:
        """The draft and the last word on it; None when the upstream refuses. Raises UpstreamDown."""
        answer = await self._upstream.send(path, body.replace_member(**self._draft(body.fields)), headers)
        try:
            if answer.status != 200:
                self._refusal(answer)
                return None
            if answer.is_stream:
                return await self._first_tokens(first, answer, body.fields)
            return await self._whole(first, text, answer, path, body, headers)
        except BROKEN as error:
            answer.close()
            raise UpstreamDown(f"{self._upstream.endpoint.model} broke off its answer") from error
        except BaseException:  # the client has gone: its draft goes too
            answer.close()
            raise

    def _refusal(self, answer: Answer) -> None:
        """An upstream that cannot now is down; one that will not have this request may have it without log-probs."""
        answer.close()
        if answer.status >= 500 or answer.status == 429:
            said = f"{self._upstream.endpoint.model} answered {answer.status}"
            raise UpstreamDown(said, retry_after=retry_after(answer.headers.get("Retry-After")))

    async def _first_tokens(self, first: Decision, answer: Answer, fields: Mapping[str, Any]) -> Checked:
        stream = HeldStream(answer.pieces, strip=self._strips(fields))
        await stream.read_head()
        decision = self._decider.policy.check_head(first, stream.logprobs)
        return Checked(replace(answer, pieces=stream.chunks()), decision, stream)

    async def _whole(
        self, first: Decision, text: str, answer: Answer, path: str, body: Body, headers: Mapping[str, str]
    ) -> Checked:
        if answer.whole is None:
            raise UpstreamDown(f"{self._upstream.endpoint.model} answers more than can be checked")
        draft = _sample(answer.whole, 0)
        if self._strips(body.fields):
            answer = replace(answer, whole=without_logprobs(answer.whole))
        if draft is None:  # an answer without text cannot be compared with anything
            return Checked(answer, self._decider.policy.prompt_router.decide(first.score, threshold=first.threshold))
        samples, spent = [draft], (0, 0)
        made = await self._decider.check(first, text, samples)
        while made.wants_samples:
            extra, tokens = await self._extra_sample(path, body, headers, len(samples))
            spent = spent[0] + tokens[0], spent[1] + tokens[1]
            samples += [extra] if extra else []
            made = await self._decider.check(made, text, samples, final=extra is None)
        return Checked(answer, made, None, len(samples) - 1, spent)

    async def _extra_sample(
        self, path: str, body: Body, headers: Mapping[str, str], index: int
    ) -> tuple[Sample | None, tuple[int, int]]:
        """One more sample of the weak model, drawn as the gate's training samples were; None when there is none."""
        try:
            answer = await self._upstream.send(path, body.replace_member(**self._extra(body.fields, index)), headers)
        except UpstreamDown:
            return None, (0, 0)
        answer.close()
        if answer.status != 200 or answer.whole is None:
            return None, (0, 0)
        return _sample(answer.whole, index), usage_of_whole(answer.whole) or (0, 0)

    def _draft(self, fields: Mapping[str, Any]) -> dict[str, object]:
        """What is asked otherwise than the client asked it."""
        asked: dict[str, object] = {"model": self._upstream.endpoint.model}
        if self._strips(fields):
            asked["logprobs"] = True if "messages" in fields else 1
        return asked

    def _extra(self, fields: Mapping[str, Any], index: int) -> dict[str, object]:
        """The same for an extra sample: by the gate's own sampling, and not by the draft's seed."""
        sampling = self._decider.policy.prompt_router.record.get("sampling", {})
        asked = self._draft(fields)
        asked |= {"temperature": sampling.get("temperature", 1.0), "top_p": sampling.get("top_p", 1.0)}
        if "seed" in fields:
            asked["seed"] = fields["seed"] + index if type(fields["seed"]) is int else None
        return asked

    def _strips(self, fields: Mapping[str, Any]) -> bool:
        """True where log-probs are ours to ask for and to take out."""
        gate = self._decider.policy.serving_gate
        given = fields.get("logprobs")
        return gate is not None and gate.needs_logprobs and (given is None or given is False)


class HeldStream:
    """A stream of which the first tokens are held back."""

    def __init__(self, pieces: AsyncIterator[bytes], *, strip: bool) -> None:
        self._chunks = pieces
        self._buffer = b""
        self._strip = strip
        self._held = bytearray()
        self.logprobs: list[float] = []
        self.tokens = 0  # events with text so far

    async def read_head(self) -> None:
        """Read until the gate has its tokens or the stream ends."""
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
        if self._buffer:
            yield self._buffer
        async for chunk in self._chunks:
            yield chunk

    async def _events(self) -> AsyncIterator[bytes]:
        while True:
            found = EVENT_END.search(self._buffer)
            if found:
                event, self._buffer = self._buffer[: found.end()], self._buffer[found.end() :]
                yield self._read(event)
                continue
            chunk = await anext(self._chunks, b"")
            if not chunk:
                break
            self._buffer += chunk
            if len(self._buffer) > WHOLE_BYTES:
                raise aiohttp.ClientPayloadError("an event of the stream does not end")
        rest, self._buffer = self._buffer, b""
        if rest:
            yield self._read(rest)

    def _read(self, event: bytes) -> bytes:
        """Take note of an event's tokens; the event as the client may have it."""
        start = event.find(b"data:")
        try:
            chunk = json.loads(event[start + 5 :]) if start >= 0 else None
        except ValueError:  # [DONE], or an event of several lines
            return event
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
            return event
        for choice in choices:
            self._count(choice)
        if not self._strip or not any(choice.get("logprobs") for choice in choices):
            return event
        return event[: start + 5] + without_logprobs(event[start + 5 :])

    def _count(self, choice: Mapping[str, Any]) -> None:
        delta = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        found = choice.get("logprobs")
        tokens: list[Any] = []
        if isinstance(found, dict):
            in_chat = [one.get("logprob") for one in found.get("content") or [] if isinstance(one, dict)]
            tokens = [one for one in in_chat or found.get("token_logprobs") or [] if isinstance(one, int | float)]
        self.logprobs += map(float, tokens)
        self.tokens += max(len(tokens), 1 if text else 0)


def _sample(data: bytes, index: int) -> Sample | None:
    """The answer in a completion; None when there is no text in it."""
    try:
        return parse_completion(json.loads(data), [index], "draft")[0]
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, EndpointError):
        return None
