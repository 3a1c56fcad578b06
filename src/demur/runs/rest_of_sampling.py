"""How far a run's sampling came that is not finished, and the command that goes on with it.

Read from the run's own file of answers. One that keeps them in a database of its own host is not asked: it may be away.
"""

from __future__ import annotations

import math
from pathlib import Path

from demur.config import RunConfig, load_run
from demur.config.named_run import run_option
from demur.errors import DemurError
from demur.models.endpoint import Endpoint
from demur.records import count_of, dollars
from demur.runs.lineage import requests_of, run_file_of, stages_made
from demur.runs.record import PRICES
from demur.runs.run import Run, open_run
from demur.runs.steps import results_command, sample_command
from demur.sampling.budget import prompt_tokens
from demur.sampling.cost import PairEstimate
from demur.sampling.pair import distinct_sides, estimate_pair


def rest_of_sampling(folder: Path, command: str) -> tuple[str, ...]:
    """The lines that advise a ``command`` where it goes on with sampling; empty where it does something else, or
    nothing is known of the run.

    A limit that stops the same command at once is named, with one that allows all that is missing.
    """
    try:
        if command and command == results_command(folder):
            return _lines_on_requests(folder, command)
        if "samples" in stages_made(folder) or command != sample_command(folder)[1]:
            return ()
        config = load_run(folder)
        if config.store or not Path(config.store_at).is_file() or not Path(config.prompts).is_file():
            return ()
        with open_run(config) as run:
            return _lines(run, folder, command)
    except DemurError:  # whoever goes on says what is wrong
        return ()


def _lines_on_requests(folder: Path, command: str) -> tuple[str, ...]:
    """The lines where requests were written into files, which would be asked, and paid for, again."""
    config, sample = load_run(folder), command.removesuffix(" --batch-in RESULTS")
    local = any(one.base_url is None for one in config.models)
    more = f"{sample}   (samples the local model" if local else f"{sample} --batch-out NEW_FOLDER   (what is missing"
    return (
        f"files of requests for a batch API are written in {requests_of(folder)}; the same answers asked for directly "
        "are paid for twice",
        f"next: {command}   (RESULTS: the files that the batch API gave back)",
        f"or:   {more}, once all of them are read)",
    )


def _lines(run: Run, folder: Path, command: str) -> tuple[str, ...]:
    there = f"{run.sampled_share} are there"
    expected = estimate_pair(run.config, run.pair, run.prompts, run.samples, run.store, full=run.for_measuring)
    enough = _enough_usd(run, expected)
    if enough is None:
        kept = _kept_words(run.config)
        return (f"{there}; the run keeps {kept}" if kept else there, f"next: {command}")
    file = run_file_of(folder)
    more = f"max_usd = {enough:g} in {file}, then {command}" if file else f"{command} --max-usd {enough:g}"
    lines = (
        f"{there}, and the limit of {dollars(run.config.max_usd or 0.0)} is too low for the next requests",
        f"next: {more}",
    )
    complete = sum(map(run.is_complete, run.train_prompts))
    if not complete:
        return lines
    have = "1 prompt that has" if complete == 1 else f"{count_of(complete, 'prompt')} that have"
    return (*lines, f"or:   demur label{run_option(folder)}   (of the {have} all answers)")


def _kept_words(config: RunConfig) -> str:
    """What the command need not say again, since the run keeps it; empty: nothing."""
    priced = any(getattr(model, name) not in (None, {}) for model in config.models for name in PRICES)
    limit = f"the limit of {dollars(config.max_usd)}" if config.max_usd is not None else ""
    return " and ".join(filter(None, ["the prices" if priced else "", limit]))


def _enough_usd(run: Run, expected: PairEstimate) -> float | None:
    """A limit that allows all that is missing, where the run's own stops it at its next requests; else None.

    As many requests as are made at once are reserved together, so the limit stops them before it is spent.
    """
    limit, left, most = run.config.max_usd, expected.usd_left, sum(side.usd or 0.0 for side in expected.all)
    if limit is None or left is None or left >= most:
        return None
    if left >= sum(one.concurrency * _next_usd(run, at, one) for at, one in distinct_sides(run.pair).items()):
        return None
    return _rounded_up(limit - left + most)


def _next_usd(run: Run, at: int, endpoint: Endpoint) -> float:
    """What a model's next request can cost at most, in USD."""
    settings, samples = run.config.sampling, run.samples.all[at]
    missing = ((prompt, len(samples[prompt.id])) for prompt in run.prompts if not run.is_complete(prompt))
    for prompt, there in missing:
        wanted = settings.fewest if there < settings.fewest else settings.most
        if endpoint.price and there < wanted:
            return endpoint.price.usd(prompt_tokens(prompt, settings), (wanted - there) * settings.max_tokens)
    return 0.0


def _rounded_up(usd: float) -> float:
    """An amount of two significant digits that is no smaller."""
    unit = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return float(f"{math.ceil(usd / unit) * unit:.6g}")
