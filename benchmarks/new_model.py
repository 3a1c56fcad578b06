"""GraphRouter's own claim: a model that joins a pool is routed to after a few graded prompts, without fitting again.

Of the nine models of `llmrouter_9models` each joins, in turn, a router that knows 2, 5 or 8 of the others, drawn,
the same for every method. Printed: mean quality of the models that are chosen on prompts that nobody learned from, over
the nine and the draws, of the router without the new model, of `with_model` given so many graded prompts of it, and of
a router that is fitted again with every training prompt of the new model. Beside them what needs no graph: the best
single model by the same few graded prompts, and kNN on them alone (the new model answers where the graded prompts near
to it say that it is better than the router's choice).

`--pair` instead asks of every three of the nine, by size, what `demur join` says: the smallest and the largest are the
pair, the one between joins by 40 graded prompts at a price in proportion to its size. Printed: how often it is called
worth its price, and the gain less price on the test prompts of those that are and of those that are refused; and the
APGR of a pair's GraphRouter with hidden .5 less that with none.
"""

from __future__ import annotations

import argparse
import re
from itertools import combinations

import numpy as np

from demur.gate.join_model import gains_of_new_model, worth_of
from demur.measure.curve import cost_quality_curve
from demur.measure.tiers import choose_models, take_chosen
from demur.methods.estimator import unit_rows
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.pools import GraphRouter
from demur.methods.pools.pair_pools import PairGraphRouter
from demur.records import FloatArray
from demur.routing.tiers import Tiers, gains_of
from environment import describe, on_one_thread, shared_rows
from nq_open import embeddings

FEW, KNOWN, DRAWS = (20, 40, 160), (2, 5, 8), 1
NEAR = 10  # graded prompts that kNN asks
PAIR_FEW, LEAST_GAP = 40, 0.02


def read(count: int) -> tuple[list[str], FloatArray, FloatArray]:
    """Names of the nine models, embeddings (n, d), and quality (n, 9), of so many prompts, drawn, that all answered."""
    rows = shared_rows("outcomes/llmrouter_9models")
    names = sorted(rows[0]["scores"])
    whole = [row for row in rows if all(name in row["scores"] for name in names)]
    whole = [whole[i] for i in np.random.default_rng(0).permutation(len(whole))[:count]]
    quality = np.array([[float(row["scores"][name]) for name in names] for row in whole])
    return names, unit_rows(embeddings([row["question"] for row in whole], "bge-small-6")), quality


def chosen(scores: FloatArray, quality: FloatArray) -> float:
    """Mean quality of the models with the highest scores."""
    return float(quality[np.arange(len(quality)), scores.argmax(axis=1)].mean())


