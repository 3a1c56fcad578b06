"""Sample the catalogue's four chat models on questions that no rule was chosen on, for `label_rules.py`.

750 questions, drawn by seed from the shared data, none of them in `samples/local_pair`: TriviaQA, PopQA, GSM8K (train),
MAWPS, and MMLU with its options. Six answers per model at temperature 1. What is sampled is kept and never asked again,
so the command may be ended and begun at any time. The questions that all models have answered are written to
`data/label_samples.jsonl.gz`: ids, answers and log-probs.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from demur.config import ModelConfig
from demur.models.local import endpoint_of, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import Prompt, Sample, SamplingSettings
from demur.sampling.sample import sample_prompts
from demur.store import Store
from environment import SHARED, shared_rows
from label_rules import QUESTIONS, SAMPLES, prompt_of

MODELS = ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
DRAWN = {"triviaqa": 200, "popqa": 200, "gsm8k": 100, "mawps": 100, "mmlu": 150}
SEED, N, PORTION = 20261128, 6, 50
WITH_OPTIONS = """Answer each question with the letter of the right option.

Q: What is the capital of Italy?
A. Madrid
B. Rome
C. Athens
D. Lisbon
A: B

Q: Which gas do plants take up from the air?
A. carbon dioxide
B. helium
C. neon
D. methane
A: A

Q: How many sides does a hexagon have?
A. four
B. five
C. seven
D. six
A: D

Q: {prompt}
A:"""


def drawn_questions() -> list[dict[str, Any]]:
    """Rows of the shared data with their set's name, shuffled: any beginning of the list is a fair mixture."""
    chance, known = random.Random(SEED), {row["question"] for row in shared_rows("samples/local_pair")}
    rows = []
    for name, n in DRAWN.items():
        pool = [row for row in shared_rows(f"questions/{QUESTIONS[name]}") if row["question"] not in known]
        rows += [row | {"set": name} for row in chance.sample(pool, n)]
    chance.shuffle(rows)
    return rows


def settings_of(row: Mapping[str, Any]) -> SamplingSettings:
    """The template of questions with options, or the one that `samples/local_pair` was sampled with."""
    if row.get("choices"):
        return SamplingSettings(n=N, max_tokens=16, stop=("\n",), template=WITH_OPTIONS, chat=False)
    short = (SHARED / "samples" / "local_pair_prompt.txt").read_text().replace("{question}", "{prompt}").rstrip("\n")
    return SamplingSettings(n=N, max_tokens=32, stop=("\n",), template=short, chat=False)


async def sample_portion(rows: Sequence[dict[str, Any]], store: Store) -> None:
    """Each model in turn, so that questions become complete portion by portion."""
    asked: dict[SamplingSettings, list[Prompt]] = {}
    for row in rows:
        asked.setdefault(settings_of(row), []).append(prompt_of(row))
    for model in MODELS:
        running = running_endpoint(ModelConfig(model=model), parallel=N, max_tokens=32)
        async with running as endpoint, EndpointClient(endpoint) as client:
            for settings, prompts in asked.items():
                await sample_prompts(prompts, client, endpoint, settings, store)


def write_complete(rows: Sequence[dict[str, Any]], store: Store) -> int:
    """Write the questions that every model has answered N times; returns how many."""
    lines = []
    for row in rows:
        text, key = prompt_of(row).text, settings_of(row).key
        found = {m: store.samples(endpoint_of(ModelConfig(model=m)).name, text, key)[:N] for m in MODELS}
        if all(len(samples) == N for samples in found.values()):
            answers = {model: [_answer(one) for one in samples] for model, samples in found.items()}
            line = {"id": row["id"], "source": row["set"], "models": answers}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    with SAMPLES.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write("".join(lines).encode())
    return len(lines)


def _answer(one: Sample) -> dict[str, Any]:
    return {"text": one.text, "token_logprobs": [round(value, 4) for value in one.logprobs or ()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="file that keeps what was sampled")
    parser.add_argument("--questions", type=int, default=sum(DRAWN.values()), help="how many of those drawn")
    options = parser.parse_args()
    rows = drawn_questions()
    with Store(options.store) as store:
        for start in range(0, options.questions, PORTION):
            asyncio.run(sample_portion(rows[start : min(start + PORTION, options.questions)], store))
            print(f"{write_complete(rows, store)} questions are answered by all models", flush=True)
        print(f"{write_complete(rows, store)} questions written to {SAMPLES.name}")


if __name__ == "__main__":
    main()
