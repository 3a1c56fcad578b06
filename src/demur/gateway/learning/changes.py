"""Notices when the traffic or a model changes: alarms on what each finished request shows.

The reference is what arrives after a start or a reload; after an alarm it is what arrives next, and the same alarm is
silent until that has been steady: load that rises and falls all day is reported once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from demur.gateway.ledger.record import LedgerRecord
from demur.measure.drift import LEVEL, Watch

MOST_VERSIONS = 20  # of a model; an upstream that names another one each time names no version
SETTLED = 500  # values in a row without a change, after which an alarm that was said may be said again
OF_PROMPTS = "prompts"
REMEDY = {
    OF_PROMPTS: "If they are of another kind than the training prompts, sample and label new ones",
    "length": "If the provider has changed the model, compare its answers, and label again",
    "seconds": "Its endpoint may be under another load",
}


@dataclass(slots=True)
class _Alarm:
    """The alarm on one quantity: a watch, and for how many values it stays silent."""

    watch: Watch = field(default_factory=Watch)
    silent: int = 0

    def add(self, value: float) -> bool:
        """True where a change is to be reported. While silent, a change only begins a new reference."""
        changed = self.watch.add(value)
        said = changed and not self.silent
        if changed:
            self.watch.begin_again()
        self.silent = SETTLED if changed else max(0, self.silent - 1)
        return said


class Changes:
    """What is watched: scores of prompts; each model's lengths of answers, seconds to the first byte, and version."""

    def __init__(self) -> None:
        self._alarms: defaultdict[tuple[str, str], _Alarm] = defaultdict(_Alarm)
        self._versions: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, record: LedgerRecord) -> list[str]:
        """Take a finished request; returns a sentence for each alarm that it raises."""
        said = [_alarm_text(*name) for name, value in _watched_values(record) if self._alarms[name].add(value)]
        return [*said, *self._new_version(record)]

    def begin_again(self) -> None:
        """Begin new references with the next requests: another router serves."""
        self._alarms.clear()

    def _new_version(self, record: LedgerRecord) -> list[str]:
        """A sentence where an upstream names a model or build that it has not named before; the first is usual.

        Those that were named are remembered: a provider that serves two builds at once is not said at each turn.
        """
        known, named = self._versions[record.model], record.answered_by
        if record.outcome != "ok" or not record.model or not named or named in known or len(known) == MOST_VERSIONS:
            return []
        known.add(named)
        if len(known) == 1:
            return []
        return [f"a change: {record.model} now answers as {named!r}. {REMEDY['length']}."]


def _watched_values(record: LedgerRecord) -> Iterator[tuple[tuple[str, str], float]]:
    if record.stage == "prompt" and record.score is not None:  # the gate's score is of another kind
        yield (OF_PROMPTS, ""), record.score
    if record.outcome == "ok" and record.model:
        if record.completion_tokens and record.tokens_counted:
            yield ("length", record.model), record.completion_tokens
        yield ("seconds", record.model), record.first_byte_seconds


def _alarm_text(watched: str, model: str) -> str:
    what = {
        OF_PROMPTS: "recent prompts score differently from earlier ones",
        "length": f"recent answers of {model} differ in length from earlier ones",
        "seconds": f"{model} takes a different time to its first byte than earlier",
    }
    return (
        f"a change: {what[watched]}. {REMEDY[watched]}. Other prompts, clients, or load than before raise it as well; "
        f"without any change it comes about once in {LEVEL:,.0f} requests. This alarm "
        f"stays silent until {SETTLED} in a row are alike."
    )
