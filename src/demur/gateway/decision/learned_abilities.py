"""What was learned of the weak model's abilities: by one process, or by all workers of a service, which share a file.

A worker that is started again goes on from what the file holds.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from demur.files import lock_file, write_whole

Kind = frozenset[str]


@dataclass(frozen=True, slots=True)
class Learned:
    """Kinds that were refused, and parts of kinds that were answered."""

    refused: Mapping[Kind, float] = field(default_factory=dict)  # until when it counts, of time.monotonic
    answered: frozenset[str] = frozenset()


class Lessons(Protocol):
    """Where what was learned is held."""

    def read(self) -> Learned: ...

    def change(self, step: Callable[[Learned], Learned]) -> None: ...


class OwnLessons:
    """In this process alone."""

    def __init__(self) -> None:
        self._learned = Learned()

    def read(self) -> Learned:
        """What was learned so far."""
        return self._learned

    def change(self, step: Callable[[Learned], Learned]) -> None:
        """Learn more."""
        self._learned = step(self._learned)


class SharedLessons:
    """In a file of all processes on this machine, which have one monotonic clock."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int] | None = None  # the file's place and time when it was read
        self._learned = Learned()

    def read(self) -> Learned:
        """See `OwnLessons`; the file is read when it has changed."""
        try:
            found = self._file.stat()
        except OSError:  # nothing was learned yet
            return self._learned
        seen = found.st_ino, found.st_mtime_ns
        if seen != self._seen:
            self._learned, self._seen = _parse(self._file.read_text(encoding="utf-8")), seen
        return self._learned

    def change(self, step: Callable[[Learned], Learned]) -> None:
        """See `OwnLessons`; nobody else learns meanwhile."""
        if step(self.read()) == self._learned:
            return
        with lock_file(self._file):
            write_whole(self._file, _to_json(step(self.read())), mode=0o600)


def _to_json(learned: Learned) -> str:
    refused = [[sorted(kind), until] for kind, until in learned.refused.items()]
    return json.dumps({"refused": refused, "answered": sorted(learned.answered)})


def _parse(text: str) -> Learned:
    found = json.loads(text)
    return Learned({frozenset(kind): until for kind, until in found["refused"]}, frozenset(found["answered"]))
