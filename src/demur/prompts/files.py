"""Prompts from files: JSON lines (plain or gzip) and CSV. A fault names file, line, field and value."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.records import Prompt, content_hash

TEXT_FIELDS = ("prompt", "question", "text")
ANSWER_FIELDS = ("answers", "answer", "gold")


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts from .jsonl, .jsonl.gz or .csv.

    Fields: ``prompt`` (or question, text); optional ``id`` (else a hash of the text), ``answers`` (or answer, gold),
    ``choices``, ``source``. Raises InputError naming file, line, field and value.
    """
    path = Path(path)
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    for where, row in read_rows(path):
        prompt = _prompt(row, where)
        if prompt.id in places:
            line = places[prompt.id].rpartition(":")[2]
            raise InputError(f"{where}: id {prompt.id!r} was used on line {line}; make ids unique")
        places[prompt.id] = where
        prompts.append(prompt)
    if not prompts:
        raise InputError(f'{path}: no prompts in it; write one JSON object a line, such as {{"prompt": "..."}}')
    return prompts


def read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The rows of a .jsonl, .jsonl.gz or .csv file with the place (``file:line``) of each; raises InputError."""
    rows = _csv_rows(path) if path.suffix == ".csv" else _json_rows(path)
    return ((f"{path}:{line}", row) for line, row in rows)


def _text(path: Path) -> str:
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: byte {data[error.start]:#04x} is not UTF-8; convert the file (iconv -t UTF-8)"
        ) from None


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not valid JSON ({error}): {line[:80]!r}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected an object with a prompt, found {line[:80]!r}")
        yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""))
    for row in reader:
        yield reader.line_num, {key: value for key, value in row.items() if value not in (None, "")}


def _prompt(row: Mapping[str, Any], where: str) -> Prompt:
    field = next((name for name in TEXT_FIELDS if name in row), None)
    if field is None:
        raise InputError(f"{where}: no field {' or '.join(TEXT_FIELDS)}; found {', '.join(map(str, row)) or 'nothing'}")
    text = row[field]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: field {field!r} must be a text that is not empty, found {text!r}")
    answers = next((row[name] for name in ANSWER_FIELDS if row.get(name) is not None), ())
    return Prompt(
        id=str(row.get("id") or content_hash(text)),
        text=text,
        answers=_texts(answers, "answers", where),
        choices=_texts(row.get("choices") or (), "choices", where),
        source=str(row.get("source") or ""),
    )


def _texts(value: Any, field: str, where: str) -> tuple[str, ...]:
    """One text or number, or a list of them; in CSV, ``a|b`` is a list."""
    if isinstance(value, str):
        return tuple(part for part in value.split("|") if part) if field == "answers" else (value,)
    values = value if isinstance(value, list | tuple) else [value]
    for item in values:
        if not isinstance(item, str | int | float):
            raise InputError(f"{where}: field {field!r} must hold texts, found {item!r}")
    return tuple(str(item) for item in values)
