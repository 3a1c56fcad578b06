"""The APIs that are served, and which of them a request's path belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from demur.gateway.protocols.messages import COUNT_TOKENS, MESSAGES
from demur.gateway.protocols.openai import CHAT, COMPLETIONS, EMBEDDINGS
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.protocols.responses import RESPONSES

PROTOCOLS = (CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, COUNT_TOKENS, RESPONSES)
ROUTES = f"POST {', '.join(f'/v1{one.path}' for one in PROTOCOLS)}, /v1/decide, GET /v1/models"


def protocol_of(path: str, headers: Mapping[str, str]) -> Protocol:
    """The API whose clients ask at this path; where it is none, that of clients which send these headers."""
    below = path.removeprefix("/v1")
    found = next((one for one in PROTOCOLS if below == one.path), None)
    return found or (MESSAGES if "anthropic-version" in headers or below.startswith(MESSAGES.path) else CHAT)
