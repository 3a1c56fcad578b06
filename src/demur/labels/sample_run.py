"""Samples a run's prompts: as many of each as `demur.labels.settled` calls for, and all of those kept for measuring."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from demur.labels.settled import settled_prompts
from demur.runs.run import Run
from demur.sampling.cost import PairEstimate
from demur.sampling.pair import PairSamples, sample_pair

Announce = Callable[[PairEstimate], None]


def sample_run(run: Run, announce: Announce | None) -> PairSamples:
    """Both models' samples of every prompt, from the store or by asking.

    Raises EndpointError, BudgetError; KeyboardInterrupt with what is kept.
    """
    try:
        return sample_pair(
            *(run.config, run.pair, run.prompts, run.samples, run.store),
            settle=partial(settled_prompts, n=run.config.sampling.fewest, meanings=run.shipped_meanings),
            full=run.for_measuring,
            announce=announce,
            progress=run.progress,
        )
    except KeyboardInterrupt:
        run.read_samples()
        raise KeyboardInterrupt(f"{run.sampled_share} are kept, and the same command goes on from there") from None
