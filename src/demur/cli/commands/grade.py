"""`demur grade`: shows a prompt and two answers, and takes one key per grade."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import click
import typer

from demur.cli import printing
from demur.cli.advice import report_lines
from demur.config.named_run import in_folder, run_option
from demur.evaluation.graded_file import USUAL_GRADES
from demur.evaluation.grades import FEWEST_GRADED, QUALITIES_OF_KEYS, UNKNOWN_FIRST, Grading
from demur.runs.steps import is_router

QUESTION = "Which answers are right? Of texts without a right answer: good enough to send."
KEYS = "[1] first  [2] second  [b] both  [n] neither   [s] skip  [u] undo  [q] stop"
LONGEST = 3000  # characters of a text that are shown


def add_commands(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command()(grade)


def grade(
    run: Annotated[str, typer.Option(help="Folder of the run.")] = "run",
    number: Annotated[int, typer.Option(help="How many prompts to grade in all.")] = USUAL_GRADES,
    unknown_first: Annotated[
        bool,
        typer.Option(
            UNKNOWN_FIRST,
            help="Ask first for prompts that go to one model whatever their score, in random order; after the usual "
            f"{USUAL_GRADES} such as: demur grade {UNKNOWN_FIRST} --number {USUAL_GRADES + FEWEST_GRADED}.",
        ),
    ] = False,
    gold: Annotated[
        bool, typer.Option("--gold", help="Grade all prompts that have gold answers by these, and ask nothing.")
    ] = False,
) -> None:
    """Grade answers by hand, one key each. You do not see which model wrote them; `demur evaluate` uses the grades."""
    from demur.evaluation.grades import grade_by_gold, open_grading, read_grades, shares

    if gold:
        file = grade_by_gold(run)
        grades = list(read_grades(file).values())
        said = shares(grades, f"{len(grades):,} graded")
        typer.echo(f"{said} ({file})")
        return printing.next_step(f"demur replay {shlex.quote(str(file))}")
    grading = open_grading(run, number=number, unknown_first=unknown_first)
    stopped = _ask(grading)
    typer.echo(f"{grading.result} ({grading.file})")
    count, counted = grading.counted
    printing.lines(f"  {in_folder(part, Path(run))}" for part in counted.split("; ") if part)
    few = is_router(Path(run) / "router") and count < FEWEST_GRADED
    if few and (stopped or number < USUAL_GRADES):
        again = "the same command goes on" if stopped and not unknown_first else f"demur grade --run {shlex.quote(run)}"
        needs = f"`demur evaluate` needs {FEWEST_GRADED} of prompts that the score decides"
        return printing.next_step(f"{again}; {in_folder(needs, Path(run))}")
    more = "the same command goes on; " if stopped else ""
    return printing.next_step(f"{more}{_use_of(grading, run)}", others=report_lines(Path(run)))


def _use_of(grading: Grading, run: str) -> str:
    """What the grades are for: in a run without a router, prompts that no router has seen, a guarantee."""
    if is_router(Path(run) / "router"):
        return f"demur evaluate{run_option(Path(run))}"
    return f"demur calibrate {shlex.quote(str(grading.file))} --risk 0.05"


def _ask(grading: Grading) -> bool:
    """Ask for every grade that is missing; True where the person stopped before the end."""
    at, done, note = 0, list[int](), ""  # done: places of the grades of this session
    while at < len(grading.waiting):
        one = grading.waiting[at]
        _show(f"{grading.graded + at + 1} of {grading.graded + len(grading.waiting)}", one.prompt, one.answers)
        if note:
            printing.lines([note])
        key, note = _key(), ""
        if key == "q":
            return True
        if key in QUALITIES_OF_KEYS:
            grading.keep(one, key)
            done.append(at)
            at += 1
        elif key == "s":
            at += 1
        elif key == "u" and done:
            grading.take_back()
            at = done.pop()
        elif key.strip():
            earlier = f" in this session; earlier grades are lines of {grading.file}" if grading.graded else ""
            note = f"nothing to undo{earlier}" if key == "u" else f"{key!r} is not a key here"
    return False


def _show(number: str, prompt: str, answers: tuple[str, str]) -> None:
    if printing.out.is_terminal:
        printing.out.clear()
    for title, text in ((f"Prompt {number}", prompt), ("First answer", answers[0]), ("Second answer", answers[1])):
        printing.out.rule(title, align="left")
        cut = " ..." if len(text) > LONGEST else ""
        printing.out.print(f"{text[:LONGEST].strip() or '(empty)'}{cut}", markup=False)
    printing.out.rule()
    printing.lines([QUESTION, KEYS])


def _key() -> str:
    """One key; the end of the input, Ctrl-C and Escape stop."""
    try:
        key = click.getchar() if sys.stdin.isatty() else sys.stdin.read(1)
        while key.isspace() and not sys.stdin.isatty():  # between the keys of a pipe
            key = sys.stdin.read(1)
    except (EOFError, KeyboardInterrupt):
        return "q"
    return "q" if key in ("", "\x03", "\x04", "\x1b") else key.lower()
