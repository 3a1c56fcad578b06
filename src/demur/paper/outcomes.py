"""What routers are measured on: questions with the quality, the answers and the cost of both models.

Knows the files' fields; nothing of routers. What is missing or malformed is an InputError that names it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from demur.errors import InputError
from demur.models.prices import CHARACTERS_PER_TOKEN, Price, price_of
from demur.paper.outcome_files import Row, rows_of
from demur.records import FloatArray

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"
PRICED = {WEAK: "mistralai/mixtral-8x7b-instruct", STRONG: "openai/gpt-4-1106-preview"}
SMALL = ("gemma-2-2b-it", "gpt-4o-2024-08-06")  # Table 2's shape
BENCHMARKS = ("mt_bench", "gsm8k", "mmlu")
SMALL_PAIR = "gsm8k, gpt-4o / gemma-2-2b"


@dataclass(frozen=True, eq=False)
class Costs:
    """What each model's answers cost alone."""

    weak: FloatArray  # (n,) USD per prompt
    strong: FloatArray  # (n,) USD per prompt
    sources: tuple[str, str]  # of the prices, dated


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Questions with the quality of both models; (n,) each."""

    name: str
    questions: list[str]
    weak: FloatArray
    strong: FloatArray
    weak_answers: list[str] | None = None  # None where no responses are stored
    strong_answers: list[str] | None = None
    gold: list[str] | None = None
    costs: Costs | None = None  # None when not computable: see no_costs
    no_costs: str = "no responses are stored"
    notes: tuple[str, ...] = ()


def check_gap(asked: Benchmark) -> None:
    """Raise InputError where always-strong is no better than always-weak: CPT and APGR divide by that gap."""
    weak, strong = float(asked.weak.mean()), float(asked.strong.mean())
    if strong <= weak:
        raise InputError(
            f"{asked.name}: the strong model is no better than the weak one (mean quality {strong:.4g} and "
            f"{weak:.4g}), there is no gap to recover"
        )


def benchmark(folder: Path, name: str) -> Benchmark:
    """``mt_bench``, ``gsm8k`` or ``mmlu``: GPT-4 and Mixtral on RouteLLM's decontaminated rows. Raises InputError."""
    rows = [r for r in rows_of(folder, f"outcomes/{name}_gpt4_mixtral") if not r.values.get("contaminated")]
    if not rows:
        raise InputError(f"{folder}/outcomes/{name}_gpt4_mixtral: every row is marked as contaminated")
    field, asked = ("score", "turns") if name == "mt_bench" else ("correct", "question")
    weak, strong = (np.array([np.mean(row.numbers(field, model)) for row in rows]) for model in (WEAK, STRONG))
    questions = [row.texts(asked)[0] for row in rows]
    if name == "mmlu":
        return Benchmark(name, questions, weak, strong)
    weak_said, strong_said = ([row.text("response", model) for row in rows] for model in (WEAK, STRONG))
    costs, why = _costs(rows, asked)
    gold = _gold(folder, questions) if name == "gsm8k" else None
    return Benchmark(name, questions, weak, strong, weak_said, strong_said, gold, costs, why)


def _gold(folder: Path, questions: Sequence[str]) -> list[str] | None:
    """Solutions joined on the question's text; None without the file, which only Table 3 needs."""
    if not (folder / "questions/gsm8k_test.jsonl.gz").is_file():
        return None
    known = {_key(row.text("question")): row.text("solution") for row in rows_of(folder, "questions/gsm8k_test")}
    return [known.get(_key(question), "") for question in questions]


def _key(question: str) -> str:
    """Files agree on the question but for quotes and white space."""
    return " ".join(question.replace("’", "'").split())


def _costs(rows: Sequence[Row], asked: str) -> tuple[Costs | None, str]:
    """Costs at list prices, or why there are none."""
    prices = {model: price_of(name) for model, name in PRICED.items()}
    unknown = [PRICED[model] for model, price in prices.items() if price is None]
    if unknown:
        return None, f"the installed genai-prices knows no price of {' and '.join(unknown)}"
    known: Mapping[str, Price] = {model: price for model, price in prices.items() if price is not None}
    weak, strong = (
        np.array([_usd(row.texts(asked), row.texts("response", m), known[m], row.where) for row in rows])
        for m in (WEAK, STRONG)
    )
    return Costs(weak, strong, (known[WEAK].source, known[STRONG].source)), ""


def _usd(turns: Sequence[str], answers: Sequence[str], price: Price, where: str) -> float:
    """A conversation's cost: each turn sends again what was said before it. Tokens are characters / 4."""
    if len(turns) != len(answers):
        raise InputError(f"{where}: {len(turns)} turns and {len(answers)} responses; give one response a turn")
    read = written = context = 0
    for turn, answer in zip(turns, answers, strict=True):
        context += len(turn)
        read, written = read + context, written + len(answer)
        context += len(answer)
    return price.usd(read / CHARACTERS_PER_TOKEN, written / CHARACTERS_PER_TOKEN)


def small_pair(folder: Path) -> Benchmark:
    """GSM8K with gpt-4o and gemma-2-2b-it, joined to the questions by id; rows that lack a model are counted out."""
    questions = {row.text("id"): row.text("question") for row in rows_of(folder, "questions/gsm8k_test")}
    every = rows_of(folder, "outcomes/zeroeval_gsm8k")
    rows = [row for row in every if all(row.has("scores", m) for m in SMALL) and row.text("id") in questions]
    if not rows:
        raise InputError(f"{folder}/outcomes/zeroeval_gsm8k: no row has both {SMALL[0]} and {SMALL[1]}")
    weak, strong = (np.array([row.number("scores", model) for row in rows]) for model in SMALL)
    left_out = () if len(rows) == len(every) else (f"{len(every) - len(rows)} of {len(every)} rows lack a model.",)
    return Benchmark(SMALL_PAIR, [questions[row.text("id")] for row in rows], weak, strong, notes=left_out)
