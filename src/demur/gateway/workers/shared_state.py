"""State that the workers of one service share, in files of a temporary folder: rates and accounts of keys, and each
worker's counts.

If a worker is killed, at most the last second of its counts is lost, and its successor continues them; what was
reserved for its requests is released.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import shutil
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from demur.gateway.clients.accounts import Step
from demur.gateway.clients.budgets import Spent
from demur.gateway.clients.keys import draw_from_bucket
from demur.gateway.decision.learned_abilities import SharedLessons

SLOTS, NOBODY = 2**14, bytes(16)  # keys at most
BUCKET = "dd"  # requests left, when that was (monotonic seconds)
ACCOUNT = "dddd"  # USD that a key has spent: ever, this month, today; and when that was (seconds since 1970)
BEAT, MOST_WORKERS = struct.Struct("<d"), 4096
FOLDER, HELD = "demur-workers-", "held"
NEW_SECONDS = 60.0  # a folder without its lock may just have been made


def map_file(file: Path, size: int) -> mmap.mmap:
    """Memory shared by all processes that map the same file of this many bytes; new bytes are zero."""
    with os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as opened:
        opened.truncate(size)
        return mmap.mmap(opened.fileno(), size)


class Beats:
    """The last sign of life of each worker (monotonic seconds), in a file that all of a service share."""

    def __init__(self, file: Path) -> None:
        self._all = map_file(file, MOST_WORKERS * BEAT.size)

    def beat(self, number: int) -> None:
        """Record a sign of life of the worker of this number."""
        BEAT.pack_into(self._all, number % MOST_WORKERS * BEAT.size, time.monotonic())

    def last(self, number: int) -> float:
        """Its last sign of life; 0 if there was none."""
        return float(BEAT.unpack_from(self._all, number % MOST_WORKERS * BEAT.size)[0])


class SharedTable:
    """A row of numbers per key, zeros at first, for all processes that open the same file."""

    def __init__(self, file: Path, row: str) -> None:
        self._row = struct.Struct(f"<16s{row}")  # the hash of a key's name before its numbers
        self._rows = map_file(file, SLOTS * self._row.size)
        self._file = os.open(file, os.O_RDONLY)  # flock is released by the system when its holder is killed
        self._thread = threading.Lock()  # flock does not hold between the threads of a process

    def read(self, name: str) -> tuple[float, ...]:
        """The numbers of a key."""
        with self._alone():
            return self._find_row(name)[1]

    def change(self, name: str, step: Callable[[tuple[float, ...]], tuple[float, ...]]) -> None:
        """Replace the numbers of a key while no other process reads or changes any; not if the step raises."""
        with self._alone():
            at, numbers = self._find_row(name)
            self._row.pack_into(self._rows, at, _hash(name), *step(numbers))

    def change_all(self, step: Callable[[tuple[float, ...]], tuple[float, ...]]) -> None:
        """The same of every key."""
        with self._alone():
            for at in range(0, SLOTS * self._row.size, self._row.size):
                owner, *numbers = self._row.unpack_from(self._rows, at)
                if owner != NOBODY:
                    self._row.pack_into(self._rows, at, owner, *step(tuple(numbers)))

    def _find_row(self, name: str) -> tuple[int, tuple[float, ...]]:
        """The place of a key's row and its numbers: at its hash or the next free place; at its hash if none is free."""
        wanted = _hash(name)
        first = int.from_bytes(wanted[:4], "little")
        for i in range(SLOTS):
            at = (first + i) % SLOTS * self._row.size
            owner, *numbers = self._row.unpack_from(self._rows, at)
            if owner in (wanted, NOBODY):
                return at, tuple(numbers)
        return first % SLOTS * self._row.size, tuple(0.0 for _ in numbers)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._thread:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:16]


class SharedBuckets:
    """A bucket of requests per key, for all processes that open the same file."""

    def __init__(self, file: Path) -> None:
        self._table = SharedTable(file, BUCKET)

    def take(self, name: str, per_minute: int) -> float:
        """See `keys.Take`."""
        waits = []

        def step(held: tuple[float, ...]) -> tuple[float, ...]:
            now, (left, since) = time.monotonic(), held
            left, wait = draw_from_bucket((left, since) if since else None, per_minute, now)
            waits.append(wait)
            return left, now

        self._table.change(name, step)
        return waits[0]


