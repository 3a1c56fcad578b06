"""The commands that a run begins with: init writes a run file, schema prints the JSON schema by which an editor checks
it, run runs it, sample asks both models, directly or by batches.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from demur.cli import printing
from demur.cli.advice import measuring_command
from demur.cli.commands.inspect import AsJson
from demur.cli.options import with_options
from demur.cli.progress import progress_bar
from demur.config import A_MODEL, RunConfig
from demur.config.named_run import USUAL
from demur.errors import InputError
from demur.records import SamplingSettings
from demur.runs.lineage import stages_made
from demur.runs.steps import in_whole

RunFolder = Annotated[str, typer.Option(help="Folder of the run.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would happen and change nothing.")]
Again = Annotated[bool, typer.Option("--again", help="Begin the run in this folder again, with other settings.")]
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
    """Add run, init, sample and schema to the command line."""
    for command in (run, init, sample, schema):
        app.command()(command)


def run(
    file: Annotated[Path, typer.Argument(help="Run file (.toml, .yaml or .json); docs/run-file.md shows every key.")],
    again: Again = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Sample, label and embed on a Ray cluster: HOST:PORT of its head, auto (this node's), or local (one "
            "that is started here); see docs/scaling.md.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Run every stage of a run file, from sample to report.

    The stages: sample, label, train, calibrate, evaluate, report.
    """
    from demur.pipeline import run

    with printing.in_words_of(file):
        with progress_bar() as progress:
            outcome = run(file, again=again, ray=ray, announce=None if json else printing.estimate, progress=progress)
        if json:
            return printing.as_json(outcome)
        printing.outcome(outcome)
    if outcome.sets:
        return printing.next_step(f"demur reproduce --run {shlex.quote(outcome.folder)}")
    return printing.next_in(outcome.folder)


