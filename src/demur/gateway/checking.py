"""The gate in the gateway: the weak model's answer is looked at before the client gets it. Never is text taken back.

An answer that is not streamed is read whole, with extra samples where they may turn the decision; of a stream the first
tokens are held back, then it is let go or dropped. Log-probs that the client did not ask for are asked for, and
taken out again: apart from them the answer passes as it came.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from demur.endpoints import parse_completion
from demur.errors import EndpointError
from demur.gate import HEAD_TOKENS
from demur.gateway.decisions import Decider
from demur.gateway.upstreams import Upstream, UpstreamDown
from demur.gateway.wire import usage_of
from demur.records import Sample
from demur.router import Decision

EVENT_END = re.compile(rb"\r?\n\r?\n")
BROKEN = (aiohttp.ClientError, TimeoutError)


@dataclass(slots=True)
class Checked:
    """What the weak model said to a request, and what the gate makes of it."""

    response: aiohttp.ClientResponse
    decision: Decision
    whole: bytes = b""  # the answer, where it is not a stream
    stream: HeldStream | None = None
    extra_samples: int = 0
    extra_tokens: tuple[int, int] = (0, 0)  # prompt, completion of the extra samples

    @property
    def draft_tokens(self) -> tuple[int, int]:
        """Prompt and completion tokens of the answer itself, as far as it was read."""
        if self.stream is not None:
            return 0, self.stream.tokens
        return usage_of(self.whole, False) or (0, 0)


def can_be_checked(body: Mapping[str, Any]) -> bool:
    """One answer in text: what asks for several, or for tools, is routed by its prompt alone."""
    one = body.get("n") in (None, 1) and body.get("best_of") in (None, 1)
    text = isinstance(body.get("prompt", ""), str)
    return one and text and not body.get("tools") and not body.get("functions")


class DraftChecker:
    """Asks the weak upstream for a draft and, where they may turn the decision, for extra samples."""

    def __init__(self, decider: Decider, upstream: Upstream) -> None:
        self._decider, self._upstream = decider, upstream

    async def check(
        self, first: Decision, text: str, path: str, body: Mapping[str, Any], headers: Mapping[str, str]
    ) -> Checked | None:
        """The draft and the last word on it; None when the upstream refuses. Raises UpstreamDown."""
        response = await self._upstream.send(path, self._draft_request(body), headers)
        if response.status != 200:
            response.release()
            return None
        try:
            if "text/event-stream" in response.headers.get("Content-Type", ""):
                return await self._first_tokens(first, response, body)
            return await self._whole(first, text, response, path, body, headers)
        except BROKEN as error:
            response.close()
            raise UpstreamDown(f"{self._upstream.endpoint.model} broke off its answer") from error
        except BaseException:  # the client has gone: its draft goes too
            response.close()
            raise

    async def _first_tokens(
        self, first: Decision, response: aiohttp.ClientResponse, body: Mapping[str, Any]
    ) -> Checked:
        stream = HeldStream(response, strip=self._strips(body))
        await stream.read_head()
        return Checked(response, self._decider.policy.check_head(first, stream.logprobs), stream=stream)

    async def _whole(
        self,
        first: Decision,
        text: str,
        response: aiohttp.ClientResponse,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str],
    ) -> Checked:
        data = await response.read()
        draft = _sample(data, 0)
        kept = without_logprobs(data) if self._strips(body) else data
        if draft is None:  # an answer without text cannot be compared with anything
            alone = self._decider.policy.router.decide(first.score, threshold=first.threshold)
            return Checked(response, alone, kept)
        samples, spent = [draft], (0, 0)
        made = await self._decider.check(first, text, samples)
        while made.wants_samples:
            extra, tokens = await self._extra_sample(path, body, headers, len(samples))
            spent = spent[0] + tokens[0], spent[1] + tokens[1]
            samples += [extra] if extra else []
            made = await self._decider.check(made, text, samples, final=extra is None)
        return Checked(response, made, kept, None, len(samples) - 1, spent)

    async def _extra_sample(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], index: int
    ) -> tuple[Sample | None, tuple[int, int]]:
        """One more sample of the weak model, drawn as the gate's training samples were; None when there is none."""
        try:
            response = await self._upstream.send(path, self._extra_request(body), headers)
            async with response:
                data = await response.read()
        except (*BROKEN, UpstreamDown):
            return None, (0, 0)
        return (_sample(data, index) if response.status == 200 else None), usage_of(data, False) or (0, 0)

    def _draft_request(self, body: Mapping[str, Any]) -> bytes:
        asked = {**body, "model": self._upstream.endpoint.model}
        if self._strips(body):
            asked["logprobs"] = True if "messages" in body else 1
        return json.dumps(asked, ensure_ascii=False).encode()

    def _extra_request(self, body: Mapping[str, Any]) -> bytes:
        sampling = self._decider.policy.router.record.get("sampling", {})
        left_out = ("stream", "stream_options", "seed", "n", "best_of")
        asked = {key: value for key, value in body.items() if key not in left_out}
        asked |= {"temperature": sampling.get("temperature", 1.0), "top_p": sampling.get("top_p", 1.0)}
        return self._draft_request(asked)

    def _strips(self, body: Mapping[str, Any]) -> bool:
        """True where log-probs are ours to ask for and to take out."""
        gate = self._decider.policy.serving_gate
        given = body.get("logprobs")
        return gate is not None and gate.needs_logprobs and (given is None or given is False)


class HeldStream:
    """A stream of which the first tokens are held back."""

    def __init__(self, response: aiohttp.ClientResponse, *, strip: bool) -> None:
        self._chunks = response.content.iter_any()
        self._buffer = b""
        self._strip = strip
        self._held = bytearray()
        self.logprobs: list[float] = []
        self.tokens = 0  # events with text so far

    async def read_head(self) -> None:
        """Read until the gate has its tokens or the stream ends."""
        async for event in self._events():
            self._held += event
            if self.tokens >= HEAD_TOKENS:
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
        return event[:start] + b"data: " + _without_logprobs(chunk) + b"\n\n"

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


def without_logprobs(data: bytes) -> bytes:
    """A completion whose choices carry no log-probs."""
    try:
        return _without_logprobs(json.loads(data))
    except (ValueError, KeyError, TypeError, AttributeError):
        return data


def _without_logprobs(answer: Any) -> bytes:
    choices = [{**choice, "logprobs": None} for choice in answer["choices"]]
    return json.dumps({**answer, "choices": choices}, ensure_ascii=False).encode()


def _sample(data: bytes, index: int) -> Sample | None:
    """The answer in a completion; None when there is no text in it."""
    try:
        return parse_completion(json.loads(data), [index], "draft")[0]
    except (ValueError, EndpointError):
        return None