class SharedAccounts:
    """Accounts of keys, for the ``count`` processes that open the same file, each by its ``number``; see `Accounts`."""

    def __init__(self, file: Path, number: int, count: int) -> None:
        self._table, self._own = SharedTable(file, ACCOUNT + "d" * count), len(ACCOUNT) + number
        self._table.change_all(lambda row: self._with_reserved(row, 0.0))  # of the process that had this number before

    def read(self, name: str) -> tuple[Spent, float]:
        """See `Accounts`."""
        return _account(self._table.read(name))

    def change(self, name: str, step: Step) -> None:
        """See `Accounts`."""

        def change_row(row: tuple[float, ...]) -> tuple[float, ...]:
            spent, more = step(*_account(row))
            after = (spent.ever, spent.month, spent.day, spent.at, *row[len(ACCOUNT) :])
            return self._with_reserved(after, max(0.0, row[self._own] + more))

        self._table.change(name, change_row)

    def _with_reserved(self, row: tuple[float, ...], usd: float) -> tuple[float, ...]:
        return (*row[: self._own], usd, *row[self._own + 1 :])


def _account(row: tuple[float, ...]) -> tuple[Spent, float]:
    return Spent(*row[: len(ACCOUNT)]), sum(row[len(ACCOUNT) :])


class Board:
    """A folder in which each of ``count`` workers writes its counts, so that any of them can report the sum."""

    def __init__(self, folder: Path, number: int, count: int) -> None:
        self.folder, self._number, self.count = folder, number, count
        self.buckets = SharedBuckets(folder / "rates")
        self.accounts = SharedAccounts(folder / "accounts", number, count)
        self.lessons = SharedLessons(folder / "abilities")
        self._beats = beats_of(folder)
        self._told_down: Sequence[str] = ()
        (folder / f"{number}.down").unlink(missing_ok=True)  # of the worker that had this number before

    @property
    def first(self) -> bool:
        """Is this the worker that says what all of them would say?"""
        return self._number == 0

    def hour_file(self) -> Path:
        """The file of this worker's last hour."""
        return self.folder / f"{self._number}.hour"

    def hours(self) -> list[Path]:
        """The files of every worker's last hour."""
        return sorted(self.folder.glob("*.hour"))

    def beat(self) -> None:
        """Record a sign of life of this worker."""
        self._beats.beat(self._number)

    def put(self, counted: dict[str, Any]) -> None:
        """Write this worker's counts so far."""
        part = self.folder / f"{self._number}.part"
        part.write_text(json.dumps(counted), encoding="utf-8")
        part.replace(self.folder / f"{self._number}.json")

    def before(self) -> dict[str, Any] | None:
        """The counts of the previous worker of this number."""
        return next(self._read(f"{self._number}.json"), None)

    def tell_down(self, models: Sequence[str]) -> None:
        """Tell the other workers which models this one finds down."""
        if models != self._told_down:
            part = self.folder / f"{self._number}.down-part"
            part.write_text(json.dumps(models), encoding="utf-8")
            part.replace(self.folder / f"{self._number}.down")
            self._told_down = models

    def reported_down(self) -> dict[str, frozenset[str]]:
        """Which models each of the other workers finds down."""
        files = [self.folder / f"{number}.down" for number in range(self.count) if number != self._number]
        return {file.name: frozenset(json.loads(file.read_text(encoding="utf-8"))) for file in files if file.is_file()}

    def others(self) -> list[dict[str, Any]]:
        """The counts of the other workers."""
        names = (file.name for file in self.folder.glob("*.json"))
        return [found for name in names if name != f"{self._number}.json" for found in self._read(name)]

    def _read(self, name: str) -> Iterator[dict[str, Any]]:
        file = self.folder / name
        if file.is_file():
            yield json.loads(file.read_text(encoding="utf-8"))


def beats_of(folder: Path) -> Beats:
    """The signs of life of the workers that share this folder."""
    return Beats(folder / "beats")


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder for the workers of one service; it goes at the end, and those of services that were killed go now.

    A lock tells them apart: it ends with the last process that has the folder in use, however that ends.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{FOLDER}*"):
        with suppress(OSError):  # in use, or another user's
            _remove_if_left(left)
    with tempfile.TemporaryDirectory(prefix=FOLDER) as name:
        held = os.open(Path(name) / HELD, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(name)
        finally:
            os.close(held)


def _remove_if_left(folder: Path) -> None:
    """Remove a folder that is no longer used; raises OSError where it is in use."""
    found = folder.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
        return
    if not (folder / HELD).exists():
        if time.time() - found.st_mtime > NEW_SECONDS:
            shutil.rmtree(folder)
        return
    lock = os.open(folder / HELD, os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder)
    finally:
        os.close(lock)
