"""Which part of always-strong's cost the requests that one threshold has decided saved so far, with an interval.

The interval of a bill is of what its own requests saved. This one is compared with what is expected of a threshold, so
it also holds that other requests might have come: the residuals of a ratio estimator (Cochran, Sampling Techniques,
section 6.4).

An outage says nothing of a threshold. What was to go to the large model and could not counts as if it had, and saved
nothing; what was to go to the small model counts as if it had saved what the others of its kind did. A small model
whose answer is of no use (empty, say) is up: that recurs, and counts with what it cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from demur.gateway.ledger.read import query_ledger
from demur.gateway.ledger.record import DECIDED
from demur.gateway.ledger.totals.bills import INTERVAL, IS_OF_NO_USE

_WHICH = (
    f"threshold = ? and score is not null and role <> '{DECIDED}' and usd is not null and usd_strong is not null "
    "and at >= ?"
)
# Asked, and the weak model was up.
_WEAK_FIRST = f"(outcome <> 'fallback' and (role = 'weak' or stage = 'gate') or {IS_OF_NO_USE})"
_WEAK_DOWN = f"outcome = 'fallback' and role <> 'weak' and usd_spared = 0 and not ({IS_OF_NO_USE})"
_SAVED = f"case when {_WEAK_DOWN} then {{}} * usd_strong when usd_spared <> 0 then 0 else usd_strong - usd end"
_SUMS = (  # of rows whose `saved` is given
    "count(*)",
    "sum(saved)",
    "sum(usd_strong)",
    "sum(saved * saved)",
    "sum(saved * usd_strong)",
    "sum(usd_strong * usd_strong)",
    "min(saved)",
    "sum(usd_strong_error)",
    "sum(usd_strong_spread * usd_strong_spread)",
    "sum(case when usd_strong_error is null or usd_strong_spread is null then 1 else 0 end)",
)


@dataclass(frozen=True, slots=True)
class SavedSoFar:
    """What requests saved."""

    requests: int
    share: float  # of always-strong's cost; negative for a loss
    margin: float  # half of the 95 % interval of `share`
    loses: bool  # one of them cost more than the large model's answer would have


def saved_so_far(url: str, threshold: float, *, since: float = 0.0) -> SavedSoFar | None:
    """What the requests saved that were decided by this threshold and whose costs are known, from a time on (seconds
    since 1970); None where there are none, or the error of a guess is not known. Raises StoreError."""
    which = (threshold, since)
    weak = f"select sum(usd_strong - usd), sum(usd_strong) from decisions where {_WHICH} and {_WEAK_FIRST}"
    weak_saved, weak_strong = query_ledger(url, weak, which)[0]
    rate = float(weak_saved / weak_strong) if weak_strong else 0.0
    rows = f"select decisions.*, {_SAVED.format(repr(rate))} as saved from decisions where {_WHICH}"
    query = f"select {', '.join(_SUMS)} from ({rows}) as known"
    requests, saved, strong, *products, least, error, variance, unguarded = query_ledger(url, query, which)[0]
    if not requests or strong <= 0 or unguarded:
        return None
    share = saved / strong
    return SavedSoFar(
        int(requests),
        share,
        INTERVAL
        * math.hypot(
            _draw_error(share, strong, *products),
            (1 - share) * math.hypot(error, math.sqrt(variance)) / strong,
        ),
        least < 0,
    )


def _draw_error(share: float, strong: float, saved_squared: float, product: float, strong_squared: float) -> float:
    """Standard deviation of the share over which requests come.

    At least that of requests which save all or nothing, whatever they cost, counted with one more of each kind: the
    residuals of a few alone are too small, and none where all went to one model.
    """
    residuals = saved_squared - 2 * share * product + share * share * strong_squared
    effective = strong * strong / strong_squared  # as many requests of one cost tell as much
    balanced = min(1.0, max(0.0, (share * effective + 1) / (effective + 2)))
    return math.sqrt(max(residuals, balanced * (1 - balanced) * strong_squared)) / strong
