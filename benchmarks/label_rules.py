"""Which label-free rule teaches a router most, on the pairs that it was chosen on and on pairs that it never saw?

APGR of a kernel router, 5-fold, on the true quality of the samples, with 95 % bootstrap intervals over prompts; a row
per rule, with log-probs and from texts alone. Chosen on: `samples/local_pair` and NQ-Open. Confirmed on: all pairs of
the catalogue's four chat models, on other questions, looked at after the rule was written down. Their answers are in
`data/label_samples.jsonl.gz`, their questions in the shared data, by id. Answers mean the same where rules say so or
their normalised texts are equal (`exact_match`).
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from demur.config import LabelConfig
from demur.labels.beliefs.belief import believed_gains, confirmed_slope, pair_shares
from demur.labels.from_samples import label_prompts
from demur.labels.pair_meanings import joint_clusters
from demur.labels.targets import gain_targets, margin_targets
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.methods.kernel import KernelRidge
from demur.prompts.files import with_choices
from demur.prompts.grading import grade
from demur.records import FloatArray, IntArray, Prompt, Sample
from demur.sampling.pair import PairSamples
from demur.statistics import FOLDS, interval, mean_ranks
from environment import ROOT, describe, on_one_thread, shared_rows
from measured_pairs import sample
from nq_open import STRONG, WEAK, both, correctness, embeddings, label_kinds

SAMPLES = ROOT / "benchmarks" / "data" / "label_samples.jsonl.gz"
GUESSES = SAMPLES.with_name("guess_samples.jsonl.gz")
OPEN = "mmlu, asked openly"  # without the options; the right one's text is the answer
QUESTIONS = {
    "triviaqa": "triviaqa_3610",
    "popqa": "popqa_full",
    "gsm8k": "gsm8k_train",
    "mawps": "mawps_mwptoolkit",
    "mmlu": "mmlu_test",
    "nq": "nq_open_dev",
    OPEN: "mmlu_test",
}
KINDS = {
    "hard SE": "hard",
    "margin": "margin",
    "calibrated": "calibrated",
    "combined": "combined",
    "believed": "believed",
}
LAMBDAS = {"lam 1/2 (margin, unranked)": 0.5, "lam 3/4": 0.75, "lam 1 (agreement, unbiased)": 1.0}
TRUE = ("true labels, ranked", "true labels, unranked")


@dataclass(frozen=True)
class Case:
    """A pair's prompts: its rules' targets, and how right both models are."""

    name: str
    chosen_on: bool
    questions: Sequence[str]
    weak: FloatArray  # (n,) quality
    strong: FloatArray
    targets: Mapping[str, FloatArray]  # a rule each, (n,); nan where nothing is learned of a prompt
    note: str = ""


@dataclass(frozen=True)
class Measured:
    """What held-out routers caught."""

    gains: FloatArray  # (n,) true gain of every prompt
    caught: Mapping[str, FloatArray]  # a rule each, (n,): gain times rank above the middle


def labelled(prompts: Sequence[Prompt], samples: PairSamples, meanings: Meanings) -> Iterator[tuple[str, FloatArray]]:
    for name, kind in KINDS.items():
        if kind == "calibrated" and not has_logprobs(samples):
            continue
        config = LabelConfig(kind=kind, entailment="exact")
        yield name, targets_of(prompts, samples, meanings, config)
    yield "agreement", targets_of(prompts, samples, meanings, LabelConfig("agreement", entailment="exact"))


def targets_of(prompts: Sequence[Prompt], samples: PairSamples, meanings: Meanings, config: LabelConfig) -> FloatArray:
    """(n,) what routers learn of each prompt, as `demur label` makes it; nan of unknown prompts that teach nothing."""
    found = label_prompts(prompts, samples, meanings, config, weak="weak", strong="strong")
    by_id: dict[str, float | None] = {row.id: row.target for row in found.unknown}
    by_id |= {row.id: row.target for row in found.preferences}
    return np.array([by_id.get(prompt.id) for prompt in prompts], dtype=float)


def has_logprobs(samples: PairSamples) -> bool:
    return all(one.logprobs is not None for answers in samples.weak.values() for one in answers)


def without_logprobs(samples: PairSamples) -> PairSamples:
    return PairSamples(
        *(
            {id: [replace(one, logprobs=None) for one in answers] for id, answers in side.items()}
            for side in (samples.weak, samples.strong)
        )
    )


def true_targets(weak: FloatArray, strong: FloatArray) -> dict[str, FloatArray]:
    return dict(zip(TRUE, (margin_targets(-weak, -strong), gain_targets(strong - weak)), strict=True))


def case(
    name: str, prompts: Sequence[Prompt], weak: list[list[Sample]], strong: list[list[Sample]], *, chosen_on: bool
) -> Case:
    """The rules as `demur label` makes them, and what lies between them."""
    ids = [prompt.id for prompt in prompts]
    samples = PairSamples(*(dict(zip(ids, side, strict=True)) for side in (weak, strong)))
    meanings = Meanings(exact_match)
    targets = dict(labelled(prompts, samples, meanings))
    targets |= {f"{kind}, texts alone": y for kind, y in labelled(prompts, without_logprobs(samples), meanings)}
    joint = joint_clusters(prompts, weak, strong, meanings).ids
    slope, shares = confirmed_slope(joint), pair_shares(joint)
    lambdas = LAMBDAS | {"lam 1 - slope/2": float(np.clip(1 - slope / 2, 0.5, 1))}
    targets |= {rule: gain_targets(believed_gains(shares, weight)) for rule, weight in lambdas.items()}
    right = [
        np.array([np.mean([grade(p, one.text) for one in a]) for p, a in zip(prompts, side, strict=True)])
        for side in (weak, strong)
    ]
    untaught = np.any([np.isnan(y) for y in targets.values()], axis=0)
    targets = {rule: np.where(untaught, np.nan, y) for rule, y in (targets | true_targets(*right)).items()}
    unknown = np.mean([len(np.unique(ids)) == len(ids) for ids in joint])
    note = f"slope {slope:.2f}, {unknown:.0%} unknown, {untaught.mean():.0%} of which no rule learns"
    return Case(name, chosen_on, [prompt.text for prompt in prompts], right[0], right[1], targets, note)


def local_samples() -> tuple[list[Prompt], dict[str, list[list[Sample]]]]:
    """`samples/local_pair`: prompts, and three models' samples of them, ten each."""
    rows = shared_rows("samples/local_pair")
    prompts = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
    return prompts, {model: [_samples(row["models"][model]["samples"]) for row in rows] for model in rows[0]["models"]}


