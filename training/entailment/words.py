"""The word lists behind `written.py`, read from words.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

_TEXTS: dict[str, str] = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))


def _words(name: str) -> list[str]:
    return _TEXTS[name].split()


def _lines(name: str) -> list[str]:
    return _TEXTS[name].strip("\n").split("\n")


def _rows(name: str) -> list[tuple[str, ...]]:
    return [tuple(line.split("|")) for line in _lines(name)]


ONES, MONTHS, COUNTED, FIRST, LAST, CITIES = map(_words, ("ones", "months", "counted", "first", "last", "cities"))
TENS = ["", "", *_words("tens")]
TITLES, DOERS, ANIMALS, THINGS = map(_lines, ("titles", "doers", "animals", "things"))
NICKNAMES = dict(pair.split("|") for pair in _words("nicknames"))
UNITS = [(short, long, other, int(factor)) for short, long, other, factor in _rows("units")]
STATEMENTS, ANTONYMS, VERBS = map(_rows, ("statements", "antonyms", "verbs"))
ACRONYMS, PLACES, APPOSITIVES = map(_rows, ("acronyms", "places", "appositives"))
CURRENCIES, CONVERSES, SAYINGS, NAMED, WORKS = map(_rows, ("currencies", "converses", "sayings", "named", "works"))
GROUPS = _rows("groups")  # a question, then answers to it that are easily taken for each other
# a question, and its answers, each a group of ways to say it
PARAPHRASES = [(row[0], [group.split(" / ") for group in row[1:]]) for row in _rows("paraphrases")]
