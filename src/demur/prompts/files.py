"""Prompts from files: JSON lines (plain or gzip) and CSV. A fault names file, line, field and value."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.prompts.letters import LETTERS, choice_letter
from demur.records import Prompt, content_hash

TEXT_FIELDS = ("prompt", "question", "text")
ANSWER_FIELDS = ("answers", "answer", "gold")


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts from .jsonl, .jsonl.gz or .csv.

    Fields: ``prompt`` (or question, text); optional ``id`` (else a hash of the text), ``answers`` (or answer, gold),
    ``choices``, ``source``. With choices, the answer is a letter, an option's text, or its position from 0, and the
    options are put under the question unless it shows them. Equal prompts may stand there more than once, equal ids
    not. Raises InputError naming file, line, field and value.
    """
    path = Path(path)
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    repeats: Counter[str] = Counter()
    for where, row in read_rows(path):
        prompt = _prompt(row, where)
        if not row.get("id"):  # traffic repeats itself: each of its prompts counts
            repeats[prompt.id] += 1
            if repeats[prompt.id] > 1:
                prompt = replace(prompt, id=f"{prompt.id}-{repeats[prompt.id]}")
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
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not valid JSON ({error}): {line[:80]!r}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: expected an object with a prompt, found {line[:80]!r}")
        half = _half_pair(line, row)
        if half:
            raise InputError(
                f"{path}:{number}: {half} is half a character and no text; write it whole, or leave it out"
            )
        yield number, row


def _half_pair(line: str, row: Mapping[str, Any]) -> str:
    """The first lone surrogate in a row, as JSON escapes it; "" when there is none."""
    if "\\ud" not in line.lower():
        return ""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    text = _text(path)
    reader = csv.DictReader(io.StringIO(text, newline=""))
    usual = csv.field_size_limit(len(text) + 1)  # one setting for the whole process, and 128 kB by itself
    try:
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV ({error})") from None
    finally:
        csv.field_size_limit(usual)
    for number, row in rows:
        yield number, {key: value for key, value in row.items() if value not in (None, "")}


def _prompt(row: Mapping[str, Any], where: str) -> Prompt:
    field = next((name for name in TEXT_FIELDS if name in row), None)
    if field is None:
        raise InputError(f"{where}: no field {' or '.join(TEXT_FIELDS)}; found {', '.join(map(str, row)) or 'nothing'}")
    text = row[field]
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: field {field!r} must be a text that is not empty, found {text!r}")
    answers = next((row[name] for name in ANSWER_FIELDS if row.get(name) is not None), ())
    choices = _texts(row.get("choices") or (), "choices", where)
    if choices:
        text = with_choices(text, choices)
    return Prompt(
        id=str(row.get("id") or content_hash(text)),
        text=text,
        answers=_letters(answers, choices, where) if choices else _texts(answers, "answers", where),
        choices=choices,
        source=str(row.get("source") or ""),
    )


def with_choices(text: str, choices: Sequence[str]) -> str:
    """The question with its options as lettered lines below, as the models are to see them; as it is if it has them."""
    lettered = list(zip(LETTERS, choices, strict=False))
    if all(re.search(rf"\b{letter}\W{{1,3}}{re.escape(choice)}", text) for letter, choice in lettered):
        return text
    return "\n".join([text, *(f"{letter}. {choice}" for letter, choice in lettered)])


def _letters(answers: Any, choices: Sequence[str], where: str) -> tuple[str, ...]:
    """The letters of the right options."""
    if len(choices) > len(LETTERS):
        raise InputError(f"{where}: field 'choices' holds {len(choices)} options; there are letters for {len(LETTERS)}")
    golds = answers if isinstance(answers, list | tuple) else [answers]
    try:
        return tuple(choice_letter(gold if isinstance(gold, int) else str(gold), choices) for gold in golds)
    except InputError as error:
        raise InputError(f"{where}: field 'answers': {error}") from None


def _texts(value: Any, field: str, where: str) -> tuple[str, ...]:
    """One text or number, or a list of them; ``a|b`` is a list, too."""
    if isinstance(value, str):
        return tuple(part for part in value.split("|") if part)
    values = value if isinstance(value, list | tuple) else [value]
    for item in values:
        if not isinstance(item, str | int | float):
            raise InputError(f"{where}: field {field!r} must hold texts, found {item!r}")
    return tuple(str(item) for item in values)
