"""What a row of a conversation asks: chat messages, OpenAI batch requests, ShareGPT, Alpaca.

The last message of the user is the prompt; earlier turns are kept beside it. Answers in such rows are not gold answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur.errors import InputError

MESSAGE_FIELDS = ("messages", "conversations", "conversation", "prompt")
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant"}  # ShareGPT's names


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt's text and the turns before it, (role, text) each, the system message first."""

    text: str
    turns: tuple[tuple[str, str], ...] = ()


def conversation_of(row: Mapping[str, Any], where: str) -> Asked | None:
    """The prompt of a row that holds a conversation or an instruction; None for another row. Raises InputError."""
    body = row.get("body")
    if isinstance(body, Mapping):  # a request of an OpenAI batch
        return conversation_of(body, f"{where}: body") or _plain_prompt(body)
    for field in MESSAGE_FIELDS:
        if isinstance(row.get(field), list):
            return _last_question(row[field], f"{where}: field {field!r}")
    if isinstance(row.get("instruction"), str):
        added = row.get("input")
        return Asked("\n\n".join(part for part in (row["instruction"], added) if isinstance(part, str) and part))
    return None


def _plain_prompt(body: Mapping[str, Any]) -> Asked | None:
    return Asked(body["prompt"]) if isinstance(body.get("prompt"), str) else None


def _last_question(messages: Sequence[Any], where: str) -> Asked:
    turns = [_turn(message, f"{where}, message {number}") for number, message in enumerate(messages, start=1)]
    last = max((i for i, (role, _) in enumerate(turns) if role == "user"), default=None)
    if last is None:
        raise InputError(
            f"{where} holds no message of role 'user', found {', '.join(r for r, _ in turns) or 'nothing'}"
        )
    return Asked(turns[last][1], tuple(turns[:last]))


def _turn(message: Any, where: str) -> tuple[str, str]:
    if not isinstance(message, Mapping):
        raise InputError(f"{where}: expected an object with role and content, found {repr(message)[:80]}")
    role = message.get("role", message.get("from"))
    if not isinstance(role, str):
        raise InputError(f"{where}: field 'role' (or 'from') must be a text, found {repr(role)[:80]}")
    return _ROLES.get(role, role), _text(message.get("content", message.get("value")), where)


def _text(content: Any, where: str) -> str:
    """A content's text: whole, or the texts among its parts; "" of a call of tools, which has none."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise InputError(f"{where}: field 'content' must be a text or a list of parts, found {repr(content)[:80]}")
    return "\n".join(
        part["text"] for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)
    )
