"""Quality of an entailment on the held-out sets; needs no torch.

    python training/entailment/evaluate.py                        # the shipped model
    python training/entailment/evaluate.py --weights runs/weights  # files of export.py

The score of a pair is the smaller of the two directions' P(entailment); the decision is demur's own: entailment
strictly the likeliest, both ways.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sources import HARD, judged, measured_half

from demur.clustering import ENTAILMENT, strictly_entails
from demur.cross_encoder import OnnxEntailment
from demur.entailment import SHIPPED, shipped_entailment
from demur.records import Entailment, FloatArray, IntArray
from demur.rules import same_meaning


@dataclass(frozen=True, slots=True)
class Quality:
    """How well pairs of answers are told apart."""

    n: int
    auc: float  # of the score
    accuracy: float  # of the strict two-way decision, the model alone
    with_rules: float  # the same, rules first

    def __str__(self) -> str:
        return f"{self.n:>6}{self.auc:>8.3f}{self.accuracy:>10.3f}{self.with_rules:>14.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="folder with the three files")
    folder = parser.parse_args().weights
    entailment = OnnxEntailment(*(folder / name for name in SHIPPED)) if folder else shipped_entailment()
    print("\n".join(table(entailment)))


def table(entailment: Entailment) -> list[str]:
    """Both held-out sets, the hard pairs by kind, a line each."""
    rows = hard_rows()
    sides = [(row["question"], row["a"], row["b"]) for row in rows]
    scores, holds = scored(entailment, sides)
    same = np.array([row["same"] for row in rows])
    kinds = np.array([row["kind"] for row in rows])
    found = [f"{'hard pairs':<24}{'n':>6}{'AUC':>8}{'accuracy':>10}{'rules + model':>14}"]
    for kind in ["", *dict.fromkeys(kinds.tolist())]:
        chosen = np.flatnonzero(kinds == kind) if kind else np.arange(len(rows))
        found.append(f"{kind or 'all':<24}{quality(sides, scores, holds, same, chosen)}")
    golds, scores, holds, same = judged_scores(entailment)
    found.append(f"{'human-judged, held out':<24}{quality(golds, scores, holds, same, np.arange(len(golds)))}")
    return found


def quality(
    sides: Sequence[tuple[str, str, str]], scores: FloatArray, holds: FloatArray, same: FloatArray, chosen: IntArray
) -> Quality:
    """Quality on the chosen pairs."""
    decided = holds.copy()
    for i in chosen:
        ruled = same_meaning(*sides[i][1:])
        decided[i] = holds[i] if ruled is None else ruled
    right = (holds == same)[chosen].mean(), (decided == same)[chosen].mean()
    return Quality(len(chosen), auc(scores[chosen], same[chosen]), *(float(share) for share in right))


def hard_rows() -> list[dict[str, Any]]:
    """The hand-written hard pairs."""
    with HARD.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def judged_scores(entailment: Entailment) -> tuple[list[tuple[str, str, str]], FloatArray, FloatArray, FloatArray]:
    """Gold against each system's answer; of several golds ("a/b") the best counts. Questions never trained on."""
    rows = [row for row in judged(held=True) if measured_half(row[0])]
    sides, owner = [], []
    for number, (question, gold, answer, _) in enumerate(rows):
        for option in [part.strip() for part in gold.split("/") if part.strip()] or [gold]:
            sides.append((question, option, answer))
            owner.append(number)
    scores, holds = scored(entailment, sides)
    best, any_holds = np.zeros(len(rows)), np.zeros(len(rows), dtype=bool)
    np.maximum.at(best, owner, scores)
    np.logical_or.at(any_holds, owner, holds)
    return [row[:3] for row in rows], best, any_holds, np.array([row[3] for row in rows])


def scored(entailment: Entailment, sides: Sequence[tuple[str, str, str]]) -> tuple[FloatArray, FloatArray]:
    """Score of each (question, a, b) and whether entailment holds strictly both ways."""
    pairs = [(f"{question} {a}", f"{question} {b}") for question, a, b in sides]
    both = entailment([way for premise, hypothesis in pairs for way in ((premise, hypothesis), (hypothesis, premise))])
    forward, backward = both[0::2], both[1::2]
    score = np.minimum(forward[:, ENTAILMENT], backward[:, ENTAILMENT])
    return score, np.logical_and(strictly_entails(forward), strictly_entails(backward))


def auc(scores: FloatArray, positive: FloatArray) -> float:
    """Area under the ROC curve; ties count half."""
    order = np.sort(scores)
    ranks = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right") + 1) / 2
    n, hits = len(scores), int(positive.sum())
    return float((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * (n - hits)))


if __name__ == "__main__":
    main()
