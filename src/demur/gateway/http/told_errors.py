"""What a client is told in place of an upstream's error that would blame the client, or would not say what to do."""

from __future__ import annotations

from dataclasses import replace

from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.protocols.openai import CHAT
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.api_errors import lacks_api, reason_in
from demur.gateway.upstreams.ask_upstreams import Sent

REFUSALS = (401, 403)  # a client's key never reaches an upstream, so both are about the gateway's own


def told_error(sent: Sent, protocol: Protocol, *, chats: bool) -> Sent:
    """What is sent to the client: the upstream's answer, or an error of ours in its place.

    The upstream's own text is left out of a 401 or 403: it is about the gateway's account, and may quote a part of its
    key. ``chats``: the model has answered a chat completion with this key.
    """
    answer = sent.answer
    if lacks_api(answer, protocol):
        error = ApiError(400, _lacking_message(sent, protocol), code="unsupported_api")
    elif answer.status in REFUSALS:
        error = ApiError(502, _refusal_message(sent, protocol, chats=chats), "upstream_error", "upstream_refused_key")
    else:
        return sent
    answer.close()
    return replace(sent, answer=replace(answer, whole=protocol.error_body(error), told=error.status))


def _lacking_message(sent: Sent, protocol: Protocol) -> str:
    reason, instead = reason_in(sent.answer.whole or b""), f"use /v1{CHAT.path}, or name" if protocol.writes else "name"
    answered = f"{sent.answer.status}{f', {reason}' if reason else ''}"
    return (
        f"The endpoint of {sent.model} lacks /v1{protocol.path} ({answered}); {instead} a model whose endpoint has it."
    )


def _refusal_message(sent: Sent, protocol: Protocol, *, chats: bool) -> str:
    refused, what = sent.answer.status, "refused the gateway's own key or account"
    if refused == 403 and chats and protocol is not CHAT:
        what = f"answers chat completions, but the gateway's own key or the model may not use /v1{protocol.path}"
    return (
        f"The upstream of {sent.model} {what} ({refused}). Your key for this gateway is not at fault; its operator has "
        "to look at the key of that upstream."
    )
