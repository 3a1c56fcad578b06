"""Files written whole or not at all: a full disk, a kill or an error leaves what was there before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """A ``.part`` beside ``path`` to write to: it takes the path's place when the block ends well, else it goes."""
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str) -> None:
    """Write a UTF-8 text; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_whole(path) as part:
        part.write_text(text, encoding="utf-8")
