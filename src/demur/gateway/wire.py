"""The OpenAI protocol as far as a gateway must read it: which model, which text, how errors look. Pure functions.

Bodies are passed on byte for byte apart from ``model``; what is not needed for routing is not looked at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# None of these belongs to the next hop (RFC 9110, 7.6.1); lengths and encodings are set anew.
HOP_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host", "content-length", "accept-encoding", "expect", "authorization", "date", "server"}
)
_DECODER = json.JSONDecoder()
THRESHOLD_ALIAS = re.compile(r"^(?:demur@|router-[a-z0-9_]+-)([0-9.]+)$")


@dataclass(frozen=True, slots=True)
class ApiError(Exception):
    """An error in OpenAI's format."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    retry_after: int | None = None

    @property
    def body(self) -> bytes:
        """As OpenAI's clients read it."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


def parse_body(raw: bytes) -> dict[str, Any]:
    """The request as a mapping; raises ApiError 400."""
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise ApiError(400, "The body must be a JSON object.")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise ApiError(400, "You must provide a model parameter, a string.")
    return body


def threshold_of(alias: str) -> float | None:
    """The threshold in ``demur@0.3`` or RouteLLM's ``router-mf-0.3``; None for another name."""
    found = THRESHOLD_ALIAS.match(alias)
    if not found:
        return None
    try:
        return float(found.group(1))
    except ValueError:
        raise ApiError(404, f"{alias!r} has no threshold that is a number.", code="model_not_found") from None


def with_model(raw: bytes, body: Mapping[str, Any], model: str) -> bytes:
    """The body with another model, every other byte as it was (rewritten only where the place is ambiguous)."""
    if body["model"] == model:
        return raw
    old = re.compile(rb'("model"\s*:\s*)' + re.escape(json.dumps(body["model"], ensure_ascii=False).encode()))
    if len(old.findall(raw)) == 1:
        return old.sub(lambda found: found.group(1) + json.dumps(model).encode(), raw)
    return json.dumps({**body, "model": model}, ensure_ascii=False).encode()


def routed_text(body: Mapping[str, Any], context_characters: int) -> str:
    """What is routed: the last user text, after at most so many characters of the conversation before it.

    Legacy completions: the prompt. Empty when there is no text (images alone). Raises ApiError 400 for no messages.
    """
    if "prompt" in body and "messages" not in body:
        prompt = body["prompt"]
        first = prompt[0] if isinstance(prompt, list) and prompt else prompt
        return first if isinstance(first, str) else ""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages or not all(isinstance(one, dict) for one in messages):
        raise ApiError(400, "messages must be a list of objects that is not empty.")
    turns = [(one.get("role"), content_text(one.get("content"))) for one in messages]
    last = next((i for i in reversed(range(len(turns))) if turns[i][0] == "user"), None)
    if last is None:
        return turns[-1][1]
    before = "\n".join(text for role, text in turns[:last] if role in ("user", "assistant") and text)
    window = before[-context_characters:] if context_characters else ""
    return f"{window}\n{turns[last][1]}" if window and turns[last][1] else turns[last][1]


def content_text(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (
        part.get("text") for part in parts if isinstance(part, dict) and part.get("type") in ("text", "input_text")
    )
    return "\n".join(text for text in texts if isinstance(text, str))


def conversation_of(body: Mapping[str, Any], header: str | None) -> str | None:
    """What names a conversation with more than one turn: the header, or a hash of user and first turns; else None."""
    messages = body.get("messages")
    if header:
        return f"header {header}"
    if not isinstance(messages, list):
        return None
    firsts: list[object] = [body.get("user")]
    for message in messages:
        firsts.append((message.get("role"), message.get("content")))
        if message.get("role") == "user":
            break
    return hashlib.sha256(json.dumps(firsts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def turns(body: Mapping[str, Any]) -> int:
    """User messages of the conversation; 1 for a legacy completion."""
    messages = body.get("messages")
    return sum(one.get("role") == "user" for one in messages) if isinstance(messages, list) else 1


def usage_of(tail: bytes, streamed: bool) -> tuple[int, int] | None:
    """(prompt, completion) tokens in the end of a response, streamed or not; None when it does not say."""
    at = tail.rfind(b'"usage"')
    while at >= 0:
        start = tail.find(b"{", at)
        found = _object_at(tail, start) if start >= 0 else None
        if found and ("prompt_tokens" in found or "total_tokens" in found):
            return int(found.get("prompt_tokens") or 0), int(found.get("completion_tokens") or 0)
        at = tail.rfind(b'"usage"', 0, at)
    return None


def _object_at(data: bytes, start: int) -> dict[str, Any] | None:
    try:
        found, _ = _DECODER.raw_decode(data[start:].decode("utf-8", "replace"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def model_list(names: Sequence[str], created: int) -> bytes:
    """GET /v1/models."""
    data = [{"id": name, "object": "model", "created": created, "owned_by": "demur"} for name in names]
    return json.dumps({"object": "list", "data": data}).encode()
