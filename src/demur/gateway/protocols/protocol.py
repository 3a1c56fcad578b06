"""What the gateway must know of an API that it serves: one record for each, so that no other module asks which it is.

Requests and answers pass byte for byte. Requests of every API are *read* in one form, that of a chat completion
(`Protocol.as_chat`): text, conversation, kind and tokens of a request are found in that form alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from demur.gateway.http.openai_bodies import ApiError

Fields = Mapping[str, Any]  # the members of a request's body
Cut = Literal["", "limit", "other"]  # what ended an answer: the model itself, a limit of tokens, a filter or the like


@dataclass(frozen=True, slots=True)
class EventPart:
    """What an event adds to an answer: text, and pieces of calls by their place: name and arguments."""

    text: str = ""
    calls: tuple[tuple[int, str, str], ...] = ()


TEXT_PARTS = ("text", "output_text")


def place_of(value: object) -> int:
    """Where a call stands among others, as an event says it."""
    return value if type(value) is int else 0


def text_or_none(value: object) -> str:
    """A text; empty for anything else."""
    return value if isinstance(value, str) else ""


def says_something(value: object) -> bool:
    """False for nothing, for blank text, and for parts of text that are all blank."""
    if isinstance(value, str):
        return bool(value.strip())
    if isinstance(value, list):
        return any(map(says_something, value))
    if isinstance(value, dict) and value.get("type") in TEXT_PARTS:
        return says_something(value.get("text"))
    return bool(value)


@dataclass(frozen=True, slots=True)
class Protocol:
    """One API. Its functions are pure, and take whatever JSON can hold."""

    name: str  # as the setting `speaks` and `demur doctor` call it
    path: str  # below an endpoint's base URL
    members: frozenset[str]  # what is read of a request: an upstream must read the same
    # The request as a chat completion's: `messages` (of the roles system, user, assistant and tool), `tools`,
    # `response_format`, `max_tokens`; members of other names as they are. It is read and never sent.
    as_chat: Callable[[Fields], Fields]
    check: Callable[[Fields], None]  # raises ApiError for a request that cannot be routed
    begins: Callable[[Any], bool]  # whether an event of a stream holds a part of the answer
    failure: Callable[[Any], str]  # what an answer or an event says has failed; empty where nothing has
    texts: Callable[[Any], Iterable[object]]  # the texts and calls in an answer or an event, for estimates of tokens
    stream_end: re.Pattern[bytes]  # what a complete stream has in its end
    long_end: bool  # its last event may be longer than `END_BYTES`
    answer_mark: bytes  # member of a whole answer: one with it, and without "error", is not parsed
    error_body: Callable[[ApiError], bytes]  # an error of the gateway's own
    form_members: frozenset[str]  # of a request, which `as_chat` needs to say what form its answer must have
    # Whether an answer or an event holds something for the client beside thinking; an event's thinking counts, as it
    # is passed on as it comes. True for what cannot be read.
    says: Callable[[Any], bool]
    cut: Callable[[Any], Cut]  # what an answer or an event says has ended it early
    text_mark: bytes  # member that an answer's text stands in: a whole answer with it, and text in it, is not parsed
    # A whole answer as the message of a chat completion; None for one that cannot be read.
    message: Callable[[Any], Mapping[str, Any] | None]
    part: Callable[[Any], EventPart]  # what an event of a stream adds to the answer
    ordinary: Mapping[str, Any]  # members, beside the model, of the shortest request that any model can answer
    own_headers: Mapping[str, str]  # of a request of the gateway's own
    routed: bool = True  # else it is passed to the model that it names
    writes: bool = True  # a model writes an answer, token by token
    checked: bool = False  # the gate can look at its answers
    free: bool = False  # no model is asked to answer
    continues: str = ""  # member that names an earlier answer which the upstream keeps
    # The members that ask for an effort of reasoning; none where the effort is empty, or the API has none.
    effort: Callable[[str], Mapping[str, object]] = lambda effort: {}
    answer_id: re.Pattern[bytes] | None = None  # finds the id under which the upstream keeps an answer

    def id_of(self, answer: bytes) -> str:
        """The id under which the upstream keeps an answer, of which this is the beginning; empty without one."""
        found = self.answer_id.search(answer) if self.answer_id else None
        return found[1].decode("utf-8", "replace") if found else ""


def schema_format(wanted: object) -> object:
    """A response format whose schema stands in it, as chat has it: under ``json_schema``."""
    if not isinstance(wanted, dict) or "schema" not in wanted:
        return wanted
    return {"type": wanted.get("type"), "json_schema": {"schema": wanted["schema"]}}


def as_it_is(fields: Fields) -> Fields:
    """A request that is in the form of a chat completion's already."""
    return fields


def no_check(fields: Fields) -> None:
    """Whatever cannot be routed is found where its text is read."""


def quote(said: object, most: int = 200) -> str:
    """An upstream's words in a message of ours: printable, and at most so many characters."""
    return "".join(letter if letter.isprintable() else " " for letter in str(said)[:most])
