"""Which prompts the ledger keeps, and how: after redaction, never those of the settings, none where nothing asks."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable

from demur.gateway.settings import GatewaySettings

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
