"""Both models' samples of the same prompts: sampled side by side, within one budget.

Models between them are sampled after the pair, as often as the pair was; those of one endpoint share its samples.
Local models are started only when samples are missing, so a run whose samples are complete needs no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from contextlib import AsyncExitStack
from dataclasses import replace

from demur.config import RunConfig
from demur.errors import InputError
from demur.event_loop import run_to_end
from demur.limits import check_limits
from demur.models.endpoint import Endpoint, authorization
from demur.models.local import endpoint_of
from demur.models.requests.client import EndpointClient
from demur.models.swapped_models import dearer_sentence, swap_command
from demur.prompts.conversations import system_fact
from demur.records import Fact, Progress, Prompt, SamplingSettings, count_of, no_progress
from demur.sampling.budget import Budget, can_limit, unknown_price
from demur.sampling.cost import (
    PairEndpoints,
    PairEstimate,
    PairSpend,
    asked_later_facts,
    cut_sentences,
    price_facts,
    price_samples,
    samples_in,
)
from demur.sampling.earlier.answer_lengths import earlier_lengths, own_limit
from demur.sampling.earlier.asked_models import paid_for_questions, run_budget, spent_on_run, uncounted_models
from demur.sampling.local_servers import LocalServers, Turns, completer_of
from demur.sampling.refused_prompts import refused_prompts, refused_sentence
from demur.sampling.rounds import PairSamples as PairSamples
from demur.sampling.rounds import Settle, sample_in_rounds, settle_none
from demur.sampling.sample import SideSampling, estimate, stored_samples
from demur.sampling.statements import bound_of_statements
from demur.store import Store

ASKS_AGAIN = ": the same command asks for them"


def endpoints_of(config: RunConfig) -> PairEndpoints:
    """The models of a run."""
    weak, *between, strong = map(endpoint_of, config.models)
    return PairEndpoints(weak, strong, tuple(between))


def estimate_pair(
    config: RunConfig,
    pair: PairEndpoints,
    prompts: Sequence[Prompt],
    have: PairSamples,
    store: Store,
    *,
    full: Set[str] = frozenset(),
) -> PairEstimate:
    """What `sample_pair` will ask for, with the same arguments. Raises BudgetError where no price is known."""
    sampled = distinct_sides(pair)
    first, *others, last = (
        estimate(
            *(prompts, endpoint, config.sampling, have.all[at]),
            refused=refused_prompts(prompts, endpoint, config.sampling, store),
            settled=have.settled,
            full=full,
            earlier=earlier_lengths(config, endpoint, store),
        )
        for at, endpoint in sampled.items()
    )
    weak, strong, between = first, last, tuple(others)
    models = tuple(one.model for one in sampled.values())
    prices = (*price_facts(pair), *asked_later_facts(config), *_repeat_fact(prompts))
    prices += system_fact(prompts, config.sampling)
    sides = ((weak, pair.weak), (strong, pair.strong)) if config.label.state_answers == "on" else ()
    stated = tuple(bound_of_statements(side, end, config.sampling.max_tokens) for side, end in sides)
    budget = budget_of(config, pair, store)
    left, spent = budget.left, budget.spent
    if left is None and not store.shared:  # other runs' answers are in a shared store, too
        spent = spent_on_run(config, sampled.values(), store)
    swapped = dearer_sentence(pair.weak, pair.strong)
    swap = f"{swap_command(config)}   (in a run file: change [weak] and [strong] round)" if swapped else ""
    return PairEstimate(weak, strong, prices, models, stated, left, spent, between, swapped, swap)


def sample_pair(
    config: RunConfig,
    pair: PairEndpoints,
    prompts: Sequence[Prompt],
    have: PairSamples,
    store: Store,
    *,
    settle: Settle = settle_none,
    full: Set[str] = frozenset(),
    budget: Budget | None = None,
    announce: Callable[[PairEstimate], None] | None = None,
    progress: Progress = no_progress,
) -> PairSamples:
    """n samples of every prompt by all models, the pair side by side; what exists (``have``) is not requested again.

    Where n is a range, every prompt gets the fewest; those that these ``settle`` are recorded as settled and get no
    more, unless they are in ``full`` (ids). A prompt that a model refuses is left out, and remembered. ``budget``: what
    others spend of as well; None: the run's. Raises EndpointError, BudgetError.
    """
    settings, sampled = config.sampling, distinct_sides(pair)
    sides = [(config.models[at], have.all[at]) for at in sampled]
    asked = [False for _ in sampled]  # who may share a budget with others has been reached before
    if budget is None:
        expected = estimate_pair(config, pair, prompts, have, store, full=full)
        if announce:
            announce(expected)
        if not expected.missing:
            return have
        asked = [side.missing > 0 for side in expected.all]
        for endpoint, is_asked in zip(sampled.values(), asked, strict=True):
            if is_asked:
                authorization(endpoint)  # a key that is missing is said before the other model is asked
    spent = budget or budget_of(config, pair, store)

    async def every() -> PairSamples:
        turns = Turns()
        async with AsyncExitStack() as stack:
            completers: list[LocalServers | EndpointClient] = [
                await stack.enter_async_context(completer_of(side, settings, turns, progress)) for side, _ in sides
            ]
            begun = zip(completers, asked, strict=True)
            await asyncio.gather(
                *(one.reach() for one, is_asked in begun if is_asked and isinstance(one, EndpointClient))
            )
            weak, *between, strong = (
                SideSampling(
                    *(prompts, completer, completer.endpoint, settings, store),
                    have=samples,
                    budget=spent,
                    progress=progress,
                )
                for completer, (_, samples) in zip(completers, sides, strict=True)
            )
            settled = await sample_in_rounds(
                *(weak, strong, prompts, settings, settle),
                settled=have.settled,
                full=full,
                keep=lambda found: store.add_settled(*settled_key(pair, settings), [one.key for one in found]),
            )
            found = PairSamples(weak.samples, strong.samples, settled=settled)
            for side in between:
                await side.ask(prompts, {one.id: found.wanted_samples(one, settings) for one in prompts})
            for side in (weak, *between, strong):
                side.finish()
            notes = tuple(note for one in completers for note in one.notes)
        by_name = {one.name: side.samples for one, side in zip(sampled.values(), (weak, *between, strong), strict=True)}
        found = replace(found, notes=notes, between=tuple(by_name[one.name] for one in pair.between))
        return found.equal(settings)

    return run_to_end(every())


def distinct_sides(pair: PairEndpoints) -> dict[int, Endpoint]:
    """Where each endpoint stands among the run's models, once: votes of a model are its samples, too."""
    last = len(pair.all) - 1
    known = {pair.weak.name: 0, pair.strong.name: last}
    for at, one in enumerate(pair.all):
        known.setdefault(one.name, at)
    return {at: pair.all[at] for at in sorted(known.values())}


