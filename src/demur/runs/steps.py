"""The steps from prompts to a gateway, what a folder has of them, and what comes next. It reads files alone."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur.config import ModelConfig, RunConfig, load_run, read_run_file, tier_name
from demur.config.named_run import in_run_file, of_router, router_option, run_option
from demur.errors import DemurError, InputError
from demur.files import named_from_here
from demur.measure.threshold import OTHER_SHARE, Calibration
from demur.models.allowed_endpoints import serving_options
from demur.models.local import model_spec, priced_spec
from demur.models.swapped_models import swap_command, swap_words
from demur.records import count_of, dollars
from demur.runs.learning_gateway import learning_again
from demur.runs.lineage import (
    GRADES_FILE,
    REPORT,
    advice_of,
    least_share_of,
    newer_than_report,
    older_stages,
    outdated_stages,
    requests_of,
    run_file_of,
    stages_made,
    swapped_of,
    wish_of,
)
from demur.serving_file import (
    ServingGateway,
    command_beside,
    gateways_of,
    not_shown,
    served_before,
    words_of_served,
)
from demur.statistics import LEVEL, binomial_cdf

UNFINISHED = "not finished"
SHARE_OPTION = "--strong-share "
NEW = "NEW.jsonl"  # prompts of a user's that the run does not hold
FIRST_SHARE = 0.3  # of calls to the strong model, where nothing is known of what a share keeps
ANYWAY = " --anyway"  # as commands say it
SAMPLE = "demur sample prompts.jsonl --weak MODEL@http://HOST/v1 --strong MODEL@https://HOST/v1"

_SAMPLE_OPTIONS = re.compile(r"sample with `(--max-tokens \d+ --again)`|`demur sample` again with `(--[^`]+)`")
_OF_BOTH = re.compile(r"(`demur sample [^`]*)` with both models")


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the path."""

    name: str
    about: str
    done: str  # what the folder has of it; empty: nothing
    command: str  # to be copied
    newer: str = ""  # than that: what it was made from, made again since

    @property
    def finished(self) -> bool:
        """Whether nothing of it is missing, or older than what it was made from."""
        return bool(self.done) and not self.newer and not self.done.endswith(UNFINISHED)

    @property
    def state(self) -> str:
        """What the folder has of it, or what it is for."""
        return f"{self.done}, older than the {self.newer}" if self.done and self.newer else self.done or self.about


def steps_of(folder: Path) -> tuple[Step, ...]:
    """Every step in order, for a run's folder."""
    config = config_of(folder)
    option = run_option(folder)
    router = folder / "router"
    record, made = _json(router / "router.json"), stages_made(folder)
    prompts = named_from_here(str(config.prompts)) if config else "prompts.jsonl"
    pair = f"{' and '.join(map(tier_name, config.models))} on {prompts}" if config else ""
    labels = _lines(folder / "preferences.jsonl")
    threshold = threshold_of(router)
    asked = run_share(folder)
    strong_share = first_share(folder) if asked is None else asked
    measured = [str(folder / name) for name in (REPORT, "graded.jsonl", GRADES_FILE) if (folder / name).is_file()]
    newer_than = newer_than_report(folder)
    ledger, gateways = folder / "ledger.sqlite", gateways_of(router)
    limit = f", at most {dollars(config.max_usd)} in all" if config and config.max_usd else ""
    sample = (pair if "samples" in made else f"{pair}{limit}, {UNFINISHED}") if config else ""
    ask = results_command(folder) or (sample_command(folder)[1] if config else SAMPLE + option)
    older = older_stages(folder)
    start = start_command(folder)
    newer_labels, newer = older.get("labels", ""), older.get("labels") or older.get("routers", "")
    return (
        Step("sample", "ask both models several times per prompt", sample, ask),
        Step("label", "compare the answers: which prompts need the large model",
             count_of(labels, "preference") if labels else "", f"demur label{option}", newer_labels),
        Step("train", "learn a router from the labels", str(router) if record else "", f"demur train{option}", newer),
        Step("calibrate", "choose how many calls go to the large model",
             _held_words(gateways) if threshold is None else f"threshold {threshold:.4f}",
             calibrate_as_before(folder) or calibrate_command(prompts, router, strong_share), newer),
        Step("report", "see what it saves", str(folder / REPORT) if newer_than else ", ".join(measured),
             f"demur report{option}", newer or newer_than),
        Step("serve", f"an OpenAI-compatible endpoint{words_of_served(ledger)}",
             "; ".join(one.sentence for one in gateways), command_beside(gateways, start) or start),
    )  # fmt: skip


