"""Pools of more than two models: which are compared, what a call of each costs, and the table of what routers reach."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from demur.pools import BY_NAME, PoolRouter
from demur.pools.estimate import estimate_quality
from demur.pools.frontier import Frontier, frontier, interval_of_aiq, oracle_frontier
from demur.prices import CHARACTERS_PER_TOKEN, price_of
from demur.records import FloatArray
from demur.reproducing.measuring import FOLDS, Laboratory
from demur.reproducing.outcomes import rows_of

ZEROEVAL = (
    "gemma-2-9b-it",
    "gpt-4o-mini-2024-07-18",
    "claude-3-haiku-20240307",
    "gpt-3.5-turbo-0125",
    "gpt-4o-2024-08-06",
    "claude-3-5-sonnet-20241022",
)
Pool = tuple[list[str], list[str], FloatArray, FloatArray]  # models, questions, quality and cost (n, M)
NOTE = (
    "AIQ: mean height of the non-decreasing hull from the cheapest to the dearest model (RouterBench). Models are in "
    "order of price; a router's scores are put in units of quality on held-out prompts before they meet a price."
)
COLUMNS = ("router", "AIQ [95 % interval]", "best quality", "at cost")


def priced_pool(lab: Laboratory) -> Pool:
    """ZeroEval's GSM8K with list prices: USD of question and answer; models without a known price are left out."""
    questions = {row["id"]: row["question"] for row in rows_of(lab.folder, "questions/gsm8k_test")}
    prices = {model: price for model in ZEROEVAL if (price := price_of(model)) is not None}
    rows = [r for r in rows_of(lab.folder, "outcomes/zeroeval_gsm8k") if all(m in r["scores"] for m in prices)]
    quality = np.array([[float(row["scores"][m]) for m in prices] for row in rows])
    cost = np.array(
        [
            [
                price.usd(len(questions[row["id"]]) / CHARACTERS_PER_TOKEN, row["out_chars"][m] / CHARACTERS_PER_TOKEN)
                for m, price in prices.items()
            ]
            for row in rows
        ]
    )
    return by_price(list(prices), [questions[row["id"]] for row in rows], quality, cost)


def open_pool(lab: Laboratory) -> Pool:
    """Nine open models on 14 sets; a call costs the model's billions of parameters, read from its name."""
    rows = rows_of(lab.folder, "outcomes/llmrouter_9models")
    models = list(rows[0]["scores"])
    rows = [row for row in rows if all(row["scores"].get(m) is not None for m in models)]
    quality = np.array([[float(row["scores"][m]) for m in models] for row in rows])
    sizes = [float(found.group(1)) for m in models if (found := re.search(r"(\d+(?:\.\d+)?)b", m))]
    return by_price(models, [row["question"] for row in rows], quality, np.tile(sizes, (len(rows), 1)))


def by_price(models: Sequence[str], questions: list[str], quality: FloatArray, cost: FloatArray) -> Pool:
    """Columns in the order of mean cost."""
    order = np.argsort(cost.mean(axis=0), kind="stable")
    return [models[i] for i in order], questions, quality[:, order], cost[:, order]


def pool_rows(lab: Laboratory, pool: Pool) -> list[tuple[str, ...]]:
    """Best single model, oracle, random model, and every pool router by 5-fold held-out scores."""
    models, questions, quality, cost = pool
    X = lab.encoder.encode(questions)
    best = int(np.argmax(quality.mean(axis=0)))
    constant = np.tile(quality.mean(axis=0), (len(quality), 1))
    rows = [
        _row("oracle", oracle_frontier(quality, cost)),
        _row(f"no prompt seen (best mixture; best single {models[best]})", frontier(constant, quality, cost)),
    ]
    for done, (name, make) in enumerate(BY_NAME.items(), start=1):
        scores = held_out(make, X, quality)
        rows.append(_row(name, frontier(scores, quality, cost), interval_of_aiq(scores, quality, cost)))
        lab.progress("pools", done, len(BY_NAME))
    return rows


def _row(name: str, found: Frontier, interval: tuple[float, float] | None = None) -> tuple[str, ...]:
    around = "" if interval is None else f" [{interval[0]:.3f}, {interval[1]:.3f}]"
    return name, f"{found.aiq:.3f}{around}", f"{found.qualities[-1]:.3f}", f"{found.costs[-1]:.4g}"


def held_out(make: type[PoolRouter], X: FloatArray, quality: FloatArray) -> FloatArray:
    """(n, M) quality expected by routers that did not see the prompt."""
    folds = np.random.default_rng(0).permutation(len(X)) % FOLDS
    scores = np.empty_like(quality)
    for fold in range(FOLDS):
        scores[folds == fold] = estimate_quality(make(), X[folds != fold], quality[folds != fold])(X[folds == fold])
    return scores
