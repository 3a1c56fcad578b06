"""How good are both models on questions on which both guess, and is believed quality nearer the truth with them?

Such a question has no two samples that mean the same, within either model or across: 0 of the pairs that belief counts.
Counted in, it lowers the level of both models; left out, the level is of the other prompts, as if all were like them.
Answers are alike by rules and equal text; the truth is the mean grade of all samples. Chosen on `samples/local_pair`
(1,100 questions, three pairs), confirmed on 300 others (six pairs, `label_rules`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from demur.config import LabelConfig
from demur.labels.beliefs.belief import pair_shares
from demur.labels.beliefs.unknown import GUESSED
from demur.labels.from_samples import label_prompts
from demur.meaning.entailment import exact_match
from demur.meaning.meanings import Meanings
from demur.prompts.grading import grade
from demur.records import FloatArray, Prompt, Sample
from demur.sampling.pair import PairSamples
from environment import describe, on_one_thread
from label_rules import local_samples, new_samples

SAMPLES = (2, 5)  # of each model


def levels(
    prompts: Sequence[Prompt], weak: list[list[Sample]], strong: list[list[Sample]], meanings: Meanings, n: int
) -> tuple[float, FloatArray]:
    """The share of questions that are guessed; and true level there, true level of all, believed of the others, and
    believed of all, each of the weak and of the strong model: (4, 2)."""
    right = np.array([[np.mean([grade(p, one.text) for one in a]) for p, a in zip(prompts, side, strict=True)]
                      for side in (weak, strong)])  # fmt: skip
    samples = PairSamples(*({p.id: a[:n] for p, a in zip(prompts, side, strict=True)} for side in (weak, strong)))
    made = label_prompts(prompts, samples, meanings, LabelConfig(entailment="exact"), weak="weak", strong="strong")
    unknown = {one.id: one.reason for one in made.unknown}
    guessed = np.array([unknown.get(p.id) == GUESSED for p in prompts])
    told = [p for p in prompts if p.id not in unknown]
    answers = [[one.text for side in (samples.strong, samples.weak) for one in side[p.id]] for p in told]
    shares = pair_shares(meanings([p.text for p in told], answers).ids)
    believed = np.array([shares.across.mean(), shares.strong.mean()])
    both = guessed | np.array([p.id not in unknown for p in prompts])
    of_told = len(told) / both.sum()
    return float(guessed.sum() / both.sum()), np.array(
        [right[:, guessed].mean(axis=1), right[:, both].mean(axis=1), believed, believed * of_told]
    )


def report(title: str, prompts: Sequence[Prompt], sides: Mapping[str, list[list[Sample]]]) -> None:
    quality = {m: np.mean([grade(p, one.text) for p, a in zip(prompts, side, strict=True) for one in a])
               for m, side in sides.items()}  # fmt: skip
    meanings, ordered = Meanings(exact_match), sorted(sides, key=lambda model: float(quality[model]))
    print(f"\n{title}: guessed; right there, right of all, believed without them, believed with them (weak, strong)")
    for n in SAMPLES:
        errors = []
        for weak, strong in combinations(ordered, 2):
            share, found = levels(prompts, sides[weak], sides[strong], meanings, n)
            shown = "; ".join(f"{low:.3f}, {high:.3f}" for low, high in found)
            print(f"  {n} samples, {weak} -> {strong}: {share:.0%}; {shown}", flush=True)
            errors.append(np.abs(found[2:] - found[1]))
        without, within = np.mean(errors, axis=0)
        print(f"  {n} samples, mean error: without {without[0]:.3f}, {without[1]:.3f}; with them {within[0]:.3f}, "
              f"{within[1]:.3f}")  # fmt: skip


def main() -> None:
    on_one_thread()
    print(describe(), flush=True)
    report("chosen on local_pair", *local_samples())
    report("CONFIRMED ON 300 other questions", *new_samples())


if __name__ == "__main__":
    main()
