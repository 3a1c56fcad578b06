"""The APIs that a model's endpoint can speak: where each is served, and how an endpoint shows that it speaks one.

An empty request costs nothing: an endpoint that serves the path refuses it, another one knows no such path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal, get_args

Api = Literal["chat", "completions", "embeddings", "messages", "count_tokens", "responses"]

# Below an endpoint's base URL.
API_PATHS: Mapping[Api, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "messages": "/messages",
    "count_tokens": "/messages/count_tokens",
    "responses": "/responses",
}
_JSON = {"Content-Type": "application/json"}
_ANTHROPIC = _JSON | {"anthropic-version": "2023-06-01"}
# What a request of each must have.
API_HEADERS: Mapping[Api, Mapping[str, str]] = {
    api: _ANTHROPIC if api in ("messages", "count_tokens") else _JSON for api in get_args(Api)
}
EMPTY = b"{}"


def speaks(status: int, body: bytes) -> bool:
    """Whether this answer to an empty request is that of an endpoint which serves the path."""
    return not is_no_such_api(status, body) and not (200 <= status < 300 and _is_error(body))


def is_no_such_api(status: int, body: bytes) -> bool:
    """Whether an error says that the path is not served; a 404 whose body speaks of a model is about its name."""
    return status in (405, 501) or (status == 404 and b"model" not in body.lower())


def _is_error(body: bytes) -> bool:
    """True for JSON with an error in it: some endpoints report an unknown path with status 200."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value.get("error"))
