"""Anthropic's Messages, and its count of tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from demur.gateway.http.openai_bodies import READ_MEMBERS, ApiError
from demur.gateway.protocols.openai import said_by
from demur.gateway.protocols.protocol import (
    Cut,
    EventPart,
    Fields,
    Protocol,
    no_check,
    place_of,
    says_something,
    schema_format,
    text_or_none,
)
from demur.models.apis import API_HEADERS, API_PATHS

_MEMBERS = READ_MEMBERS | {"system", "output_config", "output_format", "metadata", "thinking"}
_BEFORE_THE_ANSWER = frozenset({"message_start", "content_block_start", "ping"})
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}  # of tools, as chat has them
_FUNCTIONS = (None, "custom")  # types of tools that the client runs
_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def messages_error(error: ApiError) -> bytes:
    """An error of ours as Anthropic's clients read it."""
    other = "invalid_request_error" if error.status < 500 else "api_error"
    inner = {"type": _ERROR_TYPES.get(error.status, other), "message": error.message}
    return json.dumps({"type": "error", "error": inner}).encode()


def as_chat(fields: Fields) -> Fields:
    """The request as a chat completion's.

    Tool results stand in messages of the user here; there they are messages of their own, before what else it holds.
    """
    messages = fields.get("messages")
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        return fields
    said = [one for message in messages for one in _messages(message)]
    system = fields.get("system")
    found = {**fields, "messages": [{"role": "system", "content": system}, *said] if system else said}
    if isinstance(fields.get("tools"), list):
        found["tools"] = [_tool(one) for one in fields["tools"]]
    config = fields.get("output_config")
    wanted = fields.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
    choice = fields.get("tool_choice")
    if isinstance(choice, dict):
        found["tool_choice"] = _CHOICES.get(str(choice.get("type")), choice)
    return found | ({"response_format": schema_format(wanted)} if wanted else {})


def _messages(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    content = message.get("content")
    blocks = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    if not blocks:
        return [message]
    results = [
        {"role": "tool", "tool_call_id": one.get("tool_use_id"), "content": _parts(one.get("content"))}
        for one in blocks
        if one.get("type") == "tool_result"
    ]
    rest = [one for one in blocks if one.get("type") != "tool_result"]
    return results if results and not rest else [*results, _message(message, rest)]


def _message(message: Mapping[str, Any], blocks: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    calls = [
        {
            "id": one.get("id"),
            "type": "function",
            "function": {"name": one.get("name"), "arguments": json.dumps(one.get("input"))},
        }
        for one in blocks
        if one.get("type") == "tool_use"
    ]
    thoughts = [one["thinking"] for one in blocks if isinstance(one.get("thinking"), str)]
    aside = ("tool_use", "thinking", "redacted_thinking")
    found = {"role": message.get("role"), "content": _parts([one for one in blocks if one.get("type") not in aside])}
    found |= {"tool_calls": calls} if calls else {}
    return found | ({"reasoning_content": "\n".join(thoughts)} if thoughts else {})


def _parts(content: object) -> object:
    """Content blocks as chat has them: images under its name, every other kind that is not text as it is."""
    if not isinstance(content, list):
        return content
    return [{**one, "type": "image_url"} if _is_image(one) else one for one in content]


def _is_image(block: object) -> bool:
    return isinstance(block, dict) and block.get("type") == "image"


def _tool(tool: object) -> object:
    if not isinstance(tool, dict) or tool.get("type") not in _FUNCTIONS:
        return tool
    function = {
        "name": tool.get("name"),
        "description": tool.get("description"),
        "parameters": tool.get("input_schema"),
    }
    return {"type": "function", "function": function}


def begins(value: Any) -> bool:
    """True for an event after those that only announce an answer."""
    return not isinstance(value, dict) or str(value.get("type")) not in _BEFORE_THE_ANSWER


def failure(value: Any) -> str:
    """The error in an answer or an event."""
    return said_by(value.get("error")) if isinstance(value, dict) else ""


def says(value: Any) -> bool:
    """Whether there is a block beside thinking; of text, with text in it. Other events tell nothing."""
    if not isinstance(value, dict):
        return True
    content, delta, block = (value.get(name) for name in ("content", "delta", "content_block"))
    if isinstance(content, list):
        return any(says_something(one) for one in content if not _is_thinking(one))
    if isinstance(delta, dict):
        return any(says_something(delta.get(name)) for name in ("text", "thinking", "partial_json"))
    return isinstance(block, dict) and not _is_thinking(block) and says_something(block)


def _is_thinking(block: object) -> bool:
    return isinstance(block, dict) and block.get("type") in ("thinking", "redacted_thinking")


def cut(value: Any) -> Cut:
    """What ended a message early, where its reason is none of the model's own."""
    found = value if isinstance(value, dict) else {}
    delta = found.get("delta")
    reason = found.get("stop_reason") or (delta.get("stop_reason") if isinstance(delta, dict) else None)
    if reason in ("max_tokens", "model_context_window_exceeded"):
        return "limit"
    return "other" if reason in ("refusal", "pause_turn") else ""


def texts(value: Any) -> Iterable[object]:
    """Texts and inputs of tools in a message, or in an event of one."""
    if not isinstance(value, dict):
        return []
    content, delta = value.get("content"), value.get("delta")
    blocks = [one for one in (*(content if isinstance(content, list) else []), delta) if isinstance(one, dict)]
    return [one.get(name) for one in blocks for name in ("text", "thinking", "input", "partial_json")]


def message(value: Any) -> Mapping[str, Any] | None:
    """The texts and the calls of the client's tools in a message."""
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return None
    blocks = [one for one in content if isinstance(one, dict)]
    calls = [one for one in blocks if one.get("type") == "tool_use"]
    functions = [{"function": {"name": one.get("name"), "arguments": one.get("input")}} for one in calls]
    said = "".join(text_or_none(one.get("text")) for one in blocks if one.get("type") == "text")
    return {"content": said} | ({"tool_calls": functions} if functions else {})


def part(value: Any) -> EventPart:
    """What an event adds to a message."""
    if not isinstance(value, dict):
        return EventPart()
    at, block, delta = place_of(value.get("index")), value.get("content_block"), value.get("delta")
    if isinstance(block, dict) and block.get("type") == "tool_use":
        return EventPart(calls=((at, text_or_none(block.get("name")), ""),))
    if not isinstance(delta, dict):
        return EventPart()
    if delta.get("type") == "input_json_delta":
        return EventPart(calls=((at, "", text_or_none(delta.get("partial_json"))),))
    return EventPart(text_or_none(delta.get("text")) if delta.get("type") == "text_delta" else "")


MESSAGES = Protocol(
    "messages",
    API_PATHS["messages"],
    _MEMBERS,
    as_chat=as_chat,
    check=no_check,
    begins=begins,
    failure=failure,
    texts=texts,
    stream_end=re.compile(rb'"type" *: *"message_stop"'),
    long_end=False,
    answer_mark=b'"content"',
    error_body=messages_error,
    form_members=frozenset({"tools", "tool_choice", "output_config", "output_format"}),
    says=says,
    cut=cut,
    text_mark=b'"text"',
    message=message,
    part=part,
    ordinary={"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1},
    own_headers=API_HEADERS["messages"],
)
COUNT_TOKENS = replace(
    MESSAGES,
    name="count_tokens",
    path=API_PATHS["count_tokens"],
    answer_mark=b'"input_tokens"',
    routed=False,
    writes=False,
    free=True,
    ordinary={"messages": MESSAGES.ordinary["messages"]},
)
