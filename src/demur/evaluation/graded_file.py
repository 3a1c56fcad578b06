"""Graded prompts on disk: the quality of each model's answer to a prompt, by gold answers, a judge or people.

JSON lines with ``prompt``, ``weak_quality`` and ``strong_quality`` in [0, 1]; `demur evaluate` writes them from gold
answers, `demur grade` from a person's grades. Certificates and replay read them. Beside the quality of the one answer
that is served may stand what `demur evaluate` measures with: the mean over all samples, and an answer's cost.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.files import write_whole
from demur.prompts.files import prompt_of_row
from demur.prompts.rows import read_rows
from demur.prompts.words import normalise_answer
from demur.records import FloatArray

USUAL_GRADES = 100  # by hand: with fewer no router is told from another
_MARK = r"(?:#|(?:copy|version|variant|question|prompt|no|nr|number)\.?\s*#?)"
_COUNTED_BEFORE = re.compile(rf"\A\W*(?:{_MARK}\s*)?\d+\s*[.):\]]\s+(?=\S)", re.I)
_COUNTED_BEHIND = re.compile(
    rf"(?:(?<=[.?!:;])\s*[(\[]?(?:{_MARK}\s*)?\d+[)\]]?|\s+[(\[](?:{_MARK}\s*)?\d+[)\]]|\s+(?:#|copy )\s*\d+)\W*\Z",
    re.I,
)
UNSEEN = (  # what follows the sampling stands in docs/report.md, "A guarantee from grades by hand"
    "a guarantee needs graded prompts that have not trained the router. Begin with `demur sample OTHER.jsonl --n 2 "
    "--run unseen` with both models (all steps: `demur docs report`)"
)
NEAR = 0.97  # cosine of two prompts that count as one
FIELDS = ("weak_quality", "strong_quality")
BY = "by"  # optional: who graded, such as "hand" or "judge NAME"
BY_GOLD, BY_HAND = "gold answers", "hand"
MEASURED = ("weak_mean_quality", "strong_mean_quality", "weak_usd", "strong_usd")  # optional


@dataclass(frozen=True, slots=True)
class GradedFile:
    """Prompts and the quality of both models' answers, (n,) each."""

    prompts: tuple[str, ...]
    weak_quality: FloatArray  # of the one answer that would have been served
    strong_quality: FloatArray
    measured: Mapping[str, FloatArray] = field(default_factory=dict)  # of MEASURED those that every row has, (n,)
    by: tuple[str, ...] = ()  # who graded each prompt, empty where that is not recorded

    @property
    def means(self) -> tuple[FloatArray, FloatArray]:
        """Quality of both models' answers over all samples; of the one answer where that alone is known."""
        weak, strong = (self.measured.get(name) for name in MEASURED[:2])
        return (self.weak_quality, self.strong_quality) if weak is None or strong is None else (weak, strong)

    @property
    def usd(self) -> tuple[FloatArray | None, FloatArray | None] | None:
        """USD of one answer of each model, None of one that is unknown; None where neither is."""
        weak, strong = self.measured.get("weak_usd"), self.measured.get("strong_usd")
        return None if weak is None and strong is None else (weak, strong)

    @property
    def distinct(self) -> GradedFile:
        """Without repetitions, of which only the first counts: repeated prompts are not independent."""
        first = {plain_text(prompt): i for i, prompt in reversed(list(enumerate(self.prompts)))}
        return self.take(sorted(first.values()))

    def take(self, rows: Sequence[int]) -> GradedFile:
        """Some of the prompts, by position."""
        at = np.asarray(rows, dtype=int)
        measured = {name: values[at] for name, values in self.measured.items()}
        by = tuple(self.by[i] for i in at) if self.by else ()
        prompts = tuple(self.prompts[i] for i in at)
        return GradedFile(prompts, self.weak_quality[at], self.strong_quality[at], measured, by)

    @property
    def graded_by(self) -> str:
        """How many prompts were graded by whom, such as "60 by gold answers, 40 by hand"; empty without a record."""
        counts = Counter(self.by).most_common()
        said = [f"{count:,} {f'by {who}' if who else 'not recorded by whom'}" for who, count in counts]
        return ", ".join(said) if any(self.by) else ""


