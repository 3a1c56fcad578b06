"""Pools of more than two models: which are compared, what a call of each costs, and what routers reach."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from demur.errors import InputError
from demur.measure.curve import cost_quality_curve
from demur.measure.frontier import Frontier, frontier, frontier_intervals, oracle_frontier
from demur.methods.pools import BY_NAME, PoolRouter
from demur.methods.pools.estimate import estimate_quality
from demur.models.prices import CHARACTERS_PER_TOKEN, price_of
from demur.paper.measures import Laboratory
from demur.paper.outcome_files import rows_of
from demur.paper.parts.figures import frontier_figure
from demur.paper.parts.part import Cells, PartContent, row_or_why, rows_or_why, span_columns
from demur.records import BoolArray, FloatArray, IntArray
from demur.statistics import FOLDS, folds, held_out, interval

ZEROEVAL = (
    "gemma-2-9b-it",
    "gpt-4o-mini-2024-07-18",
    "claude-3-haiku-20240307",
    "gpt-3.5-turbo-0125",
    "gpt-4o-2024-08-06",
    "claude-3-5-sonnet-20241022",
)
NOTE = (
    f"{FOLDS}-fold, held out. AIQ: mean height of the non-decreasing hull from the cheapest to the dearest model "
    "(RouterBench). Models are in order of price; a router's scores are put in units of quality on held-out prompts "
    "before they meet a price. APGR: the same scores on the pair of the cheapest and the best single model, as in "
    "Table 1 (random: .500). No prompt seen: the best mixture of models, whatever is asked."
)
COLUMNS = ("router", "AIQ [95 %]", "APGR, cheapest / best [95 %]", "best quality [95 %]", "at cost")
KNOWN_TASK = "graphrouter, task given"
ROWS = {  # pool -> its rows
    "gsm8k": ("oracle", "single", "no-prompt", *BY_NAME),
    "open": ("oracle", "single", "no-prompt", *BY_NAME, "graphrouter-task"),
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Models in order of mean cost, on the same prompts."""

    models: list[str]
    questions: list[str]
    quality: FloatArray  # (n, M)
    cost: FloatArray  # (n, M), in one unit
    task: IntArray | None = None  # (n,) numbered from 0; None where there is one task, or none is known
    notes: tuple[str, ...] = ()

    @property
    def best(self) -> int:
        """The single model of the largest mean quality."""
        return int(np.argmax(self.quality.mean(axis=0)))


def priced_pool(lab: Laboratory) -> Pool:
    """ZeroEval's GSM8K with list prices: USD of question and answer; models without a known price are named."""
    questions = {row.text("id"): row.text("question") for row in rows_of(lab.folder, "questions/gsm8k_test")}
    prices = {model: price for model in ZEROEVAL if (price := price_of(model)) is not None}
    unpriced = [model for model in ZEROEVAL if model not in prices]
    every = rows_of(lab.folder, "outcomes/zeroeval_gsm8k")
    rows = [r for r in every if all(r.has("scores", m) and r.has("out_chars", m) for m in prices)]
    rows = [r for r in rows if r.text("id") in questions]
    if len(prices) < 2 or not rows:
        raise InputError(f"{len(prices)} models with a known price on {len(rows)} common prompts; a pool needs two")
    quality = np.array([[row.number("scores", m) for m in prices] for row in rows])
    characters = [len(questions[row.text("id")]) for row in rows]
    cost = np.array(
        [
            [
                p.usd(asked / CHARACTERS_PER_TOKEN, row.number("out_chars", m) / CHARACTERS_PER_TOKEN)
                for m, p in prices.items()
            ]
            for row, asked in zip(rows, characters, strict=True)
        ]
    )
    notes = [f"GSM8K pool: {price.source}." for price in prices.values()]
    if unpriced:
        notes.insert(0, f"GSM8K pool: left out, as the installed genai-prices knows no price: {', '.join(unpriced)}.")
    if len(rows) < len(every):
        notes.insert(0, f"GSM8K pool: {len(every) - len(rows)} of {len(every)} rows lack a model and are left out.")
    return by_price(Pool(list(prices), [questions[row.text("id")] for row in rows], quality, cost, notes=tuple(notes)))


def open_pool(lab: Laboratory) -> Pool:
    """Nine open models on 14 sets; a call costs the model's billions of parameters, read from its name."""
    every = rows_of(lab.folder, "outcomes/llmrouter_9models")
    sizes = {m: float(size.group(1)) for m in every[0].at("scores") if (size := re.search(r"(\d+(?:\.\d+)?)b", m))}
    nameless = [model for model in every[0].at("scores") if model not in sizes]
    rows = [row for row in every if all(row.has("scores", m) for m in sizes)]
    if len(sizes) < 2:
        raise InputError(f"{every[0].where}: {len(sizes)} models say how large they are; a pool needs two")
    quality = np.array([[row.number("scores", m) for m in sizes] for row in rows])
    sets = {name: i for i, name in enumerate(sorted({row.text("set") for row in rows}))}
    notes = []
    if nameless:
        notes.append(f"14 sets: left out, as no size stands in the name: {', '.join(nameless)}.")
    if len(rows) < len(every):
        notes.append(f"14 sets: {len(every) - len(rows)} of {len(every)} rows lack a model and are left out.")
    task = np.array([sets[row.text("set")] for row in rows])
    cost = np.tile(list(sizes.values()), (len(rows), 1))
    return by_price(Pool(list(sizes), [row.text("question") for row in rows], quality, cost, task, tuple(notes)))


