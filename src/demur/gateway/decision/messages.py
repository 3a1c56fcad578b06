"""The messages of a request, whichever API it is of: who said what, and which tool calls they belong to.

Chat completions and Anthropic's Messages have ``messages``, OpenAI's Responses ``input``. Their items are told apart by
their own fields, so one reading serves all three.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from demur.gateway.http.openai_bodies import content_text

Speaker = Literal["system", "user", "assistant", "tool"]

_SPEAKERS: Mapping[str, Speaker] = {
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
    "system": "system",
    "developer": "system",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``text`` is empty for tools and for the system, whose words are neither routed nor compared."""

    speaker: Speaker
    text: str = ""
    calls: tuple[str, ...] = ()  # ids of the tool calls that it makes or answers


def messages_of(fields: Mapping[str, Any]) -> list[Message]:
    """The messages of a request's body, in order; empty where it has none."""
    items = fields.get("messages", fields.get("input"))
    if isinstance(items, str):
        return [Message("user", items)]
    return [_message(item) for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _message(item: Mapping[str, Any]) -> Message:
    kind = str(item.get("type", "message"))
    if kind.endswith("_output"):  # of a tool, in Responses
        return Message("tool", calls=_ids([item], "call_id"))
    if "role" not in item:  # a call, or reasoning, in Responses
        return Message("assistant", calls=_ids([item], "call_id"))
    speaker = _SPEAKERS.get(str(item["role"]), "system")
    blocks = [one for one in _list(item.get("content")) if isinstance(one, dict)]
    calls = (
        _ids(_list(item.get("tool_calls")), "id")
        + _ids([item], "tool_call_id")
        + _ids([one for one in blocks if one.get("type") == "tool_use"], "id")
        + _ids(blocks, "tool_use_id")
    )
    text = content_text(item.get("content")) if speaker in ("user", "assistant") else ""
    if speaker == "assistant" and not text:
        text = "\n".join(one["text"] for one in blocks if isinstance(one.get("text"), str))
    if speaker == "user" and not text.strip() and any(one.get("type") == "tool_result" for one in blocks):
        speaker = "tool"  # Anthropic's tools answer in the user's name
    return Message(speaker, text, calls)


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _ids(items: Sequence[Any], name: str) -> tuple[str, ...]:
    found = (item.get(name) for item in items if isinstance(item, dict))
    return tuple(one for one in found if isinstance(one, str) and one)
