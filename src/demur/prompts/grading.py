"""How good an answer is, against gold answers: exact, containing, numeric, multiple choice, calls. All are Graders.

It compares answers with gold answers; whether two answers mean the same is decided in `demur.meaning`. Texts, numbers
and letters are read in `words`, `amounts` and `letters`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from demur.errors import InputError
from demur.prompts.amounts import dates_as_years, is_year, last_amount, only_amount
from demur.prompts.letters import LETTERS, choice_letter, said_letter, shown_letters
from demur.prompts.tool_calls import calls_of
from demur.prompts.words import is_said_alone, says
from demur.records import Grader, Prompt, on_one_line

_MARKED = re.compile(r"(?:\A|\n)\s*####\s*(\S[^\n]*)\s*\Z")  # GSM8K's rows end their solution so


def golds_of(prompt: Prompt) -> tuple[str, ...]:
    """The gold answers; of a worked solution that ends in ``#### 18``, what stands behind the mark."""
    return tuple(found[1].strip() if (found := _MARKED.search(gold)) else gold for gold in prompt.answers)


def exact(prompt: Prompt, answer: str) -> float:
    """1 when the answer equals a gold answer after normalisation, else 0."""
    return float(any(is_said_alone(answer, gold) for gold in golds_of(prompt)))


def containment(prompt: Prompt, answer: str) -> float:
    """1 when a gold answer stands in the answer as whole words, after normalisation, else 0."""
    return float(any(says(answer, gold) for gold in golds_of(prompt)))


def numeric(prompt: Prompt, answer: str) -> float:
    """1 when the last number of the answer equals a gold number (to 1e-4 relative), else 0.

    Where a gold number may be a year, a date in the answer counts as its year, and a time of day not at all. Two
    currencies differ; a currency that only one of both names does not.
    """
    golds = golds_of(prompt)
    said = last_amount(dates_as_years(answer) if any(map(is_year, golds)) else answer)
    if said is None:
        return 0.0
    return float(any(gold is not None and said.answers(gold) for gold in map(last_amount, golds)))


def multiple_choice(prompt: Prompt, answer: str) -> float:
    """1 when the answer names a gold letter, or else says a gold option's text; 0 otherwise."""
    said = said_letter(answer, LETTERS[: len(prompt.choices)], prompt.choices)
    return float(said in {choice_letter(gold, prompt.choices) for gold in prompt.answers})


def tool_calls(prompt: Prompt, answer: str) -> float:
    """1 when the answer makes the calls of a gold answer: the same tools with equal arguments, in whatever order.

    Where the prompt is a request with tools, calls that the model writes as text do not count: a client does not run
    text.
    """
    made = calls_of(answer)
    if made is None or (prompt.request is not None and not made.native):
        return 0.0
    golds = filter(None, map(calls_of, prompt.answers))
    return float(any(gold.content == made.content for gold in golds))


def grade(prompt: Prompt, answer: str) -> float:
    """Quality in {0, 1} by the kind of gold: multiple choice, calls of tools, a number, or text (containment)."""
    if prompt.choices:
        return multiple_choice(prompt, answer)
    if prompt.answers and all(map(calls_of, prompt.answers)):
        return tool_calls(prompt, answer)
    golds = golds_of(prompt)
    if golds and all(only_amount(gold) for gold in golds):
        return numeric(prompt, answer)
    shown = shown_letters(prompt.text) if golds and _are_letters(golds) else ""
    if shown and all(gold.strip() in shown for gold in golds):
        return float(said_letter(answer, shown) in {gold.strip() for gold in golds})
    return containment(prompt, answer)


def _are_letters(golds: Sequence[str]) -> bool:
    return all(len(gold.strip()) == 1 and gold.strip() in LETTERS for gold in golds)


def quality(grader: Grader, prompt: Prompt, answer: str) -> float:
    """What a grader gives an answer; raises InputError for anything but a quality from 0 to 1."""
    found = grader(prompt, answer)
    try:
        value = float(found)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:
        raise InputError(
            f"the grader gave {found!r} for an answer to {on_one_line(prompt.text, 60)!r}; a quality is from 0 to 1"
        )
    return value
