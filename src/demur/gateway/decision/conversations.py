"""Conversations stay with their model (prompt cache, style) unless the router escalates; the oldest are forgotten.

The protocol has no conversation ids, only growing histories: a turn is identified by the texts up to it, which the next
request repeats. Conversations that begin with the same texts are told apart where their texts differ.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur.gateway.http.openai_bodies import content_text, last_user
from demur.records import Role

LARGEST = 20_000


@dataclass(frozen=True, slots=True)
class Turn:
    """The names of a conversation before this turn and after it; ``before`` is None where it begins."""

    before: Hashable
    after: Hashable


def turn_of(fields: Mapping[str, Any], *, key: str, header: str | None) -> Turn | None:
    """The turn that a request is, among those of the client's key: by the header, else by what was said so far.

    None for a request without messages. While a turn continues (tool results after the user's text) it keeps its name.
    """
    if header:
        name = hash((key, header))  # a client may send 16 KiB of it, and it is kept
        return Turn(name, name)
    messages = fields.get("messages")
    last = last_user(messages) if isinstance(messages, list) else None
    if not isinstance(messages, list) or last is None:
        return None
    earlier = last_user(messages[:last])
    said = hash((key, fields.get("user") if isinstance(fields.get("user"), str) else ""))
    before = None if earlier is None else _said(messages[: earlier + 1], said)
    after = _said(messages[: last + 1], said) if earlier is None else _said(messages[earlier + 1 : last + 1], before)
    return Turn(after if last < len(messages) - 1 else before, after)


def conversation_name(fields: Mapping[str, Any], *, key: str, header: str | None) -> str:
    """A name under which a conversation's requests are added up: by the header, else by what the user said
    first.

    Two conversations of one key that begin with the same words have one name. Empty without either.
    """
    messages = fields.get("messages")
    spoken = (one for one in messages if isinstance(one, dict)) if isinstance(messages, list) else ()
    first = next((content_text(one.get("content")) for one in spoken if one.get("role") == "user"), "")
    began = header or first
    return hashlib.sha256(f"{key}\0{began}".encode("utf-8", "replace")).hexdigest()[:16] if began else ""


def _said(messages: Sequence[Mapping[str, Any]], said: Hashable) -> int:
    """A hash of the messages' texts; images would take long to hash and add nothing."""
    for message in messages:
        said = hash((said, str(message.get("role")), content_text(message.get("content"))))
    return hash(said)


class Conversations:
    """Conversation -> the model that has it."""

    def __init__(self, largest: int = LARGEST) -> None:
        self._role_of: OrderedDict[Hashable, Role] = OrderedDict()
        self._largest = largest

    def held(self, turn: Turn | None) -> Role | None:
        """The model that has had a turn's conversation so far."""
        return self._role_of.get(turn.before) if turn is not None and turn.before is not None else None

    def keep(self, turn: Turn | None, role: Role) -> None:
        """Remember which model has the conversation from now on."""
        if turn is None:
            return
        self._role_of[turn.after] = role
        self._role_of.move_to_end(turn.after)
        if len(self._role_of) > self._largest:
            self._role_of.popitem(last=False)
