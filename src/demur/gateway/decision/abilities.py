"""What each model can do of what requests need: as the settings state it, else as the weak model's refusals show.

A kind is the set of all that a request needs beside a short text: images, tools, a JSON schema, and each of `LENGTHS`
that its prompt has. Whoever cannot answer a kind cannot answer one that needs more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from demur.gateway.decision.learned_abilities import Kind, Learned, Lessons, OwnLessons
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.settings import ServedModel
from demur.records import Role

LENGTHS = tuple(2**power for power in range(11, 25))  # tokens; a shorter prompt is of no kind of its own
NEEDED = {
    "images": "images",
    "files": "files",
    "tools": "tools",
    "other_tools": "tools that are not functions",
    "json_schema": "a JSON schema",
}
_IMAGES = ("image_url", "input_image", "image")
_FILES = ("file", "input_file", "input_audio", "document")
_NOT_ABOUT_IT = frozenset({401, 402, 403, 404, 408, 409, 425, 429})  # our account, its name, or its load
_OF_ITS_KIND = frozenset({500, 501})  # other 5xx are a proxy's, or say that it is down


def kind_of(fields: Mapping[str, Any], tokens: int) -> Kind:
    """The kind of a completion's request of so many tokens; empty for embeddings."""
    if "messages" not in fields and "prompt" not in fields:
        return frozenset()
    wants, tools = fields.get("response_format"), fields.get("tools")
    if not wants and not tools and not fields.get("functions") and _texts_alone(fields.get("messages")):
        return _lengths(tokens)
    types = _types(fields.get("messages"))
    others = [one for one in tools if isinstance(one, dict)] if isinstance(tools, list) else []
    found = {
        "images": not types.isdisjoint(_IMAGES),
        "files": not types.isdisjoint(_FILES),
        "other_tools": any(one.get("type", "function") != "function" for one in others),
        "tools": bool(tools or fields.get("functions")),
        "json_schema": isinstance(wants, dict) and wants.get("type") == "json_schema",
    }
    return frozenset(name for name, needed in found.items() if needed) | _lengths(tokens)


def _texts_alone(messages: object) -> bool:
    """Whether every message is a text, as most requests' are."""
    return isinstance(messages, list) and all(
        isinstance(one, dict) and isinstance(one.get("content"), str) for one in messages
    )


def _types(messages: object) -> set[str]:
    """The types of all parts of all messages."""
    contents = [one.get("content") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    return {str(part.get("type")) for part in parts}


def _lengths(tokens: int) -> Kind:
    if tokens < LENGTHS[0]:
        return frozenset()
    return frozenset(f"{length} tokens" for length in LENGTHS if length <= tokens)


def is_refusal(status: int, *, unproven: bool) -> bool:
    """A status that says that a model cannot answer this request; ``unproven``: it never answered its kind."""
    if unproven and status in _OF_ITS_KIND:
        return True
    return 400 <= status < 500 and status not in _NOT_ABOUT_IT


class Abilities:
    """What the settings state of both models, and which kinds the weak one refused lately or has answered."""

    def __init__(
        self, stated: Mapping[Role, ServedModel | None], seconds: float, lessons: Lessons | None = None
    ) -> None:
        """``stated``: of the roles by rising price; None where the settings name no model."""
        ends = {"weak": stated.get("weak"), **stated}
        self.stated: Mapping[Role, ServedModel | None] = {**ends, "strong": stated.get("strong")}
        self._seconds = seconds  # a refusal counts for so long
        self._lessons = lessons or OwnLessons()

    def choose(self, kind: Kind, tokens: int, unspoken: Mapping[Role, str]) -> tuple[tuple[Role, ...], str]:
        """The models that can answer, and why not the others; ``unspoken``: who does not speak the API.

        Raises ApiError where none can.
        """
        lacks = {role: unspoken.get(role) or self.stated_lack(role, kind, tokens) for role in self.stated}
        able = [role for role, lack in lacks.items() if not lack]
        if not able:
            said = "; ".join(lacks.values())
            raise ApiError(400, f"No model can answer this request: {said}.", code="unsupported_request")
        if "weak" in able and len(able) > 1 and (lack := self._learned_lack(kind)):
            able.remove("weak")
            lacks["weak"] = lack
        return tuple(able), "; ".join(filter(None, lacks.values()))

    def stated_lack(self, role: Role, kind: Kind, tokens: int) -> str:
        """What the settings say that a model cannot do of it; empty without."""
        model = self.stated.get(role)
        if model is None:
            return ""
        lacks = [words for name, words in NEEDED.items() if name in kind and getattr(model, name) is False]
        if lacks:
            return f"{model.model} is set up without {' and '.join(lacks)}"
        if model.context_tokens is not None and tokens > model.context_tokens:
            return f"{model.model} reads {model.context_tokens} tokens, and the request has about {tokens}"
        return ""

    def unproven_needs(self, kind: Kind) -> Kind:
        """What of a kind the weak model may not be able to do: the settings do not say, and no answer shows it."""
        if not kind:  # as mostly
            return kind
        model = self.stated.get("weak")
        known = {name for name in NEEDED if model and getattr(model, name)}
        known |= _lengths(model.context_tokens) if model and model.context_tokens else set()
        return kind - known - self._lessons.read().answered if kind - known else kind - known

    def learn_refusal(self, kind: Kind) -> None:
        """The weak model refused a request that the strong one answered.

        Not for a kind that it has answered before: then it is a matter of this request, unless it is refused again.
        """
        unproven, until = self.unproven_needs(kind), time.monotonic() + self._seconds
        if unproven:
            self._lessons.change(lambda held: replace(held, refused={**held.refused, unproven: until}))
        else:
            self._lessons.change(lambda held: replace(held, answered=held.answered - kind))

    def learn_answer(self, kind: Kind) -> None:
        """The weak model answered."""
        if kind:
            self._lessons.change(lambda held: _after_answer(held, kind))

    def _learned_lack(self, kind: Kind) -> str:
        if not kind:
            return ""
        now, refusals = time.monotonic(), self._lessons.read().refused
        found = next((refused for refused, until in refusals.items() if refused <= kind and now < until), None)
        return f"the weak model cannot: it refused a request with {_words(found)}" if found else ""


def _after_answer(held: Learned, kind: Kind) -> Learned:
    refused = {refused: until for refused, until in held.refused.items() if not refused <= kind}
    return Learned(refused, held.answered | kind)


def _words(kind: Kind) -> str:
    longest = [f"{length} tokens or more" for length in LENGTHS if f"{length} tokens" in kind][-1:]
    return " and ".join([words for name, words in NEEDED.items() if name in kind] + longest)
