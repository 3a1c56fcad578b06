"""A folder of data as `demur reproduce --from` takes it, tiny and planted: the weak model fails where words are zzz."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from demur.paper.outcomes import SMALL, STRONG, WEAK
from demur.paper.parts.pool_tables import ZEROEVAL
from demur.paper.sources.trainings import ALPACA, LOCAL, SAMPLED

N = 60
OPEN = {"small-7b": 7, "middle-13b": 13, "large-70b": 70}


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Rows as ``folder/name.jsonl.gz``."""
    path = folder / f"{name}.jsonl.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def read(folder: Path, name: str) -> list[dict[str, Any]]:
    """The rows again, to be tampered with."""
    return [json.loads(line) for line in gzip.decompress((folder / f"{name}.jsonl.gz").read_bytes()).splitlines()]


def tiny_paper(folder: Path) -> Path:
    """Write every file; about half of the prompts are hard, where the weak model is mostly wrong and unsure."""
    random = np.random.default_rng(0)
    hard = random.random(N) < 0.5
    words = ["zzz zebra puzzle" if one else "plain easy answer" for one in hard]
    asked = [f"question {i} {word}" for i, word in enumerate(words)]
    weak = (random.random(N) < np.where(hard, 0.1, 0.95)).astype(int).tolist()
    strong = (random.random(N) < 0.95).astype(int).tolist()
    said = [f"{'paris' if w else 'zzz hmm'} {i}" for i, w in enumerate(weak)]
    both = [{WEAK: w, STRONG: s} for w, s in zip(weak, strong, strict=True)]
    rows = [
        {"question": q, "correct": c, "response": {WEAK: a, STRONG: f"paris {i}"}, "contaminated": False}
        for i, (q, c, a) in enumerate(zip(asked, both, said, strict=True))
    ]
    write(folder, "outcomes/gsm8k_gpt4_mixtral", rows)
    write(folder, "outcomes/mmlu_gpt4_mixtral", [{"question": r["question"], "correct": r["correct"]} for r in rows])
    turns = [
        {
            "turns": [q, "and then?"],
            "score": {WEAK: [9 * w, 9 * w], STRONG: [9 * s, 9]},
            "response": {WEAK: [a, a], STRONG: ["paris", "paris"]},
        }
        for q, w, s, a in zip(asked, weak, strong, said, strict=True)
    ]
    write(folder, "outcomes/mt_bench_gpt4_mixtral", turns)
    known = [{"id": f"q{i}", "question": q, "solution": "#### 1"} for i, q in enumerate(asked)]
    write(folder, "questions/gsm8k_test", known)
    models = (*SMALL, *ZEROEVAL)
    write(
        folder,
        "outcomes/zeroeval_gsm8k",
        [
            {
                "id": f"q{i}",
                "scores": {m: s if m.startswith(("gpt-4o-2024", "claude-3-5")) else w for m in models},
                "out_chars": dict.fromkeys(models, 40),
            }
            for i, (w, s) in enumerate(zip(weak, strong, strict=True))
        ],
    )
    write(
        folder,
        "outcomes/llmrouter_9models",
        [
            {"question": q, "set": f"set {h}", "scores": dict(zip(OPEN, (w, w, s), strict=True))}
            for q, h, w, s in zip(asked, hard.tolist(), weak, strong, strict=True)
        ],
    )
    write(folder, "samples/nq_open_gpt35_llama2_7b_chat", [_sampled(*row) for row in zip(asked, hard, strict=True)])
    write(
        folder,
        "outcomes/nq_open_human_judged",
        [
            {
                "question": q,
                "answer": {"gpt35": a, "chatgpt": a, "gpt4": "paris"},
                "human_correct": {"gpt35": w, "chatgpt": w, "gpt4": s},
                "improper": False,
            }
            for q, a, w, s in zip(asked, said, weak, strong, strict=True)
        ],
    )
    scored = [
        {"question": q, "scores": {ALPACA[0]: w, ALPACA[1]: s}} for q, w, s in zip(asked, weak, strong, strict=True)
    ]
    write(folder, "preferences/alpacaeval_gpt4_mixtral", scored)
    write(
        folder, "samples/local_pair", [_local(i, q, bool(h)) for i, (q, h) in enumerate(zip(asked, hard, strict=True))]
    )
    return folder


def _sampled(question: str, hard: bool) -> dict[str, Any]:
    unsure = {"class_size": [1, 1, 1, 1], "rouge_l": [0.0, 0.1, 0.2, 0.3], "eq2_raw": 9.0, "eq2_length_normalised": 3.0}
    sure = {"class_size": [4] * 4, "rouge_l": [0.9, 0.9, 0.8, 1.0], "eq2_raw": 1.0, "eq2_length_normalised": 0.5}
    fair = {"class_size": [3, 3, 3, 1], "rouge_l": [0.9, 0.7, 0.6, 0.2], "eq2_raw": 2.0, "eq2_length_normalised": 1.0}
    nll = [4.0, 5.0, 6.0, 7.0] if hard else [0.1] * 4
    weak, strong = (unsure if hard else sure) | {"nll_sum": nll}, fair | {"nll_sum": [1.0, 1.0, 1.0, 3.0]}
    return {"question": question, "models": dict(zip(SAMPLED, (weak, strong), strict=True))}


def _local(number: int, question: str, hard: bool) -> dict[str, Any]:
    def model(texts: list[str]) -> dict[str, Any]:
        samples = [{"text": text, "token_logprobs": [-0.5, -0.1]} for text in texts]
        return {"greedy": samples[0], "samples": samples}

    weak = ["rome", "oslo", "bern", "lima"] if hard else ["paris"] * 4
    models = dict(zip(LOCAL, (model(weak), model(["paris"] * 3 + ["rome"])), strict=True))
    return {"id": f"l{number}", "question": question, "answers": ["paris"], "models": models}
