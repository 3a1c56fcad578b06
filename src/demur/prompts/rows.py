"""Rows of a file: JSON lines, a JSON array, a table with a header, or lines of text, plain or gzip; parquet with
``[hub]``.

The format is recognised by the first bytes, and by the name only if they are ambiguous. Files are read as streams, with
limits on line length and on the inflation of gzip. The meaning of a row is not known here.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from demur.errors import InputError, require
from demur.files import json_fault

Row = Mapping[str, Any]
TEXT_FIELDS = ("prompt", "question", "text")  # a line of plain text stands under the first
LONGEST_LINE = 1 << 26  # bytes; of a JSON array, which is read whole, 16 times as many
LARGEST_ARRAY = 1 << 30
INFLATION = 300  # times; prompts inflate 3 to 50 times
INFLATED_FREELY = 1 << 26  # bytes
BOM = "\ufeff"  # what some editors begin a UTF-8 file with
FILES_LOOKED_AT = 1000  # of a folder, for a name that is nearly the same
CELLS_AT_ONCE = 1000  # rows of a table that are read under one setting of the csv module
_FOREIGN = {  # first bytes -> what the file is, and what to do
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV (UTF-8)",
    b"BZh": "bzip2; unpack it (bunzip2), or use gzip",
    b"\xfd7zXZ": "xz; unpack it (unxz), or use gzip",
    b"\x28\xb5\x2f\xfd": "zstd; unpack it (unzstd), or use gzip",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"SQLite format 3": "an SQLite database; export a table as CSV (a ledger: `demur ledger FILE --export FILE.jsonl`)",
    b"\xff\xfe": "UTF-16; convert it (iconv -f UTF-16 -t UTF-8)",
    b"\xfe\xff": "UTF-16; convert it (iconv -f UTF-16 -t UTF-8)",
    b"%PDF": "a PDF; write its prompts as JSON lines",
}

_PLAIN = (".txt", ".text")
_JSON = re.compile(rb'\s*\[?\s*\{\s*"')  # how rows begin; a prompt may begin with a bracket, too


class TableRow(dict[str, str]):
    """A row of a table: its cells are texts, and a list stands in one as ``a|b``."""


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """The rows of a file with the place (``file:line``) of each.

    Raises InputError naming file and line: for a file of another kind, a row that is not an object, a table's row with
    more cells than its header, a quote without its end, a byte that is not UTF-8, and what is too large.
    """
    return ((f"{path}:{line}", row) for line, row in _rows(path))


def plain_text_note(where: str | Path) -> str:
    """What to do with plain text that is taken for a table because its name does not say what it is; else empty."""
    file = re.sub(r":\d+\Z", "", str(where))
    if _ending(Path(file)) in (".csv", ".tsv", *_PLAIN):
        return ""
    return "; if each line is a prompt, give the file a name that ends in .txt"


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    with _open_file(path) as (stream, head):
        if head.startswith(b"PAR1") or path.suffix.lower() == ".parquet":
            yield from _parquet_rows(path)
            return
        lines = _lines(path, stream)
        if _is_plain(path, head):
            yield from _plain_rows(lines)
        elif _is_table(path, head):
            yield from _table_rows(path, lines)
        elif head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
            yield from _array_rows(path, lines)
        else:
            yield from _line_rows(path, lines)


# -- bytes -----------------------------------------------------------------------------------------------------------


@contextmanager
def _open_file(path: Path) -> Iterator[tuple[BinaryIO, bytes]]:
    """The file's content, inflated where it is gzip, and its first bytes; what the system refuses is one line."""
    try:
        with path.open("rb") as raw:
            packed = raw.peek(512)[:2] == b"\x1f\x8b"
            inflated = _Inflated(path, raw) if packed else None
            stream = io.BufferedReader(inflated, 1 << 20) if inflated else raw
            head = stream.peek(512)[:512]
            _refuse_foreign(path, head)
            yield cast(BinaryIO, stream), head
    except FileNotFoundError:
        raise InputError(f"{path}: no such file{_beside_note(path)}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


class _Inflated(io.RawIOBase):
    """Inflated gzip data, up to the ratio that texts reach, so that a small file cannot fill the memory."""

    def __init__(self, path: Path, raw: io.BufferedReader) -> None:
        self._path, self._raw, self._stream = path, raw, gzip.GzipFile(fileobj=raw)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read1(len(buffer))
        buffer[: len(data)] = data
        done = self._stream.tell()
        if done > INFLATED_FREELY and done > INFLATION * self._raw.tell():
            raise InputError(
                f"{self._path}: inflates to more than {INFLATION} times its size, which no prompts do; unpack it "
                "(gunzip) and look at it"
            )
        return len(data)


def _refuse_foreign(path: Path, head: bytes) -> None:
    if head.startswith(b"PK\x03\x04"):
        is_workbook = path.suffix.lower() == ".xlsx" or b"[Content_Types].xml" in head
        what = "an Excel workbook; save it as CSV (UTF-8)" if is_workbook else "a zip archive; unpack it"
    else:
        what = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), "")
    if what:
        raise InputError(f"{path}: this is {what}")


