"""What is read: benchmarks with both models' quality, and training sets with every source of supervision.

Knows the files' fields (gzip JSON lines); nothing of routers. A missing file is an InputError that names it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from demur.clustering import meaning_clusters
from demur.entailment import exact_match
from demur.errors import InputError
from demur.grading import grade
from demur.preferences import agreement_targets
from demur.prices import CHARACTERS_PER_TOKEN, price_of
from demur.records import FloatArray, Prompt
from demur.sources import preference_targets, sources_of
from demur.uncertainty import agreement, uncertainty

WEAK, STRONG = "mixtral-8x7b-instruct", "gpt-4-1106-preview"
PRICED = {WEAK: "mistralai/mixtral-8x7b-instruct", STRONG: "openai/gpt-4-1106-preview"}
SAMPLED = ("llama-2-7b-chat", "gpt-3.5-turbo")  # of the stored NQ-Open samples
SMALL = ("gemma-2-2b-it", "gpt-4o-2024-08-06")  # Table 2's shape
LOCAL = ("smollm2-135m-instruct", "qwen2.5-coder-1.5b-instruct")
CORRECT_ROUGE = 0.5
SCORED_ANSWERS = 1000  # that the cascade's scorer learns from: each is embedded with its answer, the slow part
TIE_OF_SCORES = 0.05  # AlpacaEval scores closer than this are a tie


@dataclass(frozen=True, eq=False)
class Benchmark:
    """Questions with the quality of both models; (n,) each."""

    name: str
    questions: list[str]
    weak: FloatArray
    strong: FloatArray
    weak_answers: list[str] | None = None  # None where no responses are stored
    strong_answers: list[str] | None = None
    gold: list[str] | None = None
    costs: tuple[FloatArray, FloatArray] | None = None  # USD a prompt (weak, strong); None when not computable


@dataclass(frozen=True, eq=False)
class Training:
    """Questions with targets by source, (n,) each, and what pools and cascades learn from."""

    name: str
    questions: list[str]
    targets: Mapping[str, FloatArray]
    quality: tuple[FloatArray, FloatArray]  # (n,) mean quality of weak and strong: what it is measured by in domain


@cache
def rows_of(folder: Path, name: str) -> list[dict[str, Any]]:
    """Rows of ``folder/name.jsonl.gz``. Raises InputError."""
    path = folder / f"{name}.jsonl.gz"
    if not path.is_file():
        raise InputError(f"{path} is missing; --from names a folder with outcomes/, samples/ and preferences/")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def benchmark(folder: Path, name: str) -> Benchmark:
    """``mt_bench``, ``gsm8k`` or ``mmlu``: GPT-4 and Mixtral on RouteLLM's decontaminated rows."""
    rows = [row for row in rows_of(folder, f"outcomes/{name}_gpt4_mixtral") if not row.get("contaminated")]
    field = "score" if name == "mt_bench" else "correct"
    weak, strong = (np.array([np.mean(row[field][model]) for row in rows]) for model in (WEAK, STRONG))
    questions = [row["turns"][0] if name == "mt_bench" else row["question"] for row in rows]
    if name == "mmlu":
        return Benchmark(name, questions, weak, strong)
    weak_said, strong_said = ([_joined(row["response"][model]) for row in rows] for model in (WEAK, STRONG))
    asked = [_joined(row["turns"] if name == "mt_bench" else row["question"]) for row in rows]
    gold, costs = _gold(folder, name, questions), _usd(asked, (weak_said, strong_said))
    return Benchmark(name, questions, weak, strong, weak_said, strong_said, gold, costs)


def _joined(texts: str | Sequence[str]) -> str:
    return texts if isinstance(texts, str) else "\n\n".join(texts)


def _gold(folder: Path, name: str, questions: Sequence[str]) -> list[str] | None:
    if name != "gsm8k":
        return None
    known = {_key(row["question"]): row["solution"] for row in rows_of(folder, "questions/gsm8k_test")}
    return [known.get(_key(question), "") for question in questions]


def _key(question: str) -> str:
    """Files agree on the question but for quotes and white space."""
    return " ".join(question.replace("’", "'").split())


def _usd(asked: Sequence[str], answers: Sequence[Sequence[str]]) -> tuple[FloatArray, FloatArray] | None:
    """List prices of the question's and the answer's tokens, counted as characters / 4."""
    prices = [price_of(PRICED[model]) for model in (WEAK, STRONG)]
    if None in prices:
        return None
    weak, strong = (
        np.array(
            [
                p.usd(len(q) / CHARACTERS_PER_TOKEN, len(a) / CHARACTERS_PER_TOKEN)
                for q, a in zip(asked, side, strict=True)
            ]
        )
        for p, side in zip(prices, answers, strict=True)
        if p is not None
    )
    return weak, strong


