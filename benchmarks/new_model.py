"""GraphRouter's own claim: a model that joins a pool is routed to after a few graded prompts, without fitting again.

Of the nine models of `llmrouter_9models` each joins, in turn, a router that knows 2, 5 or 8 of the others, drawn,
the same for every method. Printed: mean quality of the models that are chosen on prompts that nobody learned from, over
the nine and the draws, of the router without the new model, of `with_model` given so many graded prompts of it, and of
a router that is fitted again with every training prompt of the new model. Beside them what needs no graph: the best
single model by the same few graded prompts, and kNN on them alone (the new model answers where the graded prompts near
to it say that it is better than the router's choice).
"""

from __future__ import annotations

import argparse

import numpy as np

from demur.methods.estimator import unit_rows
from demur.methods.pools import GraphRouter
from demur.records import FloatArray
from environment import describe, on_one_thread, shared_rows
from nq_open import embeddings

FEW, KNOWN, DRAWS = (20, 40, 160), (2, 5, 8), 1
NEAR = 10  # graded prompts that kNN asks


def read(count: int) -> tuple[FloatArray, FloatArray]:
    """Embeddings (n, d), and quality (n, 9), of so many prompts, drawn, that all nine models answered."""
    rows = shared_rows("outcomes/llmrouter_9models")
    names = sorted(rows[0]["scores"])
    whole = [row for row in rows if all(name in row["scores"] for name in names)]
    whole = [whole[i] for i in np.random.default_rng(0).permutation(len(whole))[:count]]
    quality = np.array([[float(row["scores"][name]) for name in names] for row in whole])
    return unit_rows(embeddings([row["question"] for row in whole], "bge-small-6")), quality


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--prompts", type=int, default=2000)
    given = parser.parse_args()
    print(describe())
    X, quality = read(given.prompts)
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
