"""Which conversation a request belongs to, and the names that it goes by. Pure functions.

The protocols have no conversation ids, only histories, and clients change these: clocks in the system prompt, sliding
windows, summaries, cleared tool results, other answers. So a conversation goes by several names, each a digest of a few
neighbouring texts of its person, of its last answer, or of the ids of its tool calls; system and developer texts are in
none. A header of the settings names a conversation by itself. Session ids of known clients come last, because their
sub-agents share them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from demur.gateway.decision.request.ask import Ask, asked_at
from demur.gateway.decision.request.messages import Message, first_of_user, messages_of
from demur.gateway.http.request_record import request_record
from demur.prompts.pictures import ShownText

# Session ids that clients send: Claude Code; Codex; opencode; Open WebUI; LiteLLM; Helicone.
SESSION_HEADERS = (
    "x-claude-code-session-id",
    "session_id",
    "session-id",
    "x-session-id",
    "x-session-affinity",
    "x-openwebui-chat-id",
    "x-litellm-session-id",
    "helicone-session-id",
)
TEXT_HEADER = "x-demur-text"
SESSION_FIELDS = ("prompt_cache_key", "session_id", "conversation")
_SESSION_MEMBERS = frozenset({"metadata", *SESSION_FIELDS})
METADATA_FIELDS = ("session_id", "conversation_id", "thread_id", "chat_id")
_SESSION_OF_USER = re.compile(r"_session_(.+)$")  # Claude Code's metadata.user_id
_UNIQUE_CALL = re.compile(r"(?=.*\d)[\w-]{9,}")  # call_0 and functions.search:1 are of many conversations
DISTINCT = 40  # characters from which a text alone names a conversation
LAST_ASKS, LAST_CALLS = 6, 8  # of a history that are compared


@request_record(frozen=True, slots=True)
class Turn:
    """What a request is in its conversation. Names are digests, so they tell nothing of the texts."""

    names: tuple[str, ...]  # it is kept under these
    known: tuple[str, ...]  # it may have been kept under these, the most certain first
    ask: str = ""  # digest of what the person said last
    ongoing: frozenset[str] = frozenset()  # names in ``known`` under which this very ask was kept
    begins: bool = False  # nobody has answered yet, and no header names the conversation
    loops: bool = False  # the model has called tools since the person spoke


@request_record(frozen=True, slots=True)
class Identity:
    """What a request's headers say of its conversation and of what is asked in it."""

    named: str = ""  # by a header of the settings
    sessions: tuple[str, ...] = ()  # of known clients
    text: str = ""  # that is to be routed


def identity_in(headers: Mapping[str, str], named_by: Sequence[str]) -> Identity:
    """The identity that a request's headers give; ``named_by``: the headers of the settings, the first one counts."""
    named = next((value for name in named_by if (value := headers.get(name))), "")
    sessions = tuple(value for name in SESSION_HEADERS if (value := headers.get(name)))
    return Identity(named, sessions, headers.get(TEXT_HEADER, ""))