def plain_text(prompt: str) -> str:
    """The form in which two prompts are compared for equality.

    Case, loose punctuation, what is not seen, "please", and a number that counts copies ("3. Why?", "Why? (3)")
    do not count; a number within the sentence does.
    """
    seen = "".join(letter for letter in prompt if unicodedata.category(letter) != "Cf").strip()
    seen = _COUNTED_BEHIND.sub("", _COUNTED_BEFORE.sub("", seen)) or seen
    words = normalise_answer(seen).split()
    return " ".join(word for word in words if word != "please") or " ".join(prompt.casefold().split())


def new_rows(vectors: FloatArray, trained: FloatArray) -> list[int]:
    """Rows of (m, d) that are not near duplicates of a training prompt's row of (n, d) or of an earlier row.

    Unit rows; near is a cosine above NEAR.
    """
    kept: list[int] = []
    far = (vectors @ trained.T).max(axis=1, initial=-1.0) <= NEAR
    for row in np.flatnonzero(far):
        if not kept or (vectors[kept] @ vectors[row]).max() <= NEAR:
            kept.append(int(row))
    return kept


def refuse_training_prompts(prompts: Sequence[str], training: Sequence[str]) -> None:
    """Raise InputError when prompts to certify on have trained the router, whose scores on them are biased."""
    trained = {plain_text(prompt) for prompt in training}
    shared = [prompt for prompt in prompts if plain_text(prompt) in trained]
    if shared:
        raise InputError(
            f"{len(shared)} of {len(prompts)} prompts trained this router (such as {shared[0][:60]!r}); {UNSEEN}"
        )


def beside_rows(rows: int) -> str:
    """What stands beside a number of graded prompts of which some repeat in a run, as each counts as often as it does
    there, so that shares of them are of so many ``rows``; empty where none repeats (0)."""
    return f" ({rows:,} rows, as some repeat)" if rows else ""


def write_graded(path: Path, graded: GradedFile) -> None:
    """Write graded prompts as JSON lines."""
    columns = {"weak_quality": graded.weak_quality, "strong_quality": graded.strong_quality, **graded.measured}
    rows = zip(graded.prompts, *(values.tolist() for values in columns.values()), strict=True)
    lines = (json.dumps(dict(zip(("prompt", *columns), row, strict=True)), ensure_ascii=False) + "\n" for row in rows)
    write_whole(path, "".join(lines))


def read_graded(path: str | Path) -> GradedFile:
    """Read graded prompts; raises InputError naming file, line and field."""
    rows = [(prompt_of_row(row, where).text, *_qualities(row, where), row) for where, row in read_rows(Path(path))]
    texts, weak, strong, whole = zip(*rows, strict=True) if rows else ((), (), (), ())
    measured = {
        name: np.array([row[name] for row in whole], dtype=float)
        for name in MEASURED
        if whole and all(_is_number(row.get(name)) for row in whole)
    }
    by = tuple(str(row.get(BY) or "") for row in whole)
    return GradedFile(tuple(texts), np.array(weak, dtype=float), np.array(strong, dtype=float), measured, by)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _qualities(row: Mapping[str, Any], where: str) -> tuple[float, float]:
    if not any(name in row for name in FIELDS):
        raise InputError(f"{where}: this prompt is not graded; {UNSEEN}")
    found = []
    for name in FIELDS:
        value = row.get(name)
        try:
            quality = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            quality = float("nan")
        if not 0 <= quality <= 1:
            raise InputError(
                f"{where}: field {name!r} must be a quality from 0 to 1, found {value!r}; `demur evaluate` writes "
                "such rows from gold answers, `demur grade` from a person's grades"
            )
        found.append(quality)
    return found[0], found[1]
