"""How a version enters service: first on a share of the traffic (a canary), then on all of it, or it is rolled back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from demur.errors import StoreError
from demur.gateway.ledger.totals.tried_versions import feedback_of_versions, requests_of_versions
from demur.gateway.operator.webhook import tell
from demur.gateway.settings import GatewaySettings, LearnSettings
from demur.learning.canary import Tried, judge_canary
from demur.learning.versions import Version, canary, end_canary, promote, record_outcome, try_canary, versions


def begin(settings: GatewaySettings, version: Version, why: str) -> str:
    """Let a version that was found better be tried on the share of the settings, or serve at once without one."""
    learn = settings.learn or LearnSettings()
    folder, said = Path(learn.folder), f"version {version.number} is {why}"
    if not learn.canary:
        record_outcome(folder, version, "", promoted=True)
        promote(folder, version.number)
        tell(settings, "promoted", said)
        return said
    try_canary(folder, version.number)
    tried = f"{said}; it is tried on {learn.canary:.0%} of the conversations"
    tell(settings, "tried", tried)
    return tried


def watch_canary(
    settings: GatewaySettings, since: float, now: float, objection: Callable[[int], str] = lambda number: ""
) -> str:
    """Promote the canary, roll it back, or let it be tried on; what it came to, empty without one.

    ``objection``: why graded prompts object to a version, empty where they do not; asked before it serves all of the
    traffic. What is decided is written down before it is done: a round that is killed in between comes to it again.
    """
    learn = settings.learn or LearnSettings()
    folder = Path(learn.folder)
    number = canary(folder)
    version = next((one for one in versions(folder) if one.number == number), None)
    if version is None:
        end_canary(folder)  # its folder was deleted
        return ""
    on_share, rest = _trial_outcomes(settings.ledger, since, version.number)
    outcome = judge_canary(
        *(on_share, rest),
        seconds=now - since,
        at_least_seconds=learn.canary_seconds,
        at_least=learn.canary_requests,
        missed_at_most=learn.missed_at_most,
    )
    said = f"version {version.number} is a canary: {outcome.why}"
    if outcome.step == "wait":
        return said
    if outcome.step == "roll back":
        return roll_back(settings, version, outcome.why)
    if objected := objection(version.number):
        return roll_back(settings, version, objected)
    record_outcome(folder, version, outcome.why, promoted=True)
    promote(folder, version.number)
    end_canary(folder)
    said = f"version {version.number} serves now: {outcome.why}"
    tell(settings, "promoted", said)
    return said


def roll_back(settings: GatewaySettings, version: Version, why: str) -> str:
    """End the canary's trial."""
    folder = Path((settings.learn or LearnSettings()).folder)
    record_outcome(folder, version, why, promoted=False)
    end_canary(folder)
    said = f"version {version.number} was rolled back: {why}"
    tell(settings, "rolled back", said)
    return said


def _trial_outcomes(ledger: str, since: float, number: int) -> tuple[Tried, Tried]:
    """What became of the canary's requests, and of all others."""
    try:
        requests, feedback = requests_of_versions(ledger, since), feedback_of_versions(ledger, since)
    except StoreError:
        return Tried(), Tried()
    found = {one: Tried(*requests.get(one, (0, 0)), *feedback.get(one, (0, 0))) for one in {*requests, *feedback}}
    rest = [one for name, one in found.items() if name != number]
    sums = (sum(getattr(one, name) for one in rest) for name in ("requests", "errors", "judged", "missed"))
    return found.get(number, Tried()), Tried(*sums)
