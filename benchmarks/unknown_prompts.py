"""What should routers learn of prompts on which both models guess, and where should prompts like them go?

APGR of the default router on the default labels, 5-fold, five samples of each model, answers alike by rules and equal
text. Learned of such prompts: nothing, that nothing is gained (y = 1/2, as `demur train` does) by several weights, or
the mean of the other targets. Served: by score, or, where a prompt is nearer to an unknown one than to a labelled one,
by the strong or the weak model. Pairs of the same prompts as one, each rule with its paired difference from nothing.
Chosen on `samples/local_pair`, 1,100 questions; confirmed on 300 others (`label_rules`).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from demur.config import LabelConfig
from demur.labels.beliefs.unknown import NOTHING_GAINED
from demur.labels.from_samples import label_prompts
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.methods.estimator import unit_rows
from demur.methods.kernel import KernelRidge
from demur.prompts.grading import grade
from demur.records import BoolArray, FloatArray, IntArray, Prompt, Sample
from demur.routing.train import UNFAMILIAR_SHARE
from demur.sampling.pair import PairSamples
from demur.statistics import FOLDS, interval, mean_ranks
from environment import describe, on_one_thread
from label_rules import local_samples, new_samples
from nq_open import embeddings

N, SEEDS = 5, 2
NOTHING = "nothing"
WEIGHTS = {NOTHING: 0.0, "nothing is gained": 1.0, "the same, weight 1/2": 0.5, "the same, weight 1/4": 0.25}
MEAN = "the mean of the others"
SERVED = {"by score": None, "by the strong model": 2.0, "by the weak model": -1.0}  # a rank beyond all others


@dataclass(frozen=True)
class Ranked:
    """A pair's true gains, and every prompt's rank by what is learned and how unknown prompts are served."""

    gains: FloatArray  # (n,)
    ranks: Mapping[tuple[str, str], FloatArray]


def ranked(X: FloatArray, y: FloatArray, told: BoolArray, gains: FloatArray) -> Ranked:
    ranks = {(rule, served): np.zeros(len(X)) for rule in (*WEIGHTS, MEAN) for served in SERVED}
    for seed in range(SEEDS):
        fold_of = np.random.default_rng(seed).permutation(len(X)) % FOLDS
        unknown = np.concatenate([np.flatnonzero(held)[nearer(X, told, held)] for held in each_fold(fold_of)])
        for rule in (*WEIGHTS, MEAN):
            scores = mean_ranks(held_out(X, y, told, fold_of, rule))
            for served, place in SERVED.items():
                found = scores.copy()
                if place is not None:
                    found[unknown] = place
                ranks[rule, served] += mean_ranks(found) / SEEDS
    return Ranked(gains, ranks)


def each_fold(fold_of: IntArray) -> list[BoolArray]:
    return [fold_of == fold for fold in range(FOLDS)]


def nearer(X: FloatArray, told: BoolArray, held: BoolArray) -> BoolArray:
    """Of the prompts held out those nearer to an unknown prompt than to a labelled one, as a router has it."""
    rows = unit_rows(X)
    known, unknown = rows[~held & told], rows[~held & ~told]
    own = known @ known.T
    np.fill_diagonal(own, -1.0)
    to_known, to_unknown = ((rows[held] @ side.T).max(axis=1) for side in (known, unknown))
    return np.asarray((to_unknown > to_known) & (to_unknown >= np.quantile(own.max(axis=1), UNFAMILIAR_SHARE)))


def held_out(X: FloatArray, y: FloatArray, told: BoolArray, fold_of: IntArray, rule: str) -> FloatArray:
    scores = np.empty(len(X))
    for held in each_fold(fold_of):
        learned = ~held & (told | (rule != NOTHING))
        besides = y[~held & told].mean() if rule == MEAN else NOTHING_GAINED
        weight = np.where(told, 1.0, WEIGHTS.get(rule, 1.0))
        router = KernelRidge().fit(X[learned], np.where(told, y, besides)[learned], weight[learned])
        scores[held] = router.predict_proba(X[held])[:, 1]
    return scores


def pairs(prompts: Sequence[Prompt], sides: Mapping[str, list[list[Sample]]]) -> list[Ranked]:
    right = {
        model: np.array([np.mean([grade(p, one.text) for one in a]) for p, a in zip(prompts, side, strict=True)])
        for model, side in sides.items()
    }
    X, found, meanings = embeddings([prompt.text for prompt in prompts], "bge-small"), [], Meanings(exact_match)
    for weak, strong in combinations(sorted(sides, key=lambda model: right[model].mean()), 2):
        samples = PairSamples(*({p.id: a[:N] for p, a in zip(prompts, sides[m], strict=True)} for m in (weak, strong)))
        config = LabelConfig(entailment="exact")
        labels = label_prompts(prompts, samples, meanings, config, weak="weak", strong="strong")
        target = {row.id: row.target for row in labels.preferences}
        y, gains = np.array([target.get(p.id, NOTHING_GAINED) for p in prompts]), right[strong] - right[weak]
        told = np.array([p.id in target for p in prompts])
        print(
            f"{weak} -> {strong}: {np.mean(~told):.0%} unknown, true gain {gains[~told].mean():.3f} there, "
            f"{gains[told].mean():.3f} elsewhere",
            flush=True,
        )
        found.append(ranked(X, y, told, gains))
    return found


def ratio(caught: FloatArray, gains: FloatArray, rows: IntArray) -> float:
    return float(caught[rows].mean() / gains[rows].mean())


def report(title: str, found: Sequence[Ranked]) -> None:
    gains, every = np.sum([one.gains for one in found], axis=0), np.arange(len(found[0].gains))
    for served in SERVED:
        print(
            f"\n{title}, {len(found)} pairs as one; unknown prompts are served {served}; APGR, beyond nothing learned"
        )
        caught = {
            rule: np.sum([one.gains * (one.ranks[rule, served] - 0.5) for one in found], axis=0)
            for rule in (*WEIGHTS, MEAN)
        }
        for rule, each in caught.items():
            beyond = each - caught[NOTHING]
            low, high = (0.5 + end for end in interval(every, partial(ratio, each, gains)))
            least, most = interval(every, partial(ratio, beyond, gains))
            print(
                f"  {rule:<24}{0.5 + ratio(each, gains, every):.3f} [{low:.3f}, {high:.3f}]"
                f"{ratio(beyond, gains, every):>+9.3f} [{least:+.3f}, {most:+.3f}]",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("local", "new"), help="one group of pairs")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    if options.only in (None, "local"):
        report("chosen on local_pair", pairs(*local_samples()))
    if options.only in (None, "new"):
        report("CONFIRMED ON 300 other questions", pairs(*new_samples()))


if __name__ == "__main__":
    main()
