"""Prompts from named public sets: a folder of gzip JSON lines when there is one (``DEMUR_QUESTIONS``), else the hub.

Each set names its file and its place on the hub; file formats are handled in `files`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from demur.errors import InputError, require
from demur.prompts.files import read_prompts, with_choices
from demur.prompts.letters import LETTERS
from demur.records import Prompt


@dataclass(frozen=True, slots=True)
class PromptSet:
    """A public set: its file in a local folder, its place on the hub, and how a row of the hub becomes a prompt."""

    file: str
    hub: str
    config: str | None
    split: str
    row: Callable[[dict[str, Any]], tuple[str, list[str], list[str]]]  # text, answers, choices


def _mmlu(row: dict[str, Any]) -> tuple[str, list[str], list[str]]:
    return row["question"], [LETTERS[int(row["answer"])]], list(row["choices"])


MT_BENCH = "mt-bench"
SETS = {
    "nq-open": PromptSet(
        "nq_open_dev",
        "google-research-datasets/nq_open",
        None,
        "validation",
        lambda r: (r["question"], r["answer"], []),
    ),
    "triviaqa": PromptSet(
        "triviaqa_3610",
        "mandarjoshi/trivia_qa",
        "rc.nocontext",
        "validation",
        lambda r: (r["question"], r["answer"]["aliases"], []),
    ),
    "popqa": PromptSet(
        "popqa_full",
        "akariasai/PopQA",
        None,
        "test",
        lambda r: (r["question"], _json_list(r["possible_answers"]), []),
    ),
    "mawps": PromptSet(
        "mawps_tora",
        "MU-NLPC/Calc-mawps",
        "original-splits",  # the other configuration leaves out what overlaps other sets, and its test split has 520
        "train+validation+test",
        lambda r: (r["question"], [str(r["result"])], []),
    ),
    "gsm8k": PromptSet(
        "gsm8k_test",
        "openai/gsm8k",
        "main",
        "test",
        lambda r: (r["question"], [r["answer"].rpartition("####")[2].strip()], []),
    ),
    "mmlu": PromptSet("mmlu_test", "cais/mmlu", "all", "test", _mmlu),
    MT_BENCH: PromptSet(
        "mt_bench_questions",
        "HuggingFaceH4/mt_bench_prompts",
        None,
        "train",
        lambda r: (r["prompt"][0], [], []),
    ),
}


ROWS = {"mmlu": 14_042, "gsm8k": 1_319, MT_BENCH: 80}  # of the paper's test sets, as published


def rows_note(name: str, prompts: Sequence[Prompt]) -> list[str]:
    """How many of a published test set's rows are there, where that is fewer: repeated questions are kept once."""
    whole = ROWS.get(name)
    if whole is None or len(prompts) >= whole:
        return []
    return [f"{name}: {len(prompts):,} of the {whole:,} published rows (a question that repeats another counts once)"]


def read_set(name: str) -> list[Prompt]:
    """All prompts of a named set; multiple-choice prompts carry their lettered options in the text.

    Repeated questions are kept once. Raises InputError for an unknown name, MissingExtraError without the hub's client.
    """
    if name not in SETS:
        raise InputError(f"no prompt set is called {name[:80]!r}; known: {', '.join(SETS)}, or give a file")
    local = _local_file(SETS[name].file)
    prompts = read_prompts(local) if local else list(_from_hub(name, SETS[name]))
    first: dict[str, Prompt] = {}
    for prompt in prompts:
        first.setdefault(prompt.text, prompt)
    return list(first.values())


def _local_file(name: str) -> Path | None:
    folder = os.environ.get("DEMUR_QUESTIONS")
    if not folder:
        return None
    path = Path(folder) / f"{name}.jsonl.gz"
    if not path.exists():
        raise InputError(f"{path}: no such file; unset DEMUR_QUESTIONS to load the set from the hub")
    return path


def _from_hub(name: str, wanted: PromptSet) -> Iterator[Prompt]:
    datasets = require("datasets", extra="hub", purpose=f"loading {name} from the hub (or set DEMUR_QUESTIONS)")
    try:
        rows = datasets.load_dataset(wanted.hub, wanted.config, split=wanted.split)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: {wanted.hub} cannot be loaded: {str(error)[:160]}; set DEMUR_QUESTIONS") from error
    for number, row in enumerate(rows):
        text, answers, choices = wanted.row(row)
        shown = with_choices(text, choices) if choices else text
        prompt = Prompt(f"{name}-{number}", shown, tuple(answers), tuple(choices), name)
        turns = row.get("prompt") if name == MT_BENCH else None
        yield replace(prompt, later=tuple(turns[1:]), references=tuple(row.get("reference") or ())) if turns else prompt


def _json_list(value: Any) -> list[str]:
    import json

    return list(json.loads(value)) if isinstance(value, str) else list(value)