def new_samples(file: Path = SAMPLES) -> tuple[list[Prompt], dict[str, list[list[Sample]]]]:
    """What `label_sampling` wrote to a file: questions that no rule was chosen on, and each model's samples of them."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    asked = {row["id"]: row for name in QUESTIONS.values() for row in shared_rows(f"questions/{name}")}
    prompts = [prompt_of(asked_as(asked[row["id"]], row["source"])) for row in rows]
    return prompts, {model: [_samples(row["models"][model]) for row in rows] for model in rows[0]["models"]}


def local_pairs() -> Iterator[Case]:
    """The three pairs on which the rule was chosen."""
    yield from pairs(*local_samples(), chosen_on=True)


def new_pairs() -> Iterator[Case]:
    """Pairs that no rule was chosen on."""
    yield from pairs(*new_samples(), chosen_on=False)


def asked_as(row: dict[str, Any], source: str) -> dict[str, Any]:
    """A row of the questions as it is asked where it stands for this set."""
    if source != OPEN:
        return row
    return row | {"choices": [], "answers": [row["choices"]["ABCD".index(row["answers"][0])]]}


def prompt_of(row: Mapping[str, Any]) -> Prompt:
    """A row of the questions as the models saw it, its options below."""
    choices = tuple(row.get("choices", ()))
    text = with_choices(row["question"], choices) if choices else row["question"]
    return Prompt(row["id"], text, tuple(row["answers"]), choices)


def _samples(answers: Sequence[Mapping[str, Any]]) -> list[Sample]:
    return [sample(i, one["text"], one["token_logprobs"]) for i, one in enumerate(answers)]


def pairs(prompts: Sequence[Prompt], sides: Mapping[str, list[list[Sample]]], *, chosen_on: bool) -> Iterator[Case]:
    """Every pair of models, the better one as the strong model."""
    quality = {
        model: np.mean([grade(p, one.text) for p, a in zip(prompts, side, strict=True) for one in a])
        for model, side in sides.items()
    }
    for weak, strong in combinations(sorted(sides, key=lambda model: quality[model]), 2):
        yield case(f"{weak} -> {strong}", prompts, sides[weak], sides[strong], chosen_on=chosen_on)


def nq_open() -> Case:
    """gpt-3.5-turbo and Llama-2-7b-chat: class sizes and log-probs without texts, so nothing is known across them."""
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    kinds, right = label_kinds(rows), both(rows, correctness)
    targets = {
        "hard SE": kinds["discrete SE, hard (tau .1)"],
        "margin": kinds["discrete SE, soft margin"],
        "calibrated": kinds["calibrated (default)"],
    }
    name = f"NQ-Open: {WEAK} -> {STRONG}"
    return Case(name, True, [row["question"] for row in rows], *right, targets | true_targets(*right), "no texts")


def held_out_ranks(X: FloatArray, y: FloatArray, seeds: int) -> FloatArray:
    """(n,) rank in [0, 1] of every prompt's score by a router that did not see it, averaged over ``seeds`` foldings.

    Routers learn from prompts with a target and rank all.
    """
    ranks = []
    for seed in range(seeds):
        folds = np.random.default_rng(seed).permutation(len(X)) % FOLDS
        scores = np.empty(len(X))
        for fold in range(FOLDS):
            learned = (folds != fold) & np.isfinite(y)
            router = KernelRidge().fit(X[learned], y[learned])
            scores[folds == fold] = router.predict_proba(X[folds == fold])[:, 1]
        ranks.append(mean_ranks(scores))
    return np.asarray(np.mean(ranks, axis=0))


def apgr_of(caught: FloatArray, gains: FloatArray, rows: IntArray) -> float:
    """Area of the recovered gap of some rows: ``caught`` is every prompt's gain times its rank above the middle."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(0.5 + caught[rows].mean() / gains[rows].mean())


