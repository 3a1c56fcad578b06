"""State that the workers of one service share, in files of a temporary folder: rates of keys, and each worker's counts.

If a worker is killed, at most its last second is lost; its successor continues its counts.
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
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from demur.gateway.keys import draw_from_bucket

SLOT, SLOTS = struct.Struct("<16sdd"), 4096  # hash of a key's name, requests left, when that was (monotonic seconds)
NOBODY = bytes(16)
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


class SharedBuckets:
    """A bucket of requests per key, for all processes that open the same file."""

    def __init__(self, file: Path) -> None:
        self._slots = map_file(file, SLOTS * SLOT.size)
        self._lock = os.open(file, os.O_RDONLY)  # flock is released by the system when its holder is killed

    def take(self, name: str, per_minute: int) -> float:
        """See `keys.Take`."""
        wanted = hashlib.sha256(name.encode()).digest()[:16]
        with self._alone():
            now, at = time.monotonic(), self._place(wanted)
            found, left, since = SLOT.unpack_from(self._slots, at)
            left, wait = draw_from_bucket((left, since) if found == wanted else None, per_minute, now)
            SLOT.pack_into(self._slots, at, wanted, left, now)
        return wait

    def _place(self, wanted: bytes) -> int:
        """The place of a key's bucket: at its hash or the next free place; at its hash if none is free."""
        first = int.from_bytes(wanted[:4], "little")
        for i in range(SLOTS):
            at = (first + i) % SLOTS * SLOT.size
            if self._slots[at : at + 16] in (wanted, NOBODY):
                return at
        return first % SLOTS * SLOT.size

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)


class Board:
    """A folder in which each worker writes its counts, so that any of them can report the sum."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self._number = folder, number
        self.buckets = SharedBuckets(folder / "rates")
        self._beats = beats_of(folder)

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
