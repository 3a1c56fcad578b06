"""Do a prompt's samples show what escalating gains? A prompt whose samples do not is unknown and gets no label.

A prompt is unknown where its samples hold no agreement to stand on: no two answers mean the same, in either model or
across them, as on open-ended prompts; so few pairs of answers do that chance does as well, which is one pair of texts,
and fewer than a tenth of all pairs where the prompt asks no question; or both models' answers were mostly cut,
and what is there of them differs. A weak model that agrees with nothing beside a strong one that agrees with itself is
not unknown: no samples tell more.

Where whole short answers all differ, both models guess: that nothing is gained there is what was measured, g = 0
(`belief`), and routers learn from it. Without such prompts a router would learn the gain among prompts on which
something agreed, which is larger than that of all prompts.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.files import write_whole
from demur.labels.scores.uncertainty import consistency
from demur.models.requests.cut_answers import CUT
from demur.prompts.rows import read_rows
from demur.prompts.tool_calls import calls_of
from demur.prompts.words import is_question
from demur.records import ON_UNKNOWN, BoolArray, Fact, IntArray, OnUnknown, Preference, Sample, count_of

UNKNOWN_FILE = "unknown.jsonl"  # in a run's folder
FEWEST = 2  # samples of each model: one leaves no pair whose absence could be looked at
TEXT_WORDS = 20  # answers of more words on average are texts, of which one pair in so many is called equal by chance
FEWEST_OF_PAIRS = 4  # samples of each model from which an equal pair may be one of few
LEAST_EQUAL = 0.1  # share of all pairs of answers; requests without a right answer have fewer that mean the same
MOST_CUT = 0.5  # share of a model's answers
NOTHING_GAINED = 0.5  # the target of g = 0
LEAST_TOLD = 0.5  # share of prompts that must be told before quality is estimated from belief

NONE_EQUAL = "no two answers mean the same, within either model or across"
SETTING = "demur train --unknown"  # the command that says where prompts like them go
NO_RIGHT_ANSWER = f"if those questions ask for names, slogans or other texts without a right answer: `{SETTING} strong`"
GUESSED = "no two of the short answers mean the same, within either model or across, so both models guess"
NO_QUESTION = "no two of the short answers mean the same, and it asks no question, so it may have no right answer"
ONE_EQUAL = "one pair of long answers alone means the same, which chance does"
FEW_EQUAL = "it asks no question, and so few pairs of answers mean the same that it may have no right answer"
CUT_OFF = "most answers of both models were cut, and differ"
FOREIGN = "the entailment model was not made for the language of it or of an answer, and no two are equal by rule"


@dataclass(frozen=True, slots=True)
class UnknownPrompt:
    """A prompt that was sampled and cannot be labelled."""

    id: str
    prompt: str
    reason: str  # why its samples do not tell

    @property
    def target(self) -> float | None:
        """What routers learn of it; None where its samples show nothing."""
        return NOTHING_GAINED if self.reason == GUESSED else None


@dataclass(frozen=True, slots=True)
class Saturation:
    """Shares of prompts where every answer is a meaning of its own."""

    weak: float = 0.0
    strong: float = 0.0
    both: float = 0.0

    @classmethod
    def of(cls, weak: BoolArray, strong: BoolArray) -> Saturation:
        """From which prompts each model is saturated on, (n,) booleans; zeros of no prompts."""
        if not len(weak):
            return cls()
        return cls(float(weak.mean()), float(strong.mean()), float((weak & strong).mean()))

    @property
    def fact(self) -> Fact:
        """The shares of prompts on which either model, and both, never repeat a meaning."""
        shares = f"small model {self.weak:.0%} of the prompts, large {self.strong:.0%}, both {self.both:.0%}"
        return "answers all differ", shares


UNMEASURED = Saturation()


def saturation_of(preferences: Sequence[Preference], unknown: Sequence[UnknownPrompt] = ()) -> Saturation:
    """From the rows of labels and the prompts that got none; those with at most one sample per model do not count."""
    counted = [row for row in preferences if row.n > 1 and row.meanings_a is not None]
    lost = [one.reason in (NONE_EQUAL, GUESSED, FOREIGN) for one in unknown]
    weak, strong = ([found == row.n for row, found in zip(counted, side, strict=True)] for side in _meanings(counted))
    return Saturation.of(np.array([*weak, *lost], dtype=bool), np.array([*strong, *lost], dtype=bool))


def told_by(
    preferences: Sequence[Preference], unknown: Sequence[UnknownPrompt], reasons: Sequence[str] = ()
) -> dict[str, Any]:
    """What a router's record keeps of how much its samples tell: the share of prompts with a label of them and, of
    labels from another source, of which prompts the samples tell all the same, a character for each.

    ``reasons``: why the samples of each labelled prompt do not tell, where its label does not show that they do.
    """
    labelled = reasons.count("") if reasons else len(preferences)
    told = {"share": labelled / max(1, len(preferences) + len(unknown))}
    each = "".join(_character(why, row.prompt) for row, why in zip(preferences, reasons, strict=False))
    return told | ({"shown": each} if reasons else {}) | {"saturation": asdict(saturation_of(preferences, unknown))}


TELLS, GUESSES, SILENT = "1", "g", "0"  # of a prompt: its samples tell, both models guess, or nothing is shown


def _character(reason: str, prompt: str) -> str:
    if not reason:
        return TELLS
    return GUESSES if reason_of(reason, prompt) == GUESSED else SILENT


def _meanings(rows: Sequence[Preference]) -> tuple[list[int | None], list[int | None]]:
    return [row.meanings_a for row in rows], [row.meanings_b for row in rows]


def why_unknown(
    ids: IntArray, weak: Sequence[Sample], strong: Sequence[Sample], question: str, reads: Callable[[str], bool]
) -> str:
    """Why the samples of one prompt do not tell, "" where they do.

    ``ids``: clusters over both models' answers, the strong ones first. Refusals are one meaning: a model that always
    declines tells that it does. ``reads``: is a text in a language of the entailment model?
    """
    n, answers = len(strong), [*strong, *weak]
    meanings = len(np.unique(ids))
    if n < FEWEST:
        return ""
    cut = [np.array([one.finish_reason == CUT for one in side], dtype=bool) for side in (strong, weak)]
    if meanings == len(ids):
        if not all(reads(f"{question} {one.text}") for one in answers):
            return FOREIGN
        whole = max(float(side.mean()) for side in cut) <= MOST_CUT
        return GUESSED if whole and _words(answers) <= TEXT_WORDS else NONE_EQUAL
    if n >= FEWEST_OF_PAIRS and meanings == len(ids) - 1 and _words(answers) > TEXT_WORDS:
        return ONE_EQUAL
    if min(float(side.mean()) for side in cut) > MOST_CUT and consistency(ids[np.concatenate(cut)]) < 0.5:
        return CUT_OFF
    if n >= FEWEST_OF_PAIRS and not is_question(question) and consistency(ids) < LEAST_EQUAL:
        return "" if any(calls_of(one.text) for one in answers) else FEW_EQUAL
    return ""


def _words(answers: Sequence[Sample]) -> float:
    """Mean number of words of the answers; calls of tools have none, so that two equal ones are not chance."""
    return float(np.mean([0 if calls_of(one.text) else len(one.text.split()) for one in answers]))


def reason_of(reason: str, prompt: str) -> str:
    """Why a prompt is unknown that is like one of this reason, "" where it is not: where short answers differ, a text
    that is asked for has no right answer to guess at; and few equal answers to a request tell nothing of a question.
    """
    if reason == GUESSED and not is_question(prompt):
        return NO_QUESTION
    return "" if reason == FEW_EQUAL and is_question(prompt) else reason


def judge_command(model: str) -> str:
    """The command that has one of a run's models label its prompts as a judge."""
    return f"demur label --from judge --judge {shlex.quote(model)}"


