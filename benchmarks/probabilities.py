"""Scores as probabilities: how far are they from P(strong right and weak wrong), before and after the curve?

Three pairs of models. A router's held-out scores, a curve from one half of the prompts to what the samples let one
believe, ECE on the other half against the graded outcome: the mean of ten splits and, in brackets, their range. Two
beliefs are compared: the strong model's own, and the one that weighs both models as the labels do. The strong model's
and the logistic curve were chosen on the first pair; the others confirm it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from demur.config import LabelConfig
from demur.labels.beliefs.belief import belief_weight, believed_need, confirmed_slope
from demur.labels.from_samples import label_prompts
from demur.labels.pair_meanings import joint_clusters
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.measure.probability import fit_curve
from demur.measure.reliability import expected_calibration_error
from demur.methods import BY_NAME
from demur.methods.fit.cross_validate import held_out_scores
from demur.prompts.grading import grade, numeric
from demur.records import FloatArray, Grader, IntArray, Prompt, Sample
from demur.sampling.pair import PairSamples
from environment import describe, shared_rows
from measured_pairs import sample
from nq_open import embeddings

SPLITS = 10
LOCAL = {
    "Qwen-1.5B": "qwen2.5-coder-1.5b-instruct",
    "SmolLM2-135M": "smollm2-135m-instruct",
    "Gemma-270M": "gemma3-270m",
}
Given = tuple[str, list[Prompt], list[list[Sample]], list[list[Sample]], Grader]


def pairs() -> Iterator[Given]:
    """(name, prompts, weak samples, strong samples, grader)."""
    rows = shared_rows("samples/local_pair")
    prompts = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
    for weak in ("SmolLM2-135M", "Gemma-270M"):
        sides = (
            [
                [sample(i, one["text"], one["token_logprobs"]) for i, one in enumerate(row["models"][name]["samples"])]
                for row in rows
            ]
            for name in (LOCAL[weak], LOCAL["Qwen-1.5B"])
        )
        yield (f"Qwen-1.5B / {weak}, 3 QA sets and MAWPS", prompts, *sides, grade)  # type: ignore[misc]
    styles = ("pot1", "pot2")
    kept = [
        row
        for row in shared_rows("samples/gsm8k_gpt4_llama2_13b")
        if all(len(row["samples"].get(f"{m}|{s}", ())) >= 3 for m in ("gpt-4", "llama-2-13b") for s in styles)
    ]
    texts = (
        [[text for s in styles for text in row["samples"][f"{m}|{s}"][:3]] for row in kept]
        for m in ("llama-2-13b", "gpt-4")
    )
    weak_side, strong_side = ([[sample(i, one, None) for i, one in enumerate(a)] for a in side] for side in texts)
    asked = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in kept]
    yield "GPT-4 / Llama-2-13B, GSM8K", asked, weak_side, strong_side, numeric


def weighed_need(ids: IntArray, n: int, weight: float) -> float:
    """P(strong right and weak wrong) where a meaning is right by weight p_strong + (1 - weight) p_weak."""
    strong, weak = ids[:n], ids[n:]
    labels, counts = np.unique(weak, return_counts=True)
    others = counts * (len(weak) - counts) / (len(weak) * (len(weak) - 1))  # the weak answer differs from the truth
    by_weak = float(((strong[:, None] == labels).mean(axis=0) * others).sum())
    return weight * believed_need(strong, weak) + (1 - weight) * by_weak


def errors(scores: FloatArray, believed: FloatArray | None, outcome: FloatArray) -> list[float]:
    """ECE on the other half of each split; without a belief of the scores as they are."""
    found = []
    for seed in range(SPLITS):
        drawn = np.random.default_rng(seed).permutation(len(scores))
        train, test = np.array_split(drawn, 2)
        said = scores[test] if believed is None else fit_curve(scores[train], believed[train])(scores[test])
        found.append(expected_calibration_error(said, outcome[test]))
    return found


def shown(values: Sequence[float]) -> str:
    return f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def main() -> None:
    print(describe())
    for name, prompts, weak, strong, judge in pairs():
        meanings = Meanings(exact_match)
        joint, n = joint_clusters(prompts, weak, strong, meanings).ids, len(strong[0])
        weight = belief_weight(confirmed_slope(joint))
        own = np.array([believed_need(ids[:n], ids[n:]) for ids in joint])
        weighed = np.array([weighed_need(ids, n, weight) for ids in joint])
        right = [
            np.array(
                [np.mean([judge(p, one.text) for one in answers]) for p, answers in zip(prompts, side, strict=True)]
            )
            for side in (strong, weak)
        ]
        samples = PairSamples(*({p.id: a for p, a in zip(prompts, s, strict=True)} for s in (weak, strong)))
        config = LabelConfig(kind="believed", entailment="exact")
        found = label_prompts(prompts, samples, meanings, config, weak="weak", strong="strong")
        target = {row.id: row.target for row in found.unknown if row.target is not None}  # learned, not measured on
        target |= {row.id: row.target for row in found.preferences}
        y = np.array([target.get(prompt.id, np.nan) for prompt in prompts])
        learned, labelled = np.isfinite(y), {row.id for row in found.preferences}
        told = np.array([prompt.id in labelled for prompt in prompts])
        outcome = (right[0] * (1 - right[1]))[told]
        X = embeddings([prompt.text for prompt in prompts], "bge-small")
        print(f"\n{name}: {told.sum()} prompts of {learned.sum()} learned, outcome {outcome.mean():.3f}; ", end="")
        print(f"believed {own[told].mean():.3f}, by both (weight {weight:.2f}) {weighed[told].mean():.3f}")
        for method in ("kernel", "sw", "logistic"):
            scores = held_out_scores(BY_NAME[method](), X[learned], y[learned])[told[learned]]
            plain, curve, both = (errors(scores, belief, outcome) for belief in (None, own[told], weighed[told]))
            print(
                f"  {method:<9} scores in [{scores.min():.2f}, {scores.max():.2f}]: ECE {shown(plain)} as they are, ",
                end="",
            )
            print(f"{shown(curve)} on the curve, {shown(both)} by both models' belief", flush=True)


if __name__ == "__main__":
    main()
