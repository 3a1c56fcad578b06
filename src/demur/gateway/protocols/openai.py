"""OpenAI's chat completions, legacy completions and embeddings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from demur.gateway.http.openai_bodies import READ_MEMBERS, ApiError
from demur.gateway.protocols.protocol import (
    Cut,
    EventPart,
    Protocol,
    as_it_is,
    no_check,
    place_of,
    quote,
    says_something,
    text_or_none,
)
from demur.models.apis import API_HEADERS, API_PATHS

_THINKING = ("reasoning_content", "reasoning", "reasoning_details")
_SAID = ("content", "text", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call", "audio")


def openai_error(error: ApiError) -> bytes:
    """An error of ours as OpenAI's clients read it."""
    return error.body


def begins(value: Any) -> bool:
    """True for a chunk with a choice that holds more than its role, and for anything that is no chunk."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return not isinstance(choices, list) or any(map(_says, choices))


def _says(choice: object) -> bool:
    if not isinstance(choice, dict):
        return False
    delta = choice.get("delta")
    parts = [value for name, value in delta.items() if name != "role"] if isinstance(delta, dict) else []
    return any([choice.get("finish_reason"), choice.get("text"), *parts])


def failure(value: Any) -> str:
    """The error in a completion or a chunk, or in one of its choices."""
    if not isinstance(value, dict):
        return ""
    choices = value.get("choices")
    parts = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    error = value.get("error") if not parts else next(filter(None, (one.get("error") for one in parts)), None)
    return said_by(error)


def said_by(error: object) -> str:
    """The message of an upstream's error; empty where there is none."""
    if not error:
        return ""
    return quote(error.get("message") or error if isinstance(error, dict) else error)


def says(value: Any) -> bool:
    """Whether a choice holds text, a call, a refusal, or anything but its role and, in a whole answer, thinking."""
    choices = value.get("choices") if isinstance(value, dict) else None
    return not isinstance(choices, list) or any(map(_holds, choices))


def _holds(choice: object) -> bool:
    if not isinstance(choice, dict):
        return True
    parts = [choice.get("text")]
    for name, aside in (("message", ("role", *_THINKING)), ("delta", ("role",))):
        found = choice.get(name)
        parts += [value for key, value in found.items() if key not in aside] if isinstance(found, dict) else []
    return any(map(says_something, parts))


def cut(value: Any) -> Cut:
    """What ended one of the choices early."""
    choices = value.get("choices") if isinstance(value, dict) else None
    ends = [one.get("finish_reason") for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    return "limit" if "length" in ends else "other" if "content_filter" in ends else ""


def texts(answer: Any) -> Iterable[object]:
    """Texts and tool calls in a completion or a chunk of one."""
    choices = answer.get("choices") if isinstance(answer, dict) else None
    return [
        part.get(name)
        for choice in (choices if isinstance(choices, list) else [])
        if isinstance(choice, dict)
        for part in (choice, choice.get("message"), choice.get("delta"))
        if isinstance(part, dict)
        for name in _SAID
    ]


def message(value: Any) -> Mapping[str, Any] | None:
    """The first choice's message, or its text."""
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return None
    found = choice.get("message")
    return found if isinstance(found, dict) else {"content": choice.get("text")}


def part(value: Any) -> EventPart:
    """What the first choice of a chunk adds."""
    choices = value.get("choices") if isinstance(value, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        return EventPart()
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return EventPart(text_or_none(choice.get("text")))
    listed = delta.get("tool_calls")
    entries = [one for one in (listed if isinstance(listed, list) else []) if isinstance(one, dict)]
    calls = [(place_of(one.get("index")), one["function"]) for one in entries if isinstance(one.get("function"), dict)]
    named = [(at, text_or_none(f.get("name")), text_or_none(f.get("arguments"))) for at, f in calls]
    return EventPart(text_or_none(delta.get("content")), tuple(named))


CHAT = Protocol(
    "chat",
    API_PATHS["chat"],
    READ_MEMBERS,
    as_chat=as_it_is,
    check=no_check,
    begins=begins,
    failure=failure,
    texts=texts,
    stream_end=re.compile(rb'data: *\[DONE\]|"finish_reason" *: *"'),
    long_end=False,
    answer_mark=b'"choices"',
    error_body=openai_error,
    form_members=frozenset({"tools", "functions", "tool_choice", "response_format"}),
    says=says,
    cut=cut,
    text_mark=b'"content"',
    message=message,
    part=part,
    ordinary={"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
    own_headers=API_HEADERS["chat"],
    effort=lambda effort: {"reasoning_effort": effort} if effort else {},
    checked=True,
)
COMPLETIONS = replace(
    CHAT,
    name="completions",
    path=API_PATHS["completions"],
    text_mark=b'"text"',
    ordinary={"prompt": "Hello", "max_tokens": 1},
)
EMBEDDINGS = replace(
    CHAT,
    name="embeddings",
    path=API_PATHS["embeddings"],
    answer_mark=b'"data"',
    ordinary={"input": ["Hello"]},
    routed=False,
    writes=False,
    effort=lambda effort: {},
    checked=False,
)