def _lines(path: Path, stream: BinaryIO) -> Iterator[str]:
    """The lines with their ends, decoded one by one."""
    number = 0
    while line := stream.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            raise InputError(
                f"{path}:{number}: a line of more than {LONGEST_LINE >> 20} MiB; write one prompt per line"
            )
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}:{number}: byte {line[error.start]:#04x} is not UTF-8; convert the file (iconv -t UTF-8)"
            ) from None


def _is_table(path: Path, head: bytes) -> bool:
    """Whether a file is a table: by its ending, in any case; else by its first character."""
    ending = _ending(path)
    if ending in (".jsonl", ".json", ".ndjson"):
        return False
    return ending in (".csv", ".tsv") or head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] not in (b"{", b"[", b"")


def _is_plain(path: Path, head: bytes) -> bool:
    """Whether each line is a prompt: by the ending, unless the file begins as JSON rows do or has a table's header."""
    if _ending(path) not in _PLAIN or _JSON.match(head := head.removeprefix(b"\xef\xbb\xbf")):
        return False
    first = re.split(rb"[\r\n]", head.lstrip(), maxsplit=1)[0].decode("utf-8", "replace")
    return not _columns(first) & set(TEXT_FIELDS)


def _columns(first: str) -> set[str]:
    """The names of a table's columns, if a line is its header."""
    return {name.strip(' "\r\n' + BOM) for name in re.split("[,;\t]", first)}


def _beside_note(path: Path) -> str:
    """A file of nearly the same name in the folder of one that is not there; else empty."""
    try:
        names = [one.name for one in islice(path.parent.iterdir(), FILES_LOOKED_AT) if one.is_file()]
    except OSError:
        return ""
    closest = get_close_matches(path.name, names, n=1)
    return f"; did you mean {path.parent / closest[0]}?" if closest else ""


def _ending(path: Path) -> str:
    """How a file's name ends, in small letters and without .gz."""
    endings = [ending.lower() for ending in path.suffixes]
    if endings[-1:] == [".gz"]:
        endings.pop()
    return endings[-1] if endings else ""


# -- plain text ------------------------------------------------------------------------------------------------------


def _plain_rows(lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(_parts(lines), start=1):
        if text := line.strip():
            yield number, {TEXT_FIELDS[0]: text}


# -- JSON ------------------------------------------------------------------------------------------------------------


def _line_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.rstrip("\r\n"))  # else a text without an end is said to hold a line end
        except (ValueError, RecursionError) as error:
            note = _other_form_note(line) if number == 1 else ""
            raise InputError(
                f"{path}:{number}: not valid JSON ({json_fault(error)}): {line[:80].rstrip()!r}{note}"
            ) from None
        yield number, _object(path, number, row, line)


def _other_form_note(first: str) -> str:
    """What a file is whose first line is no JSON object, and how it should be called; empty where that is not told."""
    if first.lstrip(BOM + " ")[:1] in ("{", "["):
        return ""
    if _columns(first) & set(TEXT_FIELDS):
        return "; it looks like a table: give the file a name that ends in .csv"
    return "; if each line is a prompt, give the file a name that ends in .txt"


