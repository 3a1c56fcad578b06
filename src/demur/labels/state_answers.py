"""Asks both models of a run to state the final answers of their own texts, where no rule reads them.

On whole texts of several sentences semantic entropy measures style as well; the effect on labels and routers is
measured in docs/method.md. ``auto`` asks only models that cost nothing, and only where many answers are such texts;
what it would cost otherwise is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from demur.config import ModelConfig
from demur.errors import ArtifactError, EndpointError, ModelError
from demur.event_loop import run_to_end
from demur.meaning.rules.final_answer import stands_in
from demur.meaning.stated_answers import unread_texts
from demur.models.endpoint import Endpoint
from demur.models.local import running_endpoint
from demur.models.requests.client import EndpointClient
from demur.models.requests.useful_replies import UselessRepliesError
from demur.records import Prompt, count_of
from demur.runs.run import Run
from demur.sampling.budget import Budget
from demur.sampling.cost import cost_words
from demur.sampling.sample import Estimate, Samples, raise_first
from demur.sampling.statements import STATED_TOKENS, Text, ask_statements, estimate_statements, statement_settings

LEAST_UNREAD = 0.2  # share of a model's answers from which ``auto`` asks


@dataclass(frozen=True, slots=True)
class _Side:
    """One model, its texts without a final answer, and what asking for those that are missing takes."""

    config: ModelConfig
    endpoint: Endpoint
    texts: Sequence[Text]
    estimate: Estimate


def state_answers(run: Run) -> list[str]:
    """Ask, as ``label.state_answers`` says, for the statements that the store lacks; returns notes on it.

    ``on`` raises EndpointError, BudgetError, and ArtifactError for a host not allowed; ``auto`` goes on with the
    texts as they are. Of a model none of whose first statements stands in its text no more are asked for; ``on`` raises
    UselessRepliesError where no statement of either model does.
    """
    wanted = run.config.label.state_answers
    if wanted == "off":
        return []
    prompts = run.complete(run.train_prompts)
    sides = [
        _side(run, *each, prompts)
        for each in (
            (run.config.weak, run.pair.weak, run.samples.weak),
            (run.config.strong, run.pair.strong, run.samples.strong),
        )
    ]
    missing = sum(side.estimate.missing for side in sides)
    cost = cost_words([side.endpoint.model for side in sides], [side.estimate.usd for side in sides], most=True)
    if wanted == "auto" and not _is_worth_it(prompts, run, sides):
        return []
    if wanted == "auto" and missing and any(side.endpoint.price is None or side.estimate.usd for side in sides):
        return [
            f"no final answer was found in {count_of(missing, 'long text')}; to have the models state it, {cost}: "
            "`demur label --state-answers on`"
        ]
    try:
        useless = run_to_end(_ask(run, sides))
    except (EndpointError, ModelError, ArtifactError) as error:
        if wanted == "on":
            raise
        return [f"final answers of long texts are not stated: {error}"]
    if useless and not run.stated:
        if wanted == "on":
            raise useless[0]
        return [f"final answers of long texts are not stated: {one}" for one in useless]
    texts = sum(len(side.texts) for side in sides)
    asked = "" if useless else f" ({missing:,} asked now, {cost})"
    return [
        f"no final answer was found in {count_of(texts, 'long text')}: {len(run.stated):,} are compared by one that "
        f"their model states{asked}",
        *map(str, useless),
    ]


def _side(
    run: Run,
    config: ModelConfig,
    endpoint: Endpoint,
    samples: Samples,
    prompts: Sequence[Prompt],
) -> _Side:
    texts = unread_texts(prompts, samples)
    asked = estimate_statements(texts, endpoint, run.store, chat=run.config.sampling.chat)
    return _Side(config, endpoint, texts, asked)


def _is_worth_it(prompts: Sequence[Prompt], run: Run, sides: Sequence[_Side]) -> bool:
    answers = [
        len({(prompt.text, one.text) for prompt in prompts for one in samples[prompt.id]})
        for samples in (run.samples.weak, run.samples.strong)
    ]
    return any(len(side.texts) >= LEAST_UNREAD * count > 0 for side, count in zip(sides, answers, strict=True))


async def _ask(run: Run, sides: Sequence[_Side]) -> list[UselessRepliesError]:
    """Both models side by side, within the run's budget; why either was asked no more, where none of its statements
    is of use."""
    stated = statement_settings(chat=run.config.sampling.chat)
    asked = [(side, run.allowed_model(side.config)) for side in sides if side.estimate.missing]
    budget = run.budget_for(*((side.endpoint, stated) for side, _ in asked))
    work = [_ask_side(run, side, model, budget) for side, model in asked]
    results = await asyncio.gather(*work, return_exceptions=True)
    raise_first([one for one in results if not isinstance(one, UselessRepliesError)])
    return [one for one in results if isinstance(one, UselessRepliesError)]


async def _ask_side(run: Run, side: _Side, model: ModelConfig, budget: Budget) -> None:
    try:
        async with (
            running_endpoint(model, parallel=1, max_tokens=STATED_TOKENS, progress=run.progress) as endpoint,
            EndpointClient(endpoint) as client,
        ):
            await ask_statements(
                *(side.texts, client, endpoint, run.store),
                stands=stands_in,
                chat=run.config.sampling.chat,
                budget=budget,
                progress=run.progress,
            )
    except UselessRepliesError:
        raise  # the other model's statements may be of use
    except BaseException:
        budget.closed = True
        raise
