"""How good an answer is, against gold answers: exact, containing, numeric, multiple choice. All are Graders.

Normalisation follows SQuAD's: case, punctuation, articles and white space do not count. It judges answers against gold;
whether two answers mean the same is decided elsewhere (rules, entailment).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Sequence

from demur.errors import InputError
from demur.records import Prompt

_PUNCTUATION = str.maketrans(dict.fromkeys(string.punctuation + "–—’‘“”…", " "))
_ARTICLE = re.compile(r"\b(a|an|the)\b")
_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?|[-−]?\.\d+")
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_ALONE = re.compile(r"\W*([A-Za-z])\W*|\(?([A-Za-z])[).:]\s.*", re.DOTALL)  # "b", "(B)", "B. the dog"
_NAMED = re.compile(r"\b(?:answer|choice|option)\b(?:\s+is)?\s*:?\s*\W?(?:([A-Z])\b|([a-z])(?=\W*$|[).:,;]))", re.I)
_CAPITAL = re.compile(r"\b([A-Z])\b(?!['’]|\s+[a-z])|\b([B-HJ-Z])\b")  # not the words "I" and "A"
_LAST = re.compile(r"\b([b-z])\W*$")
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(  # with its year, in whichever group
    rf"\b(\d{{4}})-\d\d?-\d\d?(?:t\S*)?|\b\d\d?[/.]\d\d?[/.](\d{{4}})|\b{_DAY}(?: of)? {_MONTH},? (\d{{4}})"
    rf"|\b{_MONTH} {_DAY},? (\d{{4}})",
    re.I,
)
_CLOCK = re.compile(r"\b\d{1,2}(?:[:.]\d\d)*\s*(?:[ap]\.?m\b\.?|o['’]clock)|\b\d{1,2}:\d\d(?::\d\d)?\b", re.I)
_YEAR = re.compile(r"[12]\d{3}")


def normalise_answer(text: str) -> str:
    """Lower case, no accents, no punctuation, no articles, single spaces."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    return " ".join(_ARTICLE.sub(" ", plain.translate(_PUNCTUATION)).split())


def exact(prompt: Prompt, answer: str) -> float:
    """1 when the answer equals a gold answer after normalisation, else 0."""
    return float(normalise_answer(answer) in {normalise_answer(gold) for gold in prompt.answers})


def containment(prompt: Prompt, answer: str) -> float:
    """1 when a gold answer stands in the answer as whole words, after normalisation, else 0."""
    said = f" {normalise_answer(answer)} "
    golds = (normalise_answer(gold) for gold in prompt.answers)
    return float(any(gold and f" {gold} " in said for gold in golds))


def last_number(text: str) -> float | None:
    """The number that an answer ends on (``#### 18``, ``$1,234.50``); None without one."""
    marked = text.rpartition("####")[2] if "####" in text else text
    found = _NUMBER.findall(marked)
    return float(found[-1].replace(",", "").replace("−", "-")) if found else None


def numeric(prompt: Prompt, answer: str) -> float:
    """1 when the last number of the answer equals a gold number (to 1e-4 relative), else 0.

    Where a gold number may be a year, a date in the answer counts as its year, and a time of day not at all.
    """
    if any(_YEAR.fullmatch(gold.strip()) for gold in prompt.answers):
        answer = _CLOCK.sub(" ", _DATE.sub(lambda found: next(year for year in found.groups() if year), answer))
    said = last_number(answer)
    if said is None:
        return 0.0
    golds = (last_number(gold) for gold in prompt.answers)
    return float(any(gold is not None and abs(said - gold) <= 1e-4 * max(1.0, abs(gold)) for gold in golds))


def multiple_choice(prompt: Prompt, answer: str) -> float:
    """1 when the answer names a gold letter, or else says a gold option's text; 0 otherwise."""
    said = _said_letter(answer, prompt.choices)
    return float(said in {choice_letter(gold, prompt.choices) for gold in prompt.answers})


def choice_letter(gold: str | int, choices: Sequence[str]) -> str:
    """The letter of the right option, given as letter, as the option's text, or as its position from 0.

    Raises InputError for what is none of these, or a whole number that may mean two options.
    """
    letters = LETTERS[: len(choices)]
    text = str(gold).strip()
    if len(text) == 1 and text.upper() in letters:
        return text.upper()
    texts = [normalise_answer(choice) for choice in choices]
    by_text = letters[texts.index(normalise_answer(text))] if normalise_answer(text) in texts else ""
    by_place = letters[int(text)] if text.isdecimal() and int(text) < len(letters) else ""
    if isinstance(gold, int) and by_text and by_place and by_text != by_place:
        raise InputError(f"{gold} is the text of option {by_text} and the place of {by_place}; write the letter")
    if not by_text and not by_place:
        raise InputError(f"{text[:80]!r} is no letter, text or place (from 0) of {len(choices)} options")
    return by_text or by_place


def _said_letter(answer: str, choices: Sequence[str]) -> str:
    """The option that an answer chooses; "" when it chooses none."""
    letters, text = LETTERS[: len(choices)], answer.strip()
    alone = _ALONE.fullmatch(text)
    found = _fitting([alone] if alone else [], letters) or _fitting(_NAMED.finditer(text), letters)[-1:]
    if found:
        return found[0]
    for letter, choice in zip(letters, choices, strict=False):
        if normalise_answer(choice) == normalise_answer(text):
            return letter
    found = _fitting(_CAPITAL.finditer(text), letters) or _fitting(_LAST.finditer(text), letters)
    return found[0] if found else ""


def _fitting(matches: Iterable[re.Match[str]], letters: str) -> list[str]:
    """The letters that were matched, of those that options have."""
    named = (next(group for group in match.groups() if group).upper() for match in matches)
    return [letter for letter in named if letter in letters]


def grade(prompt: Prompt, answer: str) -> float:
    """Quality in {0, 1} by the kind of gold: multiple choice, a number, or text (containment)."""
    if prompt.choices:
        return multiple_choice(prompt, answer)
    if prompt.answers and all(_NUMBER.fullmatch(gold.strip().lstrip("$")) for gold in prompt.answers):
        return numeric(prompt, answer)
    return containment(prompt, answer)
