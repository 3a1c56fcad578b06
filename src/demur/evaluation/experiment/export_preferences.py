"""Writes a run's preferences for others: battles that RouteLLM loads, a data set with its card, a push to the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from demur.config import RunConfig, load_run
from demur.errors import InputError, require
from demur.files import check_output, write_whole
from demur.labels.preference_files import (
    HUB,
    PAPER_COLUMNS,
    as_row,
    read_preferences,
    write_preferences,
    write_routellm,
)
from demur.records import Preference

SHORTEST = 16  # characters: RouteLLM leaves shorter prompts out
LICENCE = (
    "Before sharing: the prompts are their authors', and the answers fall under both models' terms; some forbid "
    "training competing models on them. demur knows neither licence and grants none."
)


@dataclass(frozen=True, slots=True)
class Written:
    """What was written, and where."""

    to: str
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        return (*self.notes, f"wrote {self.to}: {self.rows:,} preferences")


def export_preferences(*, run: str = "run", to: str, force: bool = False) -> Written:
    """Write a run's preferences as a data set: a .parquet or .jsonl file with its card beside it, or ``hub:ORG/NAME``.

    The card says how the labels were made, of which models and how many rows, with which settings, and what to think of
    before sharing. To the hub goes `datasets`' own push, with the user's own log-in. Raises InputError, also
    where one of the files exists, unless ``force``; MissingExtraError.
    """
    config = load_run(run)
    rows = read_preferences(config.preferences)
    card = card_of(config, rows)
    if to.startswith(HUB):
        return _push(to.removeprefix(HUB), rows, card)
    path = Path(to)
    if path.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"{to}: name a .parquet or .jsonl file, or hub:ORG/NAME")
    beside = path.with_suffix(".md")
    for file in (path, beside):
        check_output(file, force=force)
    write_preferences(path, rows)
    write_whole(beside, card)
    return Written(to, len(rows), (f"its card: {beside}", LICENCE))


def card_of(config: RunConfig, rows: Sequence[Preference]) -> str:
    """The data set's card, Markdown with the hub's head."""
    first, label, sampling = rows[0], config.label, config.sampling
    ties, strong = (sum(row.winner == side for row in rows) for side in ("tie", "model_b"))
    made = f"SE `{first.definition}`, " if first.definition else ""
    tau = f", tau {label.tau:g}, difference `{label.delta}`" if first.kind == "entropy hard" else ""
    counted = f"strong {strong:,}, tie {ties:,}, weak {len(rows) - ties - strong:,}"
    columns = f"{', '.join(PAPER_COLUMNS)}, as in Zhang et al. 2025"
    return f"""---
task_categories: [text-classification]
tags: [llm-routing, semantic-entropy, preference]
size_categories: [{_size(len(rows))}]
---
# Preferences between {first.model_a} and {first.model_b}

Which of two language models should answer a prompt, labelled without human labels by demur.

- labels: kind `{first.kind}`, {made}{sampling.n} samples per prompt and model{tau}
- sampling: temperature {sampling.temperature:g}, at most {sampling.max_tokens} tokens
- meaning: decided by `{label.entailment}`, rules {"first" if label.rules else "off"}
- rows: {len(rows):,}; by the side that `target` leans to: {counted}
- `model_a` is the weak model, `model_b` the strong one; `target` in [0, 1]: 1 = the strong model is needed
- columns: {columns}, then demur's own: `target`, `kind`,
  `entropy_a` and `entropy_b` (nats), `definition`, `margin`, `n`, `meanings_a`, `meanings_b`
- prompts: {Path(config.prompts).name}

{LICENCE}
"""


def _size(count: int) -> str:
    """The hub's own class of a number of rows."""
    classes = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
    return next((name for most, name in classes if count < most), "1M<n<10M")


def _push(name: str, rows: Sequence[Preference], card: str) -> Written:
    """The card, then `datasets`' own push, which adds to the card's head where the files are and their columns."""
    if name.count("/") != 1 or not all(name.split("/")):
        raise InputError(f"hub:{name}: name the data set as hub:ORG/NAME")
    datasets = require("datasets", extra="hub", purpose=f"pushing {name} to the hub")
    hub = require("huggingface_hub", extra="hub", purpose=f"pushing {name} to the hub")
    try:
        hub.create_repo(name, repo_type="dataset", exist_ok=True)
        hub.DatasetCard(card).push_to_hub(name)
        datasets.Dataset.from_list([as_row(row) for row in rows]).push_to_hub(name)
    except Exception as error:  # the hub's client raises what its transport does
        raise InputError(f"hub:{name} cannot be written: {' '.join(str(error).split())[:160]}") from error
    return Written(f"{HUB}{name}", len(rows), (LICENCE,))


def export_routellm(
    *, run: str = "run", to: str = "battles.json", models: Sequence[str] = (), force: bool = False
) -> Written:
    """Write a run's preferences as battles that RouteLLM's own code loads (`preprocess_battles`).

    ``models``: names of weak and strong to write in place of the run's. Raises InputError, also where the file
    exists, unless ``force``.
    """
    check_output(Path(to), force=force)
    if models and len(models) != 2:
        raise InputError(f"models are the weak and the strong one, two names; found {', '.join(models)}")
    rows = read_preferences(load_run(run).preferences)
    named = [replace(row, model_a=models[0], model_b=models[1]) if models else row for row in rows]
    write_routellm(to, named)
    short = sum(len(row.prompt.strip()) < SHORTEST for row in rows)
    note = (
        f"{short} prompts are shorter than {SHORTEST} characters: RouteLLM leaves them out, and so must its embeddings"
    )
    return Written(to, len(rows), (note,) if short else ())
