"""The text that is routed: what the client says it is, else the person's last words after a little of what was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from demur.gateway.decision.request.ask import asked_at, is_given, is_program, last_ask
from demur.gateway.decision.request.boilerplate import Boilerplate
from demur.gateway.decision.request.messages import Message, messages_of
from demur.gateway.http.failures import failures
from demur.gateway.http.openai_bodies import ApiError, content_text
from demur.records import encodable

ALONE = 20  # characters of an ask that is routed by itself; a shorter one ("and in Python?") needs what was said before
# A user's own: the request, in the form of a chat completion's -> the text that is routed; None leaves it to demur.
TextOf = Callable[[Mapping[str, Any]], str | None]


class RoutedText:
    """Finds the text of requests, and learns the templates of clients from them."""

    def __init__(self, own: TextOf | None = None) -> None:
        self._own = own
        self._boilerplate = Boilerplate()

    def find(self, fields: Mapping[str, Any], *, named: str, key: str, context_characters: int) -> str:
        """The text of a request in the form of a chat completion's; ``named``: what its header says it is.

        Empty when there is none (images alone). Raises ApiError 400 for no messages.
        """
        given = named or _in_metadata(fields) or self._by_own(fields)
        if given:
            return encodable(given)
        if "prompt" in fields and "messages" not in fields:
            prompt = fields["prompt"]
            first = prompt[0] if isinstance(prompt, list) and prompt else prompt
            return encodable(first) if isinstance(first, str) else ""
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
            raise ApiError(400, "messages must be a list of objects that is not empty.")
        return encodable(self._question_text(messages, key, context_characters))

    def _question_text(self, given: Sequence[Mapping[str, Any]], key: str, context_characters: int) -> str:
        messages = messages_of({"messages": given})
        ask = last_ask(messages)
        if ask is None:
            last = next((i for i in reversed(range(len(messages))) if messages[i].speaker == "user"), None)
            if last is None:
                return content_text(given[-1].get("content"))
            return "" if is_program(messages, last) else messages[last].text
        text = self._boilerplate.strip(ask.text, key)
        window = self._window(messages, ask.place, key, context_characters) if len(text) < ALONE else ""
        return f"{window}\n{text}" if window else text

    def _window(self, messages: Sequence[Message], end: int, key: str, most: int) -> str:
        """The end of what person and model said before, so many characters at most; not what was only given to read."""
        kept: list[str] = []
        place = end - 1
        while place >= 0 and most > 0:
            if place and is_given(messages, place - 1):  # what was given, and the note that was taken of it
                place -= 2
                continue
            one = messages[place]
            text = one.text if one.speaker == "assistant" else asked_at(messages, place)
            if text and one.speaker == "user":
                text = self._boilerplate.strip(text, key)
            if text:
                kept.append(text[-most:])
                most -= len(kept[-1]) + 1
            place -= 1
        return "\n".join(reversed(kept))

    def _by_own(self, fields: Mapping[str, Any]) -> str:
        """What the function of the settings finds; a failure of it stops no request."""
        if self._own is None:
            return ""
        try:
            found = self._own(fields)
        except Exception as error:
            failures.say("the function of [route] text failed", error)
            return ""
        return found if isinstance(found, str) else ""


def _in_metadata(fields: Mapping[str, Any]) -> str:
    metadata = fields.get("metadata")
    found = metadata.get("demur_text") if isinstance(metadata, dict) else None
    return found if isinstance(found, str) else ""