def check_told(unknown: Sequence[UnknownPrompt], prompts: int, strong: str) -> None:
    """Raise InputError where no prompt could be labelled; ``strong``: the large model, which may judge."""
    if len(unknown) == prompts:
        raise InputError(
            f"none of {count_of(prompts, 'prompt')} can be labelled from its samples ({_most_common(unknown)}); "
            f"`{judge_command(strong)}` asks the large model which answer is better"
        )


def guessed_questions(unknown: Iterable[UnknownPrompt]) -> int:
    """How many are questions on which both models guess: their score decides unless a setting says otherwise."""
    return sum(reason_of(one.reason, one.prompt) == GUESSED for one in unknown)


def unknown_facts(
    unknown: Sequence[UnknownPrompt], setting: OnUnknown = ON_UNKNOWN, *, file: str | Path = UNKNOWN_FILE
) -> list[Fact]:
    """How many prompts have no label, which ``file`` lists, and where prompts like them go; nothing where all have
    one."""
    if not unknown:
        return []
    by_score = guessed_questions(unknown) if setting == "strong-unless-guessed" else 0
    others = len(unknown) - by_score
    lines = []
    if by_score:
        are = f"{by_score:,} are questions" if others else "they are questions"
        lines.append(f"{are} on which both models guess: such prompts {BY_SCORE}")
    if others:
        lines.append(f"{f'the other {others:,}: ' if by_score else ''}such prompts {goes(setting)}")
    names = ("when served", *("" for _ in lines[1:]))
    counted = ("without a label", f"{count_of(len(unknown), 'prompt')}, listed in {file}")
    return [counted, *zip(names, lines, strict=True)]


def unknown_details(unknown: Sequence[UnknownPrompt]) -> list[Fact]:
    """Why they have none, most frequent reason first, and what routers learn of them."""
    counts = Counter(reason_of(one.reason, one.prompt) or one.reason for one in unknown).most_common()
    reasons = [("" if at else "why no label", f"{count:,}: {reason}") for at, (reason, count) in enumerate(counts)]
    learned = sum(one.target is not None for one in unknown)
    counted = f"{learned:,} without a label count as prompts on which neither model gains"
    return [*reasons, *([("in training", counted)] if learned else [])]


BY_SCORE = "go by their score"


def goes(setting: OnUnknown) -> str:
    """Where a prompt goes whose samples show nothing."""
    return {"weak": "go to the small model", "score": BY_SCORE}.get(setting, "go to the large model")


def _most_common(unknown: Sequence[UnknownPrompt]) -> str:
    return Counter(one.reason for one in unknown).most_common(1)[0][0]


def write_unknown(path: Path, unknown: Iterable[UnknownPrompt]) -> None:
    """A JSON object per prompt. Of a request it says that it may have no right answer, as every page does."""
    rows = (asdict(one) | {"reason": reason_of(one.reason, one.prompt) or one.reason} for one in unknown)
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_unknown(path: Path) -> tuple[UnknownPrompt, ...]:
    """What `write_unknown` wrote; none where there is no such file, as before demur wrote one. Raises InputError."""
    if not path.exists() or not path.stat().st_size:
        return ()
    try:
        found = (UnknownPrompt(**row) for _, row in read_rows(path))
        # A question that is like such a request is one on which both models guess: `reason_of` is asked about each.
        return tuple(replace(one, reason=GUESSED) if one.reason == NO_QUESTION else one for one in found)
    except TypeError as error:
        raise InputError(f"{path}: not what `demur label` writes ({error}); label again") from None
