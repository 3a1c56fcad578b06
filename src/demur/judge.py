"""LLM-as-a-judge (section 4.1.4 and appendix A.2 of Zhang et al. 2025): which router answered a question best.

Positions are balanced over the items and names hidden; an answer that several routers gave is shown once, and where
all gave the same nobody is asked. Replies are parsed strictly, and kept in the store like every sample that was paid
for, so a judgement that was cut off goes on where it ended.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from demur.endpoints import EndpointClient
from demur.errors import InputError
from demur.local import endpoint_of, opened, parse_model
from demur.prompts.files import read_rows
from demur.records import FloatArray, Progress, Prompt, SamplingSettings, content_hash, no_progress
from demur.sampling import Budget, Completer, sample_prompts
from demur.store import Store

TEMPLATE = """You are an evaluator for {task}. You will receive:
1. A question.
2. A ground truth answer.
3. {count} LLM-generated responses.
Your task is to select which response(s) is/are best, based on whether
   the answer is correct and the reasoning is precise.
Follow these rules:
* DO NOT provide any explanation or reasoning in your answer - only
   state which LLM(s) you judge as having the best response.
* If more than one response is equally best, name each of them.
Question: {question}
Ground Truth Answer: {reference}
{responses}
Your output must ONLY indicate the selected LLM(s). For example, 'LLM 1' or 'LLM 1 and LLM {last}'."""
_TRUTH = ("2. A ground truth answer.\n3.", "Ground Truth Answer: {reference}\n")
WITHOUT_TRUTH = TEMPLATE.replace(_TRUTH[0], "2.").replace(_TRUTH[1], "")
SETTINGS = SamplingSettings(n=1, temperature=0.0, max_tokens=24)
RESAMPLES = 1000
BIASED = 0.5  # a difference between positions from which on scores say more about positions than about answers
_REPLY = re.compile(r"\W*(?:(?:LLM\s*)?\d+(?:\s*(?:,|and|&)\s*(?:and\s+)?)?)+\W*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """One question with the answers that are compared."""

    question: str
    reference: str  # ground truth; "" when it is unknown, then the judge is not told of one
    responses: Mapping[str, str]  # router -> answer
    correct: Mapping[str, float] | None = None  # router -> graded correctness, where it is known


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """What a judge found over all items; shares are fractions of the items that it was understood on."""

    judge: str
    items: int
    identical: int  # items where all answers are the same: nobody was asked, all count as best
    unparseable: int  # replies that name no response; counted and left out
    scores: Mapping[str, tuple[float, float, float]]  # router -> Score(i) = S_i / T x 100, with 95 % interval
    positions: tuple[float, ...]  # how often the answer at each position was chosen; equal without bias
    agreement: float | None  # share of items where the choice is exactly the answers that are correct; None unknown
    ties: float  # share of items where all were chosen

    @property
    def lines(self) -> tuple[str, ...]:
        """In plain words, a line each."""
        scored = [
            f"  {name:<28} {score:6.2f}  [{low:.2f}, {high:.2f}]" for name, (score, low, high) in self.scores.items()
        ]
        bias = ", ".join(f"{share:.0%}" for share in self.positions)
        agreed = "unknown (no graded correctness)" if self.agreement is None else f"{self.agreement:.0%}"
        return (
            f"{self.judge} on {self.items} items, {self.identical} of them with one and the same answer (not asked); "
            f"{self.unparseable} replies not understood, all chosen on {self.ties:.0%}",
            "  Score (95 % interval):",
            *scored,
            f"  chosen by position: {bias}; agreement with graded correctness: {agreed}{self._warning}",
        )

    @property
    def _warning(self) -> str:
        if not self.positions or max(self.positions) - min(self.positions) < BIASED:
            return ""
        return "; this judge goes by position, not by content: its scores say little, ask a larger one"


def judge(
    file: str | Path,
    judge: str,
    *,
    store: str | Path = "run/judge.sqlite",
    task: str = "math problem solutions",
    max_usd: float | None = None,
    progress: Progress = no_progress,
) -> JudgeReport:
    """Have a model judge a file of items; ``judge`` is named as `demur sample` takes a model.

    Rows: ``question``, ``responses`` (router -> answer), optional ``reference`` and ``correct`` (router -> 0 to 1).
    Raises InputError, EndpointError, BudgetError.
    """
    items = read_items(Path(file))

    with Store(store) as kept:
        replies = asked(items, judge, kept, task=task, max_usd=max_usd, progress=progress)
    return report(endpoint_of(parse_model(judge)).model, items, replies)


def asked(
    items: Sequence[JudgeItem],
    judge: str,
    store: Store,
    *,
    task: str,
    max_usd: float | None = None,
    progress: Progress = no_progress,
) -> list[str | None]:
    """`judge_items` by a model that is named as `demur sample` takes it, started when it is a local one."""

    async def ask() -> list[str | None]:
        # Alone on the machine, and its prompts are long: here a second thread pays (1.9 times the tokens read).
        async with (
            opened(parse_model(judge), parallel=1, threads=2, progress=progress) as endpoint,
            EndpointClient(endpoint) as client,
        ):
            budget = Budget(max_usd)
            return await judge_items(items, client, endpoint, store, task=task, budget=budget, progress=progress)

    return asyncio.run(ask())


async def judge_items(
    items: Sequence[JudgeItem],
    completer: Completer,
    endpoint: Any,
    store: Store,
    *,
    task: str = "math problem solutions",
    budget: Budget | None = None,
    progress: Progress = no_progress,
) -> list[str | None]:
    """The judge's reply to every item, through the store: what is there is not asked again; None where all agree."""
    orders = [order_of(i, item) for i, item in enumerate(items)]
    prompts = [
        Prompt(str(i), fill(item, order, task))
        for i, (item, order) in enumerate(zip(items, orders, strict=True))
        if len(order) > 1
    ]
    found = await sample_prompts(
        prompts, completer, endpoint, replace(SETTINGS), store, budget=budget, progress=progress
    )
    return [found[str(i)][0].text if len(order) > 1 else None for i, order in enumerate(orders)]


