"""What an endpoint's refusal is about: a field that can be left out, the prompt itself, or neither. Pure functions.

Endpoints word refusals differently: OpenAI's ``param``, pydantic's ``loc``, a field in quotes, or a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# Left out without changing what is sampled, in the order in which they are suspected.
OPTIONAL = ("top_k", "min_p", "logprobs", "seed", "n")
# Left out only where the endpoint does not take them at all; demur says so, since other answers may come.
ONLY_IF_UNSUPPORTED = ("temperature", "top_p", "stop", "reasoning_effort")

_UNSUPPORTED = (
    r"un(?:known|recogni[sz]ed|supported|expected)|not (?:yet |currently )?(?:support|enabl|allow|permit|availabl"
    r"|accept|implement|recogni[sz])|(?:doesn't|don't) support|deprecated|cannot find|only the default"
    r"|only one|only n ?= ?1|must be 1\b"
)
_IN_WORDS = {  # of fields that are named otherwise than by their name
    "n": r"\bn (?:value|parameter)|\bn ?(?:=|>|must|is not|not)|parameter:? n\b|only (?:one|a single|1) (?:\w+ )?"
    r"(?:choice|completion)|(?:multiple|several|more than one) (?:\w+ )?(?:choice|completion)",
    "logprobs": r"log[ _-]?prob(?:s|abilit)",
}
_PROMPT = re.compile(
    r"content[_ -]?(?:filter|management|policy)|responsible ?ai|data_inspection|inappropriate content|moderation"
    r"|flagged|safety (?:system|filter|policy|setting)|invalid_prompt|usage polic"
    r"|context[_ -]?(?:length|window|size)|maximum context|exceed_context|string_above_max_length"
    r"|(?:prompt|input|message|request)s? (?:\w+ ){0,3}too (?:long|large|many)|too many (?:input |prompt )?tokens"
    r"|reduce the length",
    re.IGNORECASE,
)
_ANSWER_TOO_LONG = re.compile(r"max(?:_completion)?_tokens\W.{0,60}too (?:large|high|long)", re.IGNORECASE | re.DOTALL)


def refused_field(status: int, text: str, sent: Mapping[str, Any]) -> str | None:
    """The field of a request that a refusal is about and that can be left out; None when it is about anything else."""
    said = text.replace("\\", "")  # before quotes within JSON
    unsupported = re.search(_UNSUPPORTED, said, re.IGNORECASE)
    if status == 403:  # a model that does not give log-probs
        return "logprobs" if "logprobs" in sent and "logprobs" in said else None
    if status not in (400, 422) and not (status >= 500 and unsupported):
        return None
    if "max_tokens" in sent and ("max_completion_tokens" in said or (unsupported and _names(said, "max_tokens"))):
        return None if _ANSWER_TOO_LONG.search(said) else "max_tokens"
    known = [name for name in _omissible(sent, unsupported=bool(unsupported)) if name in sent]
    blamed = set(_blamed_fields(text))
    if blamed:
        return next((name for name in known if name in blamed), None)
    return next((name for name in known if _names(said, name) or _says(said, name)), None)


def blames_prompt(status: int, text: str) -> bool:
    """Whether a refusal is about this prompt alone: filtered, or longer than the model's context."""
    refused = status in (400, 403, 413, 422, 451) or (status == 500 and "context" in text)
    return refused and (status == 413 or bool(_PROMPT.search(text))) and not _ANSWER_TOO_LONG.search(text)


def _omissible(sent: Mapping[str, Any], *, unsupported: bool) -> tuple[str, ...]:
    """What may be left out: temperature and top_p always at 1, which they are without being sent."""
    plain = [name for name in ("temperature", "top_p") if sent.get(name) == 1.0]
    return (*OPTIONAL, *(ONLY_IF_UNSUPPORTED if unsupported else plain))


def _blamed_fields(text: str) -> Iterator[str]:
    """Fields that a structured refusal points at: OpenAI's ``param``, the last name of pydantic's ``loc``."""
    for found in _objects(_parse(text)):
        if isinstance(found.get("param"), str):
            yield found["param"]
        if isinstance(found.get("loc"), list):
            yield from [part for part in found["loc"] if isinstance(part, str)][-1:]


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _objects(value: Any, depth: int = 6) -> Iterator[Mapping[str, Any]]:
    """The objects in a JSON value; what a refusal repeats of the request (``input``, ``ctx``) is left aside."""
    if isinstance(value, Mapping):
        yield value
    inner = [part for name, part in value.items() if name != "input"] if isinstance(value, Mapping) else value
    if isinstance(inner, list) and depth:
        for part in inner:
            yield from _objects(part, depth - 1)


def _names(said: str, field: str) -> bool:
    """Whether a complaint names a field, in quotes or after a colon; not as a key of a request that it repeats.

    An apostrophe inside a word ("isn't") is not a quote.
    """
    quoted = rf"""["'`](?:\w+\.)*{field}["'`](?!\w)"""
    return bool(re.search(rf"(?<![{{,\w])(?<![{{,] ){quoted}|(?<!\w){quoted}(?!\s*:)|: {field}(?![\w-])", said))


def _says(said: str, field: str) -> bool:
    """Whether a complaint is about a field in a sentence of its own."""
    if field in _IN_WORDS:
        return bool(re.search(_IN_WORDS[field], said, re.IGNORECASE))
    name, near = rf"(?<![\w-]){field}(?![\w-])", r"[^.;]{0,60}?"
    return bool(re.search(rf"{name}{near}(?:{_UNSUPPORTED})|(?:{_UNSUPPORTED}){near}{name}", said, re.IGNORECASE))


def error_inside(answer: Any) -> int | None:
    """The status of an error that an answer holds instead of choices or rows; None where it holds none.

    Proxies pass an error on in a 200; its status is its code, or 500 where it has none.
    """
    if not isinstance(answer, Mapping) or not answer.get("error") or answer.get("choices") or answer.get("data"):
        return None
    error = answer["error"]
    codes = [error.get(name) for name in ("code", "status", "status_code")] if isinstance(error, Mapping) else []
    numbers = [said for said in map(str, codes) if re.fullmatch(r"[45]\d\d", said)]
    return int(numbers[0]) if numbers else 500
