"""Lists in another order: where an English question asks for several things in no order, their order does not count.

Precision before recall: a list that is missed is compared as a text, two different answers taken for one would be lost.
So a question that mentions an order, a rank or two different roles ("the winner and the runner-up") leaves answers as
they are, and so do numbers, unless the question asks for a set of them, and whatever stands in brackets.
"""

from __future__ import annotations

import re

MOST_ITEM_WORDS = 6
MOST_LEAD_IN_WORDS = 12  # "The primary colours of the traditional model are "

_COUNT = r"(?:two|three|four|five|six|seven|eight|nine|ten|\d{1,2}|some|several|all|any)"
_SEVERAL = re.compile(
    r"\b(?:list|name|enumerate|mention|identify|give)\s+(?:me\s+|us\s+)?"
    rf"(?:{_COUNT}|the|at least)\s+(?:\w+[- ]){{0,4}}?\w+s\b"
    rf"|\b(?:what|which|who)\s+(?:are|were)\b|\b(?:what|which)\s+{_COUNT}\s+\w+"
    r"|\b(?:what|which)\s+(?:\w+\s+){0,2}?\w{2,}[^su\W]s\s+"
    r"(?:are|were|do|did|have|had|can|could|border|make|belong|share|won|use|contain)\b",
    re.IGNORECASE,
)
_IN_ORDER = re.compile(
    r"\border(?:ed)?\b|\brank|\bsort(?:ed)?\b|\bsequence\b|\bsteps?\b|\bstages?\b|\bchronolog|\balphabet|\bascending\b"
    r"|\bdescending\b|\brespectively\b|\btop\b|\btimeline\b",
    re.IGNORECASE,
)
_SEVERAL_ROLES = re.compile(
    r"\bfrom\b.+\bto\b|\bfirst\b|\blast\b|\bthen\b|\bcoordinates?\b|\bdimensions?\b|\bscores?\b|\bodds\b|\bratio\b"
    r"|\bversus\b|\bvs\b|\bbefore\b|\bafter\b|\band\b",
    re.IGNORECASE,
)
_NUMBERS_ASKED = re.compile(
    r"\b(?:roots?|solutions?|zeros|factors?|divisors?|primes?|multiples|numbers|values)\b", re.I
)
_LEAD_IN = re.compile(r"\A[^,;:\n]*?(?:\b(?:are|were|is|was|include|includes|included)\b:?|:)\s+(?=\S)", re.IGNORECASE)
_MARKED_LINE = re.compile(r"\A\s*(?:[-*•]|\d{1,2}[.)])\s+(.+?)\s*\Z")
_BETWEEN = re.compile(r"\s*,\s+(?:and|or|&)\s+|\s*[,;]\s+|\s+(?:and|or|&)\s+", re.IGNORECASE)
_BRACKET = re.compile(r"[()\[\]{}<>]")
_NUMBER = re.compile(r"[-−+]?[\d.,]+%?")


def asks_for_order(question: str) -> bool:
    """Whether a question mentions an order or a rank."""
    return _IN_ORDER.search(question) is not None


def without_order(answer: str, question: str) -> str:
    """The items of an answer in one order, where the question asks for several things in none; else the answer."""
    if not _SEVERAL.search(question) or asks_for_order(question) or _SEVERAL_ROLES.search(question):
        return answer
    items = _items(answer.strip())
    if len(items) < 2 or any(len(item.split()) > MOST_ITEM_WORDS for item in items):
        return answer
    if any(map(_NUMBER.fullmatch, items)) and not _NUMBERS_ASKED.search(question):
        return answer
    return ", ".join(sorted(set(items), key=lambda item: (item.casefold(), item)))


def _items(answer: str) -> list[str]:
    """What an answer lists: its marked lines, or what stands between commas; none where it says more than a list."""
    lines = [line for line in answer.splitlines() if line.strip()]
    if len(lines) > 1:
        marked = [_MARKED_LINE.match(line) for line in (lines if _MARKED_LINE.match(lines[0]) else lines[1:])]
        items = [_bare(found[1]) for found in marked if found] if all(marked) and len(marked) > 1 else []
        return [] if any(map(_BRACKET.search, items)) else items
    if _BRACKET.search(answer):
        return []
    text = answer.removesuffix(".")
    lead_in = _LEAD_IN.match(text)
    if lead_in and len(lead_in.group().split()) <= MOST_LEAD_IN_WORDS:
        text = text[lead_in.end() :]
    if re.search(r"[.!?]\s", text):
        return []
    return [_bare(part) for part in _BETWEEN.split(text) if _bare(part)]


def _bare(item: str) -> str:
    """Without emphasis, its end mark and an article."""
    return re.sub(r"\A(?:the|a|an)\s+", "", item.strip().strip("*_`\"'").rstrip(".,;").strip(), flags=re.IGNORECASE)
