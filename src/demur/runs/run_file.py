"""Writes a new run file: what was asked for as keys, everything else as comments with its text and default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, asdict, fields, is_dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any, get_type_hints

from demur.config import RunConfig
from demur.errors import InputError
from demur.files import as_toml, check_output, write_whole
from demur.limits import check_number, default_of, text_of
from demur.models.local import parse_model

WIDTH = 100  # of comments


def check_new(file: str | Path, *, force: bool = False) -> None:
    """Raise InputError for a path that a run file cannot be written to."""
    path = Path(file)
    if path.suffix != ".toml":
        raise InputError(f"{path}: the run file is written as TOML; give a name that ends in .toml")
    check_output(path, force=force)


def new_run_file(
    file: str | Path = "run.toml",
    *,
    weak: str,
    strong: str,
    prompts: str,
    max_usd: float | None = None,
    force: bool = False,
) -> RunConfig:
    """Write a run file for two models, as `demur sample` names them, and return what it says.

    Raises InputError for names that are no models, and where the file exists, unless ``force``.
    """
    check_new(file, force=force)
    if not prompts.strip():
        raise InputError("prompts is empty; name a file, or a named set such as nq-open:500")
    check_number(max_usd, "max_usd", at_least=0)
    config = RunConfig(prompts, parse_model(weak), parse_model(strong), max_usd=max_usd)
    write_whole(Path(file), run_file_text(config))
    return config


def run_file_text(config: RunConfig) -> str:
    """The run file of a run, in TOML: what differs from the defaults as keys, the rest as comments."""
    head = ["# A run of demur: `demur run FILE`. Keys behind a # have their default; docs/run-file.md says more."]
    return "\n".join([*head, *_table_lines(RunConfig, asdict(config), "")]) + "\n"


def _table_lines(record: type[Any], values: Mapping[str, Any], name: str) -> Iterator[str]:
    """The lines of a table; the tables in it stand after its own keys."""
    hints = get_type_hints(record)
    tables = [one for one in fields(record) if is_dataclass(hints[one.name])]
    for one in fields(record):
        if one not in tables:
            yield from ("", *_comment(text_of(one)), _key_line(one, values[one.name]))
    for one in tables:
        path = f"{name}{one.name}"
        yield from ("", f"[{path}]  # {text_of(one)}")
        yield from _table_lines(hints[one.name], values[one.name], f"{path}.")


def _comment(text: str) -> list[str]:
    return wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)


def _key_line(one: Field[Any], value: Any) -> str:
    """A key with its value; behind a # where that is the default."""
    plain, default = list(value) if isinstance(value, tuple) else value, default_of(one)
    if default is MISSING or plain != default:
        return f"{one.name} = {as_toml(plain)}"
    return f"# {one.name} =" if default is None else f"# {one.name} = {as_toml(default)}"
