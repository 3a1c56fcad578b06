"""Writes a run's preferences for others: battles that RouteLLM loads, a data set with its card, a push to the hub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from demur.config import load_run
from demur.errors import InputError
from demur.labels.preference_files import read_preferences, write_routellm

SHORTEST = 16  # characters: RouteLLM leaves shorter prompts out


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


def export_routellm(*, run: str = "run", to: str = "battles.json", models: Sequence[str] = ()) -> Written:
    """Write a run's preferences as battles that RouteLLM's own code loads (`preprocess_battles`).

    ``models``: names of weak and strong to write in place of the run's. Raises InputError.
    """
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
