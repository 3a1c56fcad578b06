"""What reading the final answer out of whole texts does to semantic entropy, on GSM8K, and whether it reads them right.

The rules of `demur.meaning.rules.final_answer` were written with the 400 questions of GPT-4 and Llama-2-13B in view;
the answers of nine other models to 300 other questions were looked at only after. AUROC is of discrete semantic entropy
against the correctness of the first sample (of 10), 95 % interval over questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from demur.evaluation.signals import auroc_draws
from demur.labels.scores.uncertainty import uncertainty
from demur.meaning.clusters import meaning_clusters
from demur.meaning.entailment import exact_match
from demur.meaning.rules.final_answer import read_final_answer
from demur.prompts.amounts import last_amount
from demur.records import FloatArray, IntArray
from demur.statistics import auroc
from environment import describe, on_one_thread, shared_rows

MODELS, SAMPLES = ("gpt-4", "llama-2-13b"), 10
Lists = list[list[str]]


def drawn(rows: Sequence[dict[str, dict[str, list[str]]]], field: str, model: str) -> Lists:
    """Ten answers of a model to every question, drawn from all of its prompting styles."""
    random = np.random.default_rng(0)
    lists = []
    for row in rows:
        styles = [key for key in row[field] if key.startswith(model) and "greedy" not in key]
        answers = [text for key in styles for text in row[field][key]]
        lists.append([answers[i] for i in random.permutation(len(answers))[:SAMPLES]])
    return lists


def is_right(answer: str, gold: str) -> bool:
    """Whether the last number of an answer is the gold number."""
    number, wanted = last_amount(answer), last_amount(gold)
    return number is not None and wanted is not None and number.answers(wanted)


def entropies(questions: list[str], lists: Lists, *, rules: bool) -> tuple[FloatArray, tuple[IntArray, ...]]:
    """Discrete semantic entropy of every question (NaN without answers), and the clusters."""
    ids = meaning_clusters(questions, lists, entailment=exact_match, rules=rules).ids
    return np.array([uncertainty(one, None, "discrete") if len(one) else np.nan for one in ids]), ids


def across(questions: list[str], golds: list[str], first: Lists, second: Lists) -> tuple[float, float]:
    """Share of right/right pairs across models that are one meaning, and of right/wrong pairs that are."""
    joint = [[*a, *b] for a, b in zip(first, second, strict=True)]
    ids = meaning_clusters(questions, joint, entailment=exact_match).ids
    same: dict[bool, list[bool]] = {True: [], False: []}
    for question, gold, answers, clusters, a in zip(questions, golds, joint, ids, first, strict=True):
        right = [is_right(read_final_answer(answer, question), gold) for answer in answers]
        for i in range(len(a)):
            for j in range(len(a), len(answers)):
                if right[i] or right[j]:
                    same[right[i] and right[j]].append(bool(clusters[i] == clusters[j]))
    return float(np.mean(same[True])), float(np.mean(same[False]))


def main() -> None:
    """Print both tables."""
    print(describe())
    texts, finals = (
        {row["question"]: row for row in shared_rows(f"samples/gsm8k_gpt4_llama2_13b{name}")} for name in ("_texts", "")
    )
    questions = list(texts)
    golds = [texts[question]["answers"][0] for question in questions]
    whole = {model: drawn([texts[q] for q in questions], "texts", model) for model in MODELS}
    print(f"{'AUROC of SE on':<16}{'whole texts':>26}{'texts, answers read':>26}{'final answers given':>26}")
    for model in MODELS:
        given = drawn([finals[q] for q in questions], "samples", model)
        cells = []
        for lists, rules in ((whole[model], False), (whole[model], True), (given, True)):
            values, _ = entropies(questions, lists, rules=rules)
            firsts = zip(questions, lists, golds, strict=True)
            right = np.array(
                [is_right(read_final_answer(one[0], q), gold) if one else False for q, one, gold in firsts], float
            )
            told = ~np.isnan(values)
            low, high = np.nanquantile(auroc_draws(values[told], right[told]), [0.025, 0.975])
            cells.append(f"{auroc(values, right):.3f} [{low:.3f}, {high:.3f}]")
        print(f"{model:<16}" + "".join(f"{cell:>26}" for cell in cells))
    same, false = across(questions, golds, whole[MODELS[0]], whole[MODELS[1]])
    print(f"across the models: right/right pairs of one meaning {same:.3f}; right/wrong pairs {false:.3f}")
    rows = shared_rows("outcomes/pool9_gsm8k")
    read = [
        is_right(read_final_answer(one["answer"], row["text"]), row["answers"][0]) == bool(one["correct"])
        for row in rows
        for one in row["models"].values()
    ]
    print(f"nine other models, 300 other questions: grade of what is read equals theirs in {sum(read)} of {len(read)}")


if __name__ == "__main__":
    on_one_thread()
    main()
