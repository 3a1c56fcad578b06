"""Which command comes next, where the one at hand would set aside that a router was not shown to beat random."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

from demur.config import RunConfig
from demur.config.named_run import USUAL, run_option
from demur.evaluation.report.headline_record import Headline
from demur.prompts import load_prompts
from demur.routing.verdict import recorded_verdict
from demur.runs.lineage import REPORT, newer_than_report, older_lines, outdated_stages, stages_made
from demur.runs.proposed_share import share_notes
from demur.runs.steps import (
    ANYWAY,
    after_replay,
    calibrate_command,
    config_of,
    is_router,
    next_command,
    sample_command,
    threshold_of,
)
from demur.serving_file import ANYWAY_KEY, gateways_of


def advice_lines(command: str, router: Path | None) -> tuple[str, ...]:
    """The lines that advise a ``command`` on a saved router: why the strong share that it names, and before one that
    uses it though it was not shown to beat random, more prompts.
    """
    if router is None:
        return (f"next: {command}",)
    share = share_notes(router.parent, command) if "demur calibrate " in command and router.name == "router" else ()
    verdict = recorded_verdict(_record(router)) if ANYWAY in command or ANYWAY_KEY in command else None
    if verdict is None or verdict.learned:
        return (*share, f"next: {command}")
    prompts, again = sample_command(router.parent)
    more = f"to about {verdict.enough:,}" if verdict.enough else "of other kinds"
    return (
        f"it learned from {verdict.n:,} prompts: add some {more} to {prompts}; answers that are there are kept",
        f"next: {again}",
        *share,
        f"or, as it is: {command}",
    )


def after_replay_with_others(
    file: str, router: Path, line: Headline, *, tried: bool
) -> tuple[str, str, tuple[str, ...]]:
    """The next command after a replay of a file, with the ``line`` that it printed: the command, why, and others with
    what each does. Before calibration it is the one that comes next in the run, whose share is said with it.

    ``tried``: the threshold was given, and is not the router's own.
    """
    command, why = after_replay(
        *(file, router, line.strong_share),
        prompts=line.prompts,
        reach=(line.least_share, line.largest_share),
        tried=tried,
    )
    others = list[str]()
    if not tried and threshold_of(router) is None and router.name == "router":
        others.append(f"{command}   (keeps the threshold that gives this share)")
        command, why = next_command(router.parent), ""
    if (point := line.enough) and 0 < point.share < 1:
        other = calibrate_command(file, router, point.share)
        keeps = f"keeps {point.kept:.0%} of the large model's quality on these prompts"
        others += [f"{other}   ({keeps})"] if other != command else []
    return command, why, tuple(others)


def reload_lines(folder: Path, command: str) -> tuple[str, ...]:
    """The line for each gateway that has not loaded the run's router or threshold, unless it is the ``command`` that
    comes next; none while the router has no threshold, or is itself older than its labels."""
    return tuple(
        f"or:   {one.reload}   (the gateway on {one.address} loads what is newer)"
        for one in gateways_of(folder / "router")
        if one.outdated and not one.refuses and one.reload != command
        if not (older_lines if one.target else outdated_stages)(folder)
    )


def report_lines(folder: Path) -> tuple[str, ...]:
    """The command that makes a run's report again, where it is older than what it was made from."""
    newer = newer_than_report(folder)
    return (f"demur report{run_option(folder)}   ({folder / REPORT} is older than the {newer})",) if newer else ()


def _record(router: Path) -> dict[str, object]:
    try:
        found = json.loads((router / "router.json").read_text(encoding="utf-8"))["record"]
    except (OSError, ValueError, LookupError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def measuring_command(folder: Path) -> str:
    """The command by which another folder's samples measure the usual run's router; empty where they cannot, because
    they are of its training prompts, or have labels of their own."""
    usual, config, served = Path(USUAL), config_of(folder), config_of(Path(USUAL))
    if folder == usual or not config or not served or not is_router(usual / "router"):
        return ""
    same = [one.model for one in config.models] == [one.model for one in served.models]
    if not same or "labels" in stages_made(folder) or _mostly_of(config, usual):
        return ""
    return f"demur grade --run {shlex.quote(str(folder))}"


def _mostly_of(config: RunConfig, usual: Path) -> bool:
    """Whether most of a run's prompts are those of another folder's run, or a copy of them."""
    served = config_of(usual)
    files = [Path(one.prompts) for one in (config, served) if one]
    if len({*files}) < 2 or not all(one.is_file() for one in files):
        return len({*files}) < 2
    own, others = ({prompt.text for prompt in load_prompts(file)} for file in files)
    return 2 * len(own & others) > len(own)
