"""Does an answer have the form that its request asks for: a call of an offered tool that fits its parameters, JSON that
fits the response format?

An answer that certainly has another form is of no use to the client, whoever wrote it; no label and no model is needed
to see it. It is not known here who answers instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from demur.gate.form.json_schema import schema_problem
from demur.prompts.tool_calls import ToolCall, calls_of
from demur.records import Sample

EMPTY = "it is empty"
OF_NO_USE = "the weak answer is of no use"  # what the reason of a decision holds; ledgers are searched for it
CUT = ("length", "content_filter")  # ends of an answer that another model would meet, too


def empty_problem(answer: Sample) -> str:
    """What is wrong with an answer that says nothing; "" for others, and where a limit or a filter has ended it."""
    return EMPTY if not answer.text.strip() and answer.finish_reason not in CUT else ""


def form_problem(answer: str, request: Mapping[str, Any]) -> str:
    """What of an answer certainly does not fit the request (its members ``tools``, ``functions``, ``tool_choice``,
    ``response_format``); "" where nothing is known to be wrong.

    ``answer`` is a sample's text, see `demur.prompts.tool_calls`.
    """
    tools = offered_tools(request)
    calls = calls_of(answer) if tools else None
    if calls is not None and not calls.native:
        known = [call.name for call in calls.calls if call.name in tools]
        return f"it writes a call of {known[0]!r} as text, which no client runs" if known else ""
    if calls is not None:
        return next(filter(None, (call_problem(call, tools) for call in calls.calls)), "")
    if tools and _call_is_due(request):
        return "it calls no tool, and the request demands a call"
    return _response_problem(answer, request.get("response_format"))


def offered_tools(request: Mapping[str, Any]) -> dict[str, Any]:
    """Name -> JSON schema of the parameters, of every tool that a request offers."""
    entries = [*_mappings(request.get("tools")), *_mappings(request.get("functions"))]
    parts = [one["function"] if isinstance(one.get("function"), Mapping) else one for one in entries]
    return {part["name"]: part.get("parameters") for part in parts if isinstance(part.get("name"), str)}


def call_problem(call: ToolCall, tools: Mapping[str, Any]) -> str:
    """What is wrong with a call; ``tools`` as `offered_tools` has them.

    An argument that no parameter is declared for is one the tool cannot take, unless its schema says so.
    """
    if call.name not in tools:
        return f"it calls {call.name!r}, which the request does not offer"
    schema = tools[call.name]
    if not isinstance(schema, Mapping):
        return ""
    if not isinstance(call.arguments, Mapping):
        return f"it calls {call.name!r} with arguments that are not a JSON object"
    declared = schema.get("properties")
    if isinstance(declared, Mapping) and not {"additionalProperties", "patternProperties", "$ref"} & set(schema):
        schema = {**schema, "additionalProperties": bool(_has_combined_parameters(schema))}
    found = schema_problem(call.arguments, schema)
    return f"it calls {call.name!r} wrongly ({found})" if found else ""


def _has_combined_parameters(schema: Mapping[str, Any]) -> bool:
    """Parameters may be declared in several places."""
    return bool({"allOf", "anyOf", "oneOf"} & set(schema))


def _call_is_due(request: Mapping[str, Any]) -> bool:
    choice = request.get("tool_choice")
    return choice in ("required", "any") or isinstance(choice, Mapping)


def _response_problem(answer: str, wanted: Any) -> str:
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind not in ("json_schema", "json_object"):
        return ""
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return "it is not JSON, and the request asks for JSON"
    if kind == "json_object":
        return "" if isinstance(value, Mapping) else "it is not a JSON object, and the request asks for one"
    described = wanted.get("json_schema")
    found = schema_problem(value, described.get("schema") if isinstance(described, Mapping) else None)
    return f"it does not fit the response format ({found})" if found else ""


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []
