"""Normalises answers: two answers with the same normalised text mean the same, whatever the question.

Case, lead-ins, articles, quotes and loose punctuation are removed. What could change a meaning is kept: signs, C
against C++, n! against n, 10² against 102, mW against MW, "it is" and "it was". Linear in the text's length.
"""

from __future__ import annotations

import re
import unicodedata

from demur.meaning.rules.formulas import plain_math
from demur.meaning.rules.values.names import with_numeral, without_title
from demur.meaning.rules.values.quantities import ONE_OF

MOST_KEPT = 4096  # texts of which what a rule reads is remembered
ORDINAL_WORDS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)

_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufe0e\ufe0f\ufeff]")
_RAISED = re.compile("[⁰ⁱ⁴-⁾ⁿ¹²³ªº™]+")
_LOWERED_AFTER_DIGIT = re.compile(r"(?<=\d)[₀-₉]+")
_AS_WRITTEN = re.compile("([ℂℍℕℙℚℝℤ])")  # symbols of number sets are not letters
_SPELLED_OUT = re.compile(r"(?<![<>=])([<>])=(?![<>=])")  # >= and <=, and no arrow, shift or <=>
_BOXED = re.compile(r"\A\s*\$*\s*\\(?:boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}\s*\$*\s*\.?\s*\Z")
_SPELLED = str.maketrans({"⁄": "/", "−": "-", "’": "'", "“": '"', "”": '"', "«": '"', "»": '"'})

# After a number these symbols mean another thing in the other case; and so do formulas against elements.
_SYMBOL = re.compile(
    r"((?<=\d) ?(?:mW|MW|mg|Mg|mm|Mm|mM|mV|MV|mA|MA|mJ|MJ|mL|ML|MB|Mb|GB|Gb|[gGmMkKsS])(?!\w)"
    r"|\A(?:Co|CO|Hf|HF)(?=\W*\Z))"
)
_LEAD_IN = re.compile(r"(?i:(?:the )?(?:correct |final )?answer(?: is|:)|a:)[:\s]++(?=\S)")
_INITIALS = re.compile(r"(?<![\w.])[A-Z](?:\.[A-Z])+\.?(?!\w)")
_WRAPPED = re.compile(
    r'(?<![\w"])"++(?P<quoted>[^"]*)"++(?!\w)|(?<!\w)`(?P<code>[^`]*)`(?!\w)'
    r"|(?<![\w*])(?P<stars>\*{1,3})(?P<strong>[^*]+)(?P=stars)(?![\w*])|(?<!\w)_(?P<slanted>[^_]+)_(?!\w)"
    r"|(?<!\S)\((?P<aside>[^()]*)\)(?=[\s.,;:!?]|$)"
)
_LOOSE = re.compile(r"(?<![;:,.?!])[;:,.?!]++(?=\s|$)|(?<=\s)[-–—]++(?=\s)")
_YEAR_NEXT = re.compile(r"\s(?:1\d|20)\d\d\b")  # 4 May, 1999 is not a list
# The article changes the meaning of these: "a flat", "a few", "a third".
_WITH_ARTICLE = (
    *("minor", "major", "flat", "sharp", "natural", "few", "little", "bit", "lot", "level", "levels", "priori", "la"),
    *("posteriori", "cappella", "an", "team", "star", "positive", "negative", "plus", "minus", "half", "quarter"),
    *(*ORDINAL_WORDS, *ONE_OF),
)
_DAYS = {
    short: day
    for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    for short in (day[:3], day[:4], day[:5])
}
_IDENTIFIER = re.compile(r"(?=[\w-]*\d)(?=[\w-]*[a-z])[a-z\d]+(?:-[a-z\d]+)*")
_ARTICLE = re.compile(rf"(?:the|an?(?! (?:\d|(?:{'|'.join(_WITH_ARTICLE)})\b))) (?=\w\w)")


def is_empty(text: str) -> bool:
    """True for a text without visible characters."""
    return not without_invisible(text).strip()


def without_invisible(text: str) -> str:
    """Without soft hyphens, zero-width spaces, variation selectors and marks of a text's direction."""
    return _INVISIBLE.sub("", text)


def is_symbols(key: str) -> bool:
    """Nothing but punctuation, emoji and the like: no letter, no digit."""
    return not any(letter.isalnum() for letter in key)


