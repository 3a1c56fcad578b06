"""Grades by hand: which of both models' answers to a prompt are right, by a person who does not know whose they are.

The prompts are drawn at random from a run's sampled ones, so nothing is asked of a model. Every verdict is appended to
run/grades.jsonl at once: grading can stop at any time and goes on where it stopped. The file's rows are graded prompts
as `demur replay` reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.graded_file import read_graded
from demur.runs.run import Run, open_run

GRADES_FILE = "grades.jsonl"  # in a run's folder
USUAL_GRADES = 100
VERDICTS = {  # key -> quality of the answer that is shown first, and of the other
    "1": (1.0, 0.0),
    "2": (0.0, 1.0),
    "b": (1.0, 1.0),
    "n": (0.0, 0.0),
}


@dataclass(frozen=True, slots=True)
class ToGrade:
    """A prompt and both models' first answers, in an order that does not show whose they are."""

    prompt: str
    answers: tuple[str, str]
    weak_first: bool

    def qualities(self, key: str) -> tuple[float, float]:
        """Quality of the weak and of the strong model's answer by a verdict's key."""
        first, second = VERDICTS[key]
        return (first, second) if self.weak_first else (second, first)


@dataclass(frozen=True, slots=True)
class Grading:
    """What is there to grade, and what is done."""

    file: Path
    waiting: tuple[ToGrade, ...]
    graded: int

    def keep(self, one: ToGrade, key: str) -> None:
        """Append a verdict to the file."""
        weak, strong = one.qualities(key)
        row = {"prompt": one.prompt, "weak_quality": weak, "strong_quality": strong}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

    def take_back(self) -> None:
        """Remove the last verdict from the file."""
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True) if self.file.is_file() else []
        self.file.write_text("".join(lines[:-1]), encoding="utf-8")


def open_grading(run: str = "run", *, number: int = USUAL_GRADES) -> Grading:
    """The prompts of a run that are to be graded until ``number`` are; raises InputError without samples."""
    if number < 1:
        raise InputError(f"number is {number}; give 1 or more")
    with open_run(load_run(run)) as opened:
        return grading_of(opened, number)


def grading_of(run: Run, number: int) -> Grading:
    """The same of an open run. Always the same prompts in the same order, whatever was graded before."""
    file = run.config.folder / GRADES_FILE
    done = read_grades(file)
    distinct = {prompt.text: prompt for prompt in run.complete(run.train)}
    drawn = sorted(distinct.values(), key=lambda prompt: _digest("drawn", prompt.text))
    waiting: list[ToGrade] = []
    for prompt in drawn:
        if len(done) + len(waiting) >= number:
            break
        if prompt.text not in done:
            weak, strong = (side[prompt.id][0].text for side in (run.samples.weak, run.samples.strong))
            first = _digest("first", prompt.text)[0] < "8"  # a fair coin
            waiting.append(ToGrade(prompt.text, (weak, strong) if first else (strong, weak), first))
    return Grading(file, tuple(waiting), len(done))


def read_grades(file: Path) -> dict[str, tuple[float, float]]:
    """Prompt -> quality of the weak and the strong model's answer; empty without a file. Raises InputError."""
    if not file.is_file() or not file.stat().st_size:
        return {}
    graded = read_graded(file)
    return dict(zip(graded.prompts, zip(graded.weak_quality, graded.strong_quality, strict=True), strict=True))


def _digest(use: str, text: str) -> str:
    return hashlib.sha256(f"{use}\0{text}".encode("utf-8", "replace")).hexdigest()


def shares(grades: Sequence[tuple[float, float]]) -> str:
    """How often each model was right, as one sentence."""
    if not grades:
        return "nothing is graded yet"
    weak, strong = (sum(side) / len(grades) for side in zip(*grades, strict=True))
    return f"{len(grades)} graded: weak right in {weak:.0%}, strong in {strong:.0%}"
