"""Which router and threshold have decided, as a few digits that every process and machine computes alike."""

from __future__ import annotations

import json
from hashlib import blake2b

from demur.gate.router import Router


def router_identity(router: Router) -> str:
    """16 hexadecimal digits of all that a router's choice depends on beside the prompt.

    It is the same after a restart and in every replica. Its training prompts' held-out scores stand for what it has
    learned: weights that differ give other scores.
    """
    return _digits(router, router.prompt_router.threshold)


def trained_identity(router: Router) -> str:
    """The same, whatever its threshold."""
    return _digits(router, None)


def _digits(router: Router, threshold: float | None) -> str:
    first = router.prompt_router
    settings = [first.weak, first.strong, threshold, first.on_unknown, router.checks, dict(first.record)]
    told = json.dumps(settings, sort_keys=True, default=str).encode()
    return blake2b(told + first.training_scores.tobytes(), digest_size=8).hexdigest()
