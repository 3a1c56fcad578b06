"""What giving up on saturated prompts saves, and which prompts it takes as saturated that are not quite.

`demur label`'s pairs and CPU seconds with the shipped entailment model, beside clustering every prompt in full:
`open_ended` (80 prompts, four answers a model) and `long_answers` (150 questions, five answers of two or three
sentences a model), as they were sampled; and 100 prompts of ten answers a model that all differ: each answer is to
another question of `samples/triviaqa_llama2_7b_chat`. What clustering those in full asks is counted, not scored.
``--choose`` shows, on the first 90 questions of `long_answers`, how many prompts with an equal pair are missed by the
share of pairs that is asked and by how pairs are ordered.
"""

from __future__ import annotations

import argparse
import gzip
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from demur.labels.beliefs.unknown import why_unknown
from demur.meaning import saturated_prompts as search
from demur.meaning.clusters import Scorer, meaning_clusters
from demur.meaning.distinct_answers import DistinctAnswers
from demur.meaning.entailment import SAMPLED_SHARE, at_share, shipped_entailment
from demur.meaning.rules.languages import is_english
from demur.meaning.saturated_prompts import find_saturated
from demur.records import EntailmentModel, FloatArray, IntArray, Sample
from environment import ROOT, describe, on_one_thread, shared_rows

DATA = ROOT / "benchmarks" / "data"
FOR_CHOOSING = 90  # questions of long_answers, as in `long_answers.py`
SYNTHETIC, N = 100, 10


@dataclass(frozen=True)
class Answered:
    """Prompts with both models' answers, the strong model's first."""

    name: str
    questions: list[str]
    answers: list[list[str]]


class Counting:
    """The shipped entailment as labelling uses it: every pair is scored once."""

    def __init__(self) -> None:
        self._model: EntailmentModel = at_share(shipped_entailment(), SAMPLED_SHARE)
        self._known: dict[tuple[str, str], FloatArray] = {}

    @property
    def pairs(self) -> int:
        return len(self._known)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> FloatArray:
        for pair in pairs:
            if pair not in self._known:
                self._known[pair] = self._model([pair])[0]
        return np.array([self._known[pair] for pair in pairs]).reshape(-1, 3)


