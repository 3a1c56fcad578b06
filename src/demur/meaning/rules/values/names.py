"""Names of persons as short answers write them: titles before a full name, and middle names that differ."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

ALIKE = 0.6  # of the letters of two words, from which they may be one word in another spelling
_NAME = re.compile(r"[^\W\d_][\w.'’-]*(?: [^\W\d_][\w.'’-]*){2,4}\.?")
_TITLES = "|".join(
    (
        r"(?:prime minister|president|chancellor|senator|governor|justice|pope|king|queen|prince|princess|emperor)",
        r"(?:empress|tsar|sir|dame|lord|lady|saint|captain|colonel|major|general|admiral|judge|professor|doctor)",
        r"(?:dr|prof|mr|mrs|ms|miss|st|gen|col|capt|sgt|lt|sen|gov|rev|pres|hon)\.?",
    )
)
# Before two words of a name, or one with its regnal numeral: "Captain America" and "Dr. Dre" keep theirs.
_TITLE = re.compile(rf"\A(?:(?i:the )?(?i:{_TITLES}) )+(?=[^\W\d_a-z][\w.'’-]*,? [^\W\d_a-z][\w.'’-]*(?: |\Z|\.))")


_REGNAL_ORDINALS = (
    *("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh"),
    *("twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth"),
)
_ROMAN = (
    *("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv", "xvi", "xvii"),
    "xviii",
)
_REGNAL = re.compile(rf"(\w+) the ({'|'.join(_REGNAL_ORDINALS)})")


def with_numeral(key: str) -> str:
    """A normalised name of two words whose ordinal is in words, with its Roman numeral: louis the fourteenth."""
    found = _REGNAL.fullmatch(key)
    return f"{found.group(1)} {_ROMAN[_REGNAL_ORDINALS.index(found.group(2))]}" if found else key


def without_title(text: str) -> str:
    """A name of two or more words without the titles before it."""
    return _TITLE.sub("", text)


def name_of(answer: str) -> tuple[str, ...]:
    """The words of an answer that may be a name of three or more: each begins with a capital. Else none."""
    plain = without_title(answer.strip())
    found = _NAME.fullmatch(plain)
    words = tuple(plain.rstrip(".").split()) if found else ()
    return words if all(word[0].isupper() for word in words) else ()


def differ_by_middle_name(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    """Whether two names begin and end alike, and each has a middle name that no name of the other can be."""
    if not a or not b or a[0] != b[0] or a[-1] != b[-1]:
        return False
    middle, other = ([word.strip(".").casefold() for word in name[1:-1]] for name in (a, b))
    if all(len(word) == 1 for word in middle + other):  # George W. and George H. W. Bush
        return any(x != y for x, y in zip(middle, other, strict=False))
    return all(
        any(not any(_may_be_one(word, each) for each in others) for word in words)
        for words, others in ((middle, other), (other, middle))
    )


def _may_be_one(a: str, b: str) -> bool:
    short, long = sorted((a, b), key=len)
    return long.startswith(short) or SequenceMatcher(None, a, b).ratio() >= ALIKE
