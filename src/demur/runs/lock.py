"""An advisory lock on a run's folder, so that one command at a time works on it; the lock ends with the process."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demur.errors import InputError

LOCK = "lock"
NAMED_SECONDS = 2.0  # after which the holder of a lock has surely written its name


@contextmanager
def lock_run(folder: Path, command: str) -> Iterator[None]:
    """Hold a run's lock for as long as the block lasts; raises InputError, with the process that holds it.

    File systems without locks are used without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:  # it stays: who removes it might remove another's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(folder / LOCK) or "another process"
            raise InputError(
                f"{folder}: {holder} is at work on this run, and `demur {command}` would do the same work twice; wait "
                "for it to end, or name another folder (`run` in a run file, elsewhere --run)"
            ) from None
        except OSError:
            pass
        file.truncate(0)
        file.write(f"`demur {command}` (process {os.getpid()})\n")
        file.flush()
        yield


def _holder(path: Path) -> str:
    """The process that holds the lock, as it recorded itself a moment after it took it; "" where it has not."""
    end = time.monotonic() + NAMED_SECONDS
    while not (name := path.read_text(encoding="utf-8").strip()) and time.monotonic() < end:
        time.sleep(0.02)
    return name
