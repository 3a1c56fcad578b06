"""Calls of tools in answers: how an answer's text holds them, how they are read from it, when two are equal.

A call that an endpoint returns apart from the text is kept as the last line of the answer's text, in JSON, with its
arguments exactly as the model wrote them; only its random id is not kept. Calls that a model writes as text itself are
read in the three usual forms: ``<tool_call>`` tags, JSON objects with name and arguments, and a Python list of calls.
Prose around them makes the answer a text. Pure functions.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST = 50_000  # characters of an answer in which calls are looked for
EXACT_FLOAT = 2.0**53  # up to here 1.0 is written as 1
_START = '{"tool_calls": ['  # of the line that holds calls apart from the text
_TAGGED = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_FENCE = re.compile(r"\A```(?:json|python|tool_code|tool_call)?\s*\n(.*)\n```\Z", re.DOTALL)
_ARGUMENTS = ("arguments", "parameters")  # as models write them
_BESIDE = frozenset({"name", "id", "type", "index"})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call."""

    name: str
    arguments: Any  # the JSON value; a text where the model wrote no valid JSON

    @property
    def canonical(self) -> str:
        """Equal for two calls of the same tool with equal arguments."""
        return json.dumps([self.name, canonical_value(self.arguments)], sort_keys=True, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The calls of one answer."""

    calls: tuple[ToolCall, ...]
    native: bool  # the endpoint returned them apart from the text, as clients with tools expect them

    @property
    def content(self) -> tuple[str, ...]:
        """Equal for answers with the same calls, in whatever order: calls of one answer run side by side."""
        return tuple(sorted(call.canonical for call in self.calls))


def canonical_value(value: Any) -> Any:
    """A JSON value such that equal ones are written alike.

    The order of keys and the spelling of a number (1, 1.0, 1e0) do not count; a number is neither a text nor a boolean.
    Texts are equal character by character, case included, apart from blanks around them and equivalent code points.
    """
    if isinstance(value, Mapping):
        return {_text(str(key)): canonical_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [canonical_value(each) for each in value]
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT:
        return int(value)
    return value


def _text(value: str) -> str:
    return value.strip() if value.isascii() else unicodedata.normalize("NFC", value).strip()


def with_calls(text: str, message: Mapping[str, Any]) -> str:
    """The text of an answer and, in a last line, the calls that its message holds beside it."""
    found = [{"name": name, "arguments": arguments} for name, arguments in _calls_beside(message)]
    line = json.dumps({"tool_calls": found}, ensure_ascii=False) if found else ""
    return "\n".join(part for part in (text, line) if part)


def written_calls(calls: Iterable[ToolCall]) -> str:
    """An answer of these calls alone, as an endpoint returns them."""
    return with_calls("", {"tool_calls": [{"function": {"name": c.name, "arguments": c.arguments}} for c in calls]})


def _calls_beside(message: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """(name, arguments) as they came: a text of JSON, or from some endpoints an object."""
    listed = message.get("tool_calls")
    entries = [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []
    parts = [one.get("function") or one.get("custom") or one for one in entries] or [message.get("function_call")]
    named = [part for part in parts if isinstance(part, Mapping) and isinstance(part.get("name"), str)]
    return [(part["name"], part.get("arguments", part.get("input", ""))) for part in named]


def calls_of(answer: str) -> ToolCalls | None:
    """The calls that an answer consists of; None for an answer without any, or with prose around those it writes."""
    last = answer.rpartition("\n")[2]
    if last.startswith(_START):
        calls = _read(last)
        return ToolCalls(calls, native=True) if calls else None
    text = answer.strip()
    if len(text) > LONGEST or text[:1] not in ("{", "[", "<", "`"):
        return None
    if text.startswith("<tool_call>"):
        tagged = [_read(body) for body in _TAGGED.findall(text)]
        whole = all(tagged) and not _TAGGED.sub("", text).strip()
        return ToolCalls(tuple(call for calls in tagged for call in calls), native=False) if whole else None
    calls = _read(fenced.group(1).strip() if (fenced := _FENCE.match(text)) else text)
    return ToolCalls(calls, native=False) if calls else None


def _read(text: str) -> tuple[ToolCall, ...]:
    """The calls of a JSON value, or of a Python list of calls; none where the text is anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _python_calls(text) if text.startswith("[") else ()
    try:
        return calls_in(value) or ()
    except RecursionError:
        return ()


def calls_in(value: Any) -> tuple[ToolCall, ...] | None:
    """The calls of a JSON value: an object with name and arguments, OpenAI's with both in ``function``, or a list.

    None where it is anything else.
    """
    if isinstance(value, Mapping) and isinstance(value.get("tool_calls"), list):
        return calls_in(value["tool_calls"])
    entries = value if isinstance(value, list) else [value]
    found = [_call(one) for one in entries]
    calls = tuple(one for one in found if one is not None)
    return calls if calls and len(calls) == len(found) else None


def _call(entry: Any) -> ToolCall | None:
    if isinstance(entry, Mapping) and isinstance(entry.get("function"), Mapping):
        entry = entry["function"]
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str) or not entry["name"]:
        return None
    given = [key for key in entry if key not in _BESIDE]
    if len(given) != 1 or given[0] not in _ARGUMENTS:
        return None
    return ToolCall(entry["name"], read_arguments(entry[given[0]]))


def read_arguments(arguments: Any) -> Any:
    """The value of arguments, which endpoints send as a text of JSON; no value stands for no arguments."""
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


# -- calls as Python writes them -------------------------------------------------------------------------------------


def _python_calls(text: str) -> tuple[ToolCall, ...]:
    """Of ``[name(parameter=value), ...]``; positional arguments are named _0, _1."""
    try:
        body = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ()
    if not isinstance(body, ast.List) or not body.elts:
        return ()
    nodes = [node for node in body.elts if isinstance(node, ast.Call)]
    if len(nodes) < len(body.elts) or any(part.arg is None for node in nodes for part in node.keywords):
        return ()
    return tuple(ToolCall(ast.unparse(node.func), _python_arguments(node)) for node in nodes)


def _python_arguments(node: ast.Call) -> dict[str, Any]:
    placed: Sequence[tuple[str, ast.expr]] = [(f"_{place}", value) for place, value in enumerate(node.args)]
    named = [(part.arg, part.value) for part in node.keywords if part.arg is not None]
    return {name: _python_value(value) for name, value in (*placed, *named)}


def _python_value(node: ast.expr) -> Any:
    """A literal; of anything else (a name, a sum, a nested call) its source."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ast.unparse(node)
    return value if _is_json(value) else ast.unparse(node)


def _is_json(value: object) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_json(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_json, value))
    return value is None or isinstance(value, bool | int | float | str)
