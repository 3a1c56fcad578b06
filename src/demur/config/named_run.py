"""The options that name a run's folder, or a saved router, in the commands that demur proposes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

USUAL = "run"  # folder of a run, which commands need not name
_OF_A_RUN = re.compile(r"`demur (?:sample|label|train|calibrate|evaluate|grade|report)\b(?![^`]*--r(?:un|outer))[^`]*`")


def run_option(folder: Path) -> str:
    """The option that names a run's folder; empty for the usual one."""
    return "" if folder == Path(USUAL) else f" --run {shlex.quote(str(folder))}"


def router_option(router: Path) -> str:
    """The option that names a saved router: by its run's folder where it has one; empty for the usual one."""
    return run_option(router.parent) if router.name == "router" else f" --router {shlex.quote(str(router))}"


def in_folder(line: str, folder: Path) -> str:
    """A line whose commands are of the usual folder, with the option that names another one."""
    return _OF_A_RUN.sub(lambda found: f"{found[0][:-1]}{run_option(folder)}`", line)


def of_router(line: str, router: Path) -> str:
    """The same of a saved router: one that is of no run can be calibrated alone."""
    if router.name == "router":
        return in_folder(line, router.parent)
    return line.replace("`demur calibrate`", f"`demur calibrate{router_option(router)}`")
