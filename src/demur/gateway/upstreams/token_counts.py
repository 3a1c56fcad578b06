"""What an answer came to in tokens: as the upstream counted, else estimated from lengths. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from demur.gateway.http.openai_bodies import content_text
from demur.models.prices import CHARACTERS_PER_TOKEN

MOST_TOKENS = 2**53  # a count beyond it is none
TAIL_BYTES = 8192  # of an answer: where its usage stands, if it has one
_DECODER = json.JSONDecoder()
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_SAID = ("content", "text", "reasoning_content", "refusal", "tool_calls", "function_call")


def usage_of(tail: bytes) -> tuple[int, int] | None:
    """(prompt, completion) tokens in the end of an answer, streamed or not; None when it does not say."""
    at = len(tail)
    while (at := tail.rfind(b'"usage"', 0, at)) >= 0:
        found = _USAGE.match(tail, at)
        if found and tail[at - 1 : at] != b"\\":  # else it stands in a text
            tokens = _tokens(_first_value(tail[found.end() :]))
            if tokens:
                return tokens
    return None


def _first_value(data: bytes) -> object:
    try:
        return _DECODER.raw_decode(data.decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None


def usage_of_whole(data: bytes) -> tuple[int, int] | None:
    """As `usage_of`, of a whole answer, wherever it stands."""
    found = usage_of(data[-TAIL_BYTES:])
    if found or len(data) <= TAIL_BYTES:
        return found
    answer = _parse(data)
    return _tokens(answer.get("usage")) if isinstance(answer, dict) else None


def _tokens(said: object) -> tuple[int, int] | None:
    """The two counts of a usage; None where it is no usage or a count is none."""
    if not isinstance(said, dict) or not {"prompt_tokens", "total_tokens"} & said.keys():
        return None
    counts = [said.get(name) or 0 for name in ("prompt_tokens", "completion_tokens")]
    if not all(type(count) is int and 0 <= count <= MOST_TOKENS for count in counts):
        return None
    return counts[0], counts[1]


def request_tokens(fields: Mapping[str, Any]) -> int:
    """An estimate of the tokens of a request: messages, prompt or input, and tools; an image counts nothing."""
    messages = fields.get("messages")
    turns = messages if isinstance(messages, list) else []
    said = sum(len(content_text(one.get("content"))) for one in turns if isinstance(one, dict))
    said += sum(_characters(fields.get(name)) for name in ("prompt", "input", "tools", "functions"))
    return said // CHARACTERS_PER_TOKEN


def answer_tokens(data: bytes) -> int:
    """An estimate of the completion tokens of a whole answer."""
    return _says(_parse(data)) // CHARACTERS_PER_TOKEN


def stream_tokens(tail: bytes, sent_bytes: int) -> int:
    """An estimate of the completion tokens of a stream: as large a share of it is text as of its end."""
    if not tail:
        return 0
    said = sum(map(_says, _events(tail)))
    return said * sent_bytes // len(tail) // CHARACTERS_PER_TOKEN


def _events(tail: bytes) -> Iterator[object]:
    for event in tail.split(b"\n"):
        if event.startswith(b"data:"):
            yield _parse(event[5:])


def _says(answer: object) -> int:
    """Characters of text and tool calls in a completion or a chunk of one."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    parts = [
        part
        for choice in (choices if isinstance(choices, list) else [])
        if isinstance(choice, dict)
        for part in (choice, choice.get("message"), choice.get("delta"))
        if isinstance(part, dict)
    ]
    return sum(_characters(part.get(name)) for part in parts for name in _SAID)


def _characters(value: object) -> int:
    """Characters of the texts in a value; a number in a list is a token."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(name) + _characters(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_characters, value))
    return CHARACTERS_PER_TOKEN if type(value) is int else 0


def _parse(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
