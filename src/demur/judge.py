"""LLM as a judge (section 4.1.4, appendix A.2): which of K routed answers is best, names hidden, positions balanced.

Building prompts, parsing and counting are pure; asking reuses sampling: a verdict is stored before it is counted,
and never paid for twice. Score(i) = S_i / T x 100. A verdict that is no list of LLMs is counted, not guessed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from demur.endpoints import EndpointClient
from demur.errors import InputError
from demur.local import endpoint_of, opened, parse_model
from demur.records import FloatArray, Progress, Prompt, SamplingSettings, no_progress
from demur.sampling import sample_prompts
from demur.store import Store

SETTINGS = SamplingSettings(n=1, temperature=0.0, max_tokens=24)
RESAMPLES = 1000
_NUMBERS = {2: "Two", 3: "Three", 4: "Four", 5: "Five"}
_VERDICT = re.compile(r"LLM\s*\d+(?:\s*(?:,|and|&|,\s*and)\s*LLM\s*\d+)*\.?", re.IGNORECASE)
_PROMPT = """You are an evaluator for math problem solutions. You will receive:
1. A question.
2. A ground truth answer.
3. {count} LLM-generated responses.
Your task is to select which response(s) is/are best, based on whether the answer is \
correct and the reasoning is precise.
Follow these rules:
* DO NOT provide any explanation or reasoning in your answer-only state which LLM(s) you judge as having \
the best response.
* If more than one response is equally best, name each of them.
Question: {question}
Ground Truth Answer: {gold}
{responses}
Your output must ONLY indicate the selected LLM(s). For example, 'LLM 1' or 'LLM 1 and LLM {last}'."""


@dataclass(frozen=True, slots=True)
class JudgedItem:
    """One question and the routed answers of K routers, in the routers' order."""

    id: str
    question: str
    gold: str
    answers: tuple[str, ...]
    quality: tuple[float, ...]  # graded correctness of each answer: only to check the judge


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge chose, in the routers' order."""

    item: JudgedItem
    order: tuple[int, ...]  # router at each position
    chosen: frozenset[int] | None  # routers; None when the reply could not be parsed
    asked: bool  # False where all answers are the same text: a tie of all, not asked


@dataclass(frozen=True, slots=True)
class Judgement:
    """Scores of routers by a judge, and what is known of the judge."""

    judge: str
    routers: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def readable(self) -> tuple[Verdict, ...]:
        """Verdicts that could be parsed."""
        return tuple(one for one in self.verdicts if one.chosen is not None)

    @property
    def scores(self) -> FloatArray:
        """(K,) S_i / T x 100 over all questions; an unreadable verdict selects nobody."""
        return np.asarray(100 * self._selected.mean(axis=0))

    @property
    def intervals(self) -> FloatArray:
        """(2, K) 95 % bootstrap interval of the scores over questions."""
        random, n = np.random.default_rng(0), len(self.verdicts)
        drawn = [self._selected[random.integers(0, n, n)].mean(axis=0) for _ in range(RESAMPLES)]
        return np.asarray(100 * np.quantile(drawn, [0.025, 0.975], axis=0))

    @property
    def _selected(self) -> FloatArray:
        k = range(len(self.routers))
        return np.array([[float(i in (one.chosen or ())) for i in k] for one in self.verdicts])

    @property
    def agreement(self) -> float:
        """Share of asked, readable questions whose answers differ in quality where only right answers were chosen."""
        told = [one for one in self.readable if one.asked and len(set(one.item.quality)) > 1]
        good = [all(one.item.quality[i] == max(one.item.quality) for i in one.chosen or ()) for one in told]
        return float(np.mean(good)) if good else float("nan")

    @property
    def position_shares(self) -> FloatArray:
        """(K,) how often each position is among those chosen, of asked and readable verdicts."""
        asked = [one for one in self.readable if one.asked]
        chosen = [[float(router in (one.chosen or ())) for router in one.order] for one in asked]
        return np.mean(chosen, axis=0) if chosen else np.full(len(self.routers), np.nan)

    @property
    def lines(self) -> list[str]:
        """In plain words."""
        low, high = self.intervals
        scores = [
            f"{name}: {s:.1f} [{a:.1f}, {b:.1f}]"
            for name, s, a, b in zip(self.routers, self.scores, low, high, strict=True)
        ]
        asked = [one for one in self.verdicts if one.asked]
        unreadable = sum(one.chosen is None for one in asked)
        shares = ", ".join(f"{share:.0%}" for share in self.position_shares)
        return [
            f"{len(self.verdicts)} questions judged by {self.judge}; {len(asked)} asked, "
            f"{len(self.verdicts) - len(asked)} with identical answers (ties)",
            *scores,
            f"unreadable verdicts: {unreadable}; chosen by position: {shares}",
            f"chose only right answers where answers differ in correctness: {self.agreement:.0%}",
        ]


