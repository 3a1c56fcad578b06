"""Reads rows of the files at a URL (s3://, gs://, hdfs://, hf://, file://), by pyarrow: of one file, or a folder's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from demur.errors import InputError, require
from demur.prompts.rows import Row, read_rows

ENDINGS = (".jsonl", ".jsonl.gz", ".parquet")  # of the files of a folder
AT_ONCE = 1 << 20  # bytes


def is_url(spec: str) -> bool:
    """Whether a name is a URL of a file system rather than a path."""
    return "://" in spec


def rows_at(url: str) -> Iterator[tuple[str, Row]]:
    """The rows of a file, or of a folder's files by name, with the place of each. Raises InputError."""
    fs = require("pyarrow.fs", extra="hub", purpose=f"reading {url}")
    try:
        system, path = fs.FileSystem.from_uri(url)
    except (OSError, ValueError, ImportError) as error:  # pyarrow's own errors are ValueErrors
        raise InputError(
            f"{url}: cannot be read: {_in_line(error)}; is it the right URL, and are its keys set?"
        ) from None
    for name in _names(fs, system, path, url):
        yield from _rows_of(system, name)


def _names(fs: Any, system: Any, path: str, url: str) -> list[str]:
    """The file, or those of the folder."""
    try:
        kind = system.get_file_info(path).type
    except OSError as error:
        raise InputError(f"{url}: cannot be read: {_in_line(error)}") from None
    if kind == fs.FileType.File:
        return [path]
    if kind == fs.FileType.NotFound:
        raise InputError(f"{url}: no such file or folder")
    try:
        listed = system.get_file_info(fs.FileSelector(path, recursive=True))
    except OSError as error:
        raise InputError(
            f"{url}: the object store does not let its folder be listed ({_in_line(error)}); name one file, or allow "
            "listing"
        ) from None
    found = sorted(one.path for one in listed if one.is_file and one.path.endswith(ENDINGS))
    if not found:
        raise InputError(f"{url}: none of its {len(listed)} entries ends in {', '.join(ENDINGS)}")
    return found


def _rows_of(system: Any, name: str) -> Iterator[tuple[str, Row]]:
    """One file's, from a copy here: what is read has the checks of `read_rows`, and errors name the file there."""
    with TemporaryDirectory(prefix="demur-") as folder:
        copy = Path(folder) / PurePosixPath(name).name
        try:
            with system.open_input_stream(name, compression=None) as there, copy.open("wb") as here:
                while part := there.read(AT_ONCE):
                    here.write(part)
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {_in_line(error)}") from None
        try:
            for where, row in read_rows(copy):
                yield f"{name}:{where.rpartition(':')[2]}", row
        except InputError as error:
            raise InputError(str(error).replace(str(copy), name)) from None


def _in_line(error: Exception) -> str:
    return " ".join(str(error).split())[:160]
