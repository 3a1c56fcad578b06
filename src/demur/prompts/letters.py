"""Letters of options: the one that an answer chooses, the one that a gold answer names, and those a question shows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from demur.errors import InputError
from demur.prompts.words import normalise_answer, plain_signs

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_BEFORE, _AFTER = r"(?<![A-Za-z0-9_À-ɏ])", r"(?![A-Za-z0-9_À-ɏ])"  # "是B" is a letter by itself, "Bé" is not
_NO_WORD = r"(?!['’]|\s+(?!(?:because|since|as|is)\b)[a-z])"  # "I think", "A mixture": a word of the sentence
_BARE = re.compile(r"\W*([A-Za-z])\W*")  # "b", "(B)"
_FIRST = re.compile(r"\(?([A-Za-z])[).:]\s.*", re.DOTALL)  # "B. the dog"
_KEYWORD = rf"(?:{_BEFORE}(?i:answer|choice|option){_AFTER}|答案|选项|選項|选择|選擇|正解|答え)"
_SMALL = r"([a-z])(?=\W*$|[).:,;])"  # a lower-case letter that ends its clause
_NAMED = re.compile(  # "A" after "is" is a letter, in "Answer: A mixture" it is an article
    rf"{_KEYWORD}(?:(?i:\s+is){_AFTER}|[是为為は])\s*:?\s*\W{{0,3}}?(?:([A-HJ-Z]){_AFTER}|(I){_AFTER}{_NO_WORD}|{_SMALL})"
    rf"|{_KEYWORD}\s*:?\s*\W{{0,3}}?(?:([B-HJ-Z]){_AFTER}|([AI]){_AFTER}{_NO_WORD}|{_SMALL})"
)
_STATED = re.compile(rf".*{_KEYWORD}(?i:\s+is)?\s*:?\s*(?P<rest>.+?)\W*", re.DOTALL)  # "the answer is iron."
_CAPITAL = re.compile(rf"(?<![Nn]ot ){_BEFORE}(?:([A-Z]){_AFTER}(?!['’]|\s+[a-z])|([B-HJ-Z]){_AFTER})")
_LAST = re.compile(rf"{_BEFORE}([b-z])\W*$")
_SHOWN = re.compile(r"(?:^|[\s(])\(?([A-Z])[).:]\s*\S", re.M)


def said_letter(answer: str, letters: str, choices: Sequence[str] = ()) -> str:
    """The option that an answer chooses, by letter or by its text; "" when it chooses none."""
    text = plain_signs(answer).strip()
    last_line = text.rpartition("\n")[2].strip()
    for found in (
        _fitting(_NAMED.finditer(last_line), letters)[-1:],
        _fitting(_whole(_BARE, last_line), letters),
        [] if _lists_options(text, letters) else _fitting(_whole(_FIRST, text), letters),
        _fitting(_NAMED.finditer(text), letters)[-1:],
        _same_text(text, letters, choices),
        _stated_text(text, letters, choices),
        _fitting(_CAPITAL.finditer(text), letters),
        _fitting(_LAST.finditer(text), letters),
    ):
        if found:
            return found[0]
    return ""


def choice_letter(gold: str | int, choices: Sequence[str]) -> str:
    """The letter of the right option, given as letter, as the option's text, or as its position from 0.

    Raises InputError for anything else, or a whole number that may mean two options.
    """
    letters = LETTERS[: len(choices)]
    text = str(gold).strip()
    if len(text) == 1 and text.upper() in letters:
        return text.upper()
    by_text = next(iter(_same_text(text, letters, choices)), "")
    by_place = letters[int(text)] if text.isdecimal() and int(text) < len(letters) else ""
    if isinstance(gold, int) and by_text and by_place and by_text != by_place:
        raise InputError(f"{gold} is the text of option {by_text} and the place of {by_place}; write the letter")
    if not by_text and not by_place:
        raise InputError(f"{text[:80]!r} is not a letter, text or place (from 0) of {len(choices)} options")
    return by_text or by_place


def shown_letters(question: str) -> str:
    """The letters of options that stand in a question itself: ``ABCD``; "" when there are not two in order."""
    shown = set(_SHOWN.findall(question))
    count = next((i for i, letter in enumerate(LETTERS) if letter not in shown), len(LETTERS))
    return LETTERS[:count] if count > 1 else ""


def _same_text(text: str, letters: str, choices: Sequence[str]) -> list[str]:
    wanted = normalise_answer(text) or text
    return [
        letter
        for letter, choice in zip(letters, choices, strict=False)
        if wanted == (normalise_answer(choice) or choice.strip())
    ]


def _stated_text(text: str, letters: str, choices: Sequence[str]) -> list[str]:
    """The option whose very text stands after "the answer is"."""
    stated = _STATED.fullmatch(text)
    if stated is None:
        return []
    pairs = zip(letters, choices, strict=False)
    return [letter for letter, choice in pairs if choice.strip(" .").casefold() == stated["rest"].casefold()]


def _lists_options(text: str, letters: str) -> bool:
    """True for an answer that repeats the options; its first line then chooses none of them."""
    firsts = re.findall(r"^\W*([A-Za-z])[).:]\s", text, re.M)
    return len({letter.upper() for letter in firsts} & set(letters)) > 1


def _whole(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    found = pattern.fullmatch(text)
    return [found] if found else []


def _fitting(matches: Iterable[re.Match[str]], letters: str) -> list[str]:
    """The letters that were matched, of those that options have."""
    named = (next(group for group in match.groups() if group).upper() for match in matches)
    return [letter for letter in named if letter in letters]
