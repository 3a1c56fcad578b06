"""A client that asks the same again soon was not content: an implicit sign about the answer before.

Of texts that are asked over and over, as scripts do, only the first repetition is a sign.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from demur.gateway.ledger.record import LedgerRecord

WITHIN_SECONDS = 300.0
LARGEST = 10_000  # texts that are remembered


@dataclass(slots=True)
class AskedAgain:
    """What clients have asked lately, as hashes."""

    last: OrderedDict[int, tuple[str, float, int]] = field(default_factory=OrderedDict)  # (decision, when, times)

    def doubted_decision(self, record: LedgerRecord, text: str) -> str:
        """Take a finished request; the id of the decision that it casts doubt on, empty for none."""
        if record.role not in ("weak", "strong") or record.outcome not in ("ok", "fallback") or not text:
            return ""
        name = hash((record.key, record.conversation, text))
        before, at, times = self.last.pop(name, ("", 0.0, 0))
        soon = 0 <= record.at - at < WITHIN_SECONDS
        self.last[name] = record.id, record.at, times + 1 if soon else 1
        if len(self.last) > LARGEST:
            self.last.popitem(last=False)
        return before if soon and times == 1 else ""
