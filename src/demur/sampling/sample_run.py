"""Samples a run's prompts: more of those that their first samples do not settle, and all of those kept for measuring.

What settles a prompt is up to the caller (`demur.labels.settled_prompts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from demur.config import RunConfig
from demur.errors import InputError
from demur.mapping import Map, portion_size, portions_of
from demur.prompts import split_prompts
from demur.records import Progress, Prompt, count_of
from demur.sampling.budget import Budget, SharedBudget
from demur.sampling.cost import PairEndpoints, PairEstimate
from demur.sampling.pair import PairSamples, budget_of, endpoints_of, estimate_pair, sample_pair, stored_pair
from demur.sampling.rounds import Settle
from demur.store import Store

Announce = Callable[[PairEstimate], None]


def with_kept_limit(announce: Announce | None, given: float | None, config: RunConfig) -> Announce | None:
    """What announces an estimate, which then says where the run's limit of costs is that of an earlier command, since
    none is ``given`` now.
    """
    kept = config.max_usd
    if announce is None or given is not None or kept is None:
        return announce
    return lambda expected: announce(replace(expected, kept_limit=kept))


class SampledRun(Protocol):
    """What sampling needs of an open run (`demur.runs.run.Run`)."""

    config: RunConfig
    mapping: Map
    progress: Progress

    @property
    def pair(self) -> PairEndpoints:
        """Both models."""

    @property
    def prompts(self) -> Sequence[Prompt]:
        """All prompts."""

    @property
    def for_measuring(self) -> Set[str]:
        """Ids of the prompts that get all samples."""

    @property
    def samples(self) -> PairSamples:
        """What both models have given, when it was last read."""

    @property
    def store(self) -> Store:
        """Where every answer is kept."""

    @property
    def sampled_share(self) -> str:
        """How many of the answers are there, in words."""

    def hold(self, make: Callable[[], Any]) -> Any:
        """What ``make`` opens, once for all that work on the run."""

    def is_complete(self, prompt: Prompt) -> bool:
        """True where both models have given all samples that a prompt takes."""

    def read_samples(self) -> None:
        """Read the samples again."""


def sample_run(run: SampledRun, settle: Settle, announce: Announce | None) -> PairSamples:
    """Both models' samples of every prompt, from the store or by asking.

    Raises EndpointError, BudgetError, InputError where batches are under way; KeyboardInterrupt with what is kept.
    """
    check_none_sent(run)
    try:
        if run.mapping is not map:
            return _sample_in_portions(run, settle, announce)
        return sample_pair(
            *(run.config, run.pair, run.prompts, run.samples, run.store),
            settle=settle,
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
    settle: Settle

    def __call__(self, prompts: Sequence[Prompt]) -> tuple[str, ...]:
        config, pair = self.config, endpoints_of(self.config)
        _, for_measuring = split_prompts(prompts, config.test_share)
        found = sample_pair(
            *(config, pair, prompts, stored_pair(pair, config.sampling, prompts, self.store), self.store),
            settle=self.settle,
            full=frozenset(prompt.id for prompt in for_measuring),
            budget=self.budget,
        )
        return found.notes


def _sample_in_portions(run: SampledRun, settle: Settle, announce: Announce | None) -> PairSamples:
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
    work = SamplePortion(config, run.store, budget, settle)
    for portion, found in zip(portions, run.mapping(work, portions), strict=True):
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


def check_none_sent(run: SampledRun) -> None:
    """Raise InputError where requests are under way in batches, which would be asked, and paid for, again."""
    settings = run.config.sampling.key
    sent = [batch for one in run.pair.all for batch in run.store.sent_batches(one.name, settings)]
    if sent:
        requests = count_of(sum(len(one.asked) for one in sent), "request is", "requests are")
        raise InputError(
            f"{run.config.run}: {requests} under way in {count_of(len(sent), 'batch', 'batches')}; "
            "`demur sample` with --batch reads their results, or cancel them where they were sent and do the same"
        )
