"""What the gateway prints may be lost, and never fails what it was printed beside."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from typing import Any

LOST = (OSError, ValueError)  # the reader of a pipe is gone, the disk is full; the stream is closed


class LossyStream:
    """A text stream whose writes never raise: a text that cannot be written is lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Returns the length of the text, written or lost."""
        with suppress(*LOST):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write what is held back, if it can be written."""
        with suppress(*LOST):
            self._stream.flush()


@contextmanager
def lossy_output() -> Iterator[None]:
    """Within it, and in processes forked in it, nothing fails because nobody reads what is printed."""
    streams = sys.stdout, sys.stderr
    with redirect_stdout(LossyStream(streams[0])), redirect_stderr(LossyStream(streams[1])):
        try:
            yield
        finally:
            for stream in streams:
                _forget_unwritten(stream)


def _forget_unwritten(stream: Any) -> None:
    """Else Python writes it again when it exits, and ends with code 120."""
    try:
        stream.flush()
    except ValueError:
        return
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        with suppress(*LOST):
            os.dup2(nowhere, stream.fileno())
            stream.flush()
        os.close(nowhere)
