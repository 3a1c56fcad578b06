"""What a row of a conversation asks: chat messages, OpenAI batch requests, logs of gateways, ShareGPT, Alpaca.

The last message of the user is the prompt; earlier turns are not used, and of the system's message it is kept which
one it was: clients will send it, so that labels must be made with it. Answers in such rows are not gold answers.
A request with tools, a response format or pictures means something only as it stands, so it is kept whole for the
models.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from demur.errors import InputError
from demur.prompts.pictures import shows_pictures
from demur.records import ChatRequest, Fact, Prompt, SamplingSettings

MESSAGE_FIELDS = ("messages", "conversations", "conversation", "prompt")
WRAPPERS = ("body", "request", "request_body", "input")  # a batch's request, and what gateways call theirs
SYSTEM_ROLES = ("system", "developer")  # of messages
MOSTLY = 0.9  # of the prompts, from which their system message is the run's
SHOWN = 60  # characters of one
_BESIDE = ("model_parameters", "optional_params", "modelParameters", "invocation_params")  # where some log tools
_MEANT_WHOLE = ("tools", "functions", "response_format")
_CHOSEN = ("tool_choice", "parallel_tool_calls", "function_call")
_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "chatgpt": "assistant"}  # ShareGPT's names


@dataclass(frozen=True, slots=True)
class RowPrompt:
    """What a row asks."""

    text: str
    request: ChatRequest | None = None  # with tools or a response format: the models are asked it as it stands
    system: str = ""  # what the messages of the system say


def conversation_of(row: Mapping[str, Any], where: str) -> RowPrompt | None:
    """The prompt of a row that holds a conversation or an instruction; None for another row. Raises InputError."""
    for field in MESSAGE_FIELDS:
        if isinstance(row.get(field), list):
            asked = _last_question(row[field], f"{where}: field {field!r}")
            return replace(asked, request=_whole_request(row, row[field], where))
    for field in WRAPPERS:
        if isinstance(row.get(field), Mapping):
            return conversation_of(row[field], f"{where}: {field}") or _plain_prompt(row[field])
    if isinstance(row.get("instruction"), str):
        added = row.get("input")
        return RowPrompt("\n\n".join(part for part in (row["instruction"], added) if isinstance(part, str) and part))
    return None


def _whole_request(row: Mapping[str, Any], messages: Sequence[Any], where: str) -> ChatRequest | None:
    """The request of a row that has tools or a response format; None for another row.

    A log may hold the answer as last messages of the assistant: the request is what came before.
    """
    beside = [row[name] for name in _BESIDE if isinstance(row.get(name), Mapping)]
    given: dict[str, Any] = {}
    for fields in (*beside, row):
        given |= {name: fields[name] for name in (*_MEANT_WHOLE, *_CHOSEN) if fields.get(name) is not None}
    for name in ("tools", "functions"):
        if not (isinstance(given.get(name, []), list) and all(isinstance(one, Mapping) for one in given.get(name, []))):
            raise InputError(f"{where}: field {name!r} must be a list of objects, found {repr(given[name])[:80]}")
    wanted = given.get("response_format")
    is_text = not isinstance(wanted, Mapping) or wanted.get("type") in (None, "text")
    if is_text and not given.get("tools") and not given.get("functions") and not shows_pictures(messages):
        return None
    asked = list(messages)
    while asked and asked[-1].get("role") == "assistant":
        asked.pop()
    kept = {name: value for name, value in given.items() if name != "response_format" or not is_text}
    return ChatRequest(json.dumps({"messages": asked, **kept}, ensure_ascii=False))


def _plain_prompt(body: Mapping[str, Any]) -> RowPrompt | None:
    return RowPrompt(body["prompt"]) if isinstance(body.get("prompt"), str) else None


def _last_question(messages: Sequence[Any], where: str) -> RowPrompt:
    turns = [_turn(message, f"{where}, message {number}") for number, message in enumerate(messages, start=1)]
    last = next((text for role, text in reversed(turns) if role == "user"), None)
    if last is None:
        raise InputError(
            f"{where} holds no message of role 'user', found {', '.join(r for r, _ in turns) or 'nothing'}"
        )
    system = "\n".join(text for role, text in turns if role in SYSTEM_ROLES and text.strip())
    return RowPrompt(last, system=sys.intern(system))  # mostly the same of a million rows


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


def shared_system(prompts: Sequence[Prompt]) -> str:
    """The system message that nine tenths of the prompts or more come with; "" without one."""
    system, count, of = _most_common_system(prompts)
    return system if count >= MOSTLY * of else ""


def system_fact(prompts: Sequence[Prompt], settings: SamplingSettings) -> tuple[Fact, ...]:
    """The system message that the models are asked with, or that the prompts come with one that they are not asked
    with; () without either."""
    system, count, of = _most_common_system(prompts)
    if settings.system:
        whose = f", as {count:,} of {of:,} prompts come with it (--system '' leaves it out)"
        return (("system message", f"{_quote(settings.system)}{whose if system == settings.system else ''}"),)
    if not system:
        return ()
    said = f"{count:,} of {of:,} prompts come with {_quote(system)}, which the models are not asked with"
    return (("system message", f"{said}: labels hold for requests without it (--system TEXT adds one)"),)


def _most_common_system(prompts: Sequence[Prompt]) -> tuple[str, int, int]:
    """The most frequent system message, how many prompts come with it, and of how many; a request that is asked as it
    stands has its own."""
    found = Counter(one.system for one in prompts if one.request is None)
    of = found.total()
    del found[""]
    return (*found.most_common(1)[0], of) if found else ("", 0, of)


def _quote(system: str) -> str:
    words = " ".join(system.split())
    return repr(words if len(words) <= SHOWN else f"{words[: SHOWN - 3]}...")