def measure(found: Case, seeds: int) -> Measured:
    """APGR of every rule, printed with its interval."""
    X, gains = embeddings(list(found.questions), "bge-small"), found.strong - found.weak
    print(
        f"\n{'chosen on' if found.chosen_on else 'CONFIRMED ON'}: {found.name}, {len(gains)} prompts, quality "
        f"{found.weak.mean():.3f} -> {found.strong.mean():.3f}, {found.note}"
    )
    caught = {rule: gains * (held_out_ranks(X, y, seeds) - 0.5) for rule, y in found.targets.items()}
    print_areas(caught, gains)
    return Measured(gains, caught)


def carry_over(taught: Sequence[Case], asked: Sequence[Case]) -> list[Measured]:
    """Routers that learned each rule from one set of questions, on the other set's, of the pairs that both have."""
    by_name = {found.name.replace("-instruct", "").replace("gemma3", "gemma-3"): found for found in taught}
    measured = []
    for found in asked:
        if found.name in by_name:
            learned, gains = by_name[found.name], found.strong - found.weak
            X, new = (embeddings(list(one.questions), "bge-small") for one in (learned, found))
            known = {rule: np.isfinite(y) for rule, y in learned.targets.items()}
            fitted = {rule: KernelRidge().fit(X[known[rule]], y[known[rule]]) for rule, y in learned.targets.items()}
            ranks = {rule: mean_ranks(router.predict_proba(new)[:, 1]) for rule, router in fitted.items()}
            measured.append(Measured(gains, {rule: gains * (each - 0.5) for rule, each in ranks.items()}))
    return measured


def print_areas(caught: Mapping[str, FloatArray], gains: FloatArray) -> None:
    """A row per rule, with its interval and, beside it, what `believed` reaches beyond it on the same draws."""
    every = np.arange(len(gains))
    for rule, each in caught.items():
        low, high = interval(every, partial(apgr_of, each, gains))
        ours = caught.get("believed, texts alone" if rule.endswith("texts alone") else "believed", each) - each
        behind = [end - 0.5 for end in interval(every, partial(apgr_of, ours, gains))]
        beyond = apgr_of(ours, gains, every) - 0.5
        print(
            f"  {rule:<32}{apgr_of(each, gains, every):>7.3f}   [{low:.3f}, {high:.3f}]"
            f"{beyond:>+10.3f} [{behind[0]:+.3f}, {behind[1]:+.3f}]",
            flush=True,
        )


def summarise(title: str, measured: Sequence[Measured]) -> None:
    """All pairs of the same prompts as one: gains and what is caught of them summed over pairs, prompts drawn together.

    Means of areas would be ruled by pairs whose models hardly differ: there a small gap divides noise.
    """
    gains = np.sum([one.gains for one in measured], axis=0)
    rules = [rule for rule in measured[0].caught if all(rule in one.caught for one in measured)]
    print(f"\n{title}: {len(measured)} pairs as one, with what believed reaches beyond each rule")
    pooled = {rule: np.sum([one.caught[rule] for one in measured], axis=0) for rule in rules}
    print_areas(pooled, gains)
    lows = [interval(np.arange(len(gains)), partial(apgr_of, pooled[true], gains))[0] for true in TRUE]
    if max(lows) <= 0.5:
        print("true labels are not shown to beat random either: so many prompts cannot rank the rules")
        return
    print("share of the true labels' gain: pairs whose gap is told from zero, mean and least")
    told = [one for one in measured if interval(one.gains)[0] > 0]
    best = np.array([max(area(one, true) for true in TRUE) for one in told])
    for rule in rules:
        gained = np.array([area(one, rule) for one in told])
        print(f"  {rule:<32}{gained.mean() / best.mean():>7.2f}{(gained / best).min():>8.2f}   {len(told)} pairs")


def area(one: Measured, rule: str) -> float:
    return apgr_of(one.caught[rule], one.gains, np.arange(len(one.gains))) - 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="foldings that are averaged")
    parser.add_argument("--only", choices=("new", "carried", "local", "nq"), help="one group of pairs")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    if options.only in (None, "carried"):
        carried = carry_over([*local_pairs()], [*new_pairs()])
        summarise("learned from local_pair, CONFIRMED ON the new questions", carried)
    if options.only in (None, "new"):
        summarise("CONFIRMED ON", [measure(found, options.seeds) for found in new_pairs()])
    if options.only in (None, "local"):
        summarise("chosen on, local pairs", [measure(found, options.seeds) for found in local_pairs()])
    if options.only in (None, "nq"):
        measure(nq_open(), 1)


if __name__ == "__main__":
    main()