def check_pair(config: RunConfig) -> None:
    """Raise InputError for invalid numbers and URLs, and a pair of one model, before anything is paid for."""
    check_limits(config)
    check_settings(config.sampling)
    for side in config.models:
        if side.base_url is not None and not side.base_url.startswith(("http://", "https://")):
            raise InputError(f"{side.model}: base_url {side.base_url!r} is not a URL; write it as https://HOST/v1")
    pair = endpoints_of(config)
    if pair.weak.name == pair.strong.name:
        raise InputError(f"weak and strong are both {config.weak.model}; a router needs two different models")
    known = [(one.name, model.votes) for one, model in zip(pair.all, config.models, strict=True)]
    if len(set(known)) < len(known):
        raise InputError("two of the models are the same one with the same settings; leave one of them out")
    if config.weak.votes > 1 or config.strong.votes > 1:
        raise InputError("votes are of a model between the weak and the strong one; name it as one of [[models]]")


def check_settings(settings: SamplingSettings) -> None:
    """Raise InputError for settings under which no two prompts, or no two answers, could differ."""
    if settings.fewest < 2:
        raise InputError(f"n is {settings.n}: entropy needs at least two samples per prompt, ten are usual")
    if "{prompt}" not in settings.template:
        raise InputError(f"template {settings.template[:60]!r} has no {{prompt}} in it; every prompt would be the same")


def budget_of(config: RunConfig, pair: PairEndpoints, store: Store) -> Budget:
    """`run_budget`, for sampling. Raises BudgetError where no price of the models is known."""
    sides = list(distinct_sides(pair).values())
    if config.max_usd is not None and not can_limit(sides):
        raise unknown_price(config.max_usd, *(endpoint for endpoint in sides if endpoint.price is None))
    return run_budget(config, sides, store)


