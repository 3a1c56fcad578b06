"""Grades: which of both models' answers to a prompt are right, by a person who does not know whose they are, or by
gold answers.

The prompts are drawn at random from a run's sampled ones, so nothing is asked of a model; first from those that the
score decides, since the others, whose model the setting `unknown` fixes, tell nothing about routing; or, where that is
wished for, first from the others, whose quality only grades or a judge can tell. Every grade is
appended to run/grades.jsonl at once: grading can stop at any time and goes on where it stopped. The file's rows are
graded prompts as `demur replay` reads them.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demur.config import RunConfig, load_run
from demur.errors import InputError
from demur.evaluation.graded_file import BY, BY_GOLD, BY_HAND, USUAL_GRADES, beside_rows, read_graded
from demur.evaluation.results import first_quality
from demur.labels.beliefs.unknown import UNKNOWN_FILE, read_unknown, reason_of
from demur.labels.preference_files import read_preferences
from demur.routing.known.unknown_setting import UnknownSetting
from demur.runs.lineage import GRADES_FILE
from demur.runs.run import Run, open_run
from demur.runs.steps import is_router

UNKNOWN_FIRST = "--unknown-first"  # the option that asks first for prompts that the score does not decide
FEWEST_GRADED = 20  # of a part of the prompts: with fewer no interval means anything
QUALITIES_OF_KEYS = {  # key -> quality of the answer that is shown first, and of the other
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
        """Quality of the weak and of the strong model's answer by a grade's key."""
        first, second = QUALITIES_OF_KEYS[key]
        return (first, second) if self.weak_first else (second, first)


@dataclass(frozen=True, slots=True)
class Grading:
    """What is there to grade, and what is done."""

    file: Path
    waiting: tuple[ToGrade, ...]
    graded: int
    texts: tuple[str, ...]  # of the prompts that could be graded, each as often as it repeats
    decided: frozenset[str] | None = None  # of these, those that the score decides; None: there are no labels

    def keep(self, one: ToGrade, key: str) -> None:
        """Append a grade to the file."""
        _append(self.file, one.prompt, *one.qualities(key), by=BY_HAND)

    def take_back(self) -> None:
        """Remove the last grade from the file."""
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True) if self.file.is_file() else []
        self.file.write_text("".join(lines[:-1]), encoding="utf-8")

    @property
    def has_parts(self) -> bool:
        """Whether the score decides some of the prompts and the setting `unknown` others."""
        return self.decided is not None and bool({*self.texts} - self.decided)

    @property
    def result(self) -> str:
        """How many prompts are graded and, of one part, how often each model was right; `demur evaluate` weighs two."""
        grades = read_grades(self.file)
        if self.has_parts and grades:
            return f"{len(grades):,} graded"
        rows = [text for text in self.texts if text in grades]
        repeated = beside_rows(len(rows)) if len(rows) > len({*rows}) else ""
        return shares([grades[text] for text in rows], f"{len(grades):,} graded{repeated}")

    @property
    def counted(self) -> tuple[int, str]:
        """How many grades measure a router, and of which part of the prompts all are; empty words where there is but
        one part."""
        texts = read_grades(self.file)
        if self.decided is None or not self.has_parts or not texts:
            return len(texts), ""
        count = len(self.decided & texts.keys())
        share = sum(text in self.decided for text in self.texts) / len(self.texts)
        return count, (
            f"{count:,} of them {'is' if count == 1 else 'are'} of the {share:.0%} of the prompts that the score "
            f"decides, which measure the router; {len(texts) - count:,} of the other {1 - share:.0%}, which have no "
            f"label: `demur grade {UNKNOWN_FIRST}` asks for these first"
        )


def open_grading(run: str = "run", *, number: int = USUAL_GRADES, unknown_first: bool = False) -> Grading:
    """The prompts of a run that are to be graded until ``number`` are; raises InputError without samples, and where
    ``unknown_first`` is asked for before there are labels."""
    if number < 1:
        raise InputError(f"number is {number}; give 1 or more")
    with open_run(load_run(run)) as opened:
        return grading_of(opened, number, unknown_first=unknown_first)


def grading_of(run: Run, number: int, *, unknown_first: bool = False) -> Grading:
    """The same of an open run. Always the same prompts in the same order, whatever was graded before; of a labelled
    run those first that the score decides: a random sample of these, then one of the others, or the other way round.
    """
    file = run.config.folder / GRADES_FILE
    done = read_grades(file)
    rows = run.complete(run.train_prompts)
    distinct = {prompt.text: prompt for prompt in rows}
    decided = decided_prompts(run.config) if run.config.preferences.is_file() else None
    if unknown_first and decided is None:
        raise InputError(
            f"{run.config.run} has no labels, so it is not known which of its prompts are unknown; `demur label --run "
            f"{run.config.run}` first, or leave out {UNKNOWN_FIRST}"
        )
    first_part = (decided or frozenset()) ^ (distinct.keys() if unknown_first else frozenset())
    drawn = sorted(distinct.values(), key=lambda prompt: (prompt.text not in first_part, _digest("drawn", prompt.text)))
    waiting: list[ToGrade] = []
    for prompt in drawn:
        if len(done) + len(waiting) >= number:
            break
        if prompt.text not in done:
            weak, strong = (side[prompt.id][0].text for side in (run.samples.weak, run.samples.strong))
            first = _digest("first", prompt.text)[0] < "8"  # a fair coin
            waiting.append(ToGrade(prompt.text, (weak, strong) if first else (strong, weak), first))
    by_score = decided and decided & distinct.keys()
    return Grading(file, tuple(waiting), len(done), tuple(prompt.text for prompt in rows), by_score)


def decided_prompts(config: RunConfig) -> frozenset[str]:
    """Texts of a labelled run's prompts that the score decides: those with a label, and unknown ones that the setting
    for them leaves to their scores."""
    texts = [one.prompt for one in read_preferences(config.preferences)]
    setting, unknown = UnknownSetting(config.router.unknown), read_unknown(config.folder / UNKNOWN_FILE)
    by_score = [one.prompt for one in unknown if not setting.settles(reason_of(one.reason, one.prompt))]
    return frozenset([*texts, *by_score])


def grade_more(folder: Path) -> str:
    """The command by which more prompts that measure the router are graded in a run's folder, up to the next hundred of
    them; empty where all are. It is the one number that is advised, whatever asks for it."""
    done, decided = read_grades(folder / GRADES_FILE), decided_prompts(load_run(folder))
    count = len(decided & done.keys())
    wanted = min(len(decided), (count // USUAL_GRADES + 1) * USUAL_GRADES)
    if count >= wanted:
        return ""
    number = max(USUAL_GRADES, len(done) + wanted - count)
    return f"demur grade --run {shlex.quote(str(folder))}{f' --number {number}' if number > USUAL_GRADES else ''}"


def grade_by_gold(run: str = "run") -> Path:
    """Grade both models' first answers to a run's prompts by their gold answers; returns the file of grades.

    Grades that are there stay. Raises InputError where no sampled prompt has gold answers, and for a run with a
    router, which `demur evaluate` measures by them: its training prompts are not new to it.
    """
    with open_run(load_run(run)) as opened:
        prompts = [prompt for prompt in opened.complete(opened.prompts) if prompt.answers]
        if not prompts:
            raise InputError(f"{run}: no sampled prompt has gold answers; `demur grade --run {run}` asks for grades")
        if is_router(opened.config.folder / "router"):
            raise InputError(f"{run} has a router: `demur evaluate --run {run}` measures it by the gold answers")
        file, done = opened.config.folder / GRADES_FILE, read_grades(opened.config.folder / GRADES_FILE)
        sides = (first_quality(prompts, side).tolist() for side in (opened.samples.weak, opened.samples.strong))
    for prompt, weak, strong in zip(prompts, *sides, strict=True):
        if prompt.text not in done:
            _append(file, prompt.text, weak, strong, by=BY_GOLD)
    return file


def _append(path: Path, prompt: str, weak: float, strong: float, *, by: str) -> None:
    row = {"prompt": prompt, "weak_quality": weak, "strong_quality": strong, BY: by}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_grades(file: Path) -> dict[str, tuple[float, float]]:
    """Prompt -> quality of the weak and the strong model's answer; empty without a file. Raises InputError."""
    if not file.is_file() or not file.stat().st_size:
        return {}
    graded = read_graded(file)
    return dict(zip(graded.prompts, zip(graded.weak_quality, graded.strong_quality, strict=True), strict=True))


def _digest(use: str, text: str) -> str:
    return hashlib.sha256(f"{use}\0{text}".encode("utf-8", "replace")).hexdigest()


def shares(grades: Sequence[tuple[float, float]], graded: str) -> str:
    """How often each model was right, as one sentence; ``graded``: how many prompts are, some of which may repeat."""
    if not grades:
        return "nothing is graded yet"
    weak, strong = (sum(side) / len(grades) for side in zip(*grades, strict=True))
    return f"{graded}: the small model is right in {weak:.0%}, the large one in {strong:.0%}"
