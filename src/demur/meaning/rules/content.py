"""Decides by rule whether two answers in a language other than English say the same beside their question.

The words of an answer that stand in its question (also inflected), function words, and words for yes are removed; what
is left must be the same, in the same order. Negation, prepositions, numbers and the order of the words that both share
must agree. A person may be named in part where the question asks for one, and lists may be in another order where it
asks for several things in none. Precision before recall: where the rule does not hold, nothing follows. Word lists are
in function_words.json; they are of all languages together.

An encoder's similarity cannot do this: near misses are more similar than paraphrases (docs/method.md, "Languages").
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from demur.meaning.rules.languages import COMBINED, LONGEST, numerals

MOST_READ = 4096  # answers that are remembered as read
FEWEST_SHARED = 3  # letters that two forms of a word begin with
SHARED = 0.6  # of the shorter form
SHORTEST_STEM = 4  # letters before a case ending
_WORD = re.compile(rf"(?:[^\W_]|[{COMBINED}])+(?:[.,](?=\d)\d+)*")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\u0e00-\u0e7f]")  # kana, Chinese characters, Thai
_ENDINGS = (
    *("e", "ie", "u", "ě", "y", "i", "a", "ou", "em", "ach", "ssa", "ssä", "sta", "stä", "lla", "llä"),
    *("е", "и", "у", "ы", "а", "я", "ой", "ом", "ах", "ю", "ью", "ии"),
)
_POLITE = re.compile(r"(?:습니다|입니다|어요|아요|이에요|예요)\Z")  # endings of one Korean verb
_POLITE_FORMS = ("Sie", "Ihnen", "Ihr", "Ihre")  # capitals of German that name nobody
_ORDINAL = re.compile(r"[ivx]+|\d+")  # Napoleon is not Napoleon III
_AFTERNOON = re.compile(r"(?:午後|下午)(\d{1,2})(?=[時时点點])")

MOST_ITEM_WORDS = 4
_BETWEEN_ITEMS = re.compile(
    r"\s*[,;،、，\n]\s*(?:(?:und|et|y|e|ed|en|och|og|i|a|ja|ve|και|и|та|і|và|dan|और|এবং|และ|그리고|ו|و)\s+)?"
    r"|\s+(?:und|et|y|e|ed|en|och|og|ja|ve|και|и|та|và|dan|और|এবং|그리고)\s+|(?<=\w)と(?=\w)|(?<=\w)和(?=\w)|\s+و"
)
_ITEM_MARK = re.compile(r"\A\s*(?:[-*•]|\d{1,2}[.)])\s+")
_SEVERAL_ASKED = re.compile(
    r"\b(?:nenne|zähle|welche|nomme|nommez|cite|citez|énumère|quels|quelles|nombra|menciona|enumera|cuáles|elenca|quali|quais"
    r"|noem|welke|nämn|vilka|nævn|hvilke|wymień|jakie|vyjmenuj|které|luettele|mitkä|hangileri|sayın|ποια|ποιες|назови"
    r"|назовите|перечисли|перечислите|какие|назви|які|اذكر|عدد|sebutkan|kể tên|apa saja)\b"
    r"|列出|列举|哪些|哪几|挙げて|何と何|はどれ|나열|무엇무엇|가지를|אילו|बताइए|कौन-कौन|কী কী|อะไรบ้าง",
    re.IGNORECASE,
)
_ORDER_ASKED = re.compile(
    r"reihenfolge|sortier|ordne|zuerst|zuletzt|rangliste|ordre|class[eé]|orden|ordin|ordem|volgorde|ordning|rækkefølge"
    r"|kolejno|pořad|järjest|sıra|σειρά|поряд|順|顺|序|순서|순위|ترتيب|סדר|क्रम|ลำดับ|urut|thứ tự|chronolog|хронолог",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What an answer says beside its question."""

    own: tuple[str, ...]  # words that neither the question nor grammar explains
    words: tuple[str, ...]  # the same and the question's
    inflected: frozenset[str]  # the question's in another form, or what begins like one
    negated: bool
    prepositions: frozenset[str]


