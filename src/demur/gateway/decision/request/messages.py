"""The messages of a request in the form of a chat completion's: who said what, and the ids of their tool calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from demur.gateway.http.openai_bodies import content_text
from demur.gateway.http.request_record import request_record
from demur.prompts.pictures import pictures_in

Speaker = Literal["system", "user", "assistant", "tool"]

_SPEAKERS: Mapping[str, Speaker] = {
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
}


@request_record(frozen=True, slots=True)
class Message:
    """One message; ``text`` is empty for tools and for the system, whose words are not routed."""

    speaker: Speaker
    text: str = ""
    calls: tuple[str, ...] = ()  # ids of the tool calls that it makes or answers
    pictures: tuple[str, ...] = ()  # addresses of those that the user shows


def messages_of(fields: Mapping[str, Any]) -> list[Message]:
    """The messages of a request in the form of a chat completion's, in order; empty where it has none."""
    items = fields.get("messages")
    return [_message(item) for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def first_of_user(fields: Mapping[str, Any]) -> str:
    """The first text of the user's in a request in the form of a chat completion's; empty where it has none."""
    items = fields.get("messages")
    said = (
        content_text(item.get("content"))
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict) and _SPEAKERS.get(str(item.get("role"))) == "user"
    )
    return next(filter(None, said), "")


def _message(item: Mapping[str, Any]) -> Message:
    speaker = _SPEAKERS.get(str(item.get("role")), "system")
    made = item.get("tool_calls")
    calls = _ids(made if isinstance(made, list) else [], "id") + _ids([item], "tool_call_id")
    text = content_text(item.get("content")) if speaker in ("user", "assistant") else ""
    return Message(speaker, text, calls, pictures_in([item]) if speaker == "user" else ())


def _ids(items: Sequence[Any], name: str) -> tuple[str, ...]:
    found = (item.get(name) for item in items if isinstance(item, dict))
    return tuple(one for one in found if isinstance(one, str) and one)
