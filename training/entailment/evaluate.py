"""Quality of an entailment on the held-out sets; needs no torch.

    python training/entailment/evaluate.py                        # the shipped model
    python training/entailment/evaluate.py --weights runs/weights  # files of export.py

The score of a pair is the smaller of the two directions' P(entailment); the decision is demur's own: entailment
strictly the likeliest, both ways. "rules + model" is what `demur entail` and Python decide about a pair alone, "as
labelled" what `demur label` decides about sampled answers, of which fewer pairs hold (`at_share`). Beside the model
stands what needs none: the share of one answer's words in the other, and whether it is contained whole.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sources import HARD, SECOND, hand_written, judged, measured_half

from demur.meaning.clusters import ENTAILMENT, strictly_entails
from demur.meaning.cross_encoder import OnnxEntailment
from demur.meaning.entailment import SAMPLED_SHARE, SHIPPED, TRAINED_LENGTH, at_share, shipped_entailment
from demur.meaning.rules.decide import same_meaning
from demur.meaning.rules.normalise import exact_key
from demur.records import BoolArray, EntailmentModel, FloatArray, IntArray
from demur.statistics import auroc, interval

Sides = tuple[str, str, str]  # question, an answer, another


@dataclass(frozen=True, slots=True)
class Decided:
    """Scores and decisions of a set of pairs, one entry per pair."""

    score: FloatArray  # by which the area under the curve is taken
    alone: BoolArray  # the model alone says the same
    with_rules: BoolArray  # rules first
    labelled: BoolArray  # rules first, as sampled answers are labelled
    lexical: FloatArray  # no model: above 0 as far as words are shared, from 1 when one answer holds the other

    def __getitem__(self, chosen: IntArray) -> Decided:
        return Decided(
            self.score[chosen],
            self.alone[chosen],
            self.with_rules[chosen],
            self.labelled[chosen],
            self.lexical[chosen],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="folder with the three files")
    folder = parser.parse_args().weights
    files = [folder / name for name in SHIPPED] if folder else []
    print("\n".join(table(OnnxEntailment(*files, short=TRAINED_LENGTH) if files else shipped_entailment())))


def table(entailment: EntailmentModel) -> list[str]:
    """The held-out sets with intervals, the lexical baseline under each; the written pairs by kind."""
    found = [f"{'':<28}{'n':>6}  {'AUC':<22}{'accuracy':>10}  {'rules + model':<22}{'as labelled':>12}"]
    for name, path in (("hard pairs", HARD), ("second set of pairs", SECOND)):
        rows = hand_written(path)
        sides = [(row["question"], row["a"], row["b"]) for row in rows]
        same, kinds = np.array([row["same"] for row in rows]), np.array([row["kind"] for row in rows])
        says = decided(entailment, sides)
        found += _with_baseline(name, says, same, [side[0] for side in sides])
        for kind in dict.fromkeys(kinds.tolist()):
            of = np.flatnonzero(kinds == kind)
            found.append(_line(f"  {kind}", says[of], same[of]))
    rows_judged, answers, same = judged_answers(entailment)
    questions = [row[0] for row in rows_judged]
    found += _with_baseline("human-judged, held out", answers, same, questions)
    part = np.flatnonzero((answers.lexical > 0) & (answers.lexical < 1))
    of_part = [questions[i] for i in part]
    return [*found, *_with_baseline("  words shared in part", answers[part], same[part], of_part)]


def _with_baseline(name: str, found: Decided, same: BoolArray, questions: Sequence[str]) -> list[str]:
    """A line of the model with its intervals, and one of the words alone."""
    words, other = found.lexical, 1.0 - same
    area = _interval(lambda of: auroc(words[of], other[of]), questions)
    right = np.mean((words >= 1) == same)
    baseline = f"{'  words alone, no model':<28}{len(same):>6}  {auroc(words, other):<6.3f}{area:<16}{right:>10.3f}"
    return [_line(name, found, same, questions), baseline]


def _line(name: str, found: Decided, same: BoolArray, questions: Sequence[str] = ()) -> str:
    area = rules = ""
    other = 1.0 - same  # answers that mean another thing
    if questions:
        area = _interval(lambda of: auroc(found.score[of], other[of]), questions)
        rules = _interval(lambda of: float(np.mean((found.with_rules == same)[of])), questions)
    alone, with_rules, labelled = (np.mean(says == same) for says in (found.alone, found.with_rules, found.labelled))
    return (
        f"{name:<28}{len(same):>6}  {auroc(found.score, other):<6.3f}{area:<16}{alone:>10.3f}  {with_rules:<6.3f}"
        f"{rules:<16}{labelled:>12.3f}"
    )


def _interval(measured: Callable[[Any], float], questions: Sequence[str]) -> str:
    """95 % by bootstrap over questions: a question's pairs stay together."""
    low, high = interval(np.arange(len(questions)), measured, groups=questions)
    return f"[{low:.3f}, {high:.3f}]"


def decided(entailment: EntailmentModel, sides: Sequence[Sides]) -> Decided:
    """What the model, rules first and a labelling run say of each (question, a, b)."""
    pairs = [(f"{question} {a}", f"{question} {b}") for question, a, b in sides]
    both = entailment([way for premise, hypothesis in pairs for way in ((premise, hypothesis), (hypothesis, premise))])
    weighed = at_share(lambda asked: both, SAMPLED_SHARE)([("", "")] * len(both))
    alone, labelled = (_both_ways(strictly_entails(found) > 0) for found in (both, weighed))
    ruled = [same_meaning(a, b) for _, a, b in sides]
    known, says = np.array([rule is not None for rule in ruled]), np.array([rule is True for rule in ruled])
    return Decided(
        both[:, ENTAILMENT].reshape(-1, 2).min(axis=1),
        alone,
        np.where(known, says, alone),
        np.where(known, says, labelled),
        np.array([max(lexical(a, b), lexical(b, a)) for _, a, b in sides]),
    )


def _both_ways(holds: BoolArray) -> BoolArray:
    return np.asarray(holds.reshape(-1, 2).all(axis=1))


def lexical(part: str, whole: str) -> float:
    """The share of one answer's words that the other has, plus 1 where it is contained whole."""
    key, text = exact_key(part), exact_key(whole)
    words = key.split()
    return float(bool(words) and key in text) + len(set(words) & set(text.split())) / max(1, len(set(words)))


def judged_answers(entailment: EntailmentModel) -> tuple[list[tuple[str, str, str, bool]], Decided, BoolArray]:
    """Gold against each system's answer; of several golds ("a/b") the best counts. Questions never trained on."""
    rows = [row for row in judged(held=True) if measured_half(row[0])]
    sides, owner = [], []
    for number, (question, gold, answer, _) in enumerate(rows):
        for option in [part.strip() for part in gold.split("/") if part.strip()] or [gold]:
            sides.append((question, option, answer))
            owner.append(number)
    found = decided(entailment, sides)

    def best(field: FloatArray | BoolArray) -> Any:
        most = np.zeros(len(rows), dtype=field.dtype)
        np.maximum.at(most, owner, field)
        return most

    words = np.array([lexical(gold, answer) for _, gold, answer in sides])  # the gold in the answer, not the reverse
    fields = (found.score, found.alone, found.with_rules, found.labelled, words)
    return rows, Decided(*(best(field) for field in fields)), np.array([row[3] for row in rows])


if __name__ == "__main__":
    main()
