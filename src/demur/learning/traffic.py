"""The prompts that were served and may be learned from, read from the ledger; and which of them were taken.

Only what the ledger keeps can be read: prompts are kept when learning is on, after redaction, and erased by age or key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from demur.files import write_whole
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.settings import LearnSettings
from demur.records import content_hash

TAKEN = "prompts.jsonl"
LONGEST_CHARACTERS = 8_000  # of a prompt that is learned from


@dataclass(frozen=True, slots=True)
class SeenPrompt:
    """A prompt that was served."""

    id: str  # a hash of its text: the same question twice is one
    prompt: str
    at: float  # seconds since 1970, of the first time
    key: str  # name of the client's key
    answer: str = ""  # the strong model's, where it was served one that learning would have sampled


def seen_prompts(ledger: str, settings: LearnSettings, since: float) -> list[SeenPrompt]:
    """Prompts that were routed after ``since`` and may be learned from, oldest first, each text once."""
    never = [re.compile(pattern) for pattern in settings.never]
    found: dict[str, SeenPrompt] = {}
    for record in reversed(read_ledger(ledger, last=None, since=since)):
        if _may_be_learned(record, settings, never):
            id = content_hash(record.prompt)[:16]
            first = found.setdefault(id, SeenPrompt(id, record.prompt, record.at, record.key))
            found[id] = replace(first, answer=first.answer or record.answer)
    return list(found.values())


def _may_be_learned(record: LedgerRecord, settings: LearnSettings, never: Sequence[re.Pattern[str]]) -> bool:
    text = record.prompt.strip()
    if not text or len(text) > LONGEST_CHARACTERS or record.role == "direct" or record.key in settings.never_keys:
        return False
    return not any(pattern.search(text) for pattern in never)


def taken_prompts(folder: Path) -> list[SeenPrompt]:
    """The prompts that were chosen to learn from, in the order in which they were."""
    path = folder / TAKEN
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [SeenPrompt(**json.loads(line)) for line in lines]


def write_taken(folder: Path, prompts: Iterable[SeenPrompt]) -> None:
    """Keep the chosen prompts: before anything is paid for them. They are the owner's alone."""
    lines = (json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in prompts)
    write_whole(folder / TAKEN, "".join(lines), mode=0o600)
