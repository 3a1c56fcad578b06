"""When a request is sent again, after how long, and why none was answered. Pure functions."""

from __future__ import annotations

import os
import random
import time
from email.utils import parsedate_to_datetime

import aiohttp

RETRIES = 5
TIMEOUTS = 2  # requests that may hang to the end, each of which may have been paid for
RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501, 505}
LONGEST_WAIT_SECONDS = 60.0


def backoff_seconds(attempt: int) -> float:
    """Exponential backoff with full jitter: about .5, 1, 2, 4 s at most."""
    return random.uniform(0.1, 0.5 * 2**attempt)


def retry_after(value: str | None) -> float | None:
    """Seconds in a Retry-After header, given as a number or a date; None for anything else."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(0.0, seconds) if seconds == seconds else None  # NaN is a number to Python


def reason_of(error: Exception) -> str:
    """Why no answer came, in the system's words where the connection could not be made."""
    if isinstance(error, aiohttp.ClientConnectorError):
        number, said = error.os_error.errno, error.os_error.strerror
        return os.strerror(number) if number and number > 0 else said or str(error.os_error)[:120]
    return str(error)[:120] or type(error).__name__
