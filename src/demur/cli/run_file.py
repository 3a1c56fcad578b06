"""The commands for files of settings: init writes a run file, schema prints what an editor checks one by."""

from __future__ import annotations

import json
import shlex
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from demur.cli import printing
from demur.config import A_MODEL, RunConfig
from demur.errors import InputError

QUESTIONS = {
    "weak": "The small model (a name from `demur models`, a .gguf file, or MODEL@URL)",
    "strong": "The large model, likewise",
    "prompts": "The prompts (a file, or a named set such as nq-open:500)",
}


class Settings(StrEnum):
    """Which file of settings."""

    RUN = "run"
    GATEWAY = "gateway"


def add_commands(app: typer.Typer) -> None:
    """Add init and schema to the command line."""
    for command in (init, schema):
        app.command()(command)


def init(
    weak: Annotated[str | None, typer.Option(help=f"The small model: {A_MODEL}.")] = None,
    strong: Annotated[str | None, typer.Option(help="The large model, likewise.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="JSONL or CSV file, a named set such as nq-open:500, or a mix a+b.")
    ] = None,
    to: Annotated[Path, typer.Option(help="The file that is written.")] = Path("run.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented run file; at a terminal, ask for what no option gives."""
    from demur.runs.run_file import check_new, new_run_file

    check_new(to, force=force)
    said = _ask({"weak": weak, "strong": strong, "prompts": prompts})
    new_run_file(to, **said, force=force)
    typer.echo(f"wrote {printing.printable(str(to))}")
    printing.next_step(f"demur run {shlex.quote(str(to))}")


def schema(of: Annotated[Settings, typer.Argument(help="Of run files, or of the gateway's settings.")]) -> None:
    """Print the JSON schema of run files or of the gateway's settings, for editors."""
    from demur.gateway.settings import GatewaySettings
    from demur.limits import json_schema

    records = {Settings.RUN: (RunConfig, "demur run file"), Settings.GATEWAY: (GatewaySettings, "demur gateway")}
    typer.echo(json.dumps(json_schema(*records[of]), indent=2))


def _ask(given: dict[str, str | None]) -> dict[str, str]:
    """What was given, and the rest as a person at a terminal answers it; raises InputError elsewhere."""
    missing = [name for name, value in given.items() if value is None]
    if missing and not sys.stdin.isatty():
        raise InputError(f"give {', '.join(f'--{name}' for name in missing)}; at a terminal they are asked")
    return {name: typer.prompt(QUESTIONS[name]) if value is None else value for name, value in given.items()}
