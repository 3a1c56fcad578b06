"""Recognises English, and removes from an answer in any language the words that repeat its question.

The shipped entailment model was trained on English. Texts in other languages are compared by rule alone: by equality
after the question's own words are taken off, so that "Die Hauptstadt von Australien ist Canberra." is "Canberra".
"""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files

from demur.meaning.rules.normalise import MOST_KEPT

FEWEST_LETTERS = 12  # of fewer letters no detector can tell the language
MARGIN = 4.0  # nats by which the detector must prefer another language to English, which short texts are taken for
MARGIN_OF_QUESTIONS = 12.0  # the same after an English verb that begins a question
MOST_WORDS = 8  # of what is left of an answer without its question
MOST_NOTED = 8  # words of a note that has no word of grammar
LONGEST = 1_000  # characters that are looked at

_ENGLISH = frozenset(("the", "what", "who", "whom", "whose", "which", "how", "when", "where", "why", "does", "did"))
_ENGLISH_TOO = frozenset(  # words of other languages as well: two of them are needed
    (
        *("of", "is", "are", "was", "were", "do", "has", "have", "had", "to", "and", "it", "its", "for", "with"),
        *("that", "this", "from", "by", "as", "an", "be", "been", "you", "your"),
    )
)
_ASKING = re.compile(
    r"\s*(?:can|could|is|are|was|were|do|has|have|will|would|should|must|name|list|give|define|solve|convert)\s", re.I
)
_COPULAS = frozenset(
    (
        *("is", "was", "are", "were", "ist", "war", "sind", "waren", "est", "était", "sont", "es", "era", "son", "fue"),
        *("è", "sono", "é", "foi", "são", "eram", "zijn", "är", "var", "jest", "był", "była", "был", "была", "было"),
        *("были", "это", "dir", "dır", "dur", "idi", "on", "oli", "hat", "heißt", "heet", "heter", "lautet"),
        *("s'appelle",),
        *("nennt", "是", "は", "が", "就是", "है", "था", "হল", "হলো", "คือ", "هي", "هو", "는", "은", "이", "가"),
        *("—", "-", ":", "=", "："),
    )
)
_CHINESE = ("zh", "wuu", "yue")  # told apart by few characters only
_UNSPACED = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER")
_ENDINGS = ("でございます", "である", "です", "だ", "입니다", "이에요", "예요", "이다", "है", "হয়")
_LEAD_INS = re.compile(
    r"(?:c['’]est|ce sont|es ist|das ist|es sind|es|son|è|sono|é|são|het is|dat is|det är|to jest|это|bu)\s+(?=\S)",
    re.I,
)
_ARTICLES = re.compile(
    r"(?:(?:der|die|das|den|dem|am|im|le|la|les|el|los|las|il|lo|gli|o|os|de|het|en|em|in|au|aux|à|a|w|в)\s+|l['’])(?=[^\Wa-zà-ÿ_])"
)
COMBINED = "\u0300-\u036f\u0900-\u0dff\u0e30-\u0e4e"  # vowel signs and tone marks, which are not letters
_TOKEN = re.compile(rf"(?:[^\W_]|[{COMBINED}])+(?:['’.,-](?:[^\W_]|[{COMBINED}])+)*|[—=:：-]")
_MONTHS = (
    "januar(?:y|i)?|janvier|enero|gennaio|janeiro|января|styczni[ae]",
    "februar(?:y|i)?|février|febrero|febbraio|fevereiro|февраля|lutego",
    "märz|mars|marzo|março|maart|марта|marca",
    "april|avril|abril|aprile|апреля|kwietnia",
    "mai|mayo|maggio|maio|mei|maj|мая|maja",
    "juni|juin|junio|giugno|junho|июня|czerwca",
    "juli|juillet|julio|luglio|julho|июля|lipca",
    "august(?:us|i)?|août|agosto|августа|sierpnia",
    "september|septembre|septiembre|settembre|setembro|сентября|września",
    "o[kc]tober|octobre|octubre|ottobre|outubro|октября|października",
    "november|novembre|noviembre|novembro|ноября|listopada",
    "de[zc]ember|décembre|diciembre|dicembre|dezembro|декабря|grudnia",
)
_DATE = re.compile(
    r"(\d{1,2})\.? (?:de )?(" + "|".join(f"(?:{names})" for names in _MONTHS) + r") (?:de )?(\d{4})(?: года)?", re.I
)
_DAY_FIRST = re.compile(r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.(\d{4})(?![\d.])")
_CJK_NUMBER = re.compile(r"[〇零一二三四五六七八九十百千万]+")


@lru_cache(MOST_KEPT)
def is_english(text: str) -> bool:
    """Whether a text is English, or too short to tell.

    By its script, then by English function words, then by a language detector (py3langid), which must be sure of
    another language: it takes "Is water wet? Yes" for Afrikaans. The margin was chosen on English sentences of natural
    language inference and the first five words of MGSM questions, the larger one of questions on 30 short English
    ones (7 nats at most) and 73 of other languages in letters of ASCII (24 at least).
    """
    if not _is_latin(text[:LONGEST]):
        return False
    words = set(re.findall(r"[a-z]+", text[:LONGEST].casefold()))
    letters = sum(map(str.isalpha, text[:LONGEST]))
    if words & _ENGLISH or len(words & _ENGLISH_TOO) >= 2 or letters < FEWEST_LETTERS:
        return True
    found = _log_probabilities(text[:LONGEST])
    margin = MARGIN_OF_QUESTIONS if _ASKING.match(text) else MARGIN
    return max(found.values()) - found["en"] <= margin


@lru_cache(MOST_KEPT)
def language_of(text: str) -> str:
    """The code of a text's language, such as "de"; "" where it is too short to tell."""
    if not is_english(text):
        found = _detect(text[:LONGEST])
        return "zh" if found in _CHINESE else found
    return "en" if sum(map(str.isalpha, text[:LONGEST])) >= FEWEST_LETTERS else ""


def language_of_notes(text: str) -> str:
    """The same of texts that may be notes rather than sentences ("Output valid JSON"), which the detector takes for any
    language: another one than English must have a script of its own, a word of its grammar in the text, or more than
    `MOST_NOTED` words.
    """
    found = language_of(text)
    if found in ("", "en") or not _is_latin(text[:LONGEST]):
        return found
    words = re.findall(r"[^\W\d_]+", text[:LONGEST].casefold())
    grammar = _function_words().get(found, frozenset()) - _ENGLISH_TOO
    return found if len(words) > MOST_NOTED or not grammar.isdisjoint(words) else ""


def _is_latin(text: str) -> bool:
    """Whether at least half of a text's letters are Latin."""
    letters = [letter for letter in text if letter.isalpha()]
    latin = sum(letter.isascii() or unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    return 2 * latin >= len(letters)


def _detect(text: str) -> str:
    found = _log_probabilities(text)
    return max(found, key=lambda language: found[language])


def load_detector() -> None:
    """Load the language detector (half a second of CPU), which the first text that is not clearly English would wait
    for."""
    _log_probabilities("")


def _log_probabilities(text: str) -> dict[str, float]:
    """Of every language, in nats, up to a constant."""
    import py3langid

    return {language: float(value) for language, value in py3langid.rank(text)}


def without_question(answer: str, question: str) -> str:
    """An answer without the run of words that it takes over from its question, and the copula beside it.

    Only where what is left begins with a capital, a digit or a letter of a script without case: a name, a number. The
    unchanged answer if nothing can be removed.
    """
    text = _without_ending(answer.strip())
    if len(text) > LONGEST:
        return text
    tokens, asked = _tokens(text), [token for token, _, _ in _tokens(question.strip())]
    if _occurs_in([token for token, _, _ in tokens], asked):
        return text  # "Canberra or Sydney" takes all its words from its question
    for length in range(len(tokens) - 1, 1, -1):
        for front in (True, False):
            run = tokens[:length] if front else tokens[len(tokens) - length :]
            rest = tokens[length:] if front else tokens[: len(tokens) - length]
            bare = [token for token, _, _ in run]
            while bare and bare[-1 if front else 0] in _COPULAS and not _occurs_in(bare, asked):
                bare.pop(-1 if front else 0)
            if _is_unspaced(run[0][0][:1]) and not _ends_in_copula(run):
                continue  # it may end within a word
            if len(bare) >= 2 and _occurs_in(bare, asked):
                left = text[rest[0][1] : rest[-1][2]]
                if len(rest) <= MOST_WORDS * (1 if left.isascii() else 4) and _names_something(left):
                    return _without_ending(left)
    return text


def bare(answer: str, question: str) -> str:
    """What an answer says beside its question, without lead-in and article, its number words and digits as numerals."""
    text = without_question(answer, question)
    for opening in (_LEAD_INS, _ARTICLES):
        if found := opening.match(text):
            text = text[found.end() :]
    return numerals(text)


def numerals(text: str) -> str:
    """A text with its dates as year-month-day, decimal commas as points, and numbers in digits 0 to 9.

    Of every script's digits, a leading number word, the numbers of Chinese characters.
    """
    plain = text.rstrip(" .。!！।")
    plain = _DATE.sub(lambda found: _iso(found.group(3), _month(found.group(2)), found.group(1)), plain)
    plain = _DAY_FIRST.sub(lambda found: _iso(found.group(3), int(found.group(2)), found.group(1)), plain)
    plain = re.sub(r"(?<=\d)\.(?=\d{3}(?!\d))", "", plain)
    plain = re.sub(r"(?<=\d),(?=\d{1,2}(?!\d))", ".", plain)
    plain = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in plain)
    plain = _CJK_NUMBER.sub(lambda found: _chinese_number(found.group()), plain)
    words = _number_words()
    parts = plain.split()
    for length in range(min(4, len(parts)), 0, -1):
        word = " ".join(parts[:length]).casefold().rstrip(".")
        if word in words:
            return _with_lower_places(words[word], parts[length:])
    for word in (plain[:length] for length in range(min(16, len(plain)), 2, -1) if _is_unspaced(plain[0])):
        if word in words:
            return f"{words[word]} {plain[len(word) :].strip()}".strip()
    return plain


def _with_lower_places(number: int, rest: list[str]) -> str:
    """A number and what follows it; number words that fill its zeros are added, as in "hundred twenty"."""
    words = _number_words()
    while rest and (more := words.get(rest[0].casefold(), 0)) and number % 10 ** len(str(more)) == 0:
        number, rest = number + more, rest[1:]
    return " ".join([str(number), *rest])


def _iso(year: str, month: int, day: str) -> str:
    return f"{year}-{month:02d}-{int(day):02d}"


def _month(name: str) -> int:
    return next(number for number, names in enumerate(_MONTHS, start=1) if re.fullmatch(names, name, re.I))


def _chinese_number(text: str) -> str:
    """The value of a number in Chinese characters; unchanged if it is not one."""
    total, group = 0, 0
    for letter in text.replace("零", "〇"):
        value = int(unicodedata.numeric(letter))
        if value < 10:
            group = group * 10 + value
        elif value == 10_000:
            total, group = (total + group) * value, 0
        else:
            total, group = total + (group or 1) * value, 0
    return str(total + group)


@cache
def _number_words() -> dict[str, int]:
    """Number words of other languages than English, up to a thousand, without those that are other words elsewhere."""
    known = json.loads((files("demur") / "meaning" / "rules" / "number_words.json").read_text(encoding="utf-8"))
    return {word: int(number) for number, words in known.items() for word in words}


@cache
def _function_words() -> dict[str, frozenset[str]]:
    """Words of grammar by language."""
    known = json.loads((files("demur") / "meaning" / "rules" / "function_words.json").read_text(encoding="utf-8"))
    return {language: frozenset(words.split()) for language, words in known["function"].items()}


def _ends_in_copula(run: list[tuple[str, int, int]]) -> bool:
    return "".join(token for token, _, _ in run).endswith(tuple(_COPULAS))


def _names_something(text: str) -> bool:
    first = text[:1]
    return first.isdigit() or first.isupper() or (first.isalpha() and first.lower() == first.upper())


def _without_ending(text: str) -> str:
    plain = text.rstrip(" .。!！।")
    for ending in _ENDINGS:
        if plain.endswith(ending) and len(plain) > len(ending):
            return plain.removesuffix(ending).strip()
    return text


def _occurs_in(run: list[str], tokens: list[str]) -> bool:
    return any(tokens[start : start + len(run)] == run for start in range(len(tokens) - len(run) + 1))


def _tokens(text: str) -> list[tuple[str, int, int]]:
    """(token, start, end): words of scripts with spaces, single characters of those without."""
    found = []
    for match in _TOKEN.finditer(text):
        word, start = match.group(), match.start()
        if any(_is_unspaced(letter) for letter in word):
            found += [(letter, start + place, start + place + 1) for place, letter in enumerate(word)]
        else:
            found.append((word.casefold(), start, match.end()))
    return found


def _is_unspaced(letter: str) -> bool:
    return letter > "\u0dff" and unicodedata.name(letter, "").startswith(_UNSPACED)
