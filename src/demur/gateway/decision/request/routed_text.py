"""The text that is routed: what the client says it is, else the person's last words after a little of what was said."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Self

from demur.gateway.decision.request.ask import asked_at, is_given, is_program, last_ask
from demur.gateway.decision.request.boilerplate import Boilerplate, Stripped, line_names
from demur.gateway.decision.request.messages import Message, messages_of
from demur.gateway.http.failures import failures
from demur.gateway.http.openai_bodies import ApiError, content_text
from demur.gateway.settings import RouteSettings, import_object
from demur.records import encodable
from demur.routing.known.training_texts import training_texts
from demur.routing.prompt_router import PromptRouter

ALONE = 20  # characters of an ask that is routed by itself; a shorter one ("and in Python?") needs what was said before
# A user's own: the request, in the form of a chat completion's -> the text that is routed; None leaves it to demur.
TextOf = Callable[[Mapping[str, Any]], str | None]


def training_lines(router: PromptRouter) -> frozenset[int]:
    """The lines of the prompts that a router was to learn from: with them it routes such prompts as it learned."""
    return line_names(training_texts(router))


class RoutedText:
    """Finds the text of requests, and learns the templates of clients from them.

    ``lines``: those that are never taken for a template (`training_lines`).
    """

    def __init__(self, own: TextOf | None = None, lines: Set[int] = frozenset()) -> None:
        self._own = own
        self._boilerplate = Boilerplate(lines)

    @classmethod
    def of(cls, settings: RouteSettings, router: PromptRouter) -> Self:
        """For a router, by the function that the settings name. Raises InputError where that cannot be imported."""
        return cls(import_object(settings.text, "route.text") if settings.text else None, training_lines(router))

    def keep_lines(self, lines: Set[int]) -> None:
        """Never take these lines for a template from now on, in place of those before."""
        self._boilerplate.own = lines

    def find(self, fields: Mapping[str, Any], *, named: str, key: str, context_characters: int) -> Stripped:
        """The text of a request in the form of a chat completion's; ``named``: what its header says it is.

        Empty when there is none (images alone). Raises ApiError 400 for no messages.
        """
        given = named or _in_metadata(fields) or self._by_own(fields)
        if given:
            return Stripped(encodable(given))
        if "prompt" in fields and "messages" not in fields:
            prompt = fields["prompt"]
            first = prompt[0] if isinstance(prompt, list) and prompt else prompt
            return Stripped(encodable(first) if isinstance(first, str) else "")
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
            raise ApiError(400, "messages must be a list of objects that is not empty.")
        found = self._question_text(messages, key, context_characters)
        return Stripped(encodable(found.text), found.left_out)

    def _question_text(self, given: Sequence[Mapping[str, Any]], key: str, context_characters: int) -> Stripped:
        messages = messages_of({"messages": given})
        ask = last_ask(messages)
        if ask is None:
            last = next((i for i in reversed(range(len(messages))) if messages[i].speaker == "user"), None)
            if last is None:
                return Stripped(content_text(given[-1].get("content")))
            return Stripped("" if is_program(messages, last) else messages[last].text)
        said = self._boilerplate.strip(ask.text, key)
        if len(said.text) >= ALONE:
            return said
        window = self._window(messages, ask.place, key, context_characters)
        return Stripped(f"{window.text}\n{said.text}" if window.text else said.text, said.left_out + window.left_out)

    def _window(self, messages: Sequence[Message], end: int, key: str, most: int) -> Stripped:
        """The end of what person and model said before, so many characters at most; not what was only given to read."""
        kept: list[str] = []
        place, left_out = end - 1, 0
        while place >= 0 and most > 0:
            if place and is_given(messages, place - 1):  # what was given, and the note that was taken of it
                place -= 2
                continue
            one = messages[place]
            text = one.text if one.speaker == "assistant" else asked_at(messages, place)
            if text and one.speaker == "user":
                said = self._boilerplate.strip(text, key)
                text, left_out = said.text, left_out + said.left_out
            if text:
                kept.append(text[-most:])
                most -= len(kept[-1]) + 1
            place -= 1
        return Stripped("\n".join(reversed(kept)), left_out)

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
