"""The command line: every command calls public functions, with the same argument names.

It parses options, draws progress, prints results, and turns every DemurError into one line on stderr and exit code 2.
It computes nothing.
"""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from demur.cli import printing
from demur.cli.advice import report_lines
from demur.cli.commands.begin import Again, DryRun, RunFolder
from demur.cli.commands.begin import add_commands as begin_commands
from demur.cli.commands.export import add_commands as export_commands
from demur.cli.commands.gateway import add_commands as gateway_commands
from demur.cli.commands.grade import add_commands as grade_commands
from demur.cli.commands.inspect import AllowEndpoint, Anyway, AsJson, RouterFolder, RunOfRouter, router_of
from demur.cli.commands.inspect import add_commands as inspect_commands
from demur.cli.commands.learning import add_commands as learning_commands
from demur.cli.commands.pages import add_commands as pages_commands
from demur.cli.commands.paper import add_commands as paper_commands
from demur.cli.examples import DEMO
from demur.cli.groups import CommandGroups, as_options, router_of_words, show_path
from demur.cli.options import with_options
from demur.cli.progress import NOTHING_KEPT, progress_bar
from demur.config import LabelConfig, RouterConfig
from demur.errors import DemurError, InputError, of_the_system
from demur.evaluation.thresholds.criterion import CRITERIA, USUAL_SHARE, Criterion
from demur.limits import from_mapping
from demur.runs.proposed_share import share_notes
from demur.runs.steps import (
    calibrate_command,
    current_threshold,
    first_share,
    in_whole,
    prompts_of_run,
    threshold_of,
)

OWN_PROMPTS = (
    "no prompts are given, so the threshold is set on the run's own, {prompts}; those that trained the router are "
    "scored by fits that did not see them. If other prompts will be served, give a file of these."
)
COMPARED_KEPT = "answers whose meanings were compared are not compared again: the same command is soon past them"
TRAINED_ANEW = "nothing of it is kept, and the same command trains from the beginning"
HELP_NAMES = ["-h", "--help"]
app = typer.Typer(
    cls=CommandGroups,
    invoke_without_command=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": HELP_NAMES},
    help="The small model answers unless it demurs; then the large one does.",
)

Verbose = Annotated[bool, typer.Option("--verbose", help="Also print the gate's table, and explain the terms.")]
Preset = Annotated[str, typer.Option(help="paper: the paper's settings, for all options that have their default.")]


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"demur {metadata.version('demur')}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The small model answers unless it demurs; then the large one does."""
    if context.invoked_subcommand is None:
        show_path()


@app.command()
def status(run: RunFolder = "run") -> None:
    """Show what a run's folder has and which command comes next. `demur` alone does so for the folder run."""
    show_path(run)


@app.command()
def demo(run: RunFolder = "run/demo", again: Again = False, json: AsJson = False) -> None:
    """Run every stage on two local models and 116 questions. It trains and measures a router."""
    if not json:
        printing.explanation(DEMO)
    from demur.quickstart import answer_examples, demo

    with progress_bar() as progress:
        outcome = demo(run=run, again=again, announce=None if json else printing.estimate, progress=progress)
    if json:
        return printing.as_json(outcome)
    printing.outcome(outcome, headline=False)
    for answered in answer_examples(run):
        printing.print_answered(answered)
    if outcome.evaluation is not None:
        printing.lines(["", *outcome.evaluation.shown_block.lines])
    return printing.next_step("demur serve --demo")


@app.command()
@with_options(LabelConfig, over_file=True, stays=True)
def label(
    run: RunFolder = "run",
    preset: Preset = "",
    allow_endpoint: AllowEndpoint = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Also print how the labels were made, and why prompts have none.")
    ] = False,
    json: AsJson = False,
    **given: Any,
) -> None:
    """Make preferences, by default from the models' samples.

    Samples are clustered by meaning; targets follow from how the models' answers agree.
    """
    from demur.pipeline import label

    with progress_bar(COMPARED_KEPT) as progress:
        labels = label(run=run, preset=preset, allow_endpoints=allow_endpoint or (), progress=progress, **given)
    if json:
        return printing.as_json(labels)
    printing.labels(labels, verbose=verbose)
    printing.outdated_stages_of(Path(run))
    return printing.next_in(run)


@app.command()
@with_options(RouterConfig, over_file=True, stays=True)
def train(
    run: RunFolder = "run",
    preset: Preset = "",
    allow_endpoint: AllowEndpoint = None,
    verbose: Verbose = False,
    json: AsJson = False,
    **given: Any,
) -> None:
    """Fit the routers and the gate on the preferences."""
    from demur.pipeline import train
    from demur.routing.artifact import CERTIFICATE

    promised = "and its guarantee were" if (Path(run) / "router" / CERTIFICATE).is_file() else "was"
    earlier = threshold_of(Path(run) / "router")
    with progress_bar(TRAINED_ANEW) as progress:
        router = train(run=run, preset=preset, allow_endpoints=allow_endpoint or (), progress=progress, **given)
    if earlier is not None:
        printing.err.print(f"the earlier threshold {promised} of the router before", soft_wrap=True)
    if json:
        return printing.as_json(router.describe())
    return printing.print_trained(router, Path(run), verbose=verbose)


