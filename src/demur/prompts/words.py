"""The words of an answer, for comparing it with gold: SQuAD's normalisation, without losing what may be the answer.

Case, accents, loose punctuation and articles do not count. A sign that belongs to a letter or a number does (C++, O-,
-5, x > 3, a/b), and so does an article that ends the text (vitamin A) or is all of it.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

_DROPPED = str.maketrans(dict.fromkeys(string.punctuation + "–—’‘“”…«»。、", " "))
_DASHES = re.compile("[‐‑‒–—―−﹣－]")
_OPERATORS_IN_ASCII = str.maketrans({"≠": "!=", "×": "*", "⋅": "*", "⁄": "/", "÷": "/"})
_RAISED = re.compile("[⁰¹²³⁴-⁹]+")
_FRACTION = re.compile("[¼½¾⅐-⅞]")
_CURRENCY = {
    **dict.fromkeys(("$", "usd", "dollar", "dollars"), "$"),
    **dict.fromkeys(("€", "eur", "euro", "euros"), "€"),
    **dict.fromkeys(("£", "gbp", "pound", "pounds"), "£"),
    **dict.fromkeys(("¥", "jpy", "cny", "yen", "yuan"), "¥"),
    **dict.fromkeys(("₹", "inr", "rupee", "rupees"), "₹"),
}
CURRENCY_SYMBOLS = "$€£¥₹"
CURRENCY_WORDS = "|".join(sorted((name for name in _CURRENCY if name.isalpha()), key=len, reverse=True))
_CURRENCY_NAMED = re.compile(rf"[{CURRENCY_SYMBOLS}]|(?<![^\W\d_])(?:{CURRENCY_WORDS})(?!\w)")
_LEFT, _RIGHT = r"(?:(?<=\d)|(?<=\W[a-z]))", r"(?=\d|[a-z](?!\w))"  # an operand: a number, or a letter by itself
_LEFT_SPACED = r"(?:(?<=\d\s)|(?<=\W[a-z]\s))"
_OPERATOR = re.compile(
    rf"[<>]=?|[≤≥]|!?==?|(?<=\w)\^(?=[\w({{-])|{_LEFT}[*/+]{_RIGHT}|(?<=\W[a-z])-(?=[a-z](?!\w))"
    rf"|{_LEFT_SPACED}[-*/+](?=\s(?:\d|[a-z](?!\w)))"
)
_ATTACHED = re.compile(r"(?<=[a-z])(?:\+\+?|#)(?!\w)|(?<=\W[a-z])-(?!\w)|(?<=\W[a-z][a-z])-(?!\w)|(?<!\w)-(?=\.?\d)")
_ARTICLES = ("a", "an", "the")
_ANY_ARTICLES = r"(?:(?:a|an|the) )*"
# A sign that counts is written in its full-width form, which is not removed with the punctuation.
_KEPT = {ord(sign): chr(ord(sign) + 0xFEE0) for sign in "+-*/<>=!#^"} | {ord("≤"): "＜＝", ord("≥"): "＞＝"}


def normalise_answer(text: str) -> str:
    """Lower case, single spaces; no accents, no loose punctuation, no articles but at the end."""
    return " ".join(_without_articles(_words(text)))


def says(answer: str, gold: str) -> bool:
    """True when the gold text stands in the answer as whole words."""
    pattern = _pattern(gold)
    if not pattern:
        return _is_as_written(answer, gold) or _says_as_written(answer, gold)
    said = re.search(rf"(?<!\S){pattern}(?!\S)", " ".join(_words(answer)))
    return said is not None and not _other_currency(answer, gold)


def is_said_alone(answer: str, gold: str) -> bool:
    """True when the gold text is the whole answer."""
    pattern = _pattern(gold)
    if not pattern:
        return _is_as_written(answer, gold)
    said = re.fullmatch(_ANY_ARTICLES + pattern, " ".join(_words(answer)))
    return said is not None and not _other_currency(answer, gold)


def currencies(text: str) -> frozenset[str]:
    """The currencies that a text names, by symbol or in English, each as its symbol."""
    return frozenset(_CURRENCY[name] for name in _CURRENCY_NAMED.findall(text.casefold()))


def plain_signs(text: str) -> str:
    """One form for each character (full width, digits) and one dash; exponents are not digits."""
    decimal = _FRACTION.sub(lambda found: f"{unicodedata.numeric(found.group()):.6f}".lstrip("0"), _raise(text))
    return unicodedata.normalize("NFKC", _DASHES.sub("-", decimal))


def _pattern(gold: str) -> str:
    """What finds a gold text among words: articles may stand anywhere in it; "" for one of articles and signs alone."""
    words = _words(gold)
    if all(word in _ARTICLES for word in words):
        return ""
    return f" {_ANY_ARTICLES}".join(map(re.escape, _without_articles(words)))


def _other_currency(answer: str, gold: str) -> bool:
    wanted = currencies("".join(c for c in gold if c in CURRENCY_SYMBOLS))
    return bool(wanted) and bool(said := currencies(answer)) and not wanted & said


def _is_as_written(answer: str, gold: str) -> bool:
    """A gold of articles or signs alone that is all of the answer, but for quotes and a full stop."""
    bare = answer.strip().strip("\"'`()[].,:") or answer
    return gold.strip().casefold() in (answer.strip().casefold(), bare.strip().casefold())


def _says_as_written(answer: str, gold: str) -> bool:
    """Such a gold stands by itself in the answer, and an article of the sentence is not it."""
    gold = gold.strip()
    if not any(letter.isalnum() for letter in gold):
        return re.search(rf"(?<![^\s\"'`(]){re.escape(gold)}(?![^\s\"'`).,:;!?])", answer) is not None
    named = rf"(?<!\w){re.escape(gold)}(?![\w+#-])"
    inside = rf"|(?<=[a-z:,] ){named}" if gold != gold.casefold() else ""  # a capital within a sentence
    return re.search(rf"{named}(?!['’]|\s+[a-z]){inside}", answer) is not None


def _without_articles(words: Sequence[str]) -> list[str]:
    """Articles go unless no other word follows them."""
    last = max((i for i, word in enumerate(words) if word not in _ARTICLES), default=-1)
    return [word for i, word in enumerate(words) if i > last or word not in _ARTICLES]


def _raise(text: str) -> str:
    return _RAISED.sub(lambda raised: "^" + raised.group(), text)


@lru_cache(maxsize=1024)  # an answer is held against many golds
def _words(text: str) -> tuple[str, ...]:
    plain = _raise(text.casefold().translate(_OPERATORS_IN_ASCII))
    plain = unicodedata.normalize("NFKD", _DASHES.sub("-", plain))
    plain = "".join(c for c in plain if not unicodedata.combining(c) and c not in CURRENCY_SYMBOLS)
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", plain)
    plain = re.sub(r"(?<![\d.])(\d+)\.(?=\d+(?!\.?\d))", r"\1．", f" {plain} ")
    plain = _ATTACHED.sub(lambda sign: sign.group().translate(_KEPT), plain)
    plain = _OPERATOR.sub(lambda sign: f" {sign.group().translate(_KEPT)} ", plain)
    return tuple(plain.translate(_DROPPED).split())


_QUESTION_MARK = re.compile(r"[?？؟]")
_ASKING = frozenset({"who", "whom", "whose", "what", "when", "where", "which", "why", "how"})
# A question that asks for a text: the answer is judged as one. "Step by step" is not among them, for it asks for one
# right answer, nor are a few sentences, whose labels tell which model is needed.
_AT_LENGTH = re.compile(
    r"\b(?:explain|describe|discuss|answer|elaborate)\b[^.?!]{0,40}?"
    r"\b(?:at length|in (?:great |more |full )?detail|in[ -]depth)\b"
    r"|\b(?:write|as) an? (?:\w+ )?essay\b"
    r"|\bin (?:at least |about |around )?"
    r"(?:\d{3,} words|(?:\d+|two|three|four|five|several|a few) (?:paragraphs|pages))\b",
    re.I,
)
_FIRST_WORDS = 3  # words among which one of these begins a question, such as "in which year ..."


def is_question(text: str) -> bool:
    """Whether a text holds a question mark, or begins as an English question does; one that asks for an answer at
    length ("Explain in detail.", "in three paragraphs") is a request for a text."""
    if _AT_LENGTH.search(text):
        return False
    begins = re.findall(r"[a-z]+", text[:100].lower())[:_FIRST_WORDS]
    return bool(_QUESTION_MARK.search(text)) or not _ASKING.isdisjoint(begins)
