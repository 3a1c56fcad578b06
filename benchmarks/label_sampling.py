"""Sample the catalogue's chat models on questions that no rule was chosen on, drawn by seed from the shared data.

Two drawings, each without the questions of those before it. `labels`, for `label_rules.py`: 750 questions, none of them
in `samples/local_pair`, of TriviaQA, PopQA, GSM8K (train), MAWPS, and MMLU with its options; six answers of four
models. `guesses`, for `unknown_prompts.py`: 240 of TriviaQA, PopQA, NQ-Open, MAWPS, and MMLU without its options; five
answers of three. At temperature 1. What is sampled is kept and never asked again, so the command may be ended and begun
at any time. The questions that all models have answered are written to `data/`: ids, answers and log-probs.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur.config import ModelConfig
from demur.models.local import endpoint_of, running_endpoint
from demur.models.requests.client import EndpointClient
from demur.records import Prompt, Sample, SamplingSettings
from demur.sampling.sample import sample_prompts
from demur.store import Store
from environment import SHARED, shared_rows
from label_rules import GUESSES, OPEN, QUESTIONS, SAMPLES, asked_as, new_samples, prompt_of

PORTION = 50


@dataclass(frozen=True)
class Drawing:
    """Which questions are drawn, and who answers them how often."""

    file: Path  # that the answers are written to
    sets: Mapping[str, int]  # questions of each
    seed: int
    models: tuple[str, ...]
    n: int  # answers of each model
    after: tuple[Path, ...] = ()  # drawings whose questions are left out


DRAWINGS = {
    "labels": Drawing(
        SAMPLES,
        {"triviaqa": 200, "popqa": 200, "gsm8k": 100, "mawps": 100, "mmlu": 150},
        20261128,
        ("smollm2-135m", "gemma-3-270m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"),
        6,
    ),
    "guesses": Drawing(
        GUESSES,
        {"triviaqa": 60, "popqa": 50, "nq": 50, "mawps": 40, OPEN: 40},
        20261130,
        ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b"),
        5,
        (SAMPLES,),
    ),
}
OPTIONS = re.compile(
    r"\b(which of|following|these|statements?|except|above|below|best|most|least)\b|_|\n", re.IGNORECASE
)
OPEN_WORDS = 4  # of the longest option, and a question of one line: others can hardly be asked without their options
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


def drawn_questions(drawing: Drawing) -> list[dict[str, Any]]:
    """Rows of the shared data with their set's name, shuffled: any beginning of the list is a fair mixture."""
    chance, known = random.Random(drawing.seed), {row["question"] for row in shared_rows("samples/local_pair")}
    known |= {prompt.text for file in drawing.after for prompt in new_samples(file)[0]}
    before = {prompt.id for file in drawing.after for prompt in new_samples(file)[0]}
    rows = []
    for name, n in drawing.sets.items():
        pool = [row for row in shared_rows(f"questions/{QUESTIONS[name]}") if row["question"] not in known]
        pool = [row for row in pool if row["id"] not in before and (name != OPEN or is_open(row))]
        rows += [asked_as(row, name) | {"set": name} for row in chance.sample(pool, n)]
    chance.shuffle(rows)
    return rows


def is_open(row: Mapping[str, Any]) -> bool:
    """Whether a question of MMLU has an answer of its own, without its options."""
    short = max(len(choice.split()) for choice in row["choices"]) <= OPEN_WORDS
    return short and row["question"].endswith("?") and not OPTIONS.search(row["question"])


def settings_of(row: Mapping[str, Any], n: int) -> SamplingSettings:
    """The template of questions with options, or the one that `samples/local_pair` was sampled with."""
    if row.get("choices"):
        return SamplingSettings(n=n, max_tokens=16, stop=("\n",), template=WITH_OPTIONS, chat=False)
    short = (SHARED / "samples" / "local_pair_prompt.txt").read_text().replace("{question}", "{prompt}").rstrip("\n")
    return SamplingSettings(n=n, max_tokens=32, stop=("\n",), template=short, chat=False)


async def sample_portion(drawing: Drawing, rows: Sequence[dict[str, Any]], store: Store) -> None:
    """Each model in turn, so that questions become complete portion by portion."""
    asked: dict[SamplingSettings, list[Prompt]] = {}
    for row in rows:
        asked.setdefault(settings_of(row, drawing.n), []).append(prompt_of(row))
    for model in drawing.models:
        running = running_endpoint(ModelConfig(model=model), parallel=drawing.n, max_tokens=32)
        async with running as endpoint, EndpointClient(endpoint) as client:
            for settings, prompts in asked.items():
                await sample_prompts(prompts, client, endpoint, settings, store)


def write_complete(drawing: Drawing, rows: Sequence[dict[str, Any]], store: Store) -> int:
    """Write the questions that every model has answered so often; returns how many."""
    lines, n = [], drawing.n
    for row in rows:
        text, key = prompt_of(row).text, settings_of(row, n).key
        found = {m: store.samples(endpoint_of(ModelConfig(model=m)).name, text, key)[:n] for m in drawing.models}
        if all(len(samples) == n for samples in found.values()):
            answers = {model: [_answer(one) for one in samples] for model, samples in found.items()}
            line = {"id": row["id"], "source": row["set"], "models": answers}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    with drawing.file.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write("".join(lines).encode())
    return len(lines)


def _answer(one: Sample) -> dict[str, Any]:
    return {"text": one.text, "token_logprobs": [round(value, 4) for value in one.logprobs or ()]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True, help="file that keeps what was sampled")
    parser.add_argument("--drawing", choices=DRAWINGS, default="labels")
    parser.add_argument("--questions", type=int, help="how many of those drawn; all by default")
    options = parser.parse_args()
    drawing = DRAWINGS[options.drawing]
    rows = drawn_questions(drawing)
    wanted = options.questions or len(rows)
    with Store(options.store) as store:
        for start in range(0, wanted, PORTION):
            asyncio.run(sample_portion(drawing, rows[start : min(start + PORTION, wanted)], store))
            print(f"{write_complete(drawing, rows, store)} questions are answered by all models", flush=True)
        print(f"{write_complete(drawing, rows, store)} questions written to {drawing.file.name}")


if __name__ == "__main__":
    main()
