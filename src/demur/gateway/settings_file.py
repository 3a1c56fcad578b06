"""Writes what `demur doctor` has found to a settings file: keys of its tables, every other line as it was."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from demur.config import ModelConfig
from demur.errors import InputError
from demur.files import as_toml, write_whole
from demur.limits import from_mapping
from demur.models.doctor import EndpointReport, doctor
from demur.models.local import endpoint_of, parse_model
from demur.models.swapped_models import IF_SWAPPED, dearer_sentence
from demur.records import Role

ROLES: tuple[Role, Role] = ("weak", "strong")
_KEYS = frozenset(one.name for one in fields(ModelConfig))


def served_models(file: str | Path) -> dict[Role, ModelConfig]:
    """The models that a settings file names in [weak] and [strong]; raises InputError without any."""
    values = _read(Path(file))
    if "models" in values:
        raise InputError(f"{file}: --write is of [weak] and [strong]; probe each of [[models]]: demur doctor MODEL@URL")
    tables = {role: values[role] for role in ROLES if isinstance(values.get(role), dict)}
    if not tables:
        raise InputError(f"{file}: no table [weak] or [strong]; name the models there, as docs/gateway.md shows")
    known = {role: {name: value for name, value in table.items() if name in _KEYS} for role, table in tables.items()}
    return {role: from_mapping(ModelConfig, table, where=f"{file}: {role}") for role, table in known.items()}


def write_abilities(file: str | Path, only: str | None = None) -> list[EndpointReport]:
    """Probe the models of a settings file, or the one that ``only`` names, and write to it what they can do.

    Raises InputError, EndpointError.
    """
    models = served_models(file)
    if only is not None:
        place = _place(parse_model(only))
        models = {role: model for role, model in models.items() if _place(model) == place}
        if not models:
            raise InputError(f"{file}: neither [weak] nor [strong] is {only}; nothing is written")
    found = {role: doctor(model) for role, model in models.items()}
    there = _read(Path(file))
    write_settings(file, {role: beside(there[role], report.abilities.settings) for role, report in found.items()})
    return list(found.values())


def dearer_weak_model(file: str | Path) -> str:
    """That the weak model of a settings file costs more than the strong one, and what to do; empty where it does not,
    or one of them is not named.
    """
    models = served_models(file)
    if len(models) < len(ROLES):
        return ""
    found = dearer_sentence(*(endpoint_of(models[role]) for role in ROLES))
    return f"{found}. {IF_SWAPPED}: change [weak] and [strong] round in {file}" if found else ""


def beside(there: Mapping[str, Any], found: Mapping[str, object]) -> dict[str, object]:
    """What was found, with what the table drops and renames already."""
    keys = dict(found)
    if isinstance(found.get("drop"), list):
        keys["drop"] = list(dict.fromkeys([*there.get("drop", []), *found["drop"]]))  # type: ignore[misc]
    if isinstance(found.get("rename"), dict):
        keys["rename"] = {**there.get("rename", {}), **found["rename"]}  # type: ignore[dict-item]
    return keys


def _place(model: ModelConfig) -> tuple[str, str]:
    endpoint = endpoint_of(model)
    return endpoint.model, endpoint.base_url


def write_settings(file: str | Path, found: Mapping[Role, Mapping[str, object]]) -> None:
    """Set these keys in the file's tables of these names; raises InputError, and leaves the file, where it cannot."""
    path = Path(file)
    before, text = _read(path), path.read_text(encoding="utf-8")
    for role, keys in found.items():
        for key, value in keys.items():
            text = _with_key(text, role, key, as_toml(value))
    changed: dict[str, Any] = {role: {**before[role], **keys} for role, keys in found.items()}
    wanted = {**before, **changed}
    try:
        written = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        written = {}
    if written != wanted:
        raise InputError(f"{path}: [weak] and [strong] must be tables with a line per key; write them so")
    write_whole(path, text)


def _read(path: Path) -> dict[str, Any]:
    if path.suffix != ".toml":
        raise InputError(f"{path}: only a .toml file can be written to; what was found is printed")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); make it with [weak] and [strong]") from None
    except ValueError as error:
        raise InputError(f"{path}: not valid toml: {error}") from None


def _with_key(text: str, table: str, key: str, value: str) -> str:
    """The text with one key set: in its line, else after the table's header."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*{table}\s*\]\s*(#.*)?$")
    start = next((i for i, line in enumerate(lines) if header.match(line.rstrip())), None)
    if start is None:
        return text
    if not lines[start].endswith("\n"):
        lines[start] += "\n"
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    own = re.compile(rf"\s*{key}\s*=")
    at = next((i for i in range(start + 1, end) if own.match(lines[i])), None)
    if at is None:
        lines.insert(start + 1, f"{key} = {value}\n")
    else:
        lines[at] = f"{key} = {value}\n"
    return "".join(lines)
