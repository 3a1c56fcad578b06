"""Errors of an upstream that are about one API, and neither about the gateway's account nor about the model's name."""

from __future__ import annotations

import json

from demur.gateway.protocols.openai import CHAT, said_by
from demur.gateway.protocols.protocol import Protocol
from demur.gateway.upstreams.answers.answer import Answer
from demur.models.apis import is_no_such_api


def lacks_api(answer: Answer, protocol: Protocol) -> bool:
    """Whether an answer says that there is no such API.

    A 404 with a reason is not taken for that: it may be about an answer or a file that the request names.
    """
    body = answer.whole or b""
    absent = protocol is not CHAT and is_no_such_api(answer.status, body)
    return absent and not (answer.status == 404 and reason_in(body))


def is_of_api(answer: Answer, protocol: Protocol, *, chats: bool) -> bool:
    """Whether an error is about this API alone. ``chats``: the model has answered a chat completion with this key."""
    if protocol is CHAT:
        return False
    if answer.status == 404:  # a model that writes may not embed
        return chats or not protocol.writes or b"model" not in (answer.whole or b"").lower()
    return lacks_api(answer, protocol) or (answer.status == 403 and chats)


def operator_advice(answer: Answer, protocol: Protocol) -> str:
    """What to tell the operator of an error about one API alone; empty where its reason tells the client enough."""
    if lacks_api(answer, protocol):
        return "its endpoint lacks this API (`demur doctor` lists what it speaks)"
    if answer.status == 403:
        return "it answers chat completions, so its key or its model may not use this API"
    return ""


def reason_in(body: bytes) -> str:
    """The message of an upstream's error; empty where there is none."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return said_by(value.get("error")) if isinstance(value, dict) else ""
