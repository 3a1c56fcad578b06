"""What became of the requests of each learned version, from a ledger."""

from __future__ import annotations

from demur.errors import StoreError
from demur.gateway.ledger.read import query_ledger

FAILED = "(decisions.status >= 500 or decisions.outcome in ('upstream_error', 'failed'))"
ROUTED = "decisions.role in ('weak', 'strong') and decisions.at >= {since!r}"


def requests_of_versions(url: str, since: float) -> dict[int, tuple[int, int]]:
    """Version -> (requests, those that failed), of requests since a time (seconds since 1970) that demur routed."""
    failed = f"sum(case when {FAILED} then 1 else 0 end)"
    rows = query_ledger(
        url, f"select version, count(*), {failed} from decisions where {ROUTED.format(since=since)} group by version"
    )
    return {int(version): (int(requests), int(failed)) for version, requests, failed in rows}


def feedback_of_versions(url: str, since: float) -> dict[int, tuple[int, int]]:
    """Version -> (answers that clients judged, weak ones that were called bad) of the same requests."""
    missed = "sum(case when decisions.role = 'weak' and feedback.verdict = 'bad' then 1 else 0 end)"
    join = 'feedback join decisions on decisions.id = feedback.id and decisions."key" = feedback."key"'
    given = f"{ROUTED.format(since=since)} and feedback.source = 'client'"  # signs are only ever bad
    query = f"select version, count(*), {missed} from {join} where {given} group by version"
    try:
        return {int(version): (int(judged), int(missed)) for version, judged, missed in query_ledger(url, query)}
    except StoreError:  # no feedback was given yet
        return {}