def order_of(number: int, item: JudgeItem) -> tuple[str, ...]:
    """In which order an item's distinct answers are shown, each by the first name that gave it.

    Every order equally often over the items (up to four answers).
    """
    names = sorted({item.responses[name]: name for name in sorted(item.responses, reverse=True)}.values())
    if len(names) <= 4:
        orders = list(permutations(names))
        return orders[number % len(orders)]
    shuffled = np.random.default_rng(int(content_hash([number, item.question])[:8], 16)).permutation(len(names))
    return tuple(names[i] for i in shuffled)


def fill(item: JudgeItem, order: Sequence[str], task: str) -> str:
    """The judge's prompt; names are hidden behind positions."""
    shown = "\n".join(f"LLM {i} Response: {item.responses[name]}" for i, name in enumerate(order, start=1))
    counts = {2: "Two", 3: "Three", 4: "Four"}
    parts = {
        "task": task,
        "count": counts.get(len(order), str(len(order))),
        "question": item.question,
        "reference": item.reference,
        "responses": shown,
        "last": str(len(order)),
    }
    template = TEMPLATE if item.reference else WITHOUT_TRUTH
    return re.sub(r"\{(\w+)\}", lambda found: parts[found.group(1)], template)


def parse_reply(reply: str, count: int) -> frozenset[int] | None:
    """Positions (from 1) that a reply names; None for anything but a bare list of them."""
    line = reply.strip().splitlines()[0] if reply.strip() else ""
    if not _REPLY.fullmatch(line):
        return None
    named = frozenset(int(number) for number in re.findall(r"\d+", line))
    return named if named and max(named) <= count and min(named) >= 1 else None


def best_of(number: int, item: JudgeItem, reply: str | None) -> frozenset[str] | None:
    """Names whose answer the judge called best; all where nobody was asked; None for a reply not understood."""
    order = order_of(number, item)
    positions = frozenset({1}) if reply is None else parse_reply(reply, len(order))
    if positions is None:
        return None
    answers = {item.responses[order[position - 1]] for position in positions}
    return frozenset(name for name, answer in item.responses.items() if answer in answers)


def report(judge_name: str, items: Sequence[JudgeItem], replies: Sequence[str | None]) -> JudgeReport:
    """Scores, intervals, position bias and agreement from the judge's replies."""
    names = sorted(items[0].responses)
    best = [best_of(i, item, reply) for i, (item, reply) in enumerate(zip(items, replies, strict=True))]
    understood = np.array([one is not None for one in best])
    chosen = np.array([[name in (one or ()) for name in names] for one in best], dtype=float)
    kept = chosen[understood]
    scores = {name: _with_interval(kept[:, j]) for j, name in enumerate(names)}
    return JudgeReport(
        judge=judge_name,
        items=len(items),
        identical=sum(reply is None for reply in replies),
        unparseable=int((~understood).sum()),
        scores=scores,
        positions=_by_position(items, replies),
        agreement=_agreement(items, names, chosen, understood),
        ties=float(kept.all(axis=1).mean()) if len(kept) else 0.0,
    )


def _by_position(items: Sequence[JudgeItem], replies: Sequence[str | None]) -> tuple[float, ...]:
    """Share of the understood items with an answer at a position where that one was chosen."""
    width = max(len(item.responses) for item in items)
    stood, chosen = np.zeros(width), np.zeros(width)
    for i, (item, reply) in enumerate(zip(items, replies, strict=True)):
        count = len(order_of(i, item))
        positions = None if reply is None else parse_reply(reply, count)
        if positions is not None:
            stood[:count] += 1
            chosen[[position - 1 for position in positions]] += 1
    return tuple(float(share) for share in chosen[stood > 0] / stood[stood > 0])


def _with_interval(values: FloatArray) -> tuple[float, float, float]:
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    random = np.random.default_rng(0)
    means = [values[random.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)]
    low, high = np.quantile(means, [0.025, 0.975])
    return 100 * float(values.mean()), 100 * float(low), 100 * float(high)


def _agreement(
    items: Sequence[JudgeItem], names: Sequence[str], chosen: FloatArray, understood: FloatArray
) -> float | None:
    """Over understood items whose answers differ in correctness: are exactly the correct ones chosen?"""
    agreed = []
    for i, item in enumerate(items):
        if understood[i] and item.correct is not None:
            correct = np.array([item.correct[name] >= 0.5 for name in names])
            if correct.any() and not correct.all():
                agreed.append(bool((chosen[i].astype(bool) == correct).all()))
    return float(np.mean(agreed)) if agreed else None


def read_items(path: Path) -> list[JudgeItem]:
    """Read items; raises InputError naming file, line and field."""
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
    if len(row["responses"]) < 2:
        raise InputError(f"{where}: {len(row['responses'])} responses; a judge compares at least two")
    return JudgeItem(row["question"], row.get("reference", ""), dict(row["responses"]), row.get("correct"))
