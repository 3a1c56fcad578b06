"""What should routers learn of prompts on which both models guess, and where should prompts like them go?

APGR of the default router on the default labels, 5-fold, five samples of each model, answers alike by rules and equal
text. Learned of such prompts: nothing, that nothing is gained (y = 1/2, as `demur train` does) by several weights, or
the mean of the other targets. Served, where a prompt is nearer to an unknown one than to a labelled one: by each value
of the setting `unknown`. Pairs of the same prompts as one, each rule with its paired difference from nothing, and the
default rule by each setting with its paired difference from `strong`. The rule was chosen on `samples/local_pair`,
1,100 questions, and confirmed on 300 others (`label_rules`). The setting `strong-unless-guessed` was chosen on both and
confirmed on 240 more, of which nothing had been looked at (`label_sampling`, the drawing `guesses`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np

from demur.config import LabelConfig
from demur.labels.beliefs.unknown import GUESSED, NOTHING_GAINED, UnknownPrompt, reason_of
from demur.labels.from_samples import label_prompts
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.methods.estimator import unit_rows
from demur.methods.kernel import KernelRidge
from demur.prompts.grading import grade
from demur.records import BoolArray, FloatArray, IntArray, OnUnknown, Prompt, Sample
from demur.routing.known.remembered_prompts import Remembered
from demur.routing.known.unknown_setting import UnknownSetting
from demur.routing.train import UNFAMILIAR_SHARE
from demur.sampling.pair import PairSamples
from demur.statistics import FOLDS, interval, mean_ranks
from environment import describe, on_one_thread
from label_rules import GUESSES, local_samples, new_samples
from nq_open import embeddings

N, SEEDS = 5, 2
NOTHING, GAINS_NOTHING = "nothing", "nothing is gained"
WEIGHTS = {NOTHING: 0.0, GAINS_NOTHING: 1.0, "the same, weight 1/2": 0.5, "the same, weight 1/4": 0.25}
MEAN = "the mean of the others"
SERVED: tuple[OnUnknown, ...] = ("score", "strong-unless-guessed", "strong", "weak")
PLACES = {"strong": 2.0, "weak": -1.0}  # ranks beyond all others


@dataclass(frozen=True)
class Ranked:
    """A pair's true gains, and every prompt's rank by what is learned and how unknown prompts are served."""

    gains: FloatArray  # (n,)
    ranks: Mapping[tuple[str, OnUnknown], FloatArray]


def ranked(prompts: Sequence[str], y: FloatArray, reasons: Sequence[str], gains: FloatArray) -> Ranked:
    """``reasons``: why each prompt is unknown, "" where it is not."""
    ranks: dict[tuple[str, OnUnknown], FloatArray]
    ranks = {(rule, served): np.zeros(len(prompts)) for rule in (*WEIGHTS, MEAN) for served in SERVED}
    X, told = embeddings(list(prompts), "bge-small"), np.array([not one for one in reasons])
    for seed in range(SEEDS):
        fold_of = np.random.default_rng(seed).permutation(len(X)) % FOLDS
        found = [reason_of(*one) for one in zip(nearest_reasons(X, reasons, fold_of), prompts, strict=True)]
        for rule in (*WEIGHTS, MEAN):
            scores = mean_ranks(held_out(X, y, told, fold_of, rule))
            for served in SERVED:
                setting = UnknownSetting(served)
                placed = np.where(setting.settled_rows(found), PLACES[setting.role], scores)
                ranks[rule, served] += mean_ranks(placed) / SEEDS
    return Ranked(gains, ranks)


def each_fold(fold_of: IntArray) -> list[BoolArray]:
    return [fold_of == fold for fold in range(FOLDS)]


def nearest_reasons(X: FloatArray, reasons: Sequence[str], fold_of: IntArray) -> list[str]:
    """Why each prompt, held out, is unknown to a router that learned the others; "" where it is not."""
    rows, found = unit_rows(X), [""] * len(X)
    for held in each_fold(fold_of):
        known = rows[[not held[i] and not why for i, why in enumerate(reasons)]]
        unknown = [i for i, why in enumerate(reasons) if not held[i] and why]
        remembered = Remembered(tuple(UnknownPrompt("", "", reasons[i]) for i in unknown), rows[unknown])
        own = known @ known.T
        np.fill_diagonal(own, -1.0)
        familiar = float(np.quantile(own.max(axis=1), UNFAMILIAR_SHARE))
        at = np.flatnonzero(held)
        for i, why in zip(at, remembered.look(rows[at], (rows[at] @ known.T).max(axis=1), familiar)[0], strict=True):
            found[i] = why
    return found


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
    found, meanings = [], Meanings(exact_match)
    for weak, strong in combinations(sorted(sides, key=lambda model: right[model].mean()), 2):
        samples = PairSamples(*({p.id: a[:N] for p, a in zip(prompts, sides[m], strict=True)} for m in (weak, strong)))
        config = LabelConfig(entailment="exact")
        labels = label_prompts(prompts, samples, meanings, config, weak="weak", strong="strong")
        target = {row.id: row.target for row in labels.preferences}
        y, gains = np.array([target.get(p.id, NOTHING_GAINED) for p in prompts]), right[strong] - right[weak]
        reason = {one.id: one.reason for one in labels.unknown}
        told, guessed = (
            np.array([p.id in target for p in prompts]),
            sum(reason_of(reason.get(p.id, ""), p.text) == GUESSED for p in prompts),
        )
        print(
            f"{weak} -> {strong}: {np.mean(~told):.0%} unknown, true gain {gains[~told].mean():.3f} there, "
            f"{gains[told].mean():.3f} elsewhere; {guessed} of {len(labels.unknown)} are questions on which both guess",
            flush=True,
        )
        found.append(ranked([p.text for p in prompts], y, [reason.get(p.id, "") for p in prompts], gains))
    return found


def ratio(caught: FloatArray, gains: FloatArray, rows: IntArray) -> float:
    return float(caught[rows].mean() / gains[rows].mean())


def report(title: str, found: Sequence[Ranked]) -> None:
    gains, every = np.sum([one.gains for one in found], axis=0), np.arange(len(found[0].gains))
    for served in SERVED:
        print(f"\n{title}, {len(found)} pairs as one; unknown = {served}; APGR, beyond nothing learned")
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


def report_settings(title: str, found: Sequence[Ranked]) -> None:
    """The default rule by each setting, and what it reaches beyond `strong`."""
    gains, every = np.sum([one.gains for one in found], axis=0), np.arange(len(found[0].gains))
    print(f"\n{title}; {GAINS_NOTHING}; APGR, beyond unknown = strong")
    caught = {
        served: np.sum([one.gains * (one.ranks[GAINS_NOTHING, served] - 0.5) for one in found], axis=0)
        for served in SERVED
    }
    for served, each in caught.items():
        beyond = each - caught["strong"]
        low, high = (0.5 + end for end in interval(every, partial(ratio, each, gains)))
        least, most = interval(every, partial(ratio, beyond, gains))
        print(
            f"  {served:<24}{0.5 + ratio(each, gains, every):.3f} [{low:.3f}, {high:.3f}]"
            f"{ratio(beyond, gains, every):>+9.3f} [{least:+.3f}, {most:+.3f}]"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SETS, help="one group of pairs")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    for name, (title, samples) in SETS.items():
        if options.only in (None, name):
            found = pairs(*samples())
            report(title, found)
            report_settings(title, found)


SETS: Mapping[str, tuple[str, Callable[[], tuple[list[Prompt], dict[str, list[list[Sample]]]]]]] = {
    "local": ("chosen on local_pair", local_samples),
    "new": ("300 other questions: the rule CONFIRMED ON them, the setting chosen on them", new_samples),
    "guesses": ("both CONFIRMED ON 240 more questions", partial(new_samples, GUESSES)),
}


if __name__ == "__main__":
    main()
