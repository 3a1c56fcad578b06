"""The options that name a run's folder, or a saved router, in the commands that demur proposes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

USUAL = "run"  # folder of a run, which commands need not name
ITS_RUN = " --run ITS_RUN"  # stands for the run that made a router which is kept outside of one
_LONGER = re.compile(r"sample with `--(max-tokens) (\d+) --again`")
_PRICED = re.compile(r"`demur sample[^`]*` again with `(?:--\w+-usd IN/OUT ?)+`, then `demur train[^`]*`")
_COMMAND = re.compile("(`demur [^`]*`)")  # which keeps the options that it has
_OPTION = re.compile(  # of `demur sample` and `demur label`
    r"--(max-tokens|max-usd|system|judge-tokens|judge)\b(?: (\d+|''|[A-Z]{2,}))?"
)
_UNNAMED = r"\b(?![^`]*--r(?:un|outer))[^`]*`"
_OF_A_RUN = re.compile(rf"`demur (?:sample|label|train|evaluate|grade|report){_UNNAMED}")
_OF_A_ROUTER = re.compile(rf"`demur (?:calibrate|replay|route|explain){_UNNAMED}")


def run_option(folder: Path) -> str:
    """The option that names a run's folder; empty for the usual one."""
    return "" if folder == Path(USUAL) else f" --run {shlex.quote(str(folder))}"


def router_option(router: Path) -> str:
    """The option that names a saved router: by its run's folder where it has one; empty for the usual one."""
    return run_option(router.parent) if router.name == "router" else f" --router {shlex.quote(str(router))}"


def run_folder_of(router: Path) -> Path:
    """The folder of the run that a saved router is of, if it is of one."""
    return router.parent.parent if router.parent.name == "routers" else router.parent


def in_folder(line: str, folder: Path) -> str:
    """A line whose commands are of the usual folder, with the option that names another one."""
    return of_router(line, folder / "router")


def of_router(line: str, router: Path) -> str:
    """The same of a saved router: one that is of no run has commands of its own, and others of the run that made it."""
    its_run = ITS_RUN if router.is_dir() else ""
    run = run_option(router.parent) if router.name == "router" else its_run
    return _with_option(_OF_A_ROUTER, router_option(router), _with_option(_OF_A_RUN, run, line))


def in_run_file(line: str, file: str) -> str:
    """A line that names options of a run's commands, of a run that a run file describes: by the keys of that, or with
    the command where the file has no such key. Without a file the same line.
    """
    if not file:
        return line
    run = f"`demur run {shlex.quote(file)} --again`"
    line = _LONGER.sub(lambda found: f"set `{_key(found)}` in {file}, then {run}", line)
    keys = "set usd_per_million_input and usd_per_million_output of that model"
    line = _PRICED.sub(lambda _: f"{keys} in {file}, then `demur run {shlex.quote(file)}`", line)
    line = line.replace("(--ask-refused asks", "(`demur sample` with --ask-refused asks")
    return "".join(part if part.startswith("`demur ") else _OPTION.sub(_key, part) for part in _COMMAND.split(line))


def _key(found: re.Match[str]) -> str:
    """The key of the file that an option stands for, with the value that was given for it, if any was."""
    key, value = found[1].replace("-", "_"), found[2]
    return f"{key} = {repr(value) if value.isalpha() else value}" if value else key


def _with_option(commands: re.Pattern[str], option: str, line: str) -> str:
    return commands.sub(lambda found: f"{found[0][:-1]}{option}`", line)
