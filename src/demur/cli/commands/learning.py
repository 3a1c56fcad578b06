"""The commands of learning from traffic: learn, routers, rollback, forget."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Annotated

import typer

from demur.cli import printing
from demur.records import count_of

USUAL_FOLDER = "run/learn"
Folder = Annotated[str, typer.Option("--folder", help="Folder of what is learned.")]


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (learn, routers, rollback, forget):
        app.command()(command)


def learn(
    settings: Annotated[
        str | None, typer.Argument(help="The gateway's settings file.  [default: that of `demur serve --learn`]")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do one round and end.")] = False,
    beside: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Learn a router from the prompts that a gateway serves. `demur serve --learn` starts it by itself."""
    from demur.learning.process import learn

    learn(settings, once=once, beside=beside, told=lambda status: printing.lines([f"learning: {status.sentence}"]))
    if once:
        printing.next_step("demur routers")


def routers(folder: Folder = USUAL_FOLDER) -> None:
    """List the routers that learning has tried, and their gains. The one that serves is marked."""
    from demur.learning.process import last_status, learning_gateway, tried_routers
    from demur.runs.learning_gateway import learning_command
    from demur.serving_file import command_beside, ledger_command

    found, now, canary = tried_routers(folder)
    printing.lines(
        [one.line(one.number == now, one.number == canary) for one in found] or [f"{folder}: no router was learned yet"]
    )
    gateway = learning_gateway(folder)
    far = last_status(folder)
    printing.lines([*([f"learning: {far}"] if far else []), *([gateway.sentence] if gateway else [])])
    if any(one.promoted and one.number != now for one in found):
        printing.next_step(f"demur rollback VERSION{_option(folder)}, to serve an earlier one")
    elif gateway:
        command = command_beside([gateway])
        printing.next_step(ledger_command(gateway) if command.startswith("demur routers") else command)
    else:
        printing.next_step(learning_command(Path(folder)))


def rollback(
    version: Annotated[
        int | None, typer.Argument(help="A version's number.  [default: the promoted one before]")
    ] = None,
    folder: Folder = USUAL_FOLDER,
) -> None:
    """Serve an earlier version again. A running gateway switches within a second."""
    from demur.learning.process import rollback

    printing.lines([f"version {rollback(folder, version)} serves now"])
    printing.next_step(f"demur routers{_option(folder)}")


def _option(folder: str) -> str:
    """What another command must say of the folder."""
    return "" if folder == USUAL_FOLDER else f" --folder {shlex.quote(folder)}"


def forget(
    ledger: Annotated[str, typer.Option(help="SQLite file or postgresql:// URL.")] = "run/ledger.sqlite",
    key: Annotated[str | None, typer.Option(help="Name of a client's key.")] = None,
    older_than: Annotated[float | None, typer.Option(help="Age in days.", min=0)] = None,
    folder: Folder = USUAL_FOLDER,
) -> None:
    """Erase kept prompts by client key or age. This covers the ledger and all that was learned from them."""
    from demur.learning.forget import forget
    from demur.learning.process import DAY_SECONDS

    before = None if older_than is None else time.time() - older_than * DAY_SECONDS
    printing.lines([f"{count_of(forget(folder, ledger, before=before, key=key), 'prompt')} erased"])
    printing.next_step(f"demur ledger {shlex.quote(ledger)} --by day, what is kept without them")
