"""Samples a run's prompts: more of those that their first samples do not settle, and all of those kept for measuring.

Is a prompt settled: does each model agree with itself, so that it is plain whether both say the same? Chosen on the odd
prompts of `samples/local_pair`, confirmed on others: `benchmarks/adaptive_sampling.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from demur.config import RunConfig
from demur.errors import InputError
from demur.labels.pair_meanings import joint_clusters
from demur.mapping import portion_size, portions_of
from demur.meaning.meanings import Meanings
from demur.meaning.rules.declined_answers import says_nothing
from demur.records import IntArray, Prompt, count_of, no_progress
from demur.runs.run import Own, Run
from demur.sampling.budget import Budget, SharedBudget
from demur.sampling.cost import PairEstimate
from demur.sampling.pair import PairSamples, budget_of, estimate_pair, sample_pair
from demur.sampling.rounds import Settle
from demur.store import Store

Announce = Callable[[PairEstimate], None]


def sample_run(run: Run, announce: Announce | None) -> PairSamples:
    """Both models' samples of every prompt, from the store or by asking.

    Raises EndpointError, BudgetError, InputError where batches are under way; KeyboardInterrupt with what is kept.
    """
    check_none_sent(run)
    try:
        if run.mapping is not map:
            return _sample_in_portions(run, announce)
        return sample_pair(
            *(run.config, run.pair, run.prompts, run.samples, run.store),
            settle=_settle_of(run),
            full=run.for_measuring,
            announce=announce,
            progress=run.progress,
        )
    except KeyboardInterrupt:
        run.read_samples()
        raise KeyboardInterrupt(f"{run.sampled_share} are kept, and the same command goes on from there") from None


@dataclass(frozen=True, slots=True)
class SamplePortion:
    """The work on a portion of a run's prompts: what is mapped. It returns deviations from the requests."""

    config: RunConfig
    store: Store  # where each answer is kept before it is counted, so that another worker does not ask for it again
    budget: Budget

    def __call__(self, prompts: Sequence[Prompt]) -> tuple[str, ...]:
        with ExitStack() as stack:
            run = Run(self.config, Own(), allow_endpoints=None, progress=no_progress, closing=stack)
            run.store, run.prompts = self.store, prompts
            found = sample_pair(
                *(run.config, run.pair, run.prompts, run.samples, run.store),
                settle=_settle_of(run),
                full=run.for_measuring,
                budget=self.budget,
            )
            return found.notes


def _sample_in_portions(run: Run, announce: Announce | None) -> PairSamples:
    """`sample_run` by the run's workers; each has the endpoint's concurrency."""
    config = run.config
    expected = estimate_pair(config, run.pair, run.prompts, run.samples, run.store, full=run.for_measuring)
    if announce:
        announce(expected)
    if not expected.missing:
        return run.samples
    budget = Budget()
    if config.max_usd is not None:
        budget = SharedBudget(run.hold(partial(budget_of, config, run.pair, run.store)))
    missing = [prompt for prompt in run.prompts if not run.is_complete(prompt)]
    portions = list(_portions(missing, portion_size(run.mapping, len(missing))))
    notes, done = dict[str, None](), 0
    run.progress("sampling prompts", 0, len(missing))
    for portion, found in zip(portions, run.mapping(SamplePortion(config, run.store, budget), portions), strict=True):
        notes |= dict.fromkeys(found)
        done += len(portion)
        run.progress("sampling prompts", done, len(missing))
    run.read_samples()
    return replace(run.samples, notes=tuple(notes))


def _portions(prompts: Sequence[Prompt], size: int) -> Iterator[list[Prompt]]:
    """Portions of prompts; those that are asked alike, whose samples are the same, in one."""
    alike: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        alike.setdefault(prompt.key, []).append(prompt)
    for some in portions_of(list(alike.values()), size):
        yield [prompt for same in some for prompt in same]


def _settle_of(run: Run) -> Settle:
    return partial(settled_prompts, n=run.config.sampling.fewest, meanings=run.shipped_meanings)


def check_none_sent(run: Run) -> None:
    """Raise InputError where requests are under way in batches, which would be asked, and paid for, again."""
    settings = run.config.sampling.key
    sent = [batch for one in run.pair.all for batch in run.store.sent_batches(one.name, settings)]
    if sent:
        requests = count_of(sum(len(one.asked) for one in sent), "request is", "requests are")
        raise InputError(
            f"{run.config.run}: {requests} under way in {count_of(len(sent), 'batch', 'batches')}; "
            "`demur sample` with --batch reads their results, or cancel them where they were sent and do the same"
        )


def settled_prompts(prompts: Sequence[Prompt], samples: PairSamples, *, n: int, meanings: Meanings) -> frozenset[str]:
    """Ids of the prompts that both models' first n samples settle. A model that says nothing settles nothing."""
    weak, strong = ([side[prompt.id][:n] for prompt in prompts] for side in (samples.weak, samples.strong))
    joint = joint_clusters(prompts, weak, strong, meanings).ids
    return frozenset(
        prompt.id
        for prompt, ids, *sides in zip(prompts, joint, weak, strong, strict=True)
        if is_settled(ids) and not any(says_nothing(one.text) for side in sides for one in side)
    )


def is_settled(joint: IntArray) -> bool:
    """Whether either model's answers are one meaning; the clusters then say whether it is the same.

    ``joint``: clusters over both models' answers, as many of each, the strong ones first.
    """
    strong, weak = np.split(joint, 2)
    return len(np.unique(strong)) == len(np.unique(weak)) == 1