def unify(answers: Sequence[str], question: str) -> list[int]:
    """For each answer, the place of the first one that says the same by this rule; its own where none does."""
    leaders: list[int] = []
    found = []
    for i, answer in enumerate(answers):
        same = next((j for j in leaders if says_the_same(answers[j], answer, question)), None)
        found.append(i if same is None else same)
        if same is None:
            leaders.append(i)
    return found


def says_the_same(a: str, b: str, question: str) -> bool:
    """True only where the rule holds; False says nothing."""
    if max(len(a), len(b)) > LONGEST or not question or _has(question.casefold(), "two-sided"):
        return False
    if _SEVERAL_ASKED.search(question) and not _ORDER_ASKED.search(question) and _items(a) == _items(b) != frozenset():
        return True
    if _UNSPACED.search(a + b):
        short, long = sorted((_plain(a), _plain(b)), key=len)
        return short == long or _is_contained(short, long, _plain(question))
    first, second = content(a, question), content(b, question)
    if first.negated != second.negated:
        return False
    pairs = ((first.prepositions, second.prepositions), (first.inflected, second.inflected))
    if not all(one <= other or other <= one for one, other in pairs):
        return False
    if not (first.own and second.own):
        return _only_polar(a, b)
    if _in_order(first.words, second.words):
        own = _agree(first.own, second.own, inflected=first.prepositions != second.prepositions)
        return own or (_asks_who(question) and _named_in_part(first.own, second.own))
    return False


@lru_cache(MOST_READ)
def content(answer: str, question: str) -> Content:
    """See `Content`; of a language whose words are written apart."""
    asked = {word.casefold() for word in _words(question)} - _list("function") - _list("who")
    words, own = [], []
    negated, prepositions, inflected = False, set[str](), set[str]()
    for i, written in enumerate(_words(answer)):
        word = written.casefold()
        is_name = _is_name(written, answer, first=i == 0)
        if not is_name and word in _list("negation") | _list("no"):
            negated = True
        elif not is_name and word in _list("preposition"):
            prepositions.add(word)
        elif is_name or word not in _list("function") | _list("yes"):
            words.append(word)
            if not any(_explains(other, word) for other in asked):
                own.append(word)
            elif word not in asked:
                inflected.add(word)
    return Content(tuple(own), tuple(words), frozenset(inflected), negated, frozenset(prepositions))


def _is_name(written: str, answer: str, *, first: bool) -> bool:
    """Whether a word's capital makes it a name, whatever it means in small letters: "Nguyễn Du", "A. Einstein"."""
    if written[0] == written[0].casefold() or written in _POLITE_FORMS:
        return False
    return not first or (len(written) == 1 and f"{written}." in answer)


def _words(text: str) -> list[str]:
    """Words with number words as numerals; ``l'eau`` is two words."""
    plain = _APOSTROPHE.sub(" ", unicodedata.normalize("NFC", text))
    return [numerals(word) for word in _WORD.findall(numerals(plain))]


def _explains(question_word: str, word: str) -> bool:
    """Whether a word of an answer is one of its question, perhaps in another form."""
    if question_word == word:
        return True
    if question_word[:1].isdigit() or word[:1].isdigit():
        return False
    least = max(FEWEST_SHARED, SHARED * min(len(question_word), len(word)))
    return len(_common_start(question_word, word)) >= least


def _common_start(a: str, b: str) -> str:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return a[:length]


def _items(answer: str) -> frozenset[str]:
    """What an answer lists; nothing where it is no list of two short items at least."""
    items = [_ITEM_MARK.sub("", item).strip(" .。*_") for item in _BETWEEN_ITEMS.split(answer.strip())]
    found = frozenset(item.casefold() for item in items if item)
    return found if len(found) > 1 and all(len(item.split()) <= MOST_ITEM_WORDS for item in found) else frozenset()


def _agree(a: Sequence[str], b: Sequence[str], *, inflected: bool) -> bool:
    """The same words in the same order; ``inflected``: in another case, too."""
    if len(a) != len(b):
        return False
    return all(
        _POLITE.sub("", x) == _POLITE.sub("", y) or (inflected and _stem(x) == _stem(y))
        for x, y in zip(a, b, strict=True)
    )


