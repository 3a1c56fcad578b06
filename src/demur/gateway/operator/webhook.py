"""Posts what the operator should know to a URL of theirs: alarms, promotions, roll-backs."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request

from demur.errors import InputError
from demur.gateway.settings import GatewaySettings

SECONDS = 5.0  # longest wait for the answer


def check_webhook(settings: GatewaySettings) -> None:
    """Raise InputError where a webhook is named and there is no URL."""
    name = settings.webhook_env
    if name and not os.environ.get(name, "").startswith(("http://", "https://")):
        raise InputError(f"webhook_env names {name}, which holds no URL; export {name}=https://...")


def tell(settings: GatewaySettings, event: str, text: str) -> None:
    """Post ``{"event", "text", "at"}`` where the settings name a URL; what fails is said on stderr, without the URL."""
    url = os.environ.get(settings.webhook_env, "") if settings.webhook_env else ""
    if not url.startswith(("http://", "https://")):
        return
    body = json.dumps({"event": event, "text": f"demur: {text}", "at": time.time()}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS):
            pass
    except Exception as error:  # its text may hold the URL, which is a secret
        print(f"demur: the webhook of {settings.webhook_env} does not answer ({type(error).__name__})", file=sys.stderr)