def small_pair(folder: Path) -> Benchmark:
    """GSM8K with gpt-4o and gemma-2-2b-it, joined to the questions by id; rows that lack a model are left out."""
    questions = {row["id"]: row["question"] for row in rows_of(folder, "questions/gsm8k_test")}
    rows = [row for row in rows_of(folder, "outcomes/zeroeval_gsm8k") if all(m in row["scores"] for m in SMALL)]
    weak, strong = (np.array([float(row["scores"][model]) for row in rows]) for model in SMALL)
    return Benchmark("gsm8k", [questions[row["id"]] for row in rows], weak, strong)


def sampled_pair(folder: Path) -> Training:
    """NQ-Open with ten samples each of gpt-3.5-turbo and Llama-2-7b-chat."""
    rows = rows_of(folder, "samples/nq_open_gpt35_llama2_7b_chat")
    quality = [np.array([row["models"][m]["rouge_l"] for row in rows]) > CORRECT_ROUGE for m in SAMPLED]
    weak, strong = (side.astype(float) for side in quality)
    entropy = [np.array([_discrete(row["models"][m]["class_size"]) for row in rows]) for m in SAMPLED]
    targets = sources_of(entropy=(entropy[0], entropy[1]), quality=(weak, strong))
    return Training("nq-open", [row["question"] for row in rows], targets, (weak.mean(axis=1), strong.mean(axis=1)))


def _discrete(sizes: Sequence[int]) -> float:
    return max(0.0, float(-np.log(np.array(sizes) / len(sizes)).mean()))


def judged_pair(folder: Path, weak: str) -> Training:
    """NQ-Open answers of GPT-4 against ``weak`` (gpt35 or chatgpt), with a human judgement of each."""
    rows = [row for row in rows_of(folder, "outcomes/nq_open_human_judged") if not row.get("improper")]
    low, high = (np.array([float(row["human_correct"][model]) for row in rows]) for model in (weak, "gpt4"))
    targets = {"preference (human)": preference_targets(low, high)}
    return Training(f"nq-open human-judged GPT-4/{weak}", [row["question"] for row in rows], targets, (low, high))


def judged_answers(folder: Path) -> tuple[list[str], list[str], FloatArray]:
    """Questions, GPT-3.5's answers and whether a human found them right: what a cascade's scorer learns from."""
    judged = rows_of(folder, "outcomes/nq_open_human_judged")
    rows = [row for row in judged if not row.get("improper")][:SCORED_ANSWERS]
    right = np.array([float(row["human_correct"]["gpt35"]) for row in rows])
    return [row["question"] for row in rows], [row["answer"]["gpt35"] or "" for row in rows], right


def preferences(folder: Path) -> tuple[list[str], FloatArray]:
    """RouteLLM's supervision, as near as is stored: AlpacaEval's scores (GPT-4 / Mixtral) and human judgements."""
    rows = rows_of(folder, "preferences/alpacaeval_gpt4_mixtral")
    low, high = (
        np.array([float(row["scores"][m]) for row in rows])
        for m in ("Mixtral-8x7B-Instruct-v0.1_concise", "gpt4_0613_concise")
    )
    human = judged_pair(folder, "gpt35")
    y = np.concatenate([preference_targets(low, high, tie_below=TIE_OF_SCORES), *human.targets.values()])
    return [*(row["question"] for row in rows), *human.questions], y


def local_pair(folder: Path) -> Training:
    """Our own samples of SmolLM2-135M and Qwen-1.5B, clustered by rules and exact match."""
    rows = rows_of(folder, "samples/local_pair")
    texts = [[[s["text"] for s in row["models"][m]["samples"]] for row in rows] for m in LOCAL]
    questions = [row["question"] for row in rows]
    both = [weak + strong for weak, strong in zip(*texts, strict=True)]
    ids = meaning_clusters(questions, both, entailment=exact_match).ids
    n = len(texts[0][0])
    entropy = [
        np.array([uncertainty(one[part], None, "discrete") for one in ids]) for part in (slice(n), slice(n, None))
    ]
    gains = np.array([agreement(one[:n], one[n:]) for one in ids])
    prompts = [Prompt(row["id"], row["question"], tuple(row["answers"])) for row in rows]
    weak, strong = (
        np.array([[grade(p, text) for text in answers] for p, answers in zip(prompts, side, strict=True)])
        for side in texts
    )
    targets = sources_of(entropy=(entropy[0], entropy[1]), quality=(weak, strong))
    targets["agreement"] = agreement_targets(gains)
    return Training("local pair", questions, targets, (weak.mean(axis=1), strong.mean(axis=1)))