def turn_of(fields: Mapping[str, Any], *, key: str, identity: Identity) -> Turn | None:
    """The turn that a request is, among those of the client's key; None for one without messages or a name."""
    messages = messages_of(fields)
    user = fields.get("user")
    scope = _digest(key, user if isinstance(user, str) else "")
    asks = _last_asks(messages)
    ask = _digest(asks[0].text) if asks else ""
    loops = _goes_on(messages[asks[0].place + 1 :] if asks else messages)
    if identity.named:
        name = _digest("named", key, identity.named)
        return Turn((name,), (name,), ask, loops=loops)
    if not messages:
        return None
    sessions = [_digest(scope, "session", one) for one in (*identity.sessions, *_sessions(fields))]
    calls = [_digest(scope, "call", one) for one in _last_calls(messages)]
    begins = bool(asks) and all(one.speaker in ("user", "system") for one in messages)
    own = _names_of(messages, asks, 0, scope) if asks else []
    earlier = [name for at in range(1, len(asks)) for name in _names_of(messages, asks, at, scope, cut=True)]
    known = own if begins else [*own, *calls, *earlier, *sessions]
    cut = [] if begins or not asks else [_digest(scope, "cut", asks[0].text)]
    names = (*own, *cut, *calls[: LAST_CALLS // 2], *sessions)
    return Turn(names, tuple(known), ask, frozenset([*own, *calls]), begins, loops)


def _last_asks(messages: Sequence[Message]) -> list[Ask]:
    """What the person said last, the newest first; the same words about another picture are another ask."""
    found: list[Ask] = []
    for place in reversed(range(len(messages))):
        text = asked_at(messages, place)
        if messages[place].pictures:
            text = str(ShownText.of(text, messages[place].pictures))
        if text:
            found.append(Ask(place, text))
        if len(found) > LAST_ASKS:
            break
    return found


def _goes_on(after: Sequence[Message]) -> bool:
    """Whether the model has called tools since the person spoke: by the protocol, or in its text, whose results are
    messages in the user's name that hold no words of a person."""
    if any(one.speaker == "tool" or one.calls for one in after):
        return True
    answered = next((i for i, one in enumerate(after) if one.speaker == "assistant"), len(after))
    return any(one.speaker == "user" for one in after[answered:])


def conversation_name(fields: Mapping[str, Any], *, key: str, identity: Identity) -> str:
    """A name under which a conversation's requests are added up: a header's, a session's, else what was said first.

    Two conversations of one key that begin with the same words have one name. Empty without any.
    """
    named = next(filter(None, (identity.named, *identity.sessions, *_sessions(fields))), "")
    began = named or first_of_user(fields)
    return _digest(key, began)[:16] if began else ""


def _names_of(messages: Sequence[Message], asks: Sequence[Ask], at: int, scope: str, *, cut: bool = False) -> list[str]:
    """The names of an ask: by the ask before it, by the answer before it, by itself.

    ``asks``: the newest first. ``cut``: the history may begin here because earlier messages were cut off.
    """
    place, text = asks[at].place, asks[at].text
    answers = [one.text for one in messages[:place] if one.speaker == "assistant" and one.text]
    alone = [_digest(scope, "alone", text)] if len(text) >= DISTINCT else []
    if not any(one.speaker in ("assistant", "tool") for one in messages[:place]):
        return [_digest(scope, "begin", text), *([_digest(scope, "cut", text)] if cut else []), *alone]
    beside = [_digest(scope, "asks", asks[at + 1].text, text)] if at + 1 < len(asks) else []
    after = [_digest(scope, "after", answers[-1], text)] if answers else []
    return [*beside, *after, *alone]


def _last_calls(messages: Sequence[Message]) -> list[str]:
    """Ids of the last tool calls that no other conversation is likely to have, newest first."""
    found = dict.fromkeys(
        call for one in reversed(messages) for call in reversed(one.calls) if _UNIQUE_CALL.fullmatch(call)
    )
    return list(found)[:LAST_CALLS]


def _sessions(fields: Mapping[str, Any]) -> list[str]:
    """Session ids in a request's body."""
    if _SESSION_MEMBERS.isdisjoint(fields):  # as mostly
        return []
    metadata = fields.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    conversation = fields.get("conversation")
    found = [conversation.get("id") if isinstance(conversation, dict) else conversation]
    found += [fields.get(name) for name in SESSION_FIELDS if name != "conversation"]
    found += [known.get(name) for name in METADATA_FIELDS]
    found.append(_session_of_user(known.get("user_id")))
    return [one for one in found if isinstance(one, str) and one]


def _session_of_user(user: object) -> object:
    """The session in Claude Code's ``metadata.user_id``, which names its user and its session together."""
    if not isinstance(user, str):
        return None
    found = _SESSION_OF_USER.search(user)
    if found:
        return found.group(1)
    try:
        parsed = json.loads(user)
    except (ValueError, RecursionError):
        return None
    return parsed.get("session_id") if isinstance(parsed, dict) else None


def _digest(*parts: str) -> str:
    """32 hexadecimal digits; parts are separated, so that they cannot run into each other."""
    pieces = []
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        pieces += [len(data).to_bytes(8, "little"), data]
    return blake2b(b"".join(pieces), digest_size=16).hexdigest()
