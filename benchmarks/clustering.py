"""Pairs and calls of meaning clustering on real answers, with stub entailments, beside the naive loop.

500 TriviaQA prompts x 10 answers of Llama-2-7b-chat (the first rows of samples/triviaqa_llama2_7b_chat). How many pairs
it takes depends on what entails what, hence two stubs. `words`: a side entails what its words hold, which is asymmetric
and not transitive, as real models are. `equal`: `demur.exact_match`, as good as the answers' own text.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur import exact_match, meaning_clusters
from demur.records import EntailmentModel, FloatArray
from entailment_stub import entails
from environment import describe, shared_rows

PROMPTS = 500


def stub(pairs: Sequence[tuple[str, str]]) -> FloatArray:
    """Premise entails hypothesis when it holds all of its words."""
    return np.array([entails(*pair) for pair in pairs])


STUBS: dict[str, EntailmentModel] = {"words": stub, "equal": exact_match}


def naive(question: str, answers: Sequence[str], entailment: EntailmentModel = stub) -> tuple[list[int], int]:
    """First-fit over unique answers, both directions always asked, one pair per call; returns ids and pairs."""
    leaders: list[str] = []
    cluster_of: dict[str, int] = {}
    pairs = 0
    for answer in dict.fromkeys(text if text.strip() else "" for text in answers):  # empties are one meaning
        for number, leader in enumerate(leaders):
            both = [(f"{question} {leader}", f"{question} {answer}"), (f"{question} {answer}", f"{question} {leader}")]
            pairs += 2
            if answer and leader and all(entailment([pair])[0].argmax() == 2 for pair in both):
                cluster_of[answer] = number
                break
        else:
            cluster_of[answer] = len(leaders)
            leaders.append(answer)
    return [cluster_of[text if text.strip() else ""] for text in answers], pairs


def main() -> None:
    print(describe())
    rows = shared_rows("samples/triviaqa_llama2_7b_chat")[:PROMPTS]
    questions, answers = [row["question"] for row in rows], [row["samples"] for row in rows]
    print(f"{'way':<32}{'pairs per prompt':>15}{'calls':>9}{'ratio of pairs':>16}")
    for name, entailment in STUBS.items():
        by_loop = [naive(question, texts, entailment) for question, texts in zip(questions, answers, strict=True)]
        pairs = sum(count for _, count in by_loop)
        print(f"{name + ': naive loop':<32}{pairs / PROMPTS:>15.1f}{pairs:>9}{1:>16.2f}")
        for rules in (False, True):
            found = meaning_clusters(questions, answers, entailment=entailment, rules=rules)
            way = f"{name}: demur, rules {'on' if rules else 'off'}"
            ratio = pairs / found.pairs_scored
            print(f"{way:<32}{found.pairs_scored / PROMPTS:>15.1f}{found.calls:>9}{ratio:>16.2f}")
            if not rules:
                same = sum(ids.tolist() == loop for ids, (loop, _) in zip(found.ids, by_loop, strict=True))
                print(f"  clusters identical to the naive loop's: {same} of {PROMPTS} prompts")


if __name__ == "__main__":
    main()