POOLS: dict[str, tuple[str, str, Callable[[Laboratory], Pool]]] = {
    "gsm8k": ("GSM8K", "USD per prompt", priced_pool),
    "open": ("14 sets", "billions of parameters per call", open_pool),
}


def by_price(pool: Pool) -> Pool:
    """Columns in the order of mean cost."""
    order: Sequence[int] = np.argsort(pool.cost.mean(axis=0), kind="stable").tolist()
    models = [pool.models[i] for i in order]
    return Pool(models, pool.questions, pool.quality[:, order], pool.cost[:, order], pool.task, pool.notes)


def row_key(pool: str, row: str) -> str:
    """By which --only picks a row."""
    return f"pool-{pool}-{row}"


def pools_of_models(lab: Laboratory) -> PartContent:
    """What pool routers reach between the cheapest and the dearest model, as a table and as frontiers."""
    drawn: dict[str, tuple[dict[str, Frontier], dict[str, tuple[float, float]]]] = {}
    notes = [NOTE]

    def block(key: str) -> tuple[Cells, ...]:
        title, unit, make = POOLS[key]
        pool = make(lab)
        notes.extend(pool.notes)
        hulls: dict[str, Frontier] = {}
        rows = pool_rows(lab, key, pool, hulls)
        typical = zip(pool.cost.mean(axis=0).tolist(), pool.quality.mean(axis=0).tolist(), strict=True)
        drawn[f"{title}: {unit}"] = hulls, dict(zip(pool.models, typical, strict=True))
        return ((f"{title}, n {len(pool.questions)}, cost in {unit}: {', '.join(pool.models)}",), *rows)

    wanted = [key for key in POOLS if any(lab.wants(row_key(key, row)) for row in ROWS[key])]
    rows = [row for key in wanted for row in rows_or_why(POOLS[key][0], partial(block, key))]
    return PartContent(COLUMNS, tuple(rows), frontier_figure(drawn) if drawn else None, tuple(notes))


def pool_rows(lab: Laboratory, key: str, pool: Pool, hulls: dict[str, Frontier]) -> tuple[Cells, ...]:
    """Oracle, best single model, best mixture, and every pool router; fills ``hulls`` with what they reach."""
    X = lab.encoder.encode(pool.questions)
    constant = np.tile(pool.quality.mean(axis=0), (len(pool.quality), 1))

    def measure_row(name: str, scores: Callable[[], FloatArray]) -> Cells:
        found = scores()
        hulls[name] = frontier(found, pool.quality, pool.cost)
        return _cells(pool, hulls[name], found, _apgr(pool, found))

    made: dict[str, tuple[str, Callable[[], Cells]]] = {
        "oracle": ("oracle", partial(_oracle, pool, hulls)),
        "single": (f"best single model, {pool.models[pool.best]}", partial(_single, pool)),
        "no-prompt": ("no prompt seen", partial(measure_row, "no prompt seen", lambda: constant)),
    }
    for name, router in BY_NAME.items():
        made[name] = (name, partial(measure_row, name, partial(score_held_out, router, X, pool.quality)))
    if pool.task is not None:
        tasked = partial(score_held_out, BY_NAME["graphrouter"], X, pool.quality, pool.task)
        made["graphrouter-task"] = (KNOWN_TASK, partial(measure_row, KNOWN_TASK, tasked))
    rows, wanted = [], [row for row in made if lab.wants(row_key(key, row))]
    for done, row in enumerate(wanted, start=1):
        rows.append(row_or_why(*made[row]))
        lab.progress(f"pool: {key}", done, len(wanted))
    return tuple(rows)


def _oracle(pool: Pool, hulls: dict[str, Frontier]) -> Cells:
    hulls["oracle"] = oracle_frontier(pool.quality, pool.cost)
    ends = pool.quality[:, 0], pool.quality[:, pool.best]
    pair = cost_quality_curve(ends[1] - ends[0], *ends).oracle
    return _cells(pool, hulls["oracle"], pool.quality, f"{pair.apgr:.3f}")


def _cells(pool: Pool, found: Frontier, scores: FloatArray, apgr: str) -> Cells:
    spans = frontier_intervals(scores, pool.quality, pool.cost)
    best = span_columns(float(found.qualities[-1]), *spans.best, 3)
    return span_columns(found.aiq, *spans.aiq, 3), apgr, best, f"{found.costs[-1]:.4g}"


def _single(pool: Pool) -> Cells:
    quality, cost = pool.quality[:, pool.best], pool.cost[:, pool.best]
    return "", "", span_columns(float(quality.mean()), *interval(quality), 3), f"{cost.mean():.4g}"


def _apgr(pool: Pool, scores: FloatArray) -> str:
    """APGR of the pair of the cheapest and the best single model."""
    if pool.best == 0:
        return "the cheapest is best"
    ends = pool.quality[:, 0], pool.quality[:, pool.best]
    curve = cost_quality_curve(scores[:, pool.best] - scores[:, 0], *ends)
    return span_columns(curve.apgr, *curve.interval("apgr"), 3)


def score_held_out(
    make: type[PoolRouter], X: FloatArray, quality: FloatArray, task: IntArray | None = None
) -> FloatArray:
    """(n, M) quality expected by routers that did not see the prompt."""

    def predict(train: BoolArray, held: BoolArray) -> FloatArray:
        of_train, of_held = (None, None) if task is None else (task[train], task[held])
        return estimate_quality(make(), X[train], quality[train], task=of_train)(X[held], of_held)

    return held_out(folds(len(X)), predict)
