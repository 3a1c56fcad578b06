"""The form of the weak model's answer, checked before the client gets any of it: calls that fit the request's tools,
JSON that fits its response format (`demur.gate.form.requested_form`).

A client cannot use a call or a JSON text before its end, so of a stream these are held back until then; a stream that
begins with text, where no JSON is asked for, is passed on at once and not checked. What cannot be read is not judged.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from demur.errors import EndpointError
from demur.gate.form.requested_form import form_problem
from demur.gateway.http.json_edit import Body
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.answers.answer import WHOLE_BYTES, Answer
from demur.gateway.upstreams.answers.passed import PassedAnswer
from demur.gateway.upstreams.events import data_of, split_events
from demur.models.requests.completion import parse_completion

_MEMBERS = ("tools", "functions", "tool_choice", "response_format")
Form = Mapping[str, Any]  # the members of a request that say what form its answer must have


@dataclass(frozen=True, slots=True)
class Formed:
    """An answer, as it can still be sent, and what is wrong with its form."""

    answer: Answer
    problem: str  # "" where nothing is known to be wrong


def requested_form(body: Body, protocol: Protocol) -> Form:
    """What form the answer to a request of this API must have, as chat says it; empty where any text will do."""
    spans = [span for span in body.spans if span.name in protocol.form_members]
    if not spans:
        return {}
    given = {span.name: json.loads(body.raw[span.start : span.end]) for span in spans}
    fields = protocol.as_chat({**given, "messages": []})
    form = {name: fields[name] for name in _MEMBERS if name in fields}
    return form if form.get("tools") or form.get("functions") or _wants_json(form) else {}


def _wants_json(form: Form) -> bool:
    wanted = form.get("response_format")
    return isinstance(wanted, Mapping) and wanted.get("type") in ("json_schema", "json_object")


async def check_form(answer: Answer, form: Form, protocol: Protocol, read: PassedAnswer) -> Formed:
    """An answer of the weak model, read as far as its form needs; ``read`` takes what was read, to count its tokens.

    Raises aiohttp's errors for one that breaks off.
    """
    if answer.whole is not None:
        read.set_whole(answer.whole)
        return Formed(answer, _problem(_whole_message(answer.whole, protocol), form))
    if not answer.is_stream:
        return Formed(answer, "")
    stream = _HeldStream(answer.pieces, protocol, read)
    whole = await stream.read(passing_text=not _wants_json(form))
    return Formed(replace(answer, pieces=stream.pieces()), _problem(stream.message, form) if whole else "")


def _whole_message(data: bytes, protocol: Protocol) -> Mapping[str, Any] | None:
    try:
        return protocol.message(json.loads(data))
    except (ValueError, RecursionError):
        return None


def _problem(message: Mapping[str, Any] | None, form: Form) -> str:
    """What is wrong with an answer; nothing is known of one that cannot be read."""
    if message is None:
        return ""
    completion = {"choices": [{"message": message, "finish_reason": "stop"}]}
    try:
        return form_problem(parse_completion(completion, [0], "answer")[0].text, form)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, EndpointError):
        return ""


class _HeldStream:
    """A stream that is held back, and the message that its events make up."""

    def __init__(self, pieces: AsyncIterator[bytes], protocol: Protocol, read: PassedAnswer) -> None:
        self._rest, self._count, self._held, self._buffer = pieces, read, bytearray(), b""
        self._protocol, self._content = protocol, ""
        self._calls: dict[int, dict[str, str]] = {}  # by their place: name and arguments so far

    async def read(self, *, passing_text: bool) -> bool:
        """Read to the end; False where it is passed on earlier, as text or for its length."""
        async for piece in self._rest:
            self._held += piece
            self._count.add(piece)
            events, self._buffer = split_events(self._buffer + piece, seen=len(self._buffer))
            for event in events:
                self._add(event)
            if len(self._held) > WHOLE_BYTES or (passing_text and self._content.strip() and not self._calls):
                return False
        return True

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was held back, then the rest as it comes."""
        if self._held:
            yield bytes(self._held)
        async for piece in self._rest:
            yield piece

    @property
    def message(self) -> Mapping[str, Any]:
        """What a whole answer would hold."""
        calls = [{"type": "function", "function": self._calls[place]} for place in sorted(self._calls)]
        return {"content": self._content or None} | ({"tool_calls": calls} if calls else {})

    def _add(self, event: bytes) -> None:
        data = data_of(event)
        try:
            part = self._protocol.part(json.loads(data)) if data is not None else None
        except (ValueError, RecursionError):
            return
        if part is None:
            return
        self._content += part.text
        for place, name, arguments in part.calls:
            call = self._calls.setdefault(place, {"name": "", "arguments": ""})
            call["name"] += name
            call["arguments"] += arguments
