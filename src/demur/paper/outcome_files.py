"""Rows of the data folder (gzip JSON lines), with errors that name file, line, field and model."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.files import json_fault


@dataclass(frozen=True, slots=True)
class Row:
    """One JSON object and where it stands; what it lacks is an InputError."""

    where: str  # file:line
    values: Mapping[str, Any]

    def has(self, *path: str) -> bool:
        """Whether there is a value other than null at the end of the path."""
        found: Any = self.values
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        return found is not None

    def at(self, *path: str) -> Any:
        """The value at the end of a path of field names, such as ("correct", model)."""
        if not self.has(*path):
            raise InputError(f"{self.where}: {' of '.join(reversed(path))} is missing")
        found: Any = self.values
        for name in path:
            found = found[name]
        return found

    def number(self, *path: str) -> float:
        """A finite number (true and false are 1 and 0)."""
        return _number(self.at(*path), self.where, path)

    def numbers(self, *path: str) -> list[float]:
        """A list of finite numbers, at least one; a single number is a list of itself."""
        found = self.at(*path)
        values = found if isinstance(found, list) else [found]
        if not values:
            raise InputError(f"{self.where}: {' of '.join(reversed(path))} is empty")
        return [_number(value, self.where, path) for value in values]

    def texts(self, *path: str) -> list[str]:
        """A list of texts, at least one; a single text is a list of itself."""
        found = self.at(*path)
        values = found if isinstance(found, list) else [found]
        if not values or not all(isinstance(value, str) for value in values):
            raise InputError(f"{self.where}: {' of '.join(reversed(path))} must be text, found {found!r:.60}")
        return values

    def text(self, *path: str) -> str:
        """One text."""
        return "\n\n".join(self.texts(*path))


def _number(value: Any, where: str, path: tuple[str, ...]) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{where}: {' of '.join(reversed(path))} must be a finite number, found {value!r:.60}")
    return float(value)


def rows_of(folder: Path, name: str) -> list[Row]:
    """Rows of ``folder/name.jsonl.gz``, at least one. Raises InputError."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise InputError(f"{path} is missing; --from names a folder with outcomes/, samples/ and preferences/")
    rows: list[Row] = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                values = json.loads(line)
                if not isinstance(values, dict):
                    raise InputError(f"{path}:{number}: not a JSON object: {line[:60]!r}")
                rows.append(Row(f"{path}:{number}", values))
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}:{len(rows) + 1}: cannot be read: {json_fault(error)}") from None
    if not rows:
        raise InputError(f"{path}: no rows in it")
    return rows
