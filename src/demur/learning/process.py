"""`demur learn`: rounds of learning, one after another, in a process of its own beside the gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

from demur.errors import DemurError
from demur.files import is_same_path, read_mapping, write_whole
from demur.gateway.learning.cold_start import STATUS, check_learning
from demur.gateway.settings import GatewaySettings, LearnSettings, read_settings
from demur.learning.forget import forget
from demur.learning.round import Status, learn_round
from demur.learning.versions import Version, canary, end_canary, promote, serving_version, version_before, versions
from demur.records import Progress, no_progress
from demur.runs.learning_gateway import SETTINGS
from demur.serving_file import ServingGateway, serving_gateways

DAY_SECONDS = 86_400
NICE = 10  # lower priority than the gateway's
LOOK_SECONDS = 0.5  # between two looks whether the gateway is still there


def learn(
    config: str | Path | None = None,
    *,
    once: bool = False,
    beside: int | None = None,
    told: Callable[[Status], None] = lambda status: None,
    progress: Progress = no_progress,
) -> Status:
    """Learn from a gateway's traffic by its settings file until interrupted, or for one round (``once``).

    ``config``: None is the file that ``demur serve --learn`` left; ``beside``: the process with which it ends. Returns
    the last status. Raises InputError for settings that cannot be learned with; a failure in a later round is reported,
    and the round tried again.
    """
    settings = read_settings(config or Path(LearnSettings().folder) / SETTINGS)
    settings = replace(settings, learn=settings.learn or LearnSettings())
    check_learning(settings)
    assert settings.learn is not None
    while True:
        try:
            status = _round(settings, settings.learn, progress)
        except DemurError as error:
            if once:
                raise
            print(f"demur: learning: {error}", file=sys.stderr)
        else:
            told(status)
            if once:
                return status
        until = time.monotonic() + settings.learn.every_seconds
        while time.monotonic() < until:
            if beside is not None and os.getppid() != beside:
                raise SystemExit(0)
            time.sleep(min(LOOK_SECONDS, settings.learn.every_seconds))


def _round(settings: GatewaySettings, learn: LearnSettings, progress: Progress) -> Status:
    forget(learn.folder, settings.ledger, before=time.time() - learn.retain_days * DAY_SECONDS)
    return learn_round(settings, progress=progress)


@contextmanager
def learning_beside(settings: GatewaySettings) -> Iterator[None]:
    """`demur learn` in a process of lower priority for as long as the block lasts."""
    assert settings.learn is not None
    file = Path(settings.learn.folder) / SETTINGS
    write_whole(file, json.dumps(asdict(settings), indent=2) + "\n", mode=0o600)
    command = [sys.executable, "-m", "demur", "learn", str(file), "--beside", str(os.getpid())]
    child = subprocess.Popen(command, preexec_fn=lambda: os.nice(NICE))
    try:
        yield
    finally:
        child.terminate()
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout=10)
        child.kill()


def tried_routers(folder: str) -> tuple[list[Version], int | None, int | None]:
    """Every version that learning has tried, oldest first, the number of the one that serves, and of the canary."""
    return versions(Path(folder)), serving_version(Path(folder)), canary(Path(folder))


def learning_gateway(folder: str) -> ServingGateway | None:
    """The gateway on this machine that learns in this folder now; None without one."""
    try:
        router = Path(str(read_mapping(Path(folder) / SETTINGS, "settings file")["router"]))
    except (DemurError, KeyError):
        return None
    found = (one for one in serving_gateways(router.parent) if one.learn and is_same_path(one.learn, folder))
    return next(found, None)


def last_status(folder: str) -> str:
    """How far learning is, as its last round said; empty before the first one."""
    try:
        return str(read_mapping(Path(folder) / STATUS, "status")["sentence"])
    except (DemurError, KeyError):
        return ""


def rollback(folder: str, number: int | None = None) -> int:
    """Let an earlier version serve, the promoted one before or the one named; returns which. Raises InputError.

    The trial of a canary ends.
    """
    end_canary(Path(folder))
    chosen = version_before(Path(folder)) if number is None else number
    promote(Path(folder), chosen)
    return chosen
