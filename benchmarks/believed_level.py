"""Is the believed quality as high as the true one? By fifths of the held-out scores, both models, nothing chosen.

Believed is what the strong model's samples let one believe (`demur.labels.scores.uncertainty.belief`), as `demur
calibrate` and the report give it without gold answers; true are the grades of the same samples. Prompts that are
unknown are left out, as they are there. Five samples of each model, answers alike by rules and equal text; scores are
those of the default router on the default labels. Pairs: the three of `samples/local_pair`, the catalogue's on 300
other questions, GPT-4 over Llama-2-13B and over itself with another kind of prompt on GSM8K, and Llama-2-7B, whose
short answers are full of signs, over Qwen-1.5B on the TriviaQA questions that both were asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations

import numpy as np

from demur.config import LabelConfig
from demur.labels.from_samples import Labels, label_prompts
from demur.labels.pair_meanings import joint_clusters
from demur.labels.scores.uncertainty import belief
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.methods.fit.cross_validate import held_out_scores
from demur.methods.kernel import KernelRidge
from demur.prompts.grading import grade, numeric
from demur.records import FloatArray, Prompt, Sample
from demur.sampling.pair import PairSamples
from demur.statistics import interval
from environment import describe, on_one_thread, shared_rows
from label_rules import local_samples, new_samples
from measured_pairs import sample
from nq_open import embeddings

N, PARTS = 5, 5  # samples of each model; groups of prompts by score
GPT4_OVER = {
    "GPT-4 over Llama-2-13B": ("llama-2-13b|pot", "gpt-4|pot"),
    "GPT-4 over itself": ("gpt-4|pot", "gpt-4|cot"),
}
Judge = Callable[[Prompt, str], float]
Side = Sequence[Sequence[Sample]]


def cases() -> Iterator[tuple[str, Sequence[Prompt], Side, Side, Judge]]:
    """Name, prompts, samples of weak and strong, and what grades them."""
    for name, weak, strong in gsm8k():
        yield name, *weak, strong, numeric
    for prompts, sides in (new_samples(), local_samples()):
        right = {model: mean_grade(prompts, side, grade).mean() for model, side in sides.items()}
        for low, high in combinations(sorted(sides, key=lambda model: right[model]), 2):
            yield f"{high} over {low}, {len(prompts)} questions", prompts, sides[low], sides[high], grade
    prompts, sides = local_samples()
    asked = {row["question"]: texts([row["samples"]])[0] for row in shared_rows("samples/triviaqa_llama2_7b_chat")}
    both = [i for i, prompt in enumerate(prompts) if prompt.text in asked]
    qwen = next(side for model, side in sides.items() if "1.5b" in model)
    common = [prompts[i] for i in both]
    yield "Llama-2-7B over Qwen-1.5B, TriviaQA", common, [qwen[i] for i in both], [asked[p.text] for p in common], grade


def gsm8k() -> Iterator[tuple[str, tuple[Sequence[Prompt], Side], Side]]:
    """Three samples of each of two prompts a model."""
    for name, models in GPT4_OVER.items():
        keys = [[f"{model}{k}" for k in (1, 2)] for model in models]
        rows = [
            row
            for row in shared_rows("samples/gsm8k_gpt4_llama2_13b")
            if all(len(row["samples"].get(key, ())) >= 3 for side in keys for key in side)
        ]
        weak, strong = (texts([[t for key in side for t in row["samples"][key][:3]] for row in rows]) for side in keys)
        yield name, ([Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows], weak), strong


def texts(answers: Sequence[Sequence[str]]) -> list[list[Sample]]:
    return [[sample(i, text, None) for i, text in enumerate(each)] for each in answers]


def mean_grade(prompts: Sequence[Prompt], side: Side, judge: Judge) -> FloatArray:
    return np.array([np.mean([judge(p, one.text) for one in each]) for p, each in zip(prompts, side, strict=True)])


def label_case(
    prompts: Sequence[Prompt], weak: Side, strong: Side, meanings: Meanings
) -> tuple[Labels, list[list[list[Sample]]], dict[str, float | None]]:
    """Labels as `demur label` makes them, the samples of both models that they stand on, and each prompt's target."""
    ids = [prompt.id for prompt in prompts]
    sides = [[list(each[:N]) for each in side] for side in (weak, strong)]
    samples = PairSamples(*(dict(zip(ids, side, strict=True)) for side in sides))
    labels = label_prompts(prompts, samples, meanings, LabelConfig(entailment="exact"), weak="weak", strong="strong")
    targets: dict[str, float | None] = {row.id: row.target for row in labels.unknown}
    return labels, sides, targets | {row.id: row.target for row in labels.preferences}


def measure(name: str, prompts: Sequence[Prompt], weak: Side, strong: Side, judge: Judge) -> None:
    """Print a row for every fifth of the prompts by score, the lowest first, and one for all."""
    ids, meanings = [prompt.id for prompt in prompts], Meanings(exact_match)
    labels, sides, targets = label_case(prompts, weak, strong, meanings)
    told = np.isin(ids, [row.id for row in labels.preferences])
    y = np.array([targets[id] for id in ids], dtype=float)
    order = np.argsort(~told, kind="stable")  # the unknown ones last
    X = embeddings([prompts[i].text for i in order], "bge-small")
    scores = held_out_scores(KernelRidge(), X, y[order], apart=int((~told).sum()))[: int(told.sum())]
    joint = joint_clusters(prompts, sides[0], sides[1], meanings).ids
    believed = np.array([belief(weak, strong) for strong, weak in (np.split(both, 2) for both in joint)])[told]
    right = np.column_stack([mean_grade(prompts, side, judge) for side in (weak, strong)])[told]
    print(f"\n{name}: {told.sum()} of {len(told)} prompts labelled; believed, true [95 %] of weak and strong")
    ranked = np.argsort(scores, kind="stable")
    parts = {f"fifth {i + 1}": part for i, part in enumerate(np.array_split(ranked, PARTS))} | {"all": ranked}
    for title, part in parts.items():
        print(f"  {title:<9}" + "   ".join(row_of(believed[part, side], right[part, side]) for side in (0, 1)))


def row_of(believed: FloatArray, right: FloatArray) -> str:
    low, high = interval(right)
    said = "" if low <= believed.mean() <= high else " low" if believed.mean() < low else " HIGH"
    return f"{believed.mean():.3f}, {right.mean():.3f} [{low:.3f}, {high:.3f}]{said:<5}"


def main() -> None:
    on_one_thread()
    print(describe(), flush=True)
    for case in cases():
        measure(*case)


if __name__ == "__main__":
    main()
