"""The prompts that were served and may be learned from, read from the ledger; and which of them were taken.

Only what the ledger keeps can be read: prompts are kept when learning is on, after redaction, and erased by age or key.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demur.files import write_whole
from demur.gateway.ledger.feedback import BetterAnswer, better_answers
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import LedgerRecord
from demur.gateway.settings import LearnSettings
from demur.prompts.pictures import count_pictures
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
    better: str = ""  # an answer that a client has called better than a served one


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


def graded_prompts(ledger: str, settings: LearnSettings) -> list[SeenPrompt]:
    """Prompts for which a client has given a better answer, and that may be learned from; oldest first, each once."""
    never = [re.compile(pattern) for pattern in settings.never]
    found: dict[str, SeenPrompt] = {}
    for one in better_answers(ledger):
        if _may_be_learned(one, settings, never) and not any(pattern.search(one.better) for pattern in never):
            id = content_hash(one.prompt)[:16]
            found[id] = SeenPrompt(id, one.prompt, one.at, one.key, one.answer, one.better)
    return list(found.values())


def with_graded(taken: Sequence[SeenPrompt], graded: Sequence[SeenPrompt], learn: LearnSettings) -> list[SeenPrompt]:
    """The chosen prompts with their better answers, and all other graded ones that can be sampled."""
    better, known = {one.id: one.better for one in graded}, {one.id for one in taken}
    new = [one for one in graded if one.id not in known and (one.answer or learn.shadow == "both")]
    return [*(replace(one, better=better.get(one.id, "")) for one in taken), *new]


def _may_be_learned(
    record: LedgerRecord | BetterAnswer, settings: LearnSettings, never: Sequence[re.Pattern[str]]
) -> bool:
    text = record.prompt.strip()
    if count_pictures(text):  # the ledger keeps their names: the question alone would be another
        return False
    if not text or len(text) > LONGEST_CHARACTERS or record.role == "direct" or record.key in settings.never_keys:
        return False
    return not any(pattern.search(text) for pattern in never)


def taken_prompts(folder: Path) -> list[SeenPrompt]:
    """The prompts that were chosen to learn from, in the order in which they were."""
    path = folder / TAKEN
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [_read_row(json.loads(line)) for line in lines]


def write_taken(folder: Path, prompts: Iterable[SeenPrompt]) -> None:
    """Keep the chosen prompts: before anything is paid for them. They are the owner's alone."""
    lines = (json.dumps(_row(one), ensure_ascii=False) + "\n" for one in prompts)
    write_whole(folder / TAKEN, "".join(lines), mode=0o600)


def _row(one: SeenPrompt) -> dict[str, Any]:
    """A row of the learning run's prompt file, in which ``answers`` are gold ones: of the two the better one is."""
    row = {"id": one.id, "prompt": one.prompt, "at": one.at, "key": one.key, "served": one.answer}
    return row | ({"answers": [one.better]} if one.better else {})


def _read_row(row: dict[str, Any]) -> SeenPrompt:
    served = row.get("served", row.get("answer", ""))  # answer: of earlier versions
    return SeenPrompt(row["id"], row["prompt"], row["at"], row["key"], served, *row.get("answers", []))