def start_command(folder: Path) -> str:
    """The command that starts a gateway of a run's router in the way in which one was started last, if one was."""
    config, router = config_of(folder), folder / "router"
    if not config and (learn := learning_again(folder)):
        return learn
    before = served_before(router)
    named = f" {shlex.quote(str(router))}" if run_option(folder) or before.names_another else ""
    models = _serving(config) if config and not before.names_models else ""
    return f"demur serve{named}{models}{_anyway(router)}{before.options}"


def _held_words(gateways: Sequence[ServingGateway]) -> str:
    """That a gateway needs no threshold; empty where none serves, or one does by its router's own."""
    held = [one.target for one in gateways if one.target]
    return f"no threshold: the gateway holds the target {held[0]}" if held else ""


def prompts_of_run(router: Path, *, graded: bool = False) -> str:
    """The file of prompts of the run that a saved router is of, or of those of them that `demur evaluate` has graded,
    which have not trained it. Raises InputError where there is none."""
    folder, config = router.parent, config_of(router.parent) if router.name == "router" else None
    if config is None:
        raise InputError(f"{router} is of no run, whose prompts could be taken; name a file, a prompt per line")
    if not graded:
        return named_from_here(str(config.prompts))
    if not (folder / "graded.jsonl").is_file():
        raise InputError(
            f"{folder / 'graded.jsonl'} is not there: --risk needs graded prompts that have not trained the router; "
            "where prompts have gold answers `demur evaluate` writes it, else name a file of `demur grade`"
        )
    return named_from_here(str(folder / "graded.jsonl"))


def calibrate_command(prompts: str, router: Path, strong_share: float) -> str:
    """The command that sets a saved router's threshold by a share of calls to the large model."""
    share = strong_share if 0 < round(strong_share, 2) < 1 else FIRST_SHARE  # neither model alone is set by a share
    return _calibrate(prompts, f"--strong-share {share:.2g}", router)


def calibrate_next(router: Path) -> str:
    """The command that sets a saved router's threshold as its run proposes it."""
    return next(one.command for one in steps_of(router.parent) if one.name == "calibrate")


def run_share(folder: Path) -> float | None:
    """The strong share that the run file of a folder's run asks for; None where none does, or it cannot be read. In
    the run's record earlier versions wrote one whether or not the file did."""
    file = run_file_of(folder)
    try:
        return read_run_file(file).strong_share if file else None
    except DemurError:
        return None


def first_share(folder: Path) -> float:
    """The strong share to begin with: the least that keeps most of the quality, where the run's own samples tell."""
    point, least = advice_of(folder), least_share_of(folder)
    return point.share if point and 0 < point.share < 1 else round(least + FIRST_SHARE * (1 - least), 2)


def sample_command(folder: Path) -> tuple[str, str]:
    """The prompts of a run's folder, and the command that asks both models about those that were added to them."""
    config, file = config_of(folder), run_file_of(folder)
    if config is None:
        return "prompts.jsonl", SAMPLE
    prompts = named_from_here(str(config.prompts))
    return prompts, f"demur run {shlex.quote(file)}" if file else _sample_again(config, folder)


def raise_limit(folder: Path) -> str:
    """How the limit of a run's costs is raised, for an error of a command that has no option for it."""
    if file := run_file_of(folder):
        return f"raise `max_usd` in {file} and use `demur run {shlex.quote(file)}`"
    return f"raise the run's limit with `{sample_command(folder)[1]} --max-usd USD`"


def in_whole(line: str, router: Path) -> str:
    """A line whose commands lack what the user has said before, with whole ones of a saved router and its run."""
    return of_router(_of_run(line, router.parent) if router.name == "router" else line, router)


def in_its_words(line: str, router: Path) -> str:
    """The same with the keys of the run file in place of options, where the run has one."""
    return in_run_file(in_whole(line, router), run_file_of(router.parent) if router.name == "router" else "")


