"""Which prompts and answers the ledger keeps: redacted, never those that the settings exclude, none unless asked."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable
from typing import Any

from demur.gateway.exchange import Exchange
from demur.gateway.settings import GatewaySettings, LearnSettings

log = logging.getLogger("demur.gateway")


def kept_prompt(text: str, key: str, settings: GatewaySettings, redact: Callable[[str], str]) -> str:
    """The prompt for the ledger; empty where it is not kept, and if redaction fails: the error could show it."""
    learn = settings.learn
    if not settings.record_prompts and learn is None:
        return ""
    excluded = learn and (key in learn.never_keys or any(re.search(pattern, text) for pattern in learn.never))
    if excluded and not settings.record_prompts:
        return ""
    try:
        return redact(text)
    except Exception as error:
        log.error("redact raised %s: the prompt is not kept", type(error).__name__)
        return ""


def kept_answer(exchange: Exchange, kept: str, settings: GatewaySettings, redact: Callable[[str], str]) -> str:
    """The strong model's answer for the ledger, where it is one that learning would sample; else empty.

    It answers the ``kept`` prompt alone, as it was sent and under the system message of the settings, whole, and no
    longer than a sample.
    """
    learn, question, whole = settings.learn, exchange.question, exchange.passed.whole
    if learn is None or not kept or question is None or whole is None or question.text != kept:
        return ""
    answered = exchange.answered
    if answered is None:
        return ""
    if answered.role != "strong" or question.kind or answered.tokens.completion > learn.max_tokens:
        return ""
    if not _asks_alone(question.body.raw, kept, learn):
        return ""
    try:
        return redact(_text(json.loads(whole)))
    except Exception as error:
        log.error("the answer is not kept: %s", type(error).__name__)
        return ""


def _asks_alone(raw: bytes, text: str, learn: LearnSettings) -> bool:
    """Is this request what learning would ask for this text?"""
    given, asked = json.loads(raw), learn.template.replace("{prompt}", text)
    if given.get("n") not in (None, 1):
        return False
    if not learn.chat:
        return bool(given.get("prompt") == asked)
    system = [{"role": "system", "content": learn.system}] if learn.system else []
    return bool(given.get("messages") == [*system, {"role": "user", "content": asked}])


def _text(answer: Any) -> str:
    """The text of a completion; empty for one that was cut or is none."""
    choice = answer["choices"][0]
    said = choice["message"]["content"] if "message" in choice else choice["text"]
    return said if choice["finish_reason"] == "stop" and isinstance(said, str) else ""
