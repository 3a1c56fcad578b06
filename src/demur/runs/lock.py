"""An advisory lock on a run's folder, so that one command at a time works on it; the lock ends with the process."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from demur.errors import InputError

LOCK = "lock"
NAMED_SECONDS = 2.0  # after which the holder of a lock has surely written its name
TRIES, TRY_SECONDS = 5, 0.02  # whoever looks whether it is held holds it for a moment


@contextmanager
def lock_run(folder: Path, command: str) -> Iterator[None]:
    """Hold a run's lock for as long as the block lasts; raises InputError, with the process that holds it.

    File systems without locks are used without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:  # it stays: who removes it might remove another's
        if not _take(file):
            holder = _holder(folder / LOCK) or "another process"
            raise InputError(
                f"{folder}: {holder} is at work on this run, and `demur {command}` would do the same work twice; wait "
                "for it to end, or name another folder (`run` in a run file, elsewhere --run)"
            )
        file.truncate(0)
        file.write(f"`demur {command}` (process {os.getpid()})\n")
        file.flush()
        yield


def work_on(folder: Path) -> str:
    """The command that is at work on a run now, and its process; empty where none is."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(folder / LOCK)
    except OSError:  # no run, or a file system without locks
        pass
    return ""


def _take(file: TextIO) -> bool:
    """Whether the lock is ours now; True on a file system without locks."""
    for left in range(TRIES - 1, -1, -1):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(TRY_SECONDS if left else 0)
        except OSError:
            return True
        else:
            return True
    return False


def _holder(path: Path) -> str:
    """The process that holds the lock, as it recorded itself a moment after it took it; "" where it has not."""
    end = time.monotonic() + NAMED_SECONDS
    while not (name := path.read_text(encoding="utf-8").strip()) and time.monotonic() < end:
        time.sleep(0.02)
    return name
