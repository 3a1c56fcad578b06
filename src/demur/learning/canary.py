"""Does a router that is tried on a share of the traffic do harm there? By errors, feedback and belief. Pure.

It is rolled back where what it does is worse than elsewhere beyond chance (one test per look, each at `LEVEL`), and
serves all of the traffic once it has been tried for long enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

LEVEL = 0.01  # of either test
USUAL_ERRORS = 0.01  # share of errors that is not held against it, however few there are elsewhere


@dataclass(frozen=True, slots=True)
class Tried:
    """What became of requests, on the canary's share or elsewhere."""

    requests: int = 0
    errors: int = 0
    judged: int = 0  # by clients
    missed: int = 0  # of them, weak answers that were called bad


@dataclass(frozen=True, slots=True)
class CanaryStep:
    """What is to become of a canary."""

    step: Literal["wait", "promote", "roll back"]
    why: str


def judge_canary(
    canary: Tried, rest: Tried, *, seconds: float, at_least_seconds: float, at_least: int, missed_at_most: float
) -> CanaryStep:
    """Whether a canary is rolled back, promoted, or tried on; ``seconds``: since it began."""
    usual = max(USUAL_ERRORS, _share(rest.errors, rest.requests))
    if at_least_as_many(canary.errors, canary.requests, usual) < LEVEL:
        return CanaryStep(
            "roll back", f"{canary.errors} of its {canary.requests} requests failed, {usual:.1%} elsewhere"
        )
    allowed = max(missed_at_most, _share(rest.missed, rest.judged))
    if at_least_as_many(canary.missed, canary.judged, allowed) < LEVEL:
        said = f"{canary.missed} of its {canary.judged} judged answers were called bad, {allowed:.1%} are allowed"
        return CanaryStep("roll back", said)
    if canary.requests < at_least or seconds < at_least_seconds:
        return CanaryStep("wait", f"{canary.requests} of {at_least} requests on its share so far")
    return CanaryStep("promote", f"no harm seen in {canary.requests} requests on its share")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def at_least_as_many(found: int, n: int, share: float) -> float:
    """P(a binomial of n and ``share`` is ``found`` or more)."""
    if found <= 0 or share >= 1:
        return 1.0
    log = [
        math.lgamma(n + 1)
        - math.lgamma(k + 1)
        - math.lgamma(n - k + 1)
        + k * math.log(share)
        + (n - k) * math.log1p(-share)
        for k in range(found, n + 1)
    ]
    return min(1.0, math.fsum(map(math.exp, log)))