def forget_refusals(pair: PairEndpoints, settings: SamplingSettings, store: Store) -> None:
    """Ask both models again for the prompts that they refused under these settings."""
    for endpoint in pair.all:
        store.forget_refusals(endpoint.name, settings.key)


def stored_pair(
    pair: PairEndpoints, settings: SamplingSettings, prompts: Sequence[Prompt], store: Store
) -> PairSamples:
    """Stored samples of both models, at most n per prompt, and which prompts are settled."""
    weak, *between, strong = (stored_samples(prompts, one, settings, store) for one in pair.all)
    keys = store.settled_prompts(*settled_key(pair, settings), (prompt.key for prompt in prompts))
    settled = frozenset(prompt.id for prompt in prompts if prompt.key in keys and settings.fewest < settings.most)
    return PairSamples(weak, strong, settled=settled, between=tuple(between)).equal(settings)


def settled_key(pair: PairEndpoints, settings: SamplingSettings) -> tuple[tuple[str, str], str, int]:
    """What the store keeps settled prompts under."""
    return (pair.weak.name, pair.strong.name), settings.key, settings.fewest


def spend_of(
    config: RunConfig,
    pair: PairEndpoints,
    prompts: Sequence[Prompt],
    samples: PairSamples,
    store: Store,
    *,
    missing_advice: str = ASKS_AGAIN,
) -> PairSpend:
    """What the samples of these prompts have cost, and what is to be known of them; ``missing_advice``: how those that
    are missing are asked for."""
    prices = (*price_facts(pair), *_repeat_fact(prompts))
    known = sampling_notes(config, pair, prompts, samples, store)
    missing = _missing_notes(config.sampling, pair, prompts, samples, store)
    notes = (*known, *(f"{one}{missing_advice}" for one in missing), *samples.notes)
    once = distinct_sides(pair)
    found = [samples.all[at] for at in once]
    ends = PairEndpoints(pair.weak, pair.strong, tuple(list(once.values())[1:-1]))
    spent = price_samples(ends, prompts, found[0], found[-1], prices, notes, found[1:-1])
    if spent.usd is None or store.shared:  # other runs' answers are in a shared store, too
        return spent
    asked = paid_for_questions(config, store)
    unused = max(0.0, round(spent_on_run(config, once.values(), store) - spent.usd - asked, 9))  # sums are of floats
    return replace(spent, unused_usd=unused, questions_usd=asked, uncounted_models=uncounted_models(config, store))


def _repeat_fact(prompts: Sequence[Prompt]) -> tuple[Fact, ...]:
    """How many prompts are asked like one before, and share its samples; () where none is."""
    repeated = len(prompts) - len({one.key for one in prompts})
    said = f"{repeated:,} of {len(prompts):,} prompts; each shares the answers of the one that it repeats"
    return (("repeated", said),) if repeated else ()


def sampling_notes(
    config: RunConfig, pair: PairEndpoints, prompts: Sequence[Prompt], samples: PairSamples, store: Store
) -> list[str]:
    """Whose answers were cut at the longest that was asked for, and which prompts have none; one sentence each."""
    once, settings = distinct_sides(pair), config.sampling
    sides = [samples_in(samples.all[at], prompts) for at in once]
    own = [own_limit(config, one, store) for one in once.values()]
    found = cut_sentences([one.model for one in once.values()], sides, settings.max_tokens, own)
    for endpoint in once.values():
        refused = refused_prompts(prompts, endpoint, settings, store)
        found += [refused_sentence(endpoint.model, refused)] if refused else []
    return found


def _missing_notes(
    settings: SamplingSettings, pair: PairEndpoints, prompts: Sequence[Prompt], samples: PairSamples, store: Store
) -> list[str]:
    """The number of prompts without all samples that the model did not refuse; their requests failed temporarily."""
    found = []
    for at, endpoint in distinct_sides(pair).items():
        side, refused = samples.all[at], refused_prompts(prompts, endpoint, settings, store)
        missing = sum(
            len(side[prompt.id]) < samples.wanted_samples(prompt, settings) and prompt.id not in refused
            for prompt in prompts
        )
        if missing:
            lack = count_of(missing, "prompt misses", "prompts miss")
            found.append(f"{lack} answers of {endpoint.model}")
    return found
