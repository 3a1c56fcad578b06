"""Token counts of an answer: the upstream's, or estimates from lengths. Pure functions."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from demur.gateway.http.openai_bodies import content_text
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.events import data_of, split_events
from demur.gateway.upstreams.token_estimates import RequestSize, TokenEstimate
from demur.models.prices import CHARACTERS_PER_TOKEN, Tokens

MOST_TOKENS = 2**53  # larger counts are ignored
TAIL_BYTES = 8192  # of an answer: where its usage stands, if it has one
MEDIA_TOKENS = 1000  # of an image, a recording or a file: its size in tokens is the provider's to know
_TEXTS = ("text", "input_text", "refusal")
LARGEST_EVENT = 2**20  # bytes; of a longer one every byte is counted as a character
_DECODER = json.JSONDecoder()
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
_TIER = re.compile(rb'"service_tier"\s*:\s*"([A-Za-z0-9_-]{1,40})"')


class Usage(NamedTuple):
    """What an upstream says about an answer's tokens; None where it does not say. As `Tokens`, but for the total."""

    prompt: int | None = None
    completion: int | None = None
    total: int | None = None
    cached: int | None = None
    written: int | None = None
    written_hour: int | None = None
    reasoning: int | None = None

    def updated_by(self, later: Usage) -> Usage:
        """This, with all that a later usage of the same stream says."""
        return Usage(*(new if new is not None else old for old, new in zip(self, later, strict=True)))


def read_usage(said: object) -> Usage | None:
    """The counts of a usage object, as OpenAI's or Anthropic's APIs name them; None where one is not a count.

    Anthropic's ``input_tokens`` leave out what was read from or written to its cache; `Usage.prompt` holds it.
    """
    if not isinstance(said, dict):
        return None
    of = said.get
    prompts = _mapping(of("prompt_tokens_details")) or _mapping(of("input_tokens_details"))
    answers = _mapping(of("completion_tokens_details")) or _mapping(of("output_tokens_details"))
    try:
        prompt = _count(_first(of("prompt_tokens"), of("input_tokens")))
        completion = _count(_first(of("completion_tokens"), of("output_tokens")))
        read, written = _count(of("cache_read_input_tokens")), _count(of("cache_creation_input_tokens"))
        if prompt is not None and of("prompt_tokens") is None:
            prompt += (read or 0) + (written or 0)
        apart = _count(_first(prompts.get("cache_write_tokens"), prompts.get("cache_creation_tokens")))
        counts = (
            *(prompt, completion, _count(of("total_tokens"))),
            _first(_count(prompts.get("cached_tokens")), read, _count(of("prompt_cache_hit_tokens"))),
            _first(written, apart),
            _count(_mapping(of("cache_creation")).get("ephemeral_1h_input_tokens")),
            _count(answers.get("reasoning_tokens")),
        )
    except ValueError:
        return None
    return None if counts == (None,) * len(counts) else Usage(*counts)


NOTHING_SAID = Usage()


def _count(value: object) -> int | None:
    """A count as it is said; None where it is not said. Raises ValueError for what is not a count."""
    if value is None or (type(value) is int and 0 <= value <= MOST_TOKENS):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_TOKENS:  # NaN is not
        raise ValueError(f"{value!r} is not a count")
    return math.ceil(value)


def _first(*said: Any) -> Any:
    """The first that is said."""
    for one in said:
        if one is not None:
            return one
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def settle_tokens(said: Usage | None, asked: TokenEstimate, characters: int, tier: str = "") -> Tokens:
    """Tokens of an answer from what its upstream says and, where that is nothing or cannot be, from lengths.

    ``asked``: the request's estimate; ``characters``: of the answer's text; ``tier``: that answered. A total above the
    sum of its parts holds reasoning that the completion's count leaves out.
    """
    usage, text, request_tokens = said or NOTHING_SAID, asked.answers.tokens(characters), asked.prompt
    prompt, completion, total = usage.prompt, usage.completion, usage.total
    hidden = 0  # reasoning that is only in the total
    if total is not None and prompt is not None:
        hidden = max(0, total - prompt - (completion or 0)) if completion else 0
        completion = max(completion or 0, total - prompt)
    elif total is not None and completion is not None:
        prompt = max(0, total - completion)
    known = bool(prompt or not request_tokens) and completion is not None and bool(completion or not text)
    if total and not prompt and not completion:  # how it splits is not said
        completion = min(total, max(text, total - request_tokens)) if text else 0
        prompt = total - completion
    prompt, completion = prompt or request_tokens, completion or text
    cached = min(usage.cached or 0, prompt)
    written = min(usage.written or 0, prompt - cached)
    reasoning = min(max(usage.reasoning or 0, hidden), completion)
    return Tokens(prompt, completion, known, cached, written, min(usage.written_hour or 0, written), reasoning, tier)