def _of_run(line: str, folder: Path) -> str:
    config, file = config_of(folder), run_file_of(folder)
    if config is None:
        return line
    line = line.replace("the same `demur sample`", f"`{sample_command(folder)[1]}`")
    line = line.replace("demur run FILE", f"demur run {shlex.quote(file)}" if file else "demur run FILE")
    if config.between:  # `demur sample` asks two models
        return line
    again = _sample_again(config, folder)
    line = line.replace("(--ask-refused asks", f"(`{again} --ask-refused` asks")
    line = line.replace("`demur sample` with --batch ", f"`{again} --batch` ")
    line = _OF_BOTH.sub(lambda found: f"{found[1]} {_pair_options(config, priced_spec)}`", line)
    return line if file else _SAMPLE_OPTIONS.sub(lambda found: f"`{again} {found[1] or found[2]}`", line)


def results_command(folder: Path) -> str:
    """The command that reads the results of the files of requests that were written for a run; empty without such."""
    config = config_of(folder)
    return f"{_sample_again(config, folder)} --batch-in RESULTS" if config and requests_of(folder) else ""


def _sample_again(config: RunConfig, folder: Path) -> str:
    store = f" --store {shlex.quote(config.store)}" if config.store else ""
    pair = _pair_options(config, model_spec)
    return f"demur sample {shlex.quote(named_from_here(str(config.prompts)))} {pair}{run_option(folder)}{store}"


def _pair_options(config: RunConfig, spec: Callable[[ModelConfig], str]) -> str:
    return f"--weak {shlex.quote(spec(config.weak))} --strong {shlex.quote(spec(config.strong))}"


def swap_advice(folder: Path) -> str:
    """Why a run's weak and strong model may be swapped, and the command that changes them round; empty where nothing
    says so."""
    why, config, file = swapped_of(folder), config_of(folder), run_file_of(folder)
    if not why or config is None:
        return ""
    if file and not config.between:
        command = f"change [weak] and [strong] round in {file}, then demur run {shlex.quote(file)} --again"
    else:
        command = _of_run(swap_command(config), folder)
    return swap_words(why, command)


def share_command(folder: Path, share: float) -> str:
    """The command that sets a run's threshold so that this share of its own prompts goes to the large model."""
    config, rounded = config_of(folder), f"{share:.3g}"
    if float(rounded) < least_share_of(folder) <= share:  # which no threshold would give
        rounded = f"{math.ceil(1000 * share) / 1000:.3g}"
    prompts = named_from_here(str(config.prompts)) if config else "prompts.jsonl"
    return _calibrate(prompts, f"--strong-share {rounded}", folder / "router")


def calibrate_as_before(folder: Path) -> str:
    """The command that sets a run's threshold by what it was set by last, be it of an earlier router; empty: none."""
    wish = wish_of(folder)
    if wish is None or float(asked_share(wish) or 1.0) < least_share_of(folder):
        return ""
    return _calibrate(*wish, folder / "router")


def asked_share(wish: tuple[str, str]) -> str:
    """The strong share that a threshold was set by; empty where it was set by something else."""
    return wish[1].removeprefix(SHARE_OPTION) if wish[1].startswith(SHARE_OPTION) else ""


def _calibrate(prompts: str, options: str, router: Path) -> str:
    return f"demur calibrate {shlex.quote(prompts)} {options}{router_option(router)}{_anyway(router)}"


def after_replay(
    file: str, router: Path, share: float, *, prompts: int, reach: tuple[float, float], tried: bool
) -> tuple[str, str]:
    """The next command after a replay in which a ``share`` of a file's ``prompts`` went to the strong model, and why.

    ``reach``: the least and the largest share that a threshold gives on them; ``tried``: at a threshold that is not the
    router's own. A share that differs by no more than chance gives is as it was asked for.
    """
    if tried or threshold_of(router) is None:
        return calibrate_command(file, router, share), "to keep the threshold that gives this share:"
    wish = wish_of(router.parent) if router.name == "router" else None
    asked = float((wish and asked_share(wish)) or share)
    if round(abs(share - asked), 3) < OTHER_SHARE or not _is_beyond_chance(share, asked, prompts):
        return serve_command(router), ""
    if not reach[0] <= asked <= reach[1]:
        end, edge = ("at least", reach[0]) if asked < reach[0] else ("at most", reach[1])
        return serve_command(router), (
            f"the threshold was set so that {asked:.0%} of other prompts go to the strong model; of these it is {end} "
            f"{edge:.0%} at every threshold, because unknown prompts go by a setting"
        )
    why = (
        f"the threshold was set so that {asked:.0%} of other prompts go to the strong model; of these it is "
        f"{share:.0%}. To have {asked:.0%} of prompts like these:"
    )
    return calibrate_command(file, router, asked), why


