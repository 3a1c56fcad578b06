"""OpenAI's Responses.

The gateway keeps no answers: a request holds all of its input, or continues an answer that an upstream keeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from demur.gateway.http.openai_bodies import READ_MEMBERS, ApiError
from demur.gateway.protocols.openai import openai_error, said_by
from demur.gateway.protocols.protocol import (
    Cut,
    EventPart,
    Fields,
    Protocol,
    place_of,
    says_something,
    schema_format,
    text_or_none,
)
from demur.models.apis import API_HEADERS, API_PATHS

_MEMBERS = READ_MEMBERS | {
    *("instructions", "text", "max_output_tokens", "previous_response_id", "conversation", "background", "store"),
    *("metadata", "prompt_cache_key"),
}
_PARTS = {"input_text": "text", "output_text": "text", "input_image": "image_url", "input_file": "file"}
_BEFORE_THE_ANSWER = frozenset(
    {"response.created", "response.in_progress", "response.queued", "response.output_item.added"}
    | {"response.content_part.added", "keepalive"}
)
_NOT_KEPT = "this gateway keeps no answers: send all of the input"


def as_chat(fields: Fields) -> Fields:
    """The request as a chat completion's: `instructions` are its system message, items its messages."""
    given = fields.get("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    said = [_message(one) for one in items if isinstance(one, dict)] if isinstance(items, list) else []
    found = {name: value for name, value in fields.items() if name not in ("input", "instructions")}
    if fields.get("instructions"):
        said.insert(0, {"role": "system", "content": fields["instructions"]})
    found["messages"] = said
    if isinstance(fields.get("tools"), list):
        found["tools"] = [_tool(one) for one in fields["tools"]]
    text = fields.get("text")
    if isinstance(text, dict) and text.get("format"):
        found["response_format"] = schema_format(text["format"])
    choice = fields.get("tool_choice")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        found["tool_choice"] = choice.get("mode")
    return found | ({"max_tokens": fields["max_output_tokens"]} if "max_output_tokens" in fields else {})


def _message(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item of the input: a message, a call, its result, reasoning; of others nothing is read."""
    kind = str(item.get("type", "message"))
    if "role" in item:
        return {"role": item["role"], "content": _parts(item.get("content"))}
    if kind.endswith("_call_output"):
        return {"role": "tool", "tool_call_id": item.get("call_id"), "content": _parts(item.get("output"))}
    if kind.endswith("_call"):
        arguments = item.get("arguments") if "arguments" in item else item.get("input")
        function = {"name": item.get("name"), "arguments": arguments}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}
    return {"role": "assistant", "content": None}


def _parts(content: object) -> object:
    """Parts of a content under chat's names."""
    if not isinstance(content, list):
        return content
    return [
        {**one, "type": _PARTS.get(str(one.get("type")), one.get("type"))} for one in content if isinstance(one, dict)
    ]


def _tool(tool: object) -> object:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"type": "function", "function": {name: tool.get(name) for name in ("name", "description", "parameters")}}


def check(fields: Fields) -> None:
    """Raise ApiError for what only a gateway that keeps answers could serve, and for no input."""
    if fields.get("background"):
        raise ApiError(
            400, f"background is not served; {_NOT_KEPT}, and wait for the answer.", code="unsupported_parameter"
        )
    if fields.get("conversation"):
        raise ApiError(400, f"conversation is not served; {_NOT_KEPT}.", code="unsupported_parameter")
    given = fields.get("input")
    if isinstance(given, str) or (given is None and fields.get("prompt")):
        return
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        raise ApiError(400, "input must be a text, or a list of objects that is not empty.")
    if any(one.get("type") == "item_reference" for one in given) and not fields.get("previous_response_id"):
        said = f"input has an item_reference; {_NOT_KEPT} (in most clients `store: false` does that)."
        raise ApiError(400, said, code="unsupported_parameter")


def begins(value: Any) -> bool:
    """True for an event after those that only announce an answer."""
    return not isinstance(value, dict) or str(value.get("type")) not in _BEFORE_THE_ANSWER


def failure(value: Any) -> str:
    """The error in an answer, in the event of a failed one, or in an error's own event."""
    if not isinstance(value, dict):
        return ""
    if value.get("type") == "error":
        return said_by(value.get("error") or value)
    inner = value.get("response")
    return said_by(value.get("error") or (inner.get("error") if isinstance(inner, dict) else None))


def says(value: Any) -> bool:
    """Whether there is an item beside reasoning; a message, with text or a refusal in it. Other events tell nothing."""
    if not isinstance(value, dict):
        return True
    output, item = value.get("output"), value.get("item")
    if isinstance(output, list):
        return any(map(_holds, output))
    return says_something(value.get("delta")) or (isinstance(item, dict) and _holds(item))


def _holds(item: object) -> bool:
    if not isinstance(item, dict) or item.get("type") not in ("message", "reasoning"):
        return True
    return item["type"] == "message" and says_something(item.get("content"))


def cut(value: Any) -> Cut:
    """What made a response incomplete."""
    found = value.get("response", value) if isinstance(value, dict) else {}
    if not isinstance(found, dict) or found.get("status") != "incomplete":
        return ""
    details = found.get("incomplete_details")
    limited = isinstance(details, dict) and details.get("reason") == "max_output_tokens"
    return "limit" if limited else "other"


def texts(value: Any) -> Iterable[object]:
    """Texts and arguments in a response, or in an event with a part of one; events that repeat a part are left out."""
    if not isinstance(value, dict):
        return []
    if isinstance(value.get("delta"), str):
        return [value["delta"]]
    output = value.get("output")
    items = [one for one in output if isinstance(one, dict)] if isinstance(output, list) else []
    parts = [
        part
        for item in items
        for name in ("content", "summary")
        if isinstance(item.get(name), list)
        for part in item[name]
        if isinstance(part, dict)
    ]
    return [
        *(part.get("text") for part in parts),
        *(item.get(name) for item in items for name in ("arguments", "input")),
    ]


def message(value: Any) -> Mapping[str, Any] | None:
    """The texts and the calls of the client's tools in a response."""
    output = value.get("output") if isinstance(value, dict) else None
    if not isinstance(output, list):
        return None
    items = [one for one in output if isinstance(one, dict)]
    calls = [one for one in items if one.get("type") == "function_call"]
    functions = [{"function": {"name": one.get("name"), "arguments": one.get("arguments")}} for one in calls]
    parts = [one for item in items if isinstance(item.get("content"), list) for one in item["content"]]
    said = [one.get("text") for one in parts if isinstance(one, dict) and one.get("type") == "output_text"]
    return {"content": "".join(map(text_or_none, said))} | ({"tool_calls": functions} if functions else {})


def part(value: Any) -> EventPart:
    """What an event adds to a response."""
    if not isinstance(value, dict):
        return EventPart()
    at, item, added = place_of(value.get("output_index")), value.get("item"), text_or_none(value.get("delta"))
    kind = str(value.get("type"))
    if kind == "response.output_item.added" and isinstance(item, dict) and item.get("type") == "function_call":
        return EventPart(calls=((at, text_or_none(item.get("name")), ""),))
    if kind == "response.function_call_arguments.delta":
        return EventPart(calls=((at, "", added),))
    return EventPart(added if kind == "response.output_text.delta" else "")


RESPONSES = Protocol(
    "responses",
    API_PATHS["responses"],
    _MEMBERS,
    as_chat=as_chat,
    check=check,
    begins=begins,
    failure=failure,
    texts=texts,
    stream_end=re.compile(rb'"type" *: *"response\.(?:completed|incomplete|failed)"'),
    long_end=True,
    answer_mark=b'"output"',
    error_body=openai_error,
    form_members=frozenset({"tools", "tool_choice", "text"}),
    says=says,
    cut=cut,
    text_mark=b'"output_text"',
    message=message,
    part=part,
    ordinary={"input": "Hello", "max_output_tokens": 16, "store": False},
    own_headers=API_HEADERS["responses"],
    effort=lambda effort: {"reasoning": {"effort": effort}} if effort else {},
    continues="previous_response_id",
    answer_id=re.compile(rb'"id" *: *"(resp[^"\\]{1,200})"'),
)
