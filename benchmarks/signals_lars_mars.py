"""LARS and MARS beside perplexity and semantic entropy: AUROC of wrong against right first answers, on the local pair.

The first 75 questions of each of the four sets in the stored order, answers of one model, exact grading. LARS is held
out by question; nothing was tuned on these questions. Differences are paired over questions.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np

from demur.evaluation.signals import auroc_draws
from demur.labels.scores.token_scores import first_answer_doubt, phrases
from demur.labels.scores.uncertainty import uncertainty
from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import exact_match, for_samples, shipped_entailment
from demur.models.encoders.encoder import load_encoder
from demur.prompts.grading import grade
from demur.records import FloatArray, Prompt, Sample
from demur.statistics import auroc, percentile_interval
from environment import describe, on_one_thread, shared_rows
from measured_pairs import sample

MODEL, EACH = "qwen2.5-coder-1.5b-instruct", 75


def questions_and_answers(model: str) -> tuple[list[Prompt], list[list[Sample]]]:
    """The first EACH questions of every set, and the model's ten answers to each."""
    seen: Counter[str] = Counter()
    prompts, answers = [], []
    for row in shared_rows("samples/local_pair"):
        seen[row["source"]] += 1
        if seen[row["source"]] <= EACH:
            prompts.append(Prompt(row["id"], row["question"], tuple(row["answers"]), source=row["source"]))
            drawn = row["models"][model]["samples"]
            answers.append([sample(i, one["text"], one["token_logprobs"]) for i, one in enumerate(drawn)])
    return prompts, answers


def measured(prompts: list[Prompt], answers: list[list[Sample]], encoder: str) -> dict[str, FloatArray]:
    """(n,) of every definition."""
    questions = [prompt.text for prompt in prompts]
    clusters = meaning_clusters(questions, [[one.text for one in each] for each in answers], entailment=exact_match).ids
    values = {
        name: np.array(
            [
                uncertainty(ids, [one.logprobs or () for one in each], name)
                for ids, each in zip(clusters, answers, strict=True)
            ]
        )
        for name in ("perplexity", "predictive_entropy", "discrete", "rao_blackwell")
    }
    entailment = for_samples("shipped", shipped_entailment())
    values["mars"] = first_answer_doubt("mars", prompts, answers, entailment)
    values["lars, tokens alone"] = first_answer_doubt("lars", prompts, answers, entailment)
    embedder = load_encoder(encoder)
    values["lars, tokens and text"] = first_answer_doubt("lars", prompts, answers, entailment, embedder)
    return values


def interval_of(draws: FloatArray) -> str:
    low, high = percentile_interval(draws)
    return f"[{low:.3f}, {high:.3f}]"


def main() -> None:
    """Print the table."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--model", default=MODEL)
    asked.add_argument("--encoder", default="minilm")
    given = asked.parse_args()
    print(describe())
    prompts, answers = questions_and_answers(given.model)
    right = np.array([grade(prompt, each[0].text) for prompt, each in zip(prompts, answers, strict=True)])
    counts = [len(phrases(each[0].text)) for each in answers]
    pairs = sum(2 * count for count in counts if count > 1)
    shown = f"{len(prompts)} questions, {right.mean():.0%} of the first answers right"
    print(f"{given.model}: {shown}; encoder {given.encoder}")
    print(f"mars asks about {pairs:,} pairs; {np.mean(np.array(counts) < 2):.0%} of the answers are one word")
    values = measured(prompts, answers, given.encoder)
    reference = auroc_draws(values["perplexity"], right)
    print(f"{'':<24}{'AUROC':>8}{'95 %':>18}   less perplexity")
    for name, one in values.items():
        draws = auroc_draws(one, right)
        print(f"{name:<24}{auroc(one, right):>8.3f}{interval_of(draws):>18}   {interval_of(draws - reference)}")


if __name__ == "__main__":
    on_one_thread()
    main()