def _is_beyond_chance(share: float, asked: float, prompts: int) -> bool:
    """Whether a share of so many prompts lies outside the middle 95 % of what chance gives where ``asked`` is true."""
    if not 0 < asked < 1:
        return True
    count = round(share * prompts)
    below, above = binomial_cdf(count, prompts, asked), 1 - (binomial_cdf(count - 1, prompts, asked) if count else 0.0)
    return min(below, above) < (1 - LEVEL) / 2


def command_after_one_prompt(router: Path) -> str:
    """The command that comes next once a decision on one prompt was looked at: set its threshold, serve the router or,
    where a gateway does, look at many prompts that are new to it."""
    gateways = gateways_of(router)
    if threshold_of(router) is None:
        return next_command(router.parent) if router.name == "router" else calibrate_command(NEW, router, FIRST_SHARE)
    if not gateways or any(one.outdated for one in gateways):
        return serve_command(router)
    return f"demur replay {NEW}{router_option(router)}"


def serve_command(router: Path) -> str:
    """The command that serves a saved router, or comes next where one does."""
    if router.name == "router":
        return steps_of(router.parent)[-1].command
    command = f"demur serve {shlex.quote(str(router))}{_anyway(router)}{served_before(router).options}"
    return command_beside(gateways_of(router), command) or command


def _anyway(router: Path) -> str:
    """The option that commands need for a router that was not shown to beat random."""
    return ANYWAY if not_shown(router) else ""


def _serving(config: RunConfig) -> str:
    """What the gateway's command must say: the hosts and keys of a pair, and that it was asked in a way of its own."""
    asked = config.sampling
    plain = not asked.chat and all(one.base_url is None for one in config.models)  # others cannot be asked so in a chat
    otherwise = plain or (asked.chat and (asked.system or asked.template != "{prompt}"))
    return serving_options(config) + (" --as-labelled" if otherwise else "")


def next_command(folder: Path) -> str:
    """The command that comes next in a folder."""
    steps = steps_of(folder)
    if reads := results_command(folder):  # what was written is paid for once it is sent
        return reads
    learns = any(one.learn for one in gateways_of(folder / "router")) or learning_again(folder)
    if config_of(folder) is None and learns:
        return steps[-1].command  # in place of the other steps
    stale = next((line for line in outdated_stages(folder)), "")
    again = next((one.command for one in steps if f"`demur {one.name}`" in stale and not one.finished), "")
    unfinished = [step for step in steps if not step.finished]
    if not is_router(folder / "router") and (file := run_file_of(folder)):  # it was interrupted
        return f"demur run {shlex.quote(file)}"
    return again or (unfinished[0] if unfinished else steps[-1]).command


def is_router(folder: Path) -> bool:
    """Whether a router is saved in a folder."""
    return (folder / "router.json").is_file()


def threshold_of(router: Path) -> float | None:
    """The threshold that a saved router has; None without one."""
    found = _json(router / "router.json").get("calibration") or {}
    return found.get("threshold")


def current_threshold(router: Path) -> str:
    """The threshold that a saved router has, and what was asked for when it was set."""
    found = _json(router / "router.json").get("calibration")
    if not found:
        return "no threshold is set yet"
    return f"the threshold is {found['threshold']:.4f} ({Calibration(**found).sentence})"


def config_of(folder: Path) -> RunConfig | None:
    """The record of a folder's run; None where there is none that can be read."""
    try:
        return load_run(folder)
    except DemurError:
        return None


def _json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(1 for _ in file)
    except OSError:
        return 0