@app.command()
def join(
    new: Annotated[str, typer.Argument(help="Folder of a labelled run of the router's weak model and the new one.")],
    router: RouterFolder = "run/router",
    to: Annotated[str, typer.Option(help="Folder of the router with the new model.")] = "run/joined",
    anyway: Annotated[bool, typer.Option("--anyway", help="Even if it was not shown to be worth its price.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a router that is in the folder of --to.")] = False,
    allow_endpoint: AllowEndpoint = None,
    json: AsJson = False,
) -> None:
    """Add a model to a GraphRouter without fitting it again. A few labelled prompts of the new model suffice."""
    from demur.gate.join_model import join_model

    found = join_model(new, router=router, to=to, anyway=anyway, force=force, allow_endpoints=allow_endpoint or ())
    if json:
        return printing.as_json(found)
    printing.lines(found.lines)
    return printing.next_step(f"demur calibrate prompts.jsonl --router {to} --usd-per-1k USD")


@app.command()
def evaluate(
    run: RunFolder = "run", allow_endpoint: AllowEndpoint = None, verbose: Verbose = False, json: AsJson = False
) -> None:
    """Measure cost against quality on graded prompts.

    These are the test prompts, which need gold answers, or those that `demur grade` graded.
    """
    from demur.evaluation.grades import grade_more
    from demur.pipeline import evaluate

    with progress_bar() as progress:
        evaluation = evaluate(run=run, allow_endpoints=allow_endpoint or (), progress=progress)
    if json:
        return printing.as_json(evaluation)
    printing.evaluation(evaluation, verbose=verbose)  # with the stages that are outdated
    printing.outdated_report_of(Path(run))
    if evaluation.needs_grades and (more := grade_more(Path(run))):
        return printing.next_step(more, others=report_lines(Path(run)))
    return printing.next_in(run)


@app.command()
@with_options(Criterion)
def calibrate(
    prompts: Annotated[
        str | None,
        typer.Argument(
            help="Your own prompts; for --risk graded ones that did not train the router: run/graded.jsonl (held "
            "back), or those of another run, such as unseen/grades.jsonl.  [default: those of the run]"
        ),
    ] = None,
    router: RouterFolder = "run/router",
    run: RunOfRouter = None,
    allow_endpoint: AllowEndpoint = None,
    anyway: Anyway = False,
    dry_run: DryRun = False,
    json: AsJson = False,
    **given: Any,
) -> None:
    """Set a router's threshold by share, budget or quality. Only a guarantee (--risk) needs graded prompts."""
    from demur.evaluation.thresholds.calibrate import calibrate_and_measure
    from demur.routing.artifact import read_description

    router = router_of(run, router)
    read_description(Path(router))  # where no router is saved, that is what is wrong, whatever was asked for
    if prompts is None:
        prompts = prompts_of_run(Path(router), graded=given["risk"] is not None)
        printing.explanation(OWN_PROMPTS.format(prompts=prompts) if given["risk"] is None else f"graded: {prompts}")
    if all(given[name] is None for name in CRITERIA):
        given["strong_share"] = _ask_share(router, prompts)
    criterion = from_mapping(Criterion, given, where="calibrate")
    with progress_bar(NOTHING_KEPT) as progress:
        calibration, _, block = calibrate_and_measure(
            *(prompts, criterion),
            router=router,
            allow_endpoints=allow_endpoint or (),
            anyway=anyway,
            dry_run=dry_run,
            progress=progress,
        )
    if json:
        return printing.as_json(calibration)
    kept = ("saved in", "nowhere: this is a dry run" if dry_run else router)
    printing.lines(replace(block, notes=(*block.notes, kept)).of_router(Path(router)).lines)
    if dry_run:
        return printing.next_step("the same command without --dry-run")
    printing.outdated_of(Path(router).parent)
    return printing.next_after_calibration(Path(router))


@app.command()
def report(run: RunFolder = "run", allow_endpoint: AllowEndpoint = None, json: AsJson = False) -> None:
    """Write report.html and the curve into the run's folder."""
    from demur.pipeline import report

    printing.outdated_stages_of(Path(run))
    with progress_bar() as progress:
        page = report(run=run, allow_endpoints=allow_endpoint or (), progress=progress)
    return printing.as_json({"page": page}) if json else _report_written(page, run)


def _report_written(page: Path, run: str) -> None:
    typer.echo(f"wrote {page}")
    printing.next_in(run)


inspect_commands(app)
grade_commands(app)
begin_commands(app)
gateway_commands(app)
learning_commands(app)
paper_commands(app)
export_commands(app)
pages_commands(app)


def _ask_share(router: str, prompts: str) -> float:
    """The strong share that a person at a terminal asks for. Raises InputError elsewhere, with what is there now."""
    at, now = Path(router), current_threshold(Path(router))
    usual = first_share(at.parent) if at.name == "router" else USUAL_SHARE
    note = "".join(f"; {line.strip()}" for line in (share_notes(at.parent) if at.name == "router" else ()))
    if not sys.stdin.isatty():
        raise InputError(
            f"{router}: {now}; say what you wish, such as `{calibrate_command(prompts, at, usual)}`, or in place of "
            f"the share --usd-per-1k, --keep-quality or --risk{note}"
        )
    typer.echo(f"{router}: {now}{note}")
    share: float = typer.prompt("Share of calls for the strong model", default=usual, type=float)
    return share


def main() -> None:
    """Entry point: errors of demur are one line and exit code 2. (Ctrl-C is 130, by typer.)"""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in ASCII too every text can be shown
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="demur")  # by `python -m demur`, too: what its help and its completion call it
    except DemurError as error:
        root = typer.main.get_command(app)
        said = in_whole(" ".join(str(error).split()), router_of_words(root, sys.argv[1:]))
        said = as_options(said, root, sys.argv[1:])
        typer.echo(f"demur: {printing.printable(said)}", err=True)
        raise SystemExit(2) from None
    except OSError as error:  # errors that no module handles, such as a full disk or an unreadable file
        typer.echo(f"demur: {of_the_system(error)}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
