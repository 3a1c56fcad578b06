"""Reads prompts from the rows of a file. Errors name file, line, field and value."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.prompts.conversations import RowPrompt, conversation_of
from demur.prompts.letters import LETTERS, choice_letter
from demur.prompts.object_store import is_url, rows_at
from demur.prompts.pictures import pictured_request, with_pictures
from demur.prompts.rows import TEXT_FIELDS, Row, TableRow, plain_text_note, read_rows
from demur.prompts.tool_calls import calls_in, written_calls
from demur.records import Progress, Prompt, content_hash, count_of, no_progress

ANSWER_FIELDS = ("answers", "answer", "gold")
ID_FIELDS = ("id", "custom_id")
PROGRESS_ROWS = 10_000
LEDGER_FIELDS = frozenset({"at", "path", "status", "outcome", "total_seconds"})  # of every row of a ledger's export
RECORDED = "`demur serve --record prompts` keeps those of later requests that it routes"

log = logging.getLogger("demur.prompts")  # without a handler of the program's own, its warnings go to stderr


def read_prompts(path: str | Path, *, progress: Progress = no_progress) -> list[Prompt]:
    """Read prompts from JSON lines, a JSON array, a table (.csv, .tsv) or a text (.txt, a prompt per line), each also
    as gzip, or parquet.

    A URL is read by pyarrow's file systems, a folder's files one after another.

    Fields: ``prompt`` (or question, text); optional ``id`` (else a hash of the text), ``answers`` (or answer, gold),
    ``choices``, ``source``. With choices, the answer is a letter, an option's text, or its position from 0, and the
    options are put under the question unless it shows them. Gold answers that are calls of tools are objects with name
    and arguments: a list of them is one answer, a list of lists several of which any is right. Rows of conversations
    are read as well: see `demur.prompts.conversations`. A table writes several answers as ``a|b``. Prompts may repeat,
    ids may not. Records of a ledger that hold no prompt are left out, which a warning says. Raises InputError naming
    file, line, field and value.
    """
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    repeats: Counter[str] = Counter()
    empty = 0
    for where, row in rows_at(str(path)) if is_url(str(path)) else read_rows(Path(path)):
        if _is_record(row) and not row.get("prompt"):
            empty += 1
            continue
        prompt = _prompt(row, where)
        if not _id(row):  # traffic repeats itself: each of its prompts counts
            repeats[prompt.id] += 1
            if repeats[prompt.id] > 1:
                prompt = replace(prompt, id=f"{prompt.id}-{repeats[prompt.id]}")
        if prompt.id in places:
            raise InputError(f"{where}: id {prompt.id!r} was used on line {places[prompt.id]}; make ids unique")
        places[prompt.id] = where.rpartition(":")[2]
        prompts.append(prompt)
        if len(prompts) % PROGRESS_ROWS == 0:
            progress("reading prompts", len(prompts), 0)
    if empty and not prompts:
        raise InputError(f"{path}: none of its {empty:,} records holds a prompt; {RECORDED}")
    if empty:
        log.warning("%s: %s left out; %s", path, _left_out(empty, empty + len(prompts)), RECORDED)
    if not prompts:
        raise InputError(f'{path}: no prompts in it; write one JSON object per line, such as {{"prompt": "..."}}')
    return prompts


def _left_out(empty: int, records: int) -> str:
    hold = "holds no prompt and is" if empty == 1 else "hold no prompt and are"
    return f"{empty:,} of {count_of(records, 'record')} {hold}"


def _is_record(row: Row) -> bool:
    """Whether a row is the gateway's record of a request, as a ledger's export has it."""
    return row.keys() >= LEDGER_FIELDS


def prompt_of_row(row: Row, where: str) -> RowPrompt:
    """What a row asks: the text of its prompt field, or the last question of its conversation. Raises InputError."""
    field = next((name for name in TEXT_FIELDS if name in row), None)
    asked = conversation_of(row, where) if field is None or isinstance(row[field], list) else None
    if asked is None:
        if field is None:
            note = plain_text_note(where) if isinstance(row, TableRow) else ""
            rename = f"; rename the one that holds the prompts to {TEXT_FIELDS[0]}"
            raise InputError(f"{where}: no field {' or '.join(TEXT_FIELDS)}; found {_names(row)}{note or rename}")
        asked = RowPrompt(row[field])
    if not isinstance(asked.text, str) or not asked.text.strip():
        shown = field or "content"
        raise InputError(f"{where}: field {shown!r} must be a text that is not empty, found {repr(asked.text)[:80]}")
    return asked


def _names(row: Row) -> str:
    names = ", ".join(map(str, row)) or "nothing"
    shown = names if len(names) <= 200 else f"{names[:200]}..."
    if isinstance(row, TableRow) and len(row) == 1 and (mark := re.search("[;\t|]", names)):
        shown += f" (is {mark.group()!r} the separator? write commas)"
    return shown


def _id(row: Row) -> str:
    return str(next((row[name] for name in ID_FIELDS if row.get(name)), ""))


def _prompt(row: Row, where: str) -> Prompt:
    asked = prompt_of_row(row, where)
    fields = () if _is_record(row) else ANSWER_FIELDS  # a record's answer is the strong model's, not a gold one
    answers = next((row[name] for name in fields if row.get(name) is not None), ())
    split = isinstance(row, TableRow)
    choices = _texts(row.get("choices") or (), "choices", where, split=split)
    text = with_choices(asked.text, choices) if choices else asked.text
    known = _letters(answers, choices, where) if choices else _gold_calls(answers)
    request = asked.request if row.get("images") is None else pictured_request(text, row["images"], where)
    return Prompt(
        id=_id(row) or content_hash(request.body if request else text),
        text=with_pictures(text, request, where),
        answers=_texts(answers, "answers", where, split=split) if known is None else known,
        choices=choices,
        source=str(row.get("source") or ""),
        request=request,
        later=_turns(row, asked.text, where),
        system=asked.system,
        references=_texts(row.get("reference_gpt4") or row.get("reference") or (), "reference", where, split=False),
    )


def _turns(row: Row, first: str, where: str) -> tuple[str, ...]:
    """The user's turns after the first one; () where there are none."""
    turns = row.get("turns")
    if not isinstance(turns, list) or turns[:1] != [first]:
        return ()
    return _texts(turns[1:], "turns", where, split=False)


def with_choices(text: str, choices: Sequence[str]) -> str:
    """The question with its options as lettered lines below, as the models see them; unchanged if it shows them
    already.
    """
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


def _gold_calls(answers: Any) -> tuple[str, ...] | None:
    """Gold answers that are calls of tools, as an endpoint returns them; None where they are anything else."""
    several = isinstance(answers, list) and answers and all(isinstance(one, list) for one in answers)
    found = [calls_in(one) for one in (answers if several else [answers])]
    return tuple(map(written_calls, filter(None, found))) if all(found) else None


def _texts(value: Any, field: str, where: str, *, split: bool) -> tuple[str, ...]:
    """One text or number, or a list of them; in a cell of a table ``a|b`` is a list, too."""
    if isinstance(value, str):
        return tuple(part for part in (value.split("|") if split else [value]) if part)
    values = value if isinstance(value, list | tuple) else [value]
    for item in values:
        if not isinstance(item, str | int | float):
            raise InputError(f"{where}: field {field!r} must hold texts, found {repr(item)[:80]}")
    return tuple(str(item) for item in values)
