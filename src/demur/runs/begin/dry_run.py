"""What sampling would ask for, without asking: nothing is written into the run's folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from demur.config import RunConfig
from demur.models.endpoint import authorization
from demur.records import Progress, Prompt, no_progress
from demur.runs.run import open_run
from demur.sampling.cost import PairEstimate, PairSpend
from demur.sampling.earlier.longer_trial import longer_trial
from demur.sampling.pair import estimate_pair, spend_of


def sample_dry(
    config: RunConfig,
    announce: Callable[[PairEstimate], None] | None,
    progress: Progress = no_progress,
    *,
    batch: bool = False,
    prompts: Sequence[Prompt] | None = None,
) -> PairSpend:
    """Announce the estimate, by ``batch`` (an API, or files) or directly; returns what the samples have cost so far.

    Raises EndpointError, after the estimate, where a key that sampling needs is not there.
    """
    with TemporaryDirectory() as empty:
        there = config if config.store or Path(config.store_at).exists() else replace(config, run=empty)
        with open_run(there, progress=progress, prompts=prompts) as run:
            if announce:
                given = (config, run.pair, run.prompts, run.samples, run.store)
                found = estimate_pair(*given, full=run.for_measuring)
                trial = longer_trial(run)
                found = replace(found, first=trial.sentence if trial else "")
                announce(found.by_batches(run.pair) if batch else found)
                for endpoint, side in ((run.pair.weak, found.weak), (run.pair.strong, found.strong)):
                    if side.missing and not batch:
                        authorization(endpoint)  # sampling would end at a key that is missing, too
            return spend_of(config, run.pair, run.prompts, run.samples, run.store)
