"""LLM-as-a-judge (section 4.1.4 and appendix A.2 of Zhang et al. 2025): which router answered a question best.

It reads the items and asks the judge through the store, so an interrupted judgement continues where it stopped. The
judge's prompt and the scoring of replies are in `demur.labels.judge.judge_replies`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from demur.errors import InputError
from demur.event_loop import run_to_end
from demur.labels.judge.judge_replies import (
    FORM,
    JudgeItem,
    JudgeReport,
    fill,
    judge_report,
    orders_of,
    parse_reply,
    what_helps,
)
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of, parse_model, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.models.requests.useful_replies import Wanted
from demur.prompts.rows import read_rows
from demur.records import Progress, Prompt, SamplingSettings, count_of, no_progress
from demur.sampling.budget import Budget
from demur.sampling.sample import Completer, sample_prompts
from demur.store import Store

SETTINGS = SamplingSettings(n=1, temperature=0.0, max_tokens=24)


def judge(
    file: str | Path,
    judge: str,
    *,
    store: str | Path = "run/judge.sqlite",
    task: str = "math problem solutions",
    max_usd: float | None = None,
    max_tokens: int = SETTINGS.max_tokens,
    temperature: float = SETTINGS.temperature,
    reasoning_effort: str = "",
    progress: Progress = no_progress,
) -> JudgeReport:
    """Have a model judge a file of items; ``judge`` is named as `demur sample` takes a model.

    A judge that thinks first needs ``max_tokens`` for that, too; fields that it refuses are left out.

    Rows: ``question``, ``responses`` (router -> answer), optional ``reference`` and ``correct`` (router -> 0 to 1).
    Raises InputError (of no understood reply as well), EndpointError, BudgetError.
    """
    items = read_items(Path(file))
    with Store(store) as kept:
        settings = judge_settings(max_tokens, reasoning_effort, temperature)
        helps = what_helps("--max-tokens 2000")
        replies = ask_judge(
            *(items, judge, kept),
            task=task,
            budget=Budget(max_usd),
            settings=settings,
            progress=progress,
            helps=helps,
        )
    return judge_report(endpoint_of(parse_model(judge)).model, items, replies)


def judge_settings(
    max_tokens: int = SETTINGS.max_tokens, reasoning_effort: str = "", temperature: float = SETTINGS.temperature
) -> SamplingSettings:
    """How a judge is asked."""
    return replace(SETTINGS, max_tokens=max_tokens, reasoning_effort=reasoning_effort, temperature=temperature)


def ask_judge(
    items: Sequence[JudgeItem],
    judge: str,
    store: Store,
    *,
    task: str,
    budget: Budget | None = None,
    settings: SamplingSettings = SETTINGS,
    progress: Progress = no_progress,
    helps: str = "",
) -> list[str | None]:
    """`judge_items` by a model that is named as `demur sample` takes it, started when it is a local one."""

    async def ask() -> list[str | None]:
        # Alone on the machine, and its prompts are long: here a second thread pays (1.9 times the tokens read).
        async with (
            running_endpoint(
                parse_model(judge), parallel=1, threads=2, progress=progress, max_tokens=settings.max_tokens
            ) as endpoint,
            EndpointClient(endpoint) as client,
        ):
            return await judge_items(
                *(items, client, endpoint, store),
                task=task,
                budget=budget,
                settings=settings,
                progress=progress,
                helps=helps,
            )

    return run_to_end(ask())


async def judge_items(
    items: Sequence[JudgeItem],
    completer: Completer,
    endpoint: Endpoint,
    store: Store,
    *,
    task: str = "math problem solutions",
    budget: Budget | None = None,
    settings: SamplingSettings = SETTINGS,
    progress: Progress = no_progress,
    helps: str = "",
) -> list[str | None]:
    """The judge's reply to every item, through the store: stored replies are not requested again; None where all
    answers are equal.

    An item that the judge refuses gets an empty reply, which counts as not understood. Raises UselessRepliesError,
    which ends in ``helps``, where none of its first replies is understood; it is asked no more then.
    """
    orders = orders_of(items)
    prompts = [
        Prompt(str(i), fill(item, order, task))
        for i, (item, order) in enumerate(zip(items, orders, strict=True))
        if len(order) > 1
    ]
    doing = f"judging by {endpoint.model}"
    wanted = Wanted(
        lambda asked, one: parse_reply(one.text, len(orders[int(asked.id)])) is not None, FORM, helps or what_helps()
    )
    found = await sample_prompts(
        *(prompts, completer, endpoint, settings, store),
        budget=budget,
        progress=progress,
        doing=doing,
        wanted=wanted,
    )
    replies = {key: samples[0].text if samples else "" for key, samples in found.items()}
    return [replies[str(i)] if len(order) > 1 else None for i, order in enumerate(orders)]


def read_items(path: Path) -> list[JudgeItem]:
    """Read items; raises InputError naming file, line and field, before the judge is asked."""
    items = [_item(row, where) for where, row in read_rows(path)]
    if not items:
        raise InputError(f"{path}: no items to judge in it")
    names = set(items[0].responses)
    for number, item in enumerate(items, start=1):
        if set(item.responses) != names:
            raise InputError(
                f"{path}:{number}: responses of {', '.join(sorted(item.responses))}, the first row has "
                f"{', '.join(sorted(names))}; every row needs the same"
            )
    return items


def _item(row: Mapping[str, Any], where: str) -> JudgeItem:
    for field, kind in (("question", str), ("reference", str), ("responses", dict)):
        if not isinstance(row.get(field, "" if field == "reference" else None), kind):
            raise InputError(f"{where}: field {field!r} must be a {kind.__name__}, found {row.get(field)!r}")
    responses, correct = row["responses"], row.get("correct")
    if len(responses) < 2:
        raise InputError(f"{where}: {count_of(len(responses), 'response')}; a judge compares at least two")
    for name, answer in responses.items():
        if not isinstance(answer, str):
            raise InputError(f"{where}: the response of {name!r} must be a text, found {answer!r}")
    if correct is not None:
        _check_correct(correct, responses, where)
    return JudgeItem(row["question"], row.get("reference", ""), dict(responses), correct)


def _check_correct(correct: Any, responses: Mapping[str, str], where: str) -> None:
    if not isinstance(correct, dict) or set(correct) != set(responses):
        raise InputError(
            f"{where}: field 'correct' must give a number for each of {', '.join(sorted(responses))}, found {correct!r}"
        )
    for name, value in correct.items():
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            raise InputError(f"{where}: the correctness of {name!r} must be from 0 to 1, found {value!r}")