def init(
    weak: Annotated[str | None, typer.Option(help=f"The small model: {A_MODEL}.")] = None,
    strong: Annotated[str | None, typer.Option(help="The large model, likewise.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="JSONL or CSV file, a named set such as nq-open:500, or a mix a+b.")
    ] = None,
    to: Annotated[Path, typer.Option(help="The file that is written.")] = Path("run.toml"),
    max_usd: Annotated[
        float | None, typer.Option(help="The most that the run may cost in all, in USD.  [default: no limit]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a commented run file. At a terminal, ask for what no option gives."""
    from demur.runs.run_file import check_new, new_run_file

    check_new(to, force=force)
    said = _ask({"weak": weak, "strong": strong, "prompts": prompts})
    if max_usd is None and sys.stdin.isatty():
        limit = typer.prompt("The most that the run may cost, in USD (empty: no limit)", default="", show_default=False)
        max_usd = _read_usd(limit)
    config = new_run_file(to, **said, max_usd=max_usd, force=force)
    typer.echo(f"wrote {printing.printable(str(to))}")
    pair = " ".join(f"--{role} {shlex.quote(said[role])}" for role in ("weak", "strong"))
    estimate = f"demur sample {shlex.quote(said['prompts'])} {pair} --dry-run"
    others = [f"{estimate}   (what sampling can cost; max_usd in {to} limits it)"] if config.max_usd is None else []
    printing.next_step(f"demur run {shlex.quote(str(to))}", others=others)


def schema(
    of: Annotated[Settings, typer.Argument(metavar="run|gateway", help="Of run files, or of the gateway's settings.")],
) -> None:
    """Print a JSON schema of run files or gateway settings. Editors check and complete the files by it."""
    from demur.gateway.settings import GatewaySettings
    from demur.limits import json_schema

    records = {Settings.RUN: (RunConfig, "demur run file"), Settings.GATEWAY: (GatewaySettings, "demur gateway")}
    typer.echo(json.dumps(json_schema(*records[of]), indent=2))


@with_options(SamplingSettings, over_file=True)
def sample(
    prompts: Annotated[str, typer.Argument(help="JSONL or CSV file, a named set such as nq-open:500, or a mix a+b.")],
    weak: Annotated[str, typer.Option(help=f"The small model: {A_MODEL}.")],
    strong: Annotated[str, typer.Option(help=f"The large model: {A_MODEL}.")],
    run: RunFolder = "run",
    store: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Keep answers in PostgreSQL, postgresql://HOST/DATABASE without a password (PGPASSWORD, PGPASSFILE, "
            "?service=NAME): several samplers share the work, each with a --run of its own.",
        ),
    ] = "",
    max_usd: Annotated[
        float | None,
        typer.Option(
            help="Stop before the run has cost more than this many USD, with judges, entailment models and test sets, "
            "over all commands and settings."
        ),
    ] = None,
    weak_usd: Annotated[
        str | None, typer.Option(metavar="IN/OUT", help="The small model's price, USD per million tokens.")
    ] = None,
    strong_usd: Annotated[
        str | None, typer.Option(metavar="IN/OUT", help="The large model's price, USD per million tokens.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Concurrent requests per model.  [default: 4]")] = None,
    batch_out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Ask nothing: write requests for a batch API into an empty folder."),
    ] = None,
    batch_in: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE", help="Read the results of a batch, a file or a folder of files; may be repeated."),
    ] = None,
    batch: Annotated[
        bool,
        typer.Option(
            "--batch",
            help="Ask by the models' batch APIs (/v1/batches), wait for hours, read the results; the "
            "same command goes on after an interruption.",
        ),
    ] = False,
    ask_refused: Annotated[bool, typer.Option(help="Request again the prompts that a model refused before.")] = False,
    again: Again = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    **given: Any,
) -> None:
    """Sample both models n times per prompt. Stored answers are never requested again."""
    from demur.pipeline import sample

    show = printing.dry_estimate if dry_run else None if json else printing.estimate
    with progress_bar() as progress:
        spend = sample(
            *(prompts, weak, strong),
            run=run,
            store=store,
            max_usd=max_usd,
            weak_usd=weak_usd,
            strong_usd=strong_usd,
            concurrency=concurrency,
            batch_out=batch_out,
            batch_in=batch_in or (),
            batch=batch,
            ask_refused=ask_refused,
            again=again,
            dry_run=dry_run,
            announce=show,
            progress=progress,
            **given,
        )
    if dry_run:
        return printing.next_step("the same command without --dry-run")
    if json:
        return printing.as_json(spend)
    printing.spend(replace(spend, notes=tuple(in_whole(note, Path(run) / "router") for note in spend.notes)))
    return _after_sampling(run, batch=batch, batch_out=batch_out, batch_in=batch_in)


def _after_sampling(run: str, *, batch: bool, batch_out: str | None, batch_in: list[str] | None) -> None:
    """Print the command that comes next."""
    missing = "samples" not in stages_made(Path(run))
    if batch and missing:
        return printing.next_step("the same command without --batch: it asks for what is missing")
    if batch_out and Path(batch_out).exists():
        return printing.next_step("the same command with --batch-in RESULTS in place of --batch-out")
    if batch_in and missing:
        more = "once all results are read, the same command with --batch-out NEW_FOLDER: samples are missing"
        return printing.next_step(more)
    if unseen := measuring_command(Path(run)):
        printing.explanation(f"to measure {USUAL}/router on these prompts: {unseen}; to train another router on them:")
    return printing.next_in(run)


def _read_usd(said: str) -> float | None:
    """A limit of costs as a person types it; None of nothing. Raises InputError."""
    try:
        return float(said.strip().removeprefix("$")) if said.strip() else None
    except ValueError:
        raise InputError(f"{said!r} is no number of USD; give one such as 2.50, or nothing for no limit") from None


def _ask(given: dict[str, str | None]) -> dict[str, str]:
    """What was given, and the rest as a person at a terminal answers it; raises InputError elsewhere."""
    missing = [name for name, value in given.items() if value is None]
    if missing and not sys.stdin.isatty():
        raise InputError(f"give {', '.join(f'--{name}' for name in missing)}; at a terminal they are asked")
    return {name: typer.prompt(QUESTIONS[name]) if value is None else value for name, value in given.items()}
