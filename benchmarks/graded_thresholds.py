"""Which threshold keeps 95 % of the large model's quality: the believed one, or one set by 100 grades?

Grades are simulated: the first answer of each model, right or wrong by gold answers, of prompts drawn at random
from those that the score decides. Every rule sets the highest threshold at which it finds 95 % of the large model's
quality. What that threshold keeps is measured on the prompts that were not drawn, by the mean grade of all samples.
`believed` knows no grade (`demur calibrate --keep-quality` before there are any). `graded` counts the graded prompts
alone. `believed, level by grades` multiplies each model's believed quality of every prompt by what the grades show of
its level. Draws whose grades do not show a better large model set no threshold. The rules were compared on
`samples/local_pair` (three pairs); the other pairs confirm.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from believed_level import Judge, Side, cases, label_case, mean_grade
from demur.labels.beliefs.unknown import GUESSED
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.uncertainty import belief
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.measure.threshold import threshold_for_quality
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.records import FloatArray, IntArray, Prompt
from demur.statistics import normal_interval
from environment import describe, on_one_thread
from nq_open import embeddings

KEEP, GRADES, DRAWS = 0.95, (100, 200, 400), 300
RULES = ("believed", "graded", "believed, level by grades")


@dataclass(frozen=True)
class Scored:
    """The prompts that the score decides; arrays of two rows are of the weak and of the strong model."""

    scores: FloatArray  # (n,) held out
    believed: FloatArray  # (2, n)
    first: FloatArray  # (2, n) the grade of the first answer
    right: FloatArray  # (2, n) the mean grade of all

    def kept(self, threshold: float, rows: IntArray) -> float:
        """What a threshold keeps of the strong model's quality on some prompts."""
        weak, strong = self.right[:, rows]
        return float(np.where(self.scores[rows] >= threshold, strong, weak).sum() / strong.sum())


def scored(prompts: Sequence[Prompt], weak: Side, strong: Side, judge: Judge) -> Scored:
    """Labels, held-out scores and beliefs as `demur label` and `demur train` make them."""
    ids, meanings = [prompt.id for prompt in prompts], Meanings(exact_match)
    labels, sides, targets = label_case(prompts, weak, strong, meanings)
    told = np.isin(ids, [row.id for row in labels.preferences])
    by_score = told | np.isin(ids, [row.id for row in labels.unknown if row.reason == GUESSED])
    y = np.array([targets[id] for id in ids], dtype=float)
    order = np.argsort(~told, kind="stable")  # the unknown ones last
    scores = np.empty(len(ids))
    X = embeddings([prompts[i].text for i in order], "bge-small")
    scores[order] = held_out_scores(KernelRidge(), X, y[order], apart=int((~told).sum()))
    joint = joint_clusters(prompts, sides[0], sides[1], meanings).ids
    believed = np.array([belief(weak, strong) for strong, weak in (np.split(both, 2) for both in joint)]).T
    first = np.array([[judge(p, each[0].text) for p, each in zip(prompts, side, strict=True)] for side in sides])
    right = np.array([mean_grade(prompts, side, judge) for side in (weak, strong)])
    kept = np.flatnonzero(by_score)
    return Scored(scores[kept], (believed * told)[:, kept], first[:, kept], right[:, kept])


def thresholds(found: Scored, graded: IntArray) -> Iterator[float]:
    """The threshold of each of `RULES`."""
    level = found.first[:, graded].mean(axis=1) / np.maximum(found.believed[:, graded].mean(axis=1), 1e-9)
    for scores, (weak, strong) in (
        (found.scores, found.believed),
        (found.scores[graded], found.first[:, graded]),
        (found.scores, found.believed * level[:, None]),
    ):
        yield threshold_for_quality(scores, weak, strong, KEEP, on="prompts").threshold


def measure(name: str, found: Scored, grades: int, draws: int) -> None:
    n, random = len(found.scores), np.random.default_rng(0)
    if n < 2 * grades:
        return
    kept, local = [], []
    for _ in range(draws):
        order = random.permutation(n)
        graded, rest = order[:grades], order[grades:]
        weak, strong = found.first[:, graded]
        if not np.any(strong - weak) or normal_interval(strong - weak)[0] <= 0:
            continue
        set_at = list(thresholds(found, graded))
        kept.append([found.kept(one, rest) for one in set_at])
        local.append([float((found.scores[rest] < one).mean()) for one in set_at])
    alone = found.right.mean(axis=1)
    shown = f"{name}: {n} prompts by score, right {alone[0]:.2f} and {alone[1]:.2f}; {grades} grades"
    print(f"\n{shown}: {len(kept)} of {draws} draws show a gap")
    if not kept:
        return
    for rule, each, stays in zip(RULES, np.array(kept).T, np.array(local).T, strict=True):
        low, high = np.quantile(each, [0.05, 0.95])
        print(
            f"  {rule:<26}keeps {each.mean():.3f}, 90 % of draws {low:.3f} to {high:.3f}; off by "
            f"{np.abs(each - KEEP).mean():.3f}; below .90 in {np.mean(each < 0.9):.0%}; {stays.mean():.0%} stay local",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    for case in cases():
        name = case[0]
        if options.only in name:
            found = scored(*case[1:])
            for grades in GRADES:
                measure(name, found, grades, options.draws)


if __name__ == "__main__":
    main()
