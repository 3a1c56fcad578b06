"""`demur export`: a run's results in forms that other programs read; each command calls one public function."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from demur.cli import printing
from demur.cli.commands.inspect import AllowEndpoint, AsJson, Force
from demur.cli.progress import progress_bar

RunFolder = Annotated[str, typer.Option(help="Folder of the run.")]
export_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Write a run's results for other programs.")


def add_commands(app: typer.Typer) -> None:
    """Add export to the command line."""
    app.add_typer(export_app, name="export")


@export_app.command("outcomes")
def outcomes(
    run: RunFolder = "run",
    to: Annotated[str, typer.Option(help="Folder to write.  [default: paper in the run]")] = "",
    allow_endpoint: AllowEndpoint = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder of --to that holds files.")] = False,
    json: AsJson = False,
) -> None:
    """Write a run's test sets and samples for `reproduce --from`. Grades and samples are written as numbers."""
    from demur.evaluation.experiment.export_outcomes import export_outcomes

    with progress_bar() as progress:
        found = export_outcomes(run=run, to=to, force=force, allow_endpoints=allow_endpoint or (), progress=progress)
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    return printing.next_step(f"demur reproduce --from {found.folder}")


@export_app.command("routellm")
def routellm(
    run: RunFolder = "run",
    to: Annotated[str, typer.Option(help="JSON file to write.")] = "battles.json",
    models: Annotated[
        str, typer.Option(help="WEAK,STRONG: names to write, such as two that RouteLLM's own list has.")
    ] = "",
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Write a run's preferences as battles for RouteLLM's code."""
    from demur.evaluation.experiment.export_preferences import export_routellm

    named = tuple(name.strip() for name in models.split(",") if name.strip())
    found = export_routellm(run=run, to=to, models=named, force=force)
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    return printing.next_in(run)


@export_app.command("preferences")
def preferences(
    to: Annotated[str, typer.Option(help="FILE.parquet, FILE.jsonl or hub:ORG/NAME.")],
    run: RunFolder = "run",
    force: Force = False,
    json: AsJson = False,
) -> None:
    """Write a run's preferences as a data set with its card. --to hub:ORG/NAME pushes it with your own log-in."""
    from demur.evaluation.experiment.export_preferences import export_preferences

    found = export_preferences(run=run, to=to, force=force)
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    return printing.next_step(f"demur label --from preference --file {shlex.quote(to)} --models WEAK,STRONG --run NEW")
