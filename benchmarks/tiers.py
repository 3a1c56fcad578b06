"""One router among several models within a fifth of the strongest one's spend, trained and calibrated without grades.

    python benchmarks/tiers.py [triviaqa] [mmlu] [--methods kernel,routerdc,graphrouter,graphrouter-pairs]

On outcomes/pool9_*: what `demur train` and `demur calibrate --usd-per-1k` do with [[models]]. One answer per model, so
the strongest model's belief is whether an answer means the same as its own. The router learns from the test prompts,
held out by folds (each prompt is chosen for by a fit that did not see it), and, as a second line, from the few prompts
of the train split. Grades are looked at in the end alone. RouterDC and GraphRouter are one router over all models, and
with ``-pairs`` a router for each model beside the cheapest, as the kernel's are.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from demur.labels.beliefs.tier_beliefs import tier_shares
from demur.labels.targets import gain_targets
from demur.meaning.entailment import open_entailment
from demur.meaning.meanings import Meanings
from demur.measure.tiers import choose_models, cost_parts, step_scores, take_chosen, threshold_within
from demur.methods import KernelRidge
from demur.methods.estimator import Estimator
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.pools.pair_pools import POOLS, PoolPair, fit_pairs
from demur.models.encoders.encoder import load_encoder
from demur.records import FloatArray, Sample
from demur.routing.tiers import gains_of
from demur.statistics import interval
from environment import describe, on_one_thread, shared_rows
from ladders import PART, column, plain_usd

STRONGEST = "llama3.1-405b"
LADDERS = (
    ("llama3.1-8b", STRONGEST),
    ("llama3.1-8b", "llama3.1-70b"),
    ("llama3.1-8b", "llama3.1-70b", STRONGEST),
    ("llama3.2-3b", "llama3.1-8b", "llama3.1-70b", STRONGEST),
    ("llama3.2-3b", "gpt-4o-mini", "llama3.1-8b", "llama3.1-70b", STRONGEST),
)


def beliefs(rows: list[dict[str, Any]], names: list[str]) -> FloatArray:
    """(n, M) whether each answer means what the strongest model's does; the strongest one's own are 1."""
    order = [*(name for name in names if name != STRONGEST), STRONGEST]
    sides = [[[Sample(0, row["models"][one]["answer"] or "", None, "stop", 1, 1)] for row in rows] for one in order]
    with open_entailment("shipped") as entailment:
        found = tier_shares([row["text"] for row in rows], sides, order, [1] * len(order), Meanings(entailment))
    return found.believed_quality()[:, [order.index(name) for name in names]]


def predicted(named: str, X: FloatArray, belief: FloatArray) -> FloatArray:
    """(n, K) gains over the first model, held out."""
    method = method_of(named)
    if isinstance(method, PoolPair) and named in POOLS:
        return fit_pairs(method, X, belief)[1]
    columns = [held_out_scores(method, X, gain_targets(one)) for one in (belief - belief[:, :1]).T[1:]]
    return gains_of(columns[:-1], columns[-1])


def fitted(named: str, X: FloatArray, belief: FloatArray, new: FloatArray) -> FloatArray:
    """(n, K) gains of new prompts, by fits on others."""
    method = method_of(named)
    methods: Sequence[Estimator]
    if isinstance(method, PoolPair) and named in POOLS:
        methods = fit_pairs(method, X, belief)[0]
    else:
        methods = [copy.copy(method).fit(X, gain_targets(one)) for one in (belief - belief[:, :1]).T[1:]]
    columns = [one.predict_proba(new)[:, 1] for one in methods]
    return gains_of(columns[:-1], columns[-1])


def method_of(named: str) -> Estimator:
    return KernelRidge() if named == "kernel" else POOLS[named.removesuffix("-pairs")]()


def report(name: str, methods: list[str], *, graded: bool) -> None:
    """Every ladder on one set."""
    every = list(shared_rows(f"outcomes/pool9_{name}"))
    names = [one for one in every[0]["models"] if any(one in models for models in LADDERS)]
    correct, usd = column(every, names, "correct"), plain_usd(every, names)
    belief = correct if graded else beliefs(every, names)
    test = np.array([row["split"] == "test" for row in every])
    X = np.asarray(load_encoder("bge-small").encode([row["text"] for row in every]))
    budget = PART * float(usd[test, names.index(STRONGEST)].mean())
    print(f"{name}: {test.sum()} test prompts, {(~test).sum()} train; at most ${1000 * budget:.3f} per 1,000")
    for models in LADDERS:
        at = sorted((names.index(one) for one in models), key=lambda m: float(usd[test, m].mean()))
        shown = [names[m] for m in at]
        for method in methods:
            held = predicted(method, X[test], belief[test][:, at])
            learned = fitted(method, X[~test], belief[~test][:, at], X[test])
            for way, values in ((f"{method}, held out", held), (f"{method}, from train", learned)):
                print_use(way, shown, values, belief[test][:, at], correct[test][:, at], usd[test][:, at], budget)


def print_use(
    way: str,
    names: list[str],
    values: FloatArray,
    belief: FloatArray,
    correct: FloatArray,
    usd: FloatArray,
    budget: float,
) -> None:
    """Quality at the threshold that keeps the budget."""
    costs = cost_parts(usd.mean(axis=0), tuple(names))
    steps = step_scores(values, costs)
    found = threshold_within(
        steps, lambda t: float(take_chosen(usd, choose_models(steps, t)).mean()), 1000 * budget, "prompts"
    )
    at = choose_models(steps, found.threshold)
    graded = take_chosen(correct, at)
    low, high = interval(graded)
    shares = " / ".join(f"{np.mean(at == m):.0%}" for m in range(len(names)))
    print(
        f"  {' -> '.join(names)}\n    {way:<31} graded {graded.mean():.3f} [{low:.3f}, {high:.3f}], believed "
        f"{take_chosen(belief, at).mean():.3f}, ${1000 * take_chosen(usd, at).mean():.3f}, {shares}",
        flush=True,
    )


if __name__ == "__main__":
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=["triviaqa", "mmlu"])
    parser.add_argument("--methods", default="kernel", help="Comma-separated.")
    parser.add_argument("--graded", action="store_true", help="Learn from the grades in place of beliefs.")
    given = parser.parse_args()
    print(describe())
    for wanted in given.sets:
        report(wanted, given.methods.split(","), graded=given.graded)
