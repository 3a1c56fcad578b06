"""The commands in groups, each with --quiet, and what a bare `demur` shows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from demur.cli import printing
from demur.cli.advice import advice_lines, reload_lines
from demur.cli.examples import EXAMPLES
from demur.cli.promise import promises_beside
from demur.config import runs_beside
from demur.config.named_run import USUAL, in_run_file, run_option
from demur.errors import DemurError
from demur.evaluation.report.cautions import kept_headline
from demur.evaluation.report.headline_record import ALSO, FORECAST, LEFT, MEASURED, QUALITY, TO_KEEP
from demur.files import read_mapping
from demur.runs.learning_gateway import learning_again
from demur.runs.lock import work_on
from demur.runs.rest_of_sampling import rest_of_sampling
from demur.runs.steps import next_command, steps_of, swap_advice

UsageError: type[Exception] = typer.BadParameter.__bases__[0]  # the library that typer stands on is its own business
GROUPS = {
    "From prompts to a router": (
        *("demo", "init", "status", "run", "sample", "label", "train", "join", "calibrate"),
        *("route", "explain", "replay", "grade", "evaluate", "report"),
    ),
    "In production": ("serve", "launch", "ledger", "key", "learn", "routers", "rollback", "forget"),
    "Models and answers": ("models", "doctor", "entail", "pairs", "schema", "docs"),
    "Research": ("signals", "tau", "judge", "reproduce", "overhead", "simulate", "export"),
}
OTHERS = "Others"
SHOWN = (MEASURED, FORECAST, QUALITY, LEFT, TO_KEEP, ALSO)  # notes of a headline that a bare `demur` shows
EXIT_CODES = (
    "Exit codes: 0 done; 2 an error, named in one line on stderr, or an unknown option; 130 stopped by Ctrl-C, with "
    "everything kept that was paid for; 1 the gateway ended because its worker processes died again and again, or a "
    "program that read the output, such as head, closed it. Launch "
    "ends with its client's code. Results go to stdout, progress, warnings and next steps to stderr."
)


class CommandGroups(TyperGroup):
    """The root command: its help is in groups, and every command below it takes --quiet."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.epilog = EXIT_CODES
        for path, command in every_command(self):
            if not hasattr(command, "commands") or command.invoke_without_command:
                command.params.append(_quiet())
            command.epilog = f"Example: {EXAMPLES[path]}" if path in EXAMPLES else None

    def make_context(self, *given: Any, **named: Any) -> Any:
        """See `typer.core.TyperGroup`."""
        with usage_in_one_line():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        """See `typer.core.TyperGroup`."""
        with usage_in_one_line():
            return super().invoke(ctx)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """See `typer.core.TyperGroup`."""
        known = [name for names in GROUPS.values() for name in names]
        left = {OTHERS: tuple(name for name in self.commands if name not in known)}
        width = formatter.width - 6 - max(map(len, self.commands))
        for title, names in {**GROUPS, **left}.items():
            shown = [(name, self.commands[name]) for name in names if name in self.commands]
            rows = [(name, command.get_short_help_str(width)) for name, command in shown if not command.hidden]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


FEW = 3  # commands that an error names


@contextmanager
def usage_in_one_line() -> Iterator[None]:
    """Errors of options and arguments in one line, with exit code 2, as all errors of demur."""
    try:
        yield
    except UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        typer.echo(f"demur: {printing.printable(usage_sentence(error))}", err=True)
        raise SystemExit(2) from None


def usage_sentence(error: Any) -> str:
    """What is wrong with an option or an argument, the value that was given, and what helps."""
    path = " ".join(_path(error.ctx))
    command = f"demur {path}".rstrip()
    if hasattr(error, "possibilities") and hasattr(error, "option_name"):
        meant = f"did you mean {' or '.join(error.possibilities)}? " if error.possibilities else ""
        there = _commands_with(error.option_name, error.ctx)
        meant = f"it belongs to {' and '.join(f'demur {one}' for one in there)}; " if there else meant
        return f"no such option {error.option_name}; {meant}{command} --help"
    said = " ".join(error.format_message().split()).rstrip(".").replace(". Did you", "; did you")
    example = EXAMPLES.get(path) if said.startswith("Missing") else None
    then = "" if said.endswith("?") else ";"
    return f"{_with_value(said, error)}{then} {f'such as: {example}' if example else f'{command} --help'}"


def as_options(message: str, root: Any, arguments: Sequence[str]) -> str:
    """An error of a public function in the command line's words: its arguments by the options that set them.

    What a settings file holds keeps the file's names, and what a run file may hold gets them.
    """
    command, given = _parse_words(root, arguments)
    if command.name == "run":  # what a run file says has no option
        return in_run_file(message, str(given.get("file") or ""))
    if re.match(r"\S+\.(toml|ya?ml|json): ", message):
        return message
    for one in command.params:
        option = next((name for name in one.opts if name.startswith("--")), "")
        if option and "_" in one.name:
            message = re.sub(rf"(?<![\w.`'\"/-])(?:{command.name}\.)?{one.name}(?![\w.=(])", option, message)
        elif option:
            message = re.sub(rf"(\A|: ){one.name}(?= is )", rf"\1{option}", message)
    return message


