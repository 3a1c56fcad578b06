"""Reads an endpoint's completion: texts, log-probs, token counts. Pure functions.

A malformed choice does not discard the other choices of the request. A model's thinking is removed from the answer and
its log-probs, but its tokens are counted, since they are paid for. Calls of tools are part of the answer's text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from demur.errors import EndpointError
from demur.models.prices import CHARACTERS_PER_TOKEN
from demur.prompts.tool_calls import with_calls
from demur.records import Sample, encodable

MOST_TOKENS = 10**9  # larger counts are ignored
LOGPROB_TOLERANCE = 1e-3  # rounding may put the log-prob of a sure token this far above 0
_THINKING = re.compile(r"\s*<(think|thinking)>.*?</\1>\s*|[^<]*</(?:think|thinking)>\s*", re.DOTALL)
_UNFINISHED_THINKING = re.compile(r"\s*<(?:think|thinking)>")


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer, read."""

    samples: list[Sample]
    problem: str  # what is wrong with the first choice that gives no sample; "" if nothing
    model: str  # the one that says it answered; "" where the answer does not say
    thoughts: int  # choices from whose text thinking was taken out


@dataclass(frozen=True, slots=True)
class _Choice:
    text: str
    logprobs: tuple[float, ...] | None
    finish_reason: str
    tokens: int  # with a log-prob each, thinking included; 0 without log-probs
    characters: int  # generated, thinking included
    thought: bool  # in its text


def parse_completion(answer: Any, indices: Sequence[int], where: str) -> list[Sample]:
    """The samples in an endpoint's answer; raises EndpointError when it is not a completion, or one choice is
    malformed.
    """
    found = read_completion(answer, indices, where)
    if found.problem:
        raise EndpointError(found.problem)
    return found.samples


