"""What routers are measured on: questions with the quality, the answers and the cost of both models.

Knows the files' fields; nothing of routers. What is missing or malformed is an InputError that names it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from demur.errors import InputError
from demur.models.prices import CHARACTERS_PER_TOKEN, Price, price_of
from demur.paper.outcome_files import Row, rows_of
from demur.paper.sources.own import UNKNOWN_TO, with_unknown
from demur.records import FloatArray

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"
PRICED = {WEAK: "mistralai/mixtral-8x7b-instruct", STRONG: "openai/gpt-4-1106-preview"}
SMALL = ("gemma-2-2b-it", "gpt-4o-2024-08-06")  # Table 2's shape
BENCHMARKS = ("mt_bench", "gsm8k", "mmlu")
GSM8K = "gsm8k"
DESCRIPTION = "outcomes.json"  # of a folder that `demur export outcomes` wrote
SMALL_PAIR = "gsm8k, gpt-4o / gemma-2-2b"


@dataclass(frozen=True, slots=True)
class Data:
    """What a folder of stored outcomes holds."""

    weak: str  # as its rows name the models
    strong: str
    sets: tuple[str, ...]
    suffix: str = ""  # of the files' names
    own: bool = True  # a run's outcomes and samples; False: RouteLLM's outcomes, with samples of other pairs
    notes: tuple[str, ...] = ()

    @property
    def main(self) -> str:
        """The set of Table 2's and Table 3's shapes and of Figure 1."""
        return GSM8K if GSM8K in self.sets or not self.sets else self.sets[0]


PAPER_DATA = Data(WEAK, STRONG, BENCHMARKS, "_gpt4_mixtral", own=False)


def data_of(folder: Path, weak: str = "", strong: str = "") -> Data:
    """What a folder holds, by its description; without one, RouteLLM's outcomes. ``weak`` and ``strong``: other names
    of the models in its rows. Raises InputError for a description that cannot be read."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return replace(PAPER_DATA, weak=weak or WEAK, strong=strong or STRONG)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        known = Data(found["weak"], found["strong"], tuple(found["sets"]), notes=tuple(found.get("notes", ())))
    except (ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{path}: not a description of outcomes ({error}); `demur export outcomes` writes one"
        ) from None
    return replace(known, weak=weak or known.weak, strong=strong or known.strong)


@dataclass(frozen=True, eq=False)
class Costs:
    """What each model's answers cost alone."""

    weak: FloatArray  # (n,) USD per prompt
    strong: FloatArray  # (n,) USD per prompt
    sources: tuple[str, ...]  # of the prices, dated


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
    served: Mapping[str, FloatArray] = field(default_factory=dict)  # the run's router: kind -> (n,) scores

    @property
    def rated(self) -> bool:
        """Whether its quality is a rating from 1 to 10."""
        return bool(max(self.weak.max(), self.strong.max()) > 1)


def check_gap(benchmark: Benchmark) -> None:
    """Raise InputError where always-strong is no better than always-weak: CPT and APGR divide by that gap."""
    weak, strong = float(benchmark.weak.mean()), float(benchmark.strong.mean())
    if strong <= weak:
        raise InputError(
            f"{benchmark.name}: the strong model is no better than the weak one (mean quality {strong:.4g} and "
            f"{weak:.4g}), there is no gap to recover"
        )


def benchmark(folder: Path, name: str, data: Data = PAPER_DATA) -> Benchmark:
    """A test set with both models' quality, without the rows that are marked as contaminated. Raises InputError."""
    file = f"outcomes/{name}{data.suffix}"
    rows = [row for row in rows_of(folder, file) if not row.values.get("contaminated")]
    if not rows:
        raise InputError(f"{folder}/{file}: every row is marked as contaminated")
    models = (data.weak, data.strong)
    field, asked = ("score", "turns") if rows[0].has("turns") else ("correct", "question")
    weak, strong = (np.array([np.mean(row.numbers(field, model)) for row in rows]) for model in models)
    questions, served = [row.texts(asked)[0] for row in rows], _served_scores(rows)
    if not all(rows[0].has("response", model) for model in models):
        return Benchmark(name, questions, weak, strong, served=served)
    weak_said, strong_said = ([row.text("response", model) for row in rows] for model in models)
    costs, why = _paid_costs(rows, models) if data.own else _costs(rows, asked)
    gold = [row.text("gold") for row in rows] if rows[0].has("gold") else None
    gold = _gold(folder, questions) if gold is None and name == GSM8K else gold
    return Benchmark(name, questions, weak, strong, weak_said, strong_said, gold, costs, why, served=served)


def _served_scores(rows: Sequence[Row]) -> dict[str, FloatArray]:
    """The scores of the router that a run serves; none where the rows are of no run."""
    if not rows[0].has("served"):
        return {}
    scores = np.array([row.number("served", "score") for row in rows])
    untold = [str(row.at("served").get("unknown") or "") for row in rows]
    found = {mode: with_unknown(scores, untold, setting) for mode, setting in UNKNOWN_TO.items()}
    if rows[0].has("served", "gate"):
        found["two stages"] = np.array([row.number("served", "gate") for row in rows])
    return found


def _paid_costs(rows: Sequence[Row], models: tuple[str, str]) -> tuple[Costs | None, str]:
    """What the answers cost, as the run counted them."""
    if not all(row.has("usd", model) for row in rows for model in models):
        return None, "the price of a model is unknown"
    weak, strong = (np.array([row.number("usd", model) for row in rows]) for model in models)
    return Costs(weak, strong, ("tokens as the endpoints counted them, prices as the run knows them",)), ""


def _gold(folder: Path, questions: Sequence[str]) -> list[str] | None:
    """Solutions joined on the question's text; None without the file, which only Table 3 needs."""
    if not (folder / "questions/gsm8k_test.jsonl.gz").is_file():
        return None
    known = {_key(row.text("question")): row.text("solution") for row in rows_of(folder, "questions/gsm8k_test")}
    return [known.get(_key(question), "") for question in questions]


def _key(question: str) -> str:
    """Files agree on the question but for quotes and white space."""
    return " ".join(question.replace("’", "'").split())


def _costs(rows: Sequence[Row], prompt_field: str) -> tuple[Costs | None, str]:
    """Costs at list prices, or why there are none."""
    prices = {model: price_of(name) for model, name in PRICED.items()}
    unknown = [PRICED[model] for model, price in prices.items() if price is None]
    if unknown:
        return None, f"the installed genai-prices knows no price of {' and '.join(unknown)}"
    known: Mapping[str, Price] = {model: price for model, price in prices.items() if price is not None}
    weak, strong = (
        np.array([_usd(row.texts(prompt_field), row.texts("response", m), known[m], row.where) for row in rows])
        for m in (WEAK, STRONG)
    )
    return Costs(weak, strong, (known[WEAK].source, known[STRONG].source)), ""


def _usd(turns: Sequence[str], answers: Sequence[str], price: Price, where: str) -> float:
    """A conversation's cost: each turn sends again what was said before it. Tokens are characters / 4."""
    if len(turns) != len(answers):
        raise InputError(f"{where}: {len(turns)} turns and {len(answers)} responses; give one response per turn")
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
