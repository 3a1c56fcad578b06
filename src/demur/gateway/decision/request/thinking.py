"""Thinking in a history belongs to the model that thought it: the other one would refuse its signature, or read it as
its own. Pure functions.

Where a conversation was answered by one model alone, that model gets all of it. What was thought since the person spoke
is the present model's. Everything else is left out of what is sent, and the reason says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from demur.gateway.decision.conversation_model import ConversationRecord
from demur.gateway.decision.request.ask import asked_in
from demur.gateway.http.json_edit import Body, body_of
from demur.gateway.http.openai_bodies import content_text
from demur.records import Role

MARKS = (b"thinking", b"reasoning")  # a body without them holds none
_BLOCKS = ("thinking", "redacted_thinking")  # of Messages
_MEMBERS = ("thinking_blocks", "reasoning_details", "reasoning_content", "reasoning", "reasoning_opaque")  # of chat's
_SIGNED = ("signature", "data", "encrypted_content", "thinking_blocks", "reasoning_details", "reasoning_opaque")
LEFT_OUT = "thinking of the other model is left out"


@dataclass(frozen=True, slots=True)
class Thinking:
    """Where a history holds thinking."""

    before: bool = False  # the person's last words
    since: bool = False
    signed: bool = False  # since then, so that only the model that thought it takes it


NONE = Thinking()


def thinking_in(raw: bytes, fields: Mapping[str, Any]) -> Thinking:
    """Where a request holds thinking, from its bytes and its members."""
    name, items = _items(fields)
    if not name or not any(mark in raw for mark in MARKS):
        return NONE
    last = _last_ask(items)
    before, since = (any(map(_is_thinking, side)) for side in (items[: last + 1], items[last + 1 :]))
    return Thinking(before, since, any(map(_is_signed, items[last + 1 :])))


def foreign(thinking: Thinking, record: ConversationRecord | None, role: Role) -> tuple[bool, bool]:
    """Whether the thinking before and since the person's last words is another model's than the one that is asked.

    Of an unknown conversation what is signed since then is taken for the strong model's: `needs_strong` sends it there.
    """
    mine = record is not None and record.role == role
    since = thinking.since and not (mine if record else thinking.signed and role == "strong")
    return thinking.before and not (mine and record is not None and not record.mixed), since


def needs_strong(thinking: Thinking, record: ConversationRecord | None) -> bool:
    """Whether a request must go to the strong model: it goes on with signed thinking, and whose it is is unknown."""
    return record is None and thinking.signed


def without_thinking(body: Body, *, before: bool, since: bool) -> Body:
    """The request without thinking before or since the person's last words."""
    name, items = _items(json.loads(body.raw))
    last, kept = _last_ask(items), []
    for place, item in enumerate(items):
        left = _without(item) if (before if place <= last else since) else item
        kept += [] if left is None else [left]
    return body_of(body.replace_member(**{name: kept}))[0]


def _items(fields: Mapping[str, Any]) -> tuple[str, list[Any]]:
    name = next((one for one in ("messages", "input") if isinstance(fields.get(one), list)), "")
    return name, fields[name] if name else []


def _last_ask(items: list[Any]) -> int:
    said = (i for i in reversed(range(len(items))) if isinstance(items[i], dict) and items[i].get("role") == "user")
    return next((i for i in said if asked_in(content_text(items[i].get("content")))), -1)


def _is_thinking(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    return item.get("type") == "reasoning" or any(item.get(name) for name in _MEMBERS) or bool(_blocks(item))


def _blocks(item: Mapping[str, Any]) -> list[Any]:
    content = item.get("content")
    blocks = content if isinstance(content, list) else []
    return [block for block in blocks if isinstance(block, dict) and block.get("type") in _BLOCKS]


def _is_signed(item: Any) -> bool:
    return _is_thinking(item) and any(part.get(name) for part in (item, *_blocks(item)) for name in _SIGNED)


def _without(item: Any) -> Any:
    """An item without its thinking; None where nothing else is in it."""
    if not isinstance(item, dict) or not _is_thinking(item):
        return item
    if item.get("type") == "reasoning":
        return None
    left = {name: value for name, value in item.items() if name not in _MEMBERS}
    if _blocks(item):
        left["content"] = [one for one in item["content"] if one not in _blocks(item)]
        return left if left["content"] else None
    return left