def trial(X: FloatArray, quality: FloatArray, new: int, known: int, seed: int) -> dict[str, float]:
    random = np.random.default_rng([seed, new, known])
    others = random.permutation([i for i in range(quality.shape[1]) if i != new])[:known]
    order = random.permutation(len(X))
    train, test = order[: 2 * len(X) // 3], order[2 * len(X) // 3 :]
    columns = [*others, new]
    graph = GraphRouter(hidden=0.5).fit(X[train], quality[np.ix_(train, others)])
    truth = quality[np.ix_(test, columns)]
    without = graph.scores(X[test])
    found = {
        "best known model": quality[np.ix_(test, others)].mean(axis=0).max(),
        "best model, the new one included": truth.mean(axis=0).max(),
        "without the new model": chosen(without, truth),
        "fitted again": chosen(GraphRouter().fit(X[train], quality[np.ix_(train, columns)]).scores(X[test]), truth),
    }
    for few in FEW:
        seen = train[:few]
        found[f"with_model, {few} prompts"] = chosen(
            graph.with_model(X[seen], quality[seen, new]).scores(X[test]), truth
        )
        means = quality[np.ix_(seen, columns)].mean(axis=0)
        found[f"best of {few} prompts"] = float(truth[:, means.argmax()].mean())
        near = np.argsort(-(X[test] @ X[seen].T), axis=1)[:, :NEAR]
        choice = without.argmax(axis=1)
        before = quality[np.ix_(seen, others)][near][np.arange(len(test)), :, choice].mean(axis=1)
        taken = quality[seen, new][near].mean(axis=1) > before
        found[f"kNN on {few} prompts"] = float(
            np.where(taken, truth[:, -1], truth[np.arange(len(test)), choice]).mean()
        )
    return found


def pair_trials(
    X: FloatArray, ends: FloatArray, joining: FloatArray, sizes: FloatArray
) -> tuple[float, list[tuple[float, float, float]]]:
    """What hidden = .5 changes in the APGR of a pair, ``ends`` (n, 2); and of every model of ``joining`` (n, m) the low
    end of what it is called worth, and its gain less price on test prompts with the 95 % half-width.

    ``sizes``: of the weak model, of those that join, of the strong one.
    """
    order = np.random.default_rng(0).permutation(len(X))
    train, test = order[: 2 * len(X) // 3], order[2 * len(X) // 3 :]
    (weak, strong), few = ends.T, np.arange(PAIR_FEW)
    y = 0.5 + (strong - weak)[train] / 2
    method, usual = (PairGraphRouter(hidden=share).fit(X[train], y) for share in (0.5, 0.0))
    scores, of_usual = (one.predict_proba(X[test])[:, 1] for one in (method, usual))
    apgr = [cost_quality_curve(one, weak[test], strong[test]).apgr for one in (scores, of_usual)]
    own = held_out_scores(PairGraphRouter(hidden=0.5), X[train], y)
    threshold, found = float(np.median(own)), []
    outer = (float(sizes[0]), float(sizes[-1]))
    before = Tiers(("w", "s"), ("w", "s"), (), outer, ends[train], gains_of([], own))
    for new, size in zip(joining.T, sizes[1:-1], strict=True):
        quality, names = np.column_stack([weak, new, strong]), ("w", "n", "s")
        target = 0.5 + (new - weak)[train] / 2
        grown, gains = gains_of_new_model(method, X[train], few, y[few], target[few])
        values = np.insert(before.training_values, 1, gains, axis=1)
        after = Tiers(names, names, (grown,), (outer[0], float(size), outer[1]), quality[train], values)
        low = worth_of(before, after, 1, few, target[few], threshold)[1][1]
        more = np.zeros(len(test))
        for sign, tiers, three in ((-1, before, [0, 2]), (1, after, [0, 1, 2])):
            chosen = choose_models(tiers.steps(tiers.values(X[test], scores)), threshold)
            price = (2 * threshold - 1) * take_chosen(tiers.costs, chosen)
            more += sign * (take_chosen(quality[test][:, three], chosen) - price)
        found.append((low, float(more.mean()), float(1.96 * more.std() / len(more) ** 0.5)))
    return apgr[0] - apgr[1], found


def pairs(names: list[str], X: FloatArray, quality: FloatArray) -> None:
    """Every pair of the models, by size, of which the larger is better, and every one between that joins it."""
    sizes = np.array([float(size[1]) if (size := re.search(r"(\d+(?:\.\d+)?)b", name)) else np.nan for name in names])
    known = [i for i in np.argsort(sizes, kind="stable").tolist() if np.isfinite(sizes[i])]
    changes, found = list[float](), list[tuple[float, float, float]]()
    for weak, strong in combinations(known, 2):
        between = [i for i in known if sizes[weak] < sizes[i] < sizes[strong]]
        if between and quality[:, strong].mean() > quality[:, weak].mean() + LEAST_GAP:
            at = [weak, *between, strong]
            change, made = pair_trials(X, quality[:, [weak, strong]], quality[:, between], sizes[at])
            changes.append(change)
            found += made
    low, net, half = np.array(found).T
    for said, kept in (("called worth its price", low > 0), ("refused", low <= 0)):
        mean = f"{100 * net[kept].mean():+.1f}" if kept.any() else "-"
        print(
            f"{said}: {kept.sum()} of {len(found)}; on test prompts gain less price {mean} per 100 prompts, shown to "
            f"be above 0 for {(net - half > 0)[kept].sum()}, below 0 for {(net + half < 0)[kept].sum()}"
        )
    print(
        f"hidden .5 less none, {len(changes)} pairs: APGR {np.mean(changes):+.3f}, from {min(changes):+.3f} to "
        f"{max(changes):+.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--prompts", type=int, default=2000)
    parser.add_argument("--pair", action="store_true", help="what demur join says of every three models")
    given = parser.parse_args()
    print(describe())
    names, X, quality = read(given.prompts)
    if given.pair:
        pairs(names, X, quality)
        return
    print(f"{len(X)} prompts, mean quality of the nine models {np.round(np.sort(quality.mean(axis=0)), 3)}")
    for known in KNOWN:
        every = [trial(X, quality, new, known, seed) for seed in range(given.draws) for new in range(quality.shape[1])]
        print(f"{known} models known:", flush=True)
        for name in every[0]:
            values = np.array([one[name] for one in every])
            gain = values - np.array([one["without the new model"] for one in every])
            error = 1.96 * gain.std(ddof=1) / len(gain) ** 0.5
            print(f"  {name:<34} {values.mean():.3f}  gain {100 * gain.mean():+.1f} +- {100 * error:.1f} points")


if __name__ == "__main__":
    on_one_thread()
    main()