def whole_tokens(data: bytes, asked: TokenEstimate, protocol: Protocol = CHAT) -> Tokens:
    """Tokens of a whole answer."""
    said, tier = _usage_of_whole(data), _tier_in(data)
    if said and said.prompt and (said.completion or CHAT.answer_mark not in data):
        said = said._replace(completion=0) if said.completion is None else said
        return settle_tokens(said, asked, 0, tier)
    return settle_tokens(said, asked, answer_characters(data, protocol), tier)


class StreamCount:
    """Counts an answer that passes in pieces: a stream of events, or a long whole one."""

    def __init__(self, protocol: Protocol = CHAT) -> None:
        self._protocol = protocol
        self._usage = NOTHING_SAID
        self._tier = ""  # that the upstream says it answers at
        self._characters = 0
        self._rest = b""  # of an event that has not ended
        self._long = False  # it is too long to be kept: its end is

    def add(self, piece: bytes) -> None:
        """Another piece has passed."""
        events, rest = split_events(self._rest + piece, seen=len(self._rest))
        for event in events:
            self._end_event(event)
        self._rest = rest
        if len(rest) > LARGEST_EVENT:
            self._learn(_usage_in(rest))
            self._characters += len(rest) - TAIL_BYTES
            self._rest, self._long = rest[-TAIL_BYTES:], True

    @property
    def characters(self) -> int:
        """Of the text in the events that have ended."""
        return self._characters

    def tokens(self, asked: TokenEstimate) -> Tokens:
        """Tokens of all that has passed so far."""
        count = StreamCount(self._protocol)  # what has not ended stays as it is
        count._usage, count._characters, count._long = self._usage, self._characters, self._long
        count._tier = self._tier
        if self._rest:
            count._end_event(self._rest)
        said = None if count._usage == NOTHING_SAID else count._usage
        return settle_tokens(said, asked, count._characters, count._tier)

    def _end_event(self, event: bytes) -> None:
        self._tier = _tier_in(event) or self._tier
        if self._long:
            self._learn(_usage_in(event))
            self._characters += len(event)
            self._long = False
            return
        data = data_of(event)
        value = _parse(event if data is None else data)
        self._characters += _characters_said(value, self._protocol)
        if b'"usage"' in event:
            self._learn(_usage_in(event if data is None else data))

    def _learn(self, said: Usage | None) -> None:
        if said:
            self._usage = self._usage.updated_by(said)


def _usage_in(data: bytes) -> Usage | None:
    """The last usage in an answer or an event, whatever holds it; None when there is none."""
    at = len(data)
    while (at := data.rfind(b'"usage"', 0, at)) >= 0:
        found = _USAGE.match(data, at)
        if found and data[at - 1 : at] != b"\\":  # else it stands in a text
            said = read_usage(_first_value(data[found.end() :]))
            if said:
                return said
    return None


def _tier_in(data: bytes) -> str:
    """The last service tier that an answer or an event names outside its texts; empty when there is none."""
    at = len(data)
    while (at := data.rfind(b'"service_tier"', 0, at)) >= 0:
        found = _TIER.match(data, at)
        if found and data[at - 1 : at] != b"\\":
            return found[1].decode()
    return ""


def _first_value(data: bytes) -> object:
    try:
        return _DECODER.raw_decode(data.decode("utf-8", "replace"))[0]
    except (ValueError, RecursionError):
        return None


def _usage_of_whole(data: bytes) -> Usage | None:
    """The usage of a whole answer, which mostly stands in its end."""
    return _usage_in(data[-TAIL_BYTES:]) or _usage_in(data[:-TAIL_BYTES])


def answer_characters(data: bytes, protocol: Protocol) -> int:
    """Characters of text and tool calls in a whole answer."""
    return _characters_said(_parse(data), protocol)


def request_size(fields: Mapping[str, Any]) -> RequestSize:
    """The length of a request: messages and their tool calls, prompt or input, and tools; `MEDIA_TOKENS` an image."""
    messages = fields.get("messages")
    said_in = [one for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    contents = [one.get("content") for one in said_in]
    said = sum(len(content_text(content)) for content in contents)
    said += sum(_characters(one["tool_calls"]) for one in said_in if "tool_calls" in one)
    said += sum(_characters(fields[name]) for name in ("prompt", "input", "tools", "functions") if name in fields)
    return RequestSize(said, len(contents), MEDIA_TOKENS * sum(map(_count_media, contents)))


def _count_media(content: object) -> int:
    """Images, recordings and files in a message: every part that is not text."""
    parts = content if isinstance(content, list) else []
    return sum(isinstance(part, dict) and part.get("type") not in _TEXTS for part in parts)


def _characters_said(answer: object, protocol: Protocol) -> int:
    """Characters of text and tool calls in an answer or an event of one."""
    return sum(map(_characters, protocol.texts(answer)))


def _characters(value: object) -> int:
    """Characters of the texts in a value; a number in a list is a token."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(name) + _characters(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_characters, value))
    return CHARACTERS_PER_TOKEN if type(value) is int else 0


def _parse(data: bytes) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