def router_of_words(root: Any, arguments: Sequence[str]) -> Path:
    """The router that a command's words name, be it by its run, in a run file or in a gateway's settings file; else the
    usual one."""
    command, given = _parse_words(root, arguments)
    run, router = given.get("run"), given.get("router") or _named_in(given.get("config"), "router")
    if command.name == "run":
        run = _named_in(given.get("file"), "run")
    return Path(router) if router and run in (None, USUAL) else Path(run or USUAL) / "router"


def _parse_words(root: Any, arguments: Sequence[str]) -> tuple[Any, dict[str, Any]]:
    """The command that a command line's words are of, and what they give it."""
    command, words = root, [*arguments]
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    return command, command.make_context(command.name or "", words, resilient_parsing=True).params


def _named_in(file: str | Path | None, key: str) -> str:
    """What a file of settings says for a key; empty where it says nothing, or cannot be read."""
    with suppress(DemurError):  # whoever reads the file for its settings says what is wrong
        return str(read_mapping(Path(file)).get(key) or "") if file else ""
    return ""


def _commands_with(option: str, context: Any) -> list[str]:
    """The other commands that have an option of this name; none where these are many."""
    commands = leaves(context.find_root().command)
    found = sorted(path for path, one in commands if any(option in known.opts for known in one.params))
    return found if len(found) <= FEW else []


def _path(context: Any) -> tuple[str, ...]:
    """The names of a command and of the groups that it is in, without the program's own."""
    return (*_path(context.parent), context.info_name) if context is not None and context.parent else ()


def _with_value(said: str, error: Any) -> str:
    """The same with the value that was given, where the library that refuses it leaves it out."""
    name, told, why = said.removeprefix("Invalid value for ").partition(": ")
    if not told or not said.startswith("Invalid value"):
        return f"{said[0].lower()}{said[1:]}"
    why = why.removeprefix("Value error, ")
    wrong: list[Any] = getattr(error.__cause__, "errors", list)()
    value = repr(wrong[0].get("input")) if wrong else ""
    known = not value or value in why
    name = name.replace("'", "")
    return f"{name}: {why}" if known else f"{name} is {value}; {why[0].lower()}{why[1:]}"


def every_command(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command and every group, under its name with those of the groups that it is in."""
    for name, command in group.commands.items():
        yield f"{above}{name}", command
        if hasattr(command, "commands"):
            yield from every_command(command, f"{above}{name} ")


def leaves(group: Any) -> Iterator[tuple[str, Any]]:
    """Every command that is not a group."""
    return (found for found in every_command(group) if not hasattr(found[1], "commands"))


def _quiet() -> Any:
    """The option as typer makes it of a command's parameter."""
    probe = typer.Typer(add_completion=False)

    @probe.command()
    def command(
        quiet: Annotated[
            bool,
            typer.Option(
                "--quiet",
                callback=_be_quiet,
                expose_value=False,
                help="No progress and no next steps on stderr.",
            ),
        ] = False,
    ) -> None: ...

    return typer.main.get_command(probe).params[0]


def _be_quiet(wanted: bool) -> None:
    printing.QUIET.set(wanted)


def show_path(folder: str = USUAL) -> None:
    """What a bare `demur` shows: the steps, what the folder has of them, and the next command."""
    steps = steps_of(Path(folder))
    width = max(len(step.name) for step in steps)
    there = "" if Path(folder).is_dir() else ", which is not there yet"
    typer.echo(
        f"demur learns which prompts a small model can be trusted with. The steps, in the folder {folder}{there}:\n"
    )
    for step in steps:
        mark = "[x]" if step.finished else "[ ]"
        about = printing.printable(step.state)
        typer.echo(f"  {mark} {step.name:<{width}}  {about}")
    typer.echo("")
    if block := kept_headline(Path(folder)):
        kept = promises_beside(Path(folder))
        shown = replace(
            block,
            notes=(*(note for note in block.notes if note[0] in SHOWN), *(one.note for one in kept)),
            cautions=(*filter(None, (one.caution for one in kept)), *block.cautions[:2]),
        )
        typer.echo(printing.printable("\n".join((*shown.of_router(Path(folder) / "router").lines, ""))))
    if swapped := swap_advice(Path(folder)):
        typer.echo(printing.printable(f"{swapped}\n"))
    if work := work_on(Path(folder)):
        typer.echo(f"{work} is at work on this run; once it has ended, the command below shows what comes next")
        lines: tuple[str, ...] = (f"next: demur status{run_option(Path(folder))}",)
    else:
        command = next_command(Path(folder))
        lines = rest_of_sampling(Path(folder), command) or advice_lines(command, Path(folder) / "router")
        lines += reload_lines(Path(folder), command)
    for line in lines:
        typer.echo(printing.printable(line))
    if not any(step.done for step in steps) and not learning_again(Path(folder)):
        typer.echo("or:   demur demo   (two real local models, two to five minutes, nothing to set up)")
    others = runs_beside(Path(folder))
    if others and not any(step.done for step in steps):
        typer.echo(
            printing.printable(f"runs beside it: {', '.join(others)}; see one by demur status --run {others[0]}")
        )
    typer.echo("all commands: demur --help")
