"""The parts of OpenAI's protocol that a gateway reads: the model, the text to route, the form of errors. Pure
functions.

Bodies are passed on byte for byte apart from ``model``; fields that routing does not need are ignored.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from multidict import CIMultiDict

from demur.gateway.http.json_edit import Body, body_of

# None of these belongs to the next hop (RFC 9110, 7.6.1); lengths and encodings are set again by each sender.
HOP_HEADERS = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding"}
    | {"upgrade", "host", "content-length", "accept-encoding", "expect", "date", "server"}
)
# Whose account it is: a client's keys are for this gateway, an upstream's answer names our own account there.
ACCOUNT_HEADERS = frozenset(
    {"authorization", "api-key", "x-api-key", "cookie", "set-cookie", "openai-organization", "openai-project"}
    | {"anthropic-organization-id"}
)
# Headers between a browser and its host concern this gateway alone.
BROWSER_HEADERS = frozenset(
    {"origin", "referer", "alt-svc", "clear-site-data", "strict-transport-security", "timing-allow-origin"}
)
BROWSER_PREFIXES = ("access-control-", "cross-origin-", "sec-", "x-demur-")
# What is read of a request: an upstream must read the same.
READ_MEMBERS = frozenset(
    {"model", "messages", "prompt", "input", "stream", "n", "best_of", "tools", "functions", "logprobs", "seed"}
    | {"temperature", "top_p", "user", "max_tokens", "max_completion_tokens", "response_format"}
)
SHARE_ALIAS = re.compile(r"^demur@([0-9.]+)%$")
THRESHOLD_ALIAS = re.compile(r"^(?:demur@|router-[a-z0-9_]+-)([-+.0-9eE]+)$")


@dataclass(eq=False)  # not frozen: Python writes an exception's traceback
class ApiError(Exception):
    """An error in OpenAI's format."""

    status: int
    message: str
    kind: str = "invalid_request_error"
    code: str | None = None
    retry_after: int | None = None
    outcome: str = "refused"  # as the ledger has it

    @property
    def body(self) -> bytes:
        """As OpenAI's clients read it."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error}).encode()


def request_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The client's headers as an upstream may have them; the body is inflated by then, so its encoding goes too."""
    kept = _passing(headers)
    kept.popall("Content-Encoding", None)
    return kept


def response_headers(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """The upstream's headers as a client may have them."""
    return _passing(headers)


def _passing(headers: Mapping[str, str]) -> CIMultiDict[str]:
    """Headers that go on to the next hop; one that stands several times goes on several times."""
    kept = CIMultiDict([pair for pair in headers.items() if _passes(pair[0])])
    hop = headers.get("Connection")
    if hop:
        for name in hop.split(","):  # headers of this hop alone
            kept.popall(name.strip(), None)
    return kept


@lru_cache(1024)
def _passes(header: str) -> bool:
    name = header.lower()
    mine = name in HOP_HEADERS or name in ACCOUNT_HEADERS or name in BROWSER_HEADERS
    return not mine and not name.startswith(BROWSER_PREFIXES)


def parse_body(raw: bytes, read: Collection[str] = READ_MEMBERS) -> tuple[Body, dict[str, Any]]:
    """The request, read once, and its values; ``read``: members that are read of it. Raises ApiError 400."""
    try:
        body, fields = body_of(raw)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body must be a JSON object, in UTF-8.") from None
    _check_names(body, read)
    if not isinstance(fields.get("model"), str) or not fields["model"]:
        raise ApiError(400, "You must provide a model parameter, a string.")
    return body, fields


def _check_names(body: Body, read: Collection[str]) -> None:
    """Raise ApiError where an upstream could read another model or text than was decided on here.

    Of a repeated name some take the first value and some the last, some ignore case, and some do not undo escapes.
    """
    seen: set[str] = set()
    for span in body.spans:
        name = span.name.casefold()
        if name not in read:
            continue
        if name in seen:
            raise ApiError(400, f"{name!r} stands twice in the body; give it once.")
        if span.name != name or not span.plain:
            raise ApiError(400, f"A member of the body can be read as {name!r}; spell it so, without escapes.")
        seen.add(name)


def threshold_of(alias: str) -> float | None:
    """The threshold in ``demur@0.3`` or RouteLLM's ``router-mf-0.3``; None for another name."""
    found = THRESHOLD_ALIAS.match(alias)
    if not found:
        return None
    try:
        threshold = float(found.group(1))
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise ApiError(404, f"{alias[:80]!r} has no threshold that is a number.", code="model_not_found")
    return threshold


def share_of(alias: str) -> float | None:
    """The strong share in ``demur@30%``, a fraction; None for another name."""
    found = SHARE_ALIAS.match(alias)
    if not found:
        return None
    try:
        share = float(found.group(1)) / 100
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise ApiError(
            404, f"{alias[:80]!r} asks for a share that is not a number; give 0% to 100%.", code="model_not_found"
        )
    return share


def threshold_header(value: str) -> float:
    """The threshold in a request's header; raises ApiError 400."""
    try:
        threshold = float(value)
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise ApiError(400, f"x-demur-threshold {value[:40]!r} is not a number.")
    return threshold


def content_text(content: object) -> str:
    """The text of a message: a string, or the text parts of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (
        part.get("text") for part in parts if isinstance(part, dict) and part.get("type") in ("text", "input_text")
    )
    return "\n".join(text for text in texts if isinstance(text, str))


def model_entry(name: str, created: int) -> dict[str, object]:
    """One model, as GET /v1/models/NAME shows it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "demur"}


def model_list(names: Sequence[str], created: int) -> bytes:
    """GET /v1/models."""
    return json.dumps({"object": "list", "data": [model_entry(name, created) for name in names]}).encode()
