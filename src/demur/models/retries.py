"""When a request is sent again, and after how long. Pure functions."""

from __future__ import annotations

import random

RETRIES = 5
TIMEOUTS = 2  # requests that may hang to the end, each of which may have been paid for
RETRIED = frozenset({408, 409, 425, 429, *range(500, 600)}) - {501, 505}
LONGEST_WAIT_SECONDS = 60.0


def backoff_seconds(attempt: int) -> float:
    """Exponential backoff with full jitter: about .5, 1, 2, 4 s at most."""
    return random.uniform(0.1, 0.5 * 2**attempt)


def retry_after(value: str | None) -> float | None:
    """The seconds of a Retry-After header; None without one, or for a date: our own backoff will do."""
    try:
        return max(0.0, float(value)) if value else None
    except ValueError:
        return None