def _stem(word: str) -> str:
    """Without accents and a case ending."""
    letters = _without_accents(word)
    for ending in _endings():
        if letters.endswith(ending) and len(letters) - len(ending) >= SHORTEST_STEM:
            return letters[: -len(ending)]
    return letters


def _without_accents(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))


@cache
def _endings() -> tuple[str, ...]:
    """Case endings as words have them without accents, the longest first."""
    return tuple(sorted(set(map(_without_accents, _ENDINGS)), key=len, reverse=True))


def _in_order(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether the words that both have stand in one order."""
    return [word for word in a if word in b] == [word for word in b if word in a]


def _named_in_part(a: Sequence[str], b: Sequence[str]) -> bool:
    """One name is the beginning or the end of the other, or has its initials."""
    short, long = sorted((tuple(a), tuple(b)), key=len)
    if len(short) < len(long) and short in (long[: len(short)], long[-len(short) :]):
        return max(map(len, short)) > 1 and not any(_ORDINAL.fullmatch(word) for word in long)
    if short[-1] != long[-1] or len(short) < 2:
        return False
    given = zip(short[:-1], long[:-1], strict=False)
    return all(x == y or (min(len(x), len(y)) == 1 and x[0] == y[0]) for x, y in given)


def _only_polar(a: str, b: str) -> bool:
    """Both begin with the same yes or no, one of them says nothing else, and the other makes no exception."""
    first, second = sorted(([word.casefold() for word in _words(text)] for text in (a, b)), key=len)
    if len(first) != 1 or first[0] not in _list("yes") | _list("no") or second[:1] != first:
        return False
    return not any(word in _list("contrast") for word in second)


def _is_contained(short: str, long: str, question: str) -> bool:
    """Of languages without spaces: the shorter answer stands in the longer, and the question explains the rest."""
    if len(short) < 2 or short in question or short not in long or _denies(short) != _denies(long):
        return False
    if _asks_who(question) and long.endswith(f"・{short}"):
        return True
    start = long.index(short)
    end = start + len(short)
    if _splits_number(long, start) or _splits_number(long, end):
        return False  # 3 in 13
    return all(_is_explained(part, question) for part in (long[:start], long[end:]))


def _splits_number(text: str, place: int) -> bool:
    return 0 < place < len(text) and text[place - 1 : place + 1].isdigit()


def _is_explained(text: str, question: str) -> bool:
    """Whether a text is made of runs of the question, of two letters or more, and function words."""
    functions = _list("unspaced function")
    reached = {0}
    for i in range(len(text)):
        if i in reached:
            longest = next((n for n in range(len(text) - i, 1, -1) if text[i : i + n] in question), 0)
            reached |= set(range(i + 2, i + longest + 1))
            reached |= {i + len(word) for word in functions if text.startswith(word, i)}
    return len(text) in reached


def _denies(text: str) -> bool:
    return any(word in text for word in _list("unspaced negation"))


def _plain(text: str) -> str:
    """Without spaces and the sentence's end; hours of the afternoon counted from midnight."""
    found = re.sub(r"\s+", "", numerals(unicodedata.normalize("NFKC", text))).strip("。.!?,、").replace("没有", "没")
    return _AFTERNOON.sub(lambda hour: str(int(hour.group(1)) % 12 + 12), found)


def _asks_who(question: str) -> bool:
    words = {word.casefold() for word in _words(question)}
    return bool(words & _list("who")) or any(word in question for word in _list("who") if _UNSPACED.search(word))


def _has(text: str, role: str) -> bool:
    padded = f" {text} "
    known = (word.casefold() for word in _list(role))  # as the text is: "größer" is "grösser"
    return any((f" {word} " if len(word) < 5 and not _UNSPACED.search(word) else word) in padded for word in known)


@cache
def _list(role: str) -> frozenset[str]:
    """Words that have a role in some language."""
    known = json.loads((files("demur") / "meaning" / "rules" / "function_words.json").read_text(encoding="utf-8"))[role]
    texts = (word for line in known.values() for word in line.split()) if isinstance(known, dict) else known
    return frozenset(texts)