def _array_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    """The objects of one array, which may spread over lines as it likes."""
    text = _whole(path, lines)
    decode, at, number = json.JSONDecoder().raw_decode, text.index("[") + 1, 1
    counted = 0  # characters whose line ends are in `number`
    while True:
        at += len(text[at : at + 4096]) - len(text[at : at + 4096].lstrip(" \t\r\n,"))
        number, counted = number + text.count("\n", counted, at), at
        if text[at : at + 1] == "]":
            if rest := text[at + 1 :].strip():
                raise InputError(f"{path}:{number}: not valid JSON: {rest[:80]!r} stands behind the array")
            return
        try:
            row, end = decode(text, at)
        except (ValueError, RecursionError) as error:
            line = error.lineno if isinstance(error, json.JSONDecodeError) else number
            raise InputError(f"{path}:{line}: not valid JSON ({json_fault(error)}): {text[at : at + 80]!r}") from None
        yield number, _object(path, number, row, text[at:end])
        at = end


def _whole(path: Path, lines: Iterator[str]) -> str:
    held, size = [], 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size > LARGEST_ARRAY:
            raise InputError(f"{path}: a JSON array of more than {LARGEST_ARRAY >> 20} MiB; write one object per line")
    return "".join(held)


def _object(path: Path, number: int, row: object, source: str) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{path}:{number}: expected an object with a prompt, found {source[:80].strip()!r}")
    if half := _half_pair(source, row):
        raise InputError(
            f"{path}:{number}: {half} is half a surrogate pair, which cannot be encoded; write the whole character"
        )
    return row


def _half_pair(source: str, row: Row) -> str:
    """The first lone surrogate in a row, as JSON escapes it; "" when there is none."""
    if "\\ud" not in source and "\\uD" not in source and "\\Ud" not in source:
        return ""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        return f"\\u{ord(error.object[error.start]):04x}"
    return ""


# -- tables ----------------------------------------------------------------------------------------------------------


def _table_rows(path: Path, lines: Iterator[str]) -> Iterator[tuple[int, Row]]:
    first = next(lines, "")
    reader = csv.reader(_parts(chain([first], lines)), delimiter=_delimiter(path, first), strict=True)
    rows = _cells(path, reader)
    header = [name.strip() for name in next(rows, (1, []))[1]]
    twice = [name for name, count in Counter(name for name in header if name).items() if count > 1]
    if twice:
        raise InputError(f"{path}:1: the header names {twice[0]!r} twice; give each column its own name")
    for number, cells in rows:
        if any(cells[len(header) :]):
            raise InputError(
                f"{path}:{number}: {len(cells)} cells, the header has {len(header)} (the last is {cells[-1][:60]!r}); "
                'put a text that holds the separator into double quotes, and write a quote in it twice ("")'
                + plain_text_note(path)
            )
        row = TableRow({name: cell for name, cell in zip(header, cells, strict=False) if name and cell})
        if row:
            yield number, row


def _cells(path: Path, reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line that each ends on."""
    while batch := _batch(path, reader):
        yield from batch


def _batch(path: Path, reader: Any) -> list[tuple[int, list[str]]]:
    """The next rows. The longest cell is one setting for the whole process, so it is put back each time."""
    usual = csv.field_size_limit(LONGEST_LINE)
    try:
        return [(reader.line_num, row) for row in islice(reader, CELLS_AT_ONCE)]
    except csv.Error as error:
        why = "a quote that opens on or before this line has no end" if "unexpected end" in str(error) else str(error)
        raise InputError(
            f'{path}:{reader.line_num}: not valid CSV ({why}); a quote inside a quoted text is written twice ("")'
            + plain_text_note(path)
        ) from None
    finally:
        csv.field_size_limit(usual)


def _delimiter(path: Path, header: str) -> str:
    """What separates the header's names, where it has no comma: a semicolon or a tab."""
    if path.suffix.lower() == ".tsv" or path.name.lower().endswith(".tsv.gz"):
        return "\t"
    bare = re.sub(r'"[^"]*"', "", header)
    return next((mark for mark in ";\t" if mark in bare and "," not in bare), ",")


def _parts(lines: Iterator[str]) -> Iterator[str]:
    """Lines as the csv module takes them: those of an old Mac end in a carriage return alone."""
    for line in lines:
        if "\r" in line.removesuffix("\n").removesuffix("\r"):
            yield from re.findall(r"[^\r]*\r\n?|[^\r]+", line)
        else:
            yield line


# -- parquet ---------------------------------------------------------------------------------------------------------


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    parquet = require("pyarrow.parquet", extra="hub", purpose=f"reading {path}, which is parquet,")
    try:
        with parquet.ParquetFile(path) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches())
            yield from enumerate(rows, start=1)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors, as ours are
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read as parquet: {' '.join(str(error).split())}") from None