def read_completion(
    answer: Any, indices: Sequence[int], where: str, *, stop: Sequence[str] = (), sent_characters: int = 0
) -> Completion:
    """The samples in an endpoint's answer, one per index in this order, and what is wrong with the rest.

    ``stop``: cut the texts at these strings, for an endpoint that does not. ``sent_characters``, of the request's text,
    split a usage that only gives a total. Raises EndpointError when there is no choice at all.
    """
    choices = answer.get("choices") if isinstance(answer, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise EndpointError(f"{where}: the answer has no choices: {as_json(answer)}; try demur doctor on it")
    ordered = sorted(choices[: len(indices)], key=_place)
    read = [_parse_choice(choice, stop) for choice in ordered]
    whole = [(index, found) for index, found in zip(indices, read, strict=False) if isinstance(found, _Choice)]
    prompt_tokens, counts = _count_tokens([found for _, found in whole], answer.get("usage"), sent_characters)
    samples = [
        Sample(index, found.text, found.logprobs, found.finish_reason, prompt_tokens, count, len(ordered))
        for (index, found), count in zip(whole, counts, strict=True)
    ]
    problem = next((found for found in read if isinstance(found, str)), "")
    model = answer.get("model")
    return Completion(
        samples,
        problem and f"{where}: {problem}",
        encodable(model) if isinstance(model, str) else "",
        sum(found.thought for _, found in whole),
    )


def _place(choice: Any) -> int:
    place = choice.get("index") if isinstance(choice, Mapping) else None
    return place if isinstance(place, int) else 0


def _storable(text: str) -> str:
    """A text as every store keeps it: none of half characters, and PostgreSQL none of zero bytes."""
    return encodable(text).replace("\0", "\ufffd")


def _parse_choice(choice: Any, stop: Sequence[str]) -> _Choice | str:
    """A choice; or what is wrong with it."""
    if not isinstance(choice, Mapping):
        return f"a choice is not an object: {as_json(choice)}"
    reason = _storable(str(choice.get("finish_reason") or ""))
    said = _text_of(choice, reason)
    if not isinstance(said, str):
        return f"a choice has no text (content is {repr(said)[:80]}, finish_reason {reason!r}); {_LARGER}"
    start, end = _span(said, stop)
    if start is None:
        return f"a choice has only thinking ({said[:60]!r}, finish_reason {reason!r}); {_LARGER}"
    tokens = _tokens(choice.get("logprobs"))
    message = choice.get("message")
    text = _storable(said[start:end])
    whole = _storable(with_calls(text, message)) if isinstance(message, Mapping) else text
    return _Choice(
        text=whole,
        logprobs=_logprobs(tokens, said, (start, end)),
        finish_reason=reason,
        tokens=len(tokens),
        characters=len(said) + len(whole) - len(text) + len(_thinking_beside(choice)),
        thought=start > 0,
    )


_LARGER = "a larger max_tokens may help"


def _text_of(choice: Mapping[str, Any], reason: str) -> Any:
    """The text of a choice: a string, or what stands where one should be."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return choice.get("text")
    content = message.get("content")
    if isinstance(content, list):
        texts = [part for part in content if isinstance(part, Mapping) and isinstance(part.get("text"), str)]
        return "".join(part["text"] for part in texts) if texts else None
    if content is None and (message.get("refusal") or message.get("tool_calls") or message.get("function_call")):
        return message.get("refusal") or ""  # a refusal is an answer; calls of tools are added to the text
    if content is None and reason == "content_filter":
        return ""  # what was filtered away stays away however often it is asked
    return content


def _thinking_beside(choice: Mapping[str, Any]) -> str:
    """What a model thought, where an endpoint keeps it apart from the answer."""
    message = choice.get("message")
    found = [message.get(name) for name in ("reasoning_content", "reasoning")] if isinstance(message, Mapping) else []
    return next((text for text in found if isinstance(text, str)), "")


def _span(said: str, stop: Sequence[str]) -> tuple[int | None, int]:
    """Where the answer begins behind the thinking (None: it never does), and where a stop string ends it."""
    thinking = _THINKING.match(said) if "</think" in said else None
    if thinking is None and _UNFINISHED_THINKING.match(said):
        return None, len(said)
    start = thinking.end() if thinking else 0
    ends = [found for text in stop if text and (found := said.find(text, start)) >= 0]
    return start, min(ends, default=len(said))


def _tokens(logprobs: Any) -> list[tuple[Any, Any]]:
    """(text, log-prob) of each token, in the chat form or the legacy completions form; empty without any."""
    if not isinstance(logprobs, Mapping):
        return []
    if isinstance(logprobs.get("content"), list):
        rows = [token if isinstance(token, Mapping) else {} for token in logprobs["content"]]
        return [(row.get("token"), row.get("logprob")) for row in rows]
    values, texts = logprobs.get("token_logprobs"), logprobs.get("tokens")
    if not isinstance(values, list):
        return []
    known = texts if isinstance(texts, list) and len(texts) == len(values) else [None] * len(values)
    return list(zip(known, values, strict=True))


def _logprobs(tokens: Sequence[tuple[Any, Any]], said: str, span: tuple[int, int]) -> tuple[float, ...] | None:
    """Log-probs (nats) of the answer's tokens; None if one is invalid, or if it is unknown which belong to the
    answer.
    """
    kept = [value for _, value in tokens] if span == (0, len(said)) else list(_inside(tokens, said, span))
    return tuple(min(float(value), 0.0) for value in kept) or None if all(map(_is_logprob, kept)) else None


def _is_logprob(value: Any) -> bool:
    return type(value) in (int, float) and -MOST_TOKENS < value <= LOGPROB_TOLERANCE


def _inside(tokens: Sequence[tuple[Any, Any]], said: str, span: tuple[int, int]) -> Iterator[Any]:
    """Log-probs of the tokens that begin within a span of the text; none where the tokens do not make up the text."""
    if "".join(text for text, _ in tokens if isinstance(text, str)) != said:
        return
    at = 0
    for text, value in tokens:
        if span[0] <= at < span[1]:
            yield value
        at += len(text) if isinstance(text, str) else 0


def _count_tokens(choices: Sequence[_Choice], usage: object, sent_characters: int) -> tuple[int, list[int]]:
    """Prompt tokens of the request (0: unknown) and the tokens of each answer.

    Log-probs count a choice's tokens; what the usage counts beyond them is spread by length, as without log-probs.
    """
    counted = [choice.tokens for choice in choices]
    characters = sum(choice.characters for choice in choices)
    prompt, completion = read_usage(usage, characters, sent_characters)
    if counted and all(counted):
        if completion <= sum(counted):
            return prompt, counted
        return prompt, [round(completion * count / sum(counted)) for count in counted]
    if not completion and characters:
        return 0, [0 for _ in choices]  # text that was not counted: nothing is known
    return prompt, [
        max(round(completion * one.characters / (characters or 1)), 1 if completion and one.characters else 0)
        for one in choices
    ]


def read_usage(usage: object, characters: int, sent_characters: int = 0) -> tuple[int, int]:
    """(prompt, completion) tokens of a usage; 0 for what it does not say, or says so that it cannot be believed.

    Reasoning that is counted in the total alone belongs to the completion. A total alone is split by the length of what
    was sent and of what was generated.
    """
    prompt, completion, total = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens"))
    if not prompt and not completion and total:
        prompt = min(sent_characters // CHARACTERS_PER_TOKEN + 1, max(total - characters // CHARACTERS_PER_TOKEN, 1))
    if not prompt:
        prompt = max(total - completion, 0)
    return prompt, max(completion, total - prompt)


def _count(usage: object, name: str) -> int:
    """A token count of the usage; 0 where there is none, or none that can be believed."""
    found = usage.get(name) if isinstance(usage, Mapping) else None
    if type(found) is float and math.isfinite(found) and found.is_integer():
        found = int(found)
    return found if type(found) is int and 0 <= found <= MOST_TOKENS else 0


def as_json(value: Any) -> str:
    """A value on one line, cut to what a message can hold."""
    try:
        said = value if isinstance(value, str) else json.dumps(value, default=str)
    except (ValueError, RecursionError):
        said = f"a {type(value).__name__} that no message can hold"
    return " ".join(said.split())[:200]
