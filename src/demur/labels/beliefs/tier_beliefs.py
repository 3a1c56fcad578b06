"""How right each of several models is believed to be, by the samples of the pair at their ends; no labels are used.

A meaning is believed to be right by lam p_strong + (1 - lam) p_weak (see `belief`), so a model m is believed to be
right by q_m = lam SM + (1 - lam) WM, with SM and WM the shares of its answers' pairs with either that mean the same. Of
two models q_strong - q_weak is the gain that the pair's labels are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demur.errors import InputError
from demur.labels.beliefs.belief import without_silence
from demur.labels.beliefs.votes import own_agreement, vote_shares
from demur.labels.scores.uncertainty import consistency
from demur.meaning.clusters import Clustering
from demur.meaning.rules.declined_answers import says_nothing
from demur.prompts.grading import grade, quality
from demur.records import FloatArray, Grader, IntArray, Preference, Prompt, Sample
from demur.runs.run import Run

GRADED_KINDS = ("accuracy soft", "accuracy hard")
AGREEING = ("entropy believed", "agreement")  # kinds of labels whose gain is a difference of beliefs
Answers = Sequence[Sequence[Sample]]  # of every prompt


@dataclass(frozen=True, slots=True)
class TierShares:
    """Shares of pairs of every model's answers and those of either end that mean the same, (n, K) each."""

    strong: FloatArray
    weak: FloatArray

    def believed_quality(self, weight: float = 1.0) -> FloatArray:
        """(n, K) q of every model; ``weight`` is lam: 1 is what the strong model alone believes."""
        return np.asarray(weight * self.strong + (1 - weight) * self.weak)


def tier_qualities(run: Run, rows: Sequence[Preference], prompts: Sequence[Prompt]) -> tuple[FloatArray, FloatArray]:
    """(n, K) each: how right every model of a run is on the labelled prompts, as the pair's labels have it, whose
    differences are learned; and as the strong model alone believes it, which is reported. Both are the grades where the
    labels are.

    Raises InputError for labels that compare two models alone.
    """
    names, votes = [one.name for one in run.pair.all], [model.votes for model in run.config.models]
    sides = [[side[prompt.id] for prompt in prompts] for side in run.samples.all]
    kind, weight = rows[0].kind, rows[0].strong_weight
    if kind in GRADED_KINDS:
        graded = graded_tiers(prompts, sides, votes, run.meanings, run.own.grader or grade)
        return graded, graded
    if kind not in AGREEING:
        raise InputError(
            f"the labels are {kind}, which compare the weak and the strong model alone; of more than two models label "
            "with --kind believed, --from agreement or --from accuracy"
        )
    shares = tier_shares([prompt.text for prompt in prompts], sides, names, votes, run.meanings)
    return shares.believed_quality(1.0 if weight is None else weight), shares.believed_quality()


def tier_shares(
    texts: Sequence[str],
    sides: Sequence[Answers],
    names: Sequence[str],
    votes: Sequence[int],
    meanings: Clustering,
) -> TierShares:
    """Of every prompt; the weak model comes first and the strong one last.

    ``names``: of the models whose samples these are; those of one name are the same samples.
    """
    same = [names.index(name) for name in names]
    once = [len(names) - 1, *(i for i in sorted(set(same)) if i != len(names) - 1)]  # as the pair's are clustered
    strong, weak = np.empty((2, len(texts), len(names)))
    for row, parts in enumerate(_joint(texts, [sides[i] for i in once], meanings)):
        of = [parts[once.index(i)] for i in same]
        for m in range(len(names)):
            strong[row, m], weak[row, m] = (_share(of, m, judge, same, votes[m]) for judge in (len(of) - 1, 0))
    return TierShares(strong, weak)


def graded_tiers(
    prompts: Sequence[Prompt],
    sides: Sequence[Answers],
    votes: Sequence[int],
    meanings: Clustering,
    grader: Grader = grade,
) -> FloatArray:
    """(n, K) mean graded quality of what every model serves."""
    columns = []
    for answers, count in zip(sides, votes, strict=True):
        grades = [[quality(grader, p, one.text) for one in each] for p, each in zip(prompts, answers, strict=True)]
        weights = [np.full(len(each), 1 / len(each)) for each in answers]
        if count > 1:
            own = meanings([prompt.text for prompt in prompts], [[one.text for one in each] for each in answers]).ids
            weights = [vote_shares(ids, count) for ids in own]
        columns.append([float(w @ np.array(g)) for w, g in zip(weights, grades, strict=True)])
    return np.array(columns).T


def _share(of: Sequence[IntArray], m: int, believer: int, same: Sequence[int], votes: int) -> float:
    """Share of pairs of what model ``m`` serves and the believer's samples that mean the same."""
    if same[m] == same[believer]:
        return consistency(of[m]) if votes == 1 else own_agreement(of[m], votes)
    alike = (of[m][:, None] == of[believer]).mean(axis=1)
    return float(alike.mean() if votes == 1 else vote_shares(of[m], votes) @ alike)


def _joint(texts: Sequence[str], sides: Sequence[Answers], meanings: Clustering) -> list[list[IntArray]]:
    """Of every prompt clusters over the answers of all these models, split by model; what says nothing agrees with
    nothing."""
    every = [[one.text for side in sides for one in side[row]] for row in range(len(texts))]
    found = []
    for row, ids in enumerate(meanings(texts, every).ids):
        apart = without_silence(np.asarray(ids), np.array([says_nothing(text) for text in every[row]]))
        found.append(np.split(apart, np.cumsum([len(side[row]) for side in sides])[:-1]))
    return found