def exact_key(text: str) -> str:
    """The normalised text under which answers are identical.

    What is nothing but punctuation stays as it is: it differs from the empty answer.
    """
    boxed = _BOXED.match(text) if "boxed" in text or "fbox" in text else None
    whole = boxed.group(1) if boxed and boxed.group(1).strip() else text
    written = " ".join(_canonical(plain_math(whole)).split())
    written = _SPELLED_OUT.sub(lambda sign: {">": "≥", "<": "≤"}[sign.group(1)], written)
    if is_symbols(written):
        return written
    bare = " ".join(_WRAPPED.sub(_unwrap, written).split())
    bare = _INITIALS.sub(lambda found: found.group().replace(".", ""), bare)
    if lead_in := _LEAD_IN.match(bare):
        bare = bare[lead_in.end() :]
    bare = without_title(bare)
    folded = "".join(part if i % 2 else part.casefold() for i, part in enumerate(_SYMBOL.split(bare)))
    key = " ".join(_LOOSE.sub(_loosen, folded).split())
    if article := _ARTICLE.match(key):
        key = key[article.end() :]
    return _DAYS.get(key) or with_numeral(key) or written


def differ_by_symbol(a: str, b: str) -> bool:
    """Two keys that only the case of their symbols tells apart: 5 mW and 5 MW, Co and CO."""
    if a == b or a.casefold() != b.casefold():
        return False
    left, right = _SYMBOL.findall(a), _SYMBOL.findall(b)
    return len(left) == len(right) and all(len(symbol.strip()) > 1 for symbol in left + right)


def _canonical(text: str) -> str:
    """Compatible forms of a character as one, but no exponent as a digit."""
    if text.isascii():
        return text
    found = without_invisible(text).replace("ºC", "°C").replace("ºF", "°F").replace("№", "number ")
    found = _RAISED.sub(lambda raised: "^" + unicodedata.normalize("NFKC", raised.group()), found)
    found = _LOWERED_AFTER_DIGIT.sub(lambda lowered: "_" + unicodedata.normalize("NFKC", lowered.group()), found)
    found = re.sub(r"(?<=\d)(?=[¼½¾⅐-⅞])", " ", found)
    parts = _AS_WRITTEN.split(found)
    return "".join(part if i % 2 else unicodedata.normalize("NFKC", part) for i, part in enumerate(parts)).translate(
        _SPELLED
    )


def _unwrap(found: re.Match[str]) -> str:
    """What stands in quotes, stars, or in brackets with a word in it; (a, b) and (5) keep theirs."""
    kind = found.lastgroup or ""
    inside = found.group(kind)
    if kind in ("aside", "slanted") and not re.search(r"[^\W\d_]{3}", inside):
        return found.group()
    return f" {inside} " if kind == "aside" else inside


def _loosen(found: re.Match[str]) -> str:
    """A space for loose punctuation, unless it is arithmetic, a list of numbers or a factorial."""
    text, start, end, run = found.string, found.start(), found.end(), found.group()
    if run[0] in "-–—":
        return "-" if _lone(text, start - 2) and _lone(text, end + 1) else " "
    if "!" in run and not (start > 1 and text[start - 2 : start].isalpha()):
        return run
    if _lone(text, start - 1) and _lone(text, end + 1) and not _YEAR_NEXT.match(text, end):
        return run if run in ",;:" or text[start - 1].isdigit() else " "
    return " "


def _lone(text: str, at: int) -> bool:
    """A digit, or a letter by itself."""
    if not 0 <= at < len(text) or not text[at].isalnum():
        return False
    beside = text[at - 1 : at] + text[at + 1 : at + 2]
    return text[at].isdigit() or not any(letter.isalnum() for letter in beside)


def differ_by_number(a: str, b: str) -> bool:
    """Two keys of one word with equal letters and other digits: H2O and H2O2, A320 and A380."""
    if not (_IDENTIFIER.fullmatch(a) and _IDENTIFIER.fullmatch(b)):
        return False
    letters, digits = ([re.sub(part, "", key) for key in (a, b)] for part in (r"[^a-z]", r"\D"))
    return letters[0] == letters[1] and digits[0] != digits[1]
