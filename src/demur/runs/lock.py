"""An advisory lock on a run's folder, so that one command at a time works on it; the lock ends with the process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demur.errors import InputError

LOCK = "lock"


@contextmanager
def locked(folder: Path, command: str) -> Iterator[None]:
    """Hold a run's lock for as long as the block lasts; raises InputError, with the process that holds it.

    File systems without locks are used without one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+", encoding="utf-8") as file:  # it stays: who removes it might remove another's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise InputError(
                f"{folder}: {file.read().strip() or 'another process'} is at work on this run, and `demur {command}` "
                "would do the same work twice; wait for it to end, or name another folder with --run"
            ) from None
        except OSError:
            pass
        file.truncate(0)
        file.write(f"`demur {command}` (process {os.getpid()})\n")
        file.flush()
        yield
