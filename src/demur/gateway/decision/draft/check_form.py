"""The form of the weak model's answer, checked before the client gets any of it: that it says anything at all, calls
that fit the request's tools, JSON that fits its response format (`demur.gate.form.requested_form`).

A client cannot use a call or a JSON text before its end, so of a stream these are held back until then; a stream that
begins with text, where no JSON is asked for, is passed on at once and not checked. What cannot be read is not judged.
An answer that a filter or the request's own limit of tokens ended is not called empty: another model has them, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from demur.errors import EndpointError
from demur.gate.form.requested_form import EMPTY, form_problem
from demur.gateway.http.json_edit import Body
from demur.gateway.protocols.protocol import Cut, Protocol
from demur.gateway.upstreams.answers.answer import HELD_SECONDS, WHOLE_BYTES, Answer
from demur.gateway.upstreams.answers.passed_answer import PassedAnswer
from demur.gateway.upstreams.events import data_of, split_events
from demur.models.requests.completion import parse_completion

_BLANK = re.compile(rb'"(?:content|text|output)"\s*:\s*(?:null|\[\s*\]|"(?:\s|\\[nrt])*")')
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


async def check_form(
    answer: Answer, form: Form, protocol: Protocol, read: PassedAnswer, *, limited: bool = True
) -> Formed:
    """An answer of the weak model, read as far as its form needs; ``read`` takes what was read, to count its tokens.

    ``limited``: the request itself limits the tokens of its answer. Raises aiohttp's errors for one that breaks off.
    """
    if answer.whole is not None:
        read.set_whole(answer.whole)
        value = _parse(answer.whole) if form or _may_be_empty(answer.whole, protocol) else None
        problem = "" if value is None else _problem(protocol.message(value), form)
        empty = value is not None and not protocol.says(value) and _is_its_own(protocol.cut(value), limited=limited)
        return Formed(answer, problem or (EMPTY if empty else ""))
    if not answer.is_stream:
        return Formed(answer, "")
    stream = _FormStream(answer.pieces, protocol, read)
    whole = await stream.read(passing_text=not _wants_json(form), checking=bool(form))
    problem = _problem(stream.message, form) if whole and form else ""
    empty = whole and not stream.says and _is_its_own(stream.cut, limited=limited)
    return Formed(replace(answer, pieces=stream.pieces()), problem or (EMPTY if empty else ""))


def _may_be_empty(data: bytes, protocol: Protocol) -> bool:
    """Whether an answer must be parsed to see that it says something: few are, as long ones take time."""
    return protocol.text_mark not in data or _BLANK.search(data) is not None


def _is_its_own(cut: Cut, *, limited: bool) -> bool:
    """Whether an empty answer is the model's own failure: not where a filter, or the client's limit, has ended it."""
    return not cut or (cut == "limit" and not limited)


def _parse(data: bytes) -> Any:
    """The answer; None for one that cannot be read."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _problem(message: Mapping[str, Any] | None, form: Form) -> str:
    """What is wrong with an answer; nothing is known of one that cannot be read."""
    if message is None or not form:
        return ""
    completion = {"choices": [{"message": message, "finish_reason": "stop"}]}
    try:
        return form_problem(parse_completion(completion, [0], "answer")[0].text, form)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, EndpointError):
        return ""


class _FormStream:
    """A stream that is held back, and the message that its events make up."""

    def __init__(self, pieces: AsyncIterator[bytes], protocol: Protocol, read: PassedAnswer) -> None:
        self._rest, self._count, self._held, self._buffer = pieces, read, bytearray(), b""
        self._protocol, self._content = protocol, ""
        self._calls: dict[int, dict[str, str]] = {}  # by their place: name and arguments so far
        self.says = False  # anything, thinking too
        self.cut: Cut = ""

    async def read(self, *, passing_text: bool, checking: bool) -> bool:
        """Read to the end; False where it is passed on earlier, as text or for its length, and where nothing but
        emptiness is ``checking``, as soon as it says anything or has said nothing for long.
        """
        until = time.monotonic() + HELD_SECONDS
        async for piece in self._rest:
            self._held += piece
            self._count.add(piece)
            events, self._buffer = split_events(self._buffer + piece, seen=len(self._buffer))
            for event in events:
                self._add(event)
            if len(self._held) > WHOLE_BYTES or (passing_text and self._content.strip() and not self._calls):
                return False
            if not checking and (self.says or time.monotonic() >= until):
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
        value = None if data is None else _parse(data)
        if value is None:  # [DONE], a comment
            return
        part = self._protocol.part(value)
        self.says = self.says or self._protocol.says(value)
        self.cut = self.cut or self._protocol.cut(value)
        self._content += part.text
        for place, name, arguments in part.calls:
            call = self._calls.setdefault(place, {"name": "", "arguments": ""})
            call["name"] += name
            call["arguments"] += arguments
