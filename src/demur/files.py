"""Writes files completely or not at all: after a full disk, a kill or an error the earlier file is unchanged. Reads
files of settings.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from demur.errors import InputError


@contextmanager
def replace_whole(path: Path) -> Iterator[Path]:
    """A ``.part`` beside ``path`` to write to: it replaces ``path`` if the block ends without an error, else it is
    deleted.
    """
    part = path.with_name(path.name + ".part")
    try:
        yield part
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_whole(path: Path, text: str, *, mode: int = 0o666) -> None:
    """Write a UTF-8 text; its folder is made. ``mode``: of the file, less the umask; 0o600 for what is the owner's."""
    write_lines(path, (text,), mode=mode)


def write_lines(path: Path, lines: Iterable[str], *, mode: int = 0o666) -> None:
    """The same of texts one after another, without all of them in memory at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_whole(path) as part:
        part.unlink(missing_ok=True)  # one that a kill left has its own mode
        part.touch(mode, exist_ok=False)
        with part.open("w", encoding="utf-8") as file:
            file.writelines(lines)


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Whoever else locks ``path`` waits until the block ends. The ``.lock`` beside it stays; a killed process releases
    it.
    """
    import fcntl  # not on Windows

    path.parent.mkdir(parents=True, exist_ok=True)
    held = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def hash_of_file(path: Path) -> str:
    """Content hash of a file (32 hex digits); "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def check_output(path: Path, *, force: bool = False) -> None:
    """Raise InputError where a command cannot write the file that it was told to: something is at ``path`` already
    (with ``force`` a file may be replaced), or its folder is not there, which is likely a mistyped name.
    """
    if path.exists() and not (force and path.is_file()):
        raise InputError(f"{path} exists; give another name, or --force to replace a file")
    check_output_folder(path)


def check_output_folder(path: Path) -> None:
    """Raise InputError where the folder in which a file or folder is to be made is not there."""
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it first, or correct the name")


def named_from_here(path: str) -> str:
    """A path as it is named in the current folder; what is no absolute one as it is."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def is_same_path(one: str | Path, other: str | Path) -> bool:
    """Whether two paths lead to the same place, which `..` and links may name in several ways."""
    return Path(one).resolve() == Path(other).resolve()


def refuse_device(path: Path) -> None:
    """Raise InputError for a pipe, a socket or a device, which would be read for ever."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path}: is not a regular file")


def json_fault(error: Exception) -> str:
    """What is wrong with a JSON text, and in which column; its line is the file's, which the error does not know."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    return f"{error.msg.removesuffix(' at')} at column {error.colno}"


def as_toml(value: object) -> str:
    """A boolean, a number, a text, a list or a table of them, in TOML on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{as_toml(str(name))} = {as_toml(one)}' for name, one in value.items())}}}"
    text = json.dumps(value, ensure_ascii=False)  # a \\u escape of half a sign is no TOML
    return text.replace("\x7f", "\\u007f")


def read_mapping(path: Path, what: str = "run file") -> Mapping[str, Any]:
    """The keys and values of a .toml, .yaml, .yml or .json file; raises InputError, which names ``what`` it is."""
    parse: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}
    parse |= {".yaml": yaml.safe_load, ".yml": yaml.safe_load}
    if path.suffix not in parse:
        raise InputError(f"{path}: {what}s end in {', '.join(parse)}, not {path.suffix or 'nothing'!r}")
    refuse_device(path)
    try:
        values = parse[path.suffix](path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such {what}; give the path of a .toml, .yaml or .json file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a {what}: {error.strerror}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not valid {path.suffix[1:]}: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise InputError(f"{path}: expected keys and values, found {values!r}")
    return values