def judge_prompt(question: str, gold: str, answers: Sequence[str]) -> str:
    """Appendix A.2's prompt for K answers in the order shown."""
    responses = "\n".join(f"LLM {i} Response: {answer.strip()}" for i, answer in enumerate(answers, start=1))
    count = _NUMBERS.get(len(answers), str(len(answers)))
    return _PROMPT.format(count=count, question=question, gold=gold, responses=responses, last=len(answers))


def balanced_orders(n: int, k: int, seed: int = 0) -> list[tuple[int, ...]]:
    """n orders of k routers: all permutations in a shuffled order, again and again, so that positions are balanced."""
    random = np.random.default_rng(seed)
    every = list(permutations(range(k)))
    orders: list[tuple[int, ...]] = []
    while len(orders) < n:
        orders += [every[i] for i in random.permutation(len(every))]
    return orders[:n]


def parse_verdict(reply: str, k: int) -> frozenset[int] | None:
    """Positions (from 0) that a reply names; None unless it is nothing but a list of LLMs between 1 and k."""
    plain = reply.strip().strip("'\"`*")
    if not _VERDICT.fullmatch(plain):
        return None
    named = frozenset(int(number) - 1 for number in re.findall(r"\d+", plain))
    return named if all(0 <= position < k for position in named) else None


def judge(
    items: Sequence[JudgedItem],
    routers: Sequence[str],
    *,
    model: str,
    store: Store,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Judgement:
    """Ask ``model`` (a catalogue name, .gguf or MODEL@BASE_URL) which answers are best; resumable through ``store``.

    Raises InputError for no items or unequal answers, EndpointError when the judge does not answer.
    """
    if not items or len(routers) < 2 or any(len(item.answers) != len(routers) for item in items):
        raise InputError(
            f"{len(items)} items for {len(routers)} routers; give an answer of each of at least two routers"
        )
    orders = balanced_orders(len(items), len(routers), seed)
    asked = {
        item.id: Prompt(item.id, judge_prompt(item.question, item.gold, [item.answers[i] for i in order]))
        for item, order in zip(items, orders, strict=True)
        if len(set(item.answers)) > 1
    }
    replies = asyncio.run(_ask(list(asked.values()), model, store, progress)) if asked else {}
    verdicts = tuple(verdict_of(item, order, replies) for item, order in zip(items, orders, strict=True))
    return Judgement(model, tuple(routers), verdicts)


def verdict_of(item: JudgedItem, order: tuple[int, ...], replies: Mapping[str, str]) -> Verdict:
    """Turn a reply's positions back into routers."""
    if item.id not in replies:
        return Verdict(item, order, frozenset(range(len(order))), asked=False)
    positions = parse_verdict(replies[item.id], len(order))
    chosen = (
        None
        if positions is None
        else frozenset(
            router for router in order if any(item.answers[router] == item.answers[order[p]] for p in positions)
        )
    )  # the same text elsewhere is just as good, named or not
    return Verdict(item, order, chosen, asked=True)


async def _ask(prompts: Sequence[Prompt], model: str, store: Store, progress: Progress) -> dict[str, str]:
    config = parse_model(model)
    known = endpoint_of(config)
    kept = {p.id: store.samples(known.name, p.text, SETTINGS.key) for p in prompts}
    if not all(kept.values()):
        async with opened(config, parallel=1, progress=progress) as endpoint, EndpointClient(endpoint) as client:
            kept = await sample_prompts(prompts, client, endpoint, SETTINGS, store, progress=progress)
    return {id: samples[0].text for id, samples in kept.items()}