def rows_of(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def answered(name: str, questions: list[str], rows: list[dict[str, Any]]) -> Answered:
    return Answered(name, questions, [[text for side in ("strong", "weak") for text, _ in row[side]] for row in rows])


def open_ended() -> Answered:
    rows = rows_of("open_ended_answers")
    return answered("open_ended", [row["prompt"] for row in rows], rows)


def long_answers() -> Answered:
    asked = {row["id"]: row["question"] for row in shared_rows("samples/local_pair")}
    rows = rows_of("long_answers")
    return answered("long_answers", [asked[row["id"]] for row in rows], rows)


def all_different() -> Answered:
    """Answers to other questions, under a question of their own."""
    rows, random = shared_rows("samples/triviaqa_llama2_7b_chat")[:500], np.random.default_rng(0)
    answers = []
    for number in range(SYNTHETIC):
        others = random.permutation([i for i in range(len(rows)) if i != number])[: 2 * N]
        answers.append([rows[i]["samples"][k % 10] for k, i in enumerate(others)])
    name = f"{SYNTHETIC} prompts of {2 * N} answers that all differ"
    return Answered(name, [row["question"] for row in rows[:SYNTHETIC]], answers)


def cost_of_different(given: Answered) -> tuple[int, int, int, float]:
    """How many are taken as saturated, pairs in full at least, pairs as labelled and their CPU seconds."""
    never: list[tuple[str, str]] = []

    def count(pairs: Sequence[tuple[str, str]]) -> FloatArray:
        never.extend(pairs)
        return np.array([[0.0, 1.0, 0.0]] * len(pairs))

    own_and_joint(given, range(len(given.questions)), count)
    found: list[bool] = []
    pairs, seconds = cost(
        lambda counting: found.extend(
            find_saturated(given.questions, given.answers, entailment=counting).found.tolist()
        )
    )
    return sum(found), len(set(never)), pairs, seconds


def cost(work: Callable[[Counting], object]) -> tuple[int, float]:
    counting, start = Counting(), time.process_time()
    work(counting)
    return counting.pairs, time.process_time() - start


def own_and_joint(given: Answered, asked: Sequence[int], counting: EntailmentModel) -> list[IntArray]:
    """As `demur label` clusters them: each model's answers and both models', of these prompts."""
    questions, lists = [given.questions[i] for i in asked], [given.answers[i] for i in asked]
    own = [one[: len(one) // 2] for one in lists] + [one[len(one) // 2 :] for one in lists]
    meaning_clusters(questions * 2, own, entailment=counting)
    return list(meaning_clusters(questions, lists, entailment=counting).ids)


def compare(given: Answered) -> None:
    every = range(len(given.questions))
    full: list[IntArray] = []
    before = cost(lambda counting: full.extend(own_and_joint(given, every, counting)))
    found: list[bool] = []

    def early(counting: Counting) -> None:
        apart = find_saturated(given.questions, given.answers, entailment=counting).found
        found.extend(apart.tolist())
        own_and_joint(given, np.flatnonzero(~apart).tolist(), counting)

    after = cost(early)
    hopeless = [i for i in every if found[i]]
    missed = [i for i in hopeless if len(np.unique(full[i])) < len(full[i])]
    kept = [i for i in missed if not why_unknown(full[i], *halves(given.answers[i]), given.questions[i], is_english)]
    print(f"\n{given.name}: {len(every)} prompts, {len(hopeless)} taken as saturated")
    for name, (pairs, seconds) in (("in full", before), ("as labelled", after)):
        print(f"  {name:<14}{pairs:>8,} pairs{seconds:>8.1f} CPU s")
    print(
        f"  pairs {after[0] / before[0]:.2f}, CPU seconds {after[1] / before[1]:.2f} of what clustering in full takes"
    )
    print(f"  {len(missed)} of them hold an equal pair; {len(kept)} would have had a label", flush=True)


def halves(answers: Sequence[str]) -> tuple[list[Sample], list[Sample]]:
    """Weak and strong samples."""
    samples = [Sample(i, text, None, "stop", 0, 0) for i, text in enumerate(answers)]
    return samples[len(answers) // 2 :], samples[: len(answers) // 2]


ORDERS: dict[str, Callable[[str, str], float]] = {
    "words shared": lambda a, b: search.overlap(words(a), words(b)),
    "trigrams shared": lambda a, b: search.overlap(search.trigrams(a), search.trigrams(b)),
    "words of the shorter": lambda a, b: contained(words(a), words(b)),
    "sampling order": lambda a, b: 0.0,
}


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.casefold()))


def contained(one: set[str], other: set[str]) -> float:
    return len(one & other) / max(1, min(len(one), len(other)))


def choose(given: Answered) -> None:
    """Of prompts without two answers equal by rule but with some equal pairs: at what share of pairs one is found."""
    counting, lists = (
        Counting(),
        [DistinctAnswers(q, a, rules=True) for q, a in zip(given.questions, given.answers, strict=True)],
    )
    scorer = Scorer(counting)
    equal: list[tuple[DistinctAnswers, list[tuple[object, object]], set[int]]] = []
    searched = 0
    for one in lists:
        pairs = [keys for keys in combinations(one.distinct, 2) if one.is_open(*keys)]
        if len(one.distinct) < len(one.keys) or len(pairs) < search.FEWEST_PAIRS:
            continue
        searched += 1
        forward = list(scorer.holds([one.pair(a, b) for a, b in pairs]))
        both = [i for i, holds in enumerate(forward) if holds]
        backward = list(scorer.holds([one.pair(pairs[i][1], pairs[i][0]) for i in both]))
        if hits := {i for i, holds in zip(both, backward, strict=True) if holds}:
            equal.append((one, pairs, hits))
    shares = (0.1, 0.2, 0.25, 0.35, 0.5)
    print(
        f"\n{given.name}: {searched} prompts searched, {len(equal)} with an equal pair; missed of these, by share asked"
    )
    print(f"  {'order':<24}" + "".join(f"{share:>7.0%}" for share in shares))
    for name, score in ORDERS.items():
        missed = np.zeros(len(shares), dtype=int)
        for one, pairs, hits in equal:
            order = sorted(range(len(pairs)), key=lambda i: -score(one.answer(pairs[i][0]), one.answer(pairs[i][1])))
            first = min(order.index(i) for i in hits)
            missed += [first >= round(share * len(pairs)) for share in shares]
        print(f"  {name:<24}" + "".join(f"{count:>7}" for count in missed))
    singles = [one for one in equal if len(one[2]) == 1]
    print(f"  {len(singles)} of them have a single equal pair", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", action="store_true", help="compare orders of pairs and shares that are asked")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    long = long_answers()
    if options.choose:
        choose(Answered("long_answers, for choosing", long.questions[:FOR_CHOOSING], long.answers[:FOR_CHOOSING]))
        return
    different = all_different()
    found, in_full, pairs, seconds = cost_of_different(different)
    print(f"\n{different.name}: {found} of {SYNTHETIC} taken as saturated")
    print(f"  in full {in_full:,} pairs at least; as labelled {pairs:,} pairs, {seconds:.1f} CPU s", flush=True)
    compare(open_ended())
    compare(Answered("long_answers, held back", long.questions[FOR_CHOOSING:], long.answers[FOR_CHOOSING:]))


if __name__ == "__main__":
    main()
