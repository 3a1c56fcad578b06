"""Reads the final answer of a long answer by rule, where it states one.

A chain of thought, a derivation or a program ends in a result; whole texts differ in wording though their results are
one. The marks are those that models and data sets use: a boxed result, a line ``#### 18``, ``answer = 18``, "the answer
is ...", the option's letter, the value of a small program, the number of the last sentence where a quantity is asked.
Texts without such a mark are not changed. Of an answer that is not English, the words of its question are removed
(`languages`). Pure functions; which answers mean the same is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from demur.meaning.rules.code import code_of
from demur.meaning.rules.content import unify
from demur.meaning.rules.declined_answers import declines
from demur.meaning.rules.languages import bare, is_english
from demur.meaning.rules.lists import asks_for_order, without_order
from demur.meaning.rules.normalise import MOST_KEPT, exact_key
from demur.meaning.rules.tables import table_of, with_rows_in_order
from demur.meaning.rules.values.programs import is_program, program_value
from demur.prompts.tool_calls import calls_of
from demur.prompts.words import says

SHORT_WORDS = 8  # an answer of one line with no more words is its own final answer
LONGEST = 4_000  # characters at a text's end in which its result is looked for
LONGEST_STATED = 16  # words of a stated answer; more is not a result but an explanation

_THINKING = re.compile(r"\A\s*(?:<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|.*?</think(?:ing)?>)\s*", re.DOTALL | re.I)
_BOXED = re.compile(r"\\(?:boxed|fbox)\s*\{")
_MARKED = re.compile(r"####[ \t]*(\S[^\n]*)")
_NAMES = "|".join(
    (
        r"(?:final |correct |right |best |numerical )?(?:answer|ans|result|solution)",
        r"r[eé]ponse(?: finale)?|respuesta(?: final)?|resposta(?: final)?|risposta(?: finale)?|antwoord",
        r"(?:end|schluss)?(?:antwort|ergebnis)|(?:endg[uü]ltige )?antwort",
        r"ответ|итого|答案|答え|正解|উত্তর|उत्तर|الجواب|الإجابة",
    )
)
_STATED = re.compile(
    r"(?:^|(?<=[\s*_(\"'。，,.;:!]))(?:the |my |our |so |die |das |la |le |el |o |a |il |het )?"
    rf"(?:{_NAMES})(?:\*\*|__)?\s*"
    r"(?:is|was|are|equals|=|:|：|ist|lautet|est|es|é|è|是|は|—|-(?=\s)|হল|হলো|है|هو|هي)+(?:\*\*|__)?\s*[:：=]?\s*",
    re.I | re.M,
)
_EQUALS = re.compile(r"=\s*(?:<<[^<>]*>>)?\s*([-−]?[$€£¥]?\s?\d[\d,]*(?:\.\d+)?)(?![\d.]*\s*[-+*/x×÷=(])")
_CALCULATOR = re.compile(r"<<[^<>]*>>")
_NUMBER = re.compile(r"[-−]?[$€£¥]?\d[\d,]*(?:\.\d+)?%?")
_QUANTITY_ASKED = re.compile(
    r"how (?:many|much|old|far|long|tall|often|fast|big|large|high|heavy)\b|what (?:is|was|are) the (?:\w+ ){0,4}?"
    r"(?:number|total|sum|difference|product|average|mean|percentage|amount|cost|price|area|perimeter|volume|value|"
    r"probability|ratio|speed|distance|age|length|width|height|weight|profit|salary)\b|\bcalculate\b|\bcompute\b|"
    r"\bcombien\b|\bwie ?viele?\b|\bcu[aá]nt[oa]s?\b|\bсколько\b|多少|几|幾|いくつ|何[人個時日年冊本枚円歳回分]|"
    r"কত|कितन|\bquant[oaie]s?\b|\bhoeveel\b",
    re.I,
)
_CODE_ASKED = re.compile(
    r"\b(?:code|function|method|class|script|program|implement|snippet|query|regex|python|javascript|java|sql|bash|rust)\b",
    re.I,
)
_OPTIONS = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s+\S")
_LISTED = re.compile(r"(?:^|\n|\s)\(?([A-J])[).:]\s+(\S.*?)(?=\s+\(?[A-J][).:]\s|\n|\Z)")
_LISTED_SMALL = re.compile(r"(?:^|\n|\s)\(?([a-j])[).:]\s+(\S.*?)(?=\s+\(?[a-j][).:]\s|\n|\Z)")
_CHOOSES = re.compile(
    r"(?:(?:so |thus |therefore,? )?(?:the |my )?(?:correct |right |best |final )?(?:answer|option|choice)(?: is|:)?"
    r"|it is|it's|i (?:choose|pick))[:\s]+(?:option |choice )?(?=\S)",
    re.I,
)
_CHOSEN = re.compile(r"\A(?:\(?(?P<letter>[A-Ja-j])(?:[).:]\s*|\Z))?(?P<option>.*)\Z", re.DOTALL)
_LETTER = re.compile(r"\A\W*\(?([A-J])(?:[).:](?:\s|$)|\s*\Z|\b\W*\Z)")
_ASKS_WHETHER = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|must|may)\s[^?\n]*\?\s*\Z", re.I
)
_ASKS_MORE = re.compile(r"\b(?:or|you|me|please|who|whom|whose|what|which|when|where|why|how|name|list)\b", re.I)
_POLAR = re.compile(r"[\s*_\"']*(yes|no)[*_\"']*(?:[,.;:!—–]|\s+[—–-]\s|\s*\Z)", re.I)
_EXCEPTS = re.compile(
    r"\b(?:but|however|though|although|except|unless|depends?|sometimes|partly|usually|mostly|if)\b", re.I
)
SMALL = "abcdefghij"  # letters of options that are written small
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])(?=\s|$)|\n")


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """A final answer and the rule that read it."""

    text: str
    rule: str  # "boxed", "marked", "stated", "option", "program", "equation", "number", "thinking removed"


def final_answer(answer: str, question: str = "") -> FinalAnswer | None:
    """The final answer of a text of more than a few words; None where it is short, or no rule reads one.

    ``question`` tells whether an option or a quantity is asked for; without it only explicit marks are read.
    """
    text = without_thinking(answer).strip()
    if text and (letter := _option_said(text, question)):
        return FinalAnswer(letter, "option")
    if not text or not is_long(text):
        return FinalAnswer(text, "thinking removed") if text and text != answer.strip() else None
    if len(text) <= LONGEST and is_program(text) and not _CODE_ASKED.search(question):
        value = program_value(text)
        return None if value is None else FinalAnswer(f"{value:.10g}", "program")
    if _CODE_ASKED.search(question) or code_of(text) is not None:
        return None  # code is compared as code
    end = text[-LONGEST:]
    for rule, read in _RULES.items():
        found = read(end, question)
        if found:
            return FinalAnswer(found, rule)
    return None


def read_final_answer(answer: str, question: str = "") -> str:
    """The final answer of a text where one can be read, else the text; the bare answer where it is not English, and a
    list in one order where the question asks for one.

    Calls of tools are not texts, so they stay as they are.
    """
    return _read_text(_final_text(answer, question), question)


def read_final_answers(answers: Sequence[str], question: str = "") -> list[str]:
    """As `read_final_answer`, of each; of those that are not English and say the same by their words, the first one."""
    finals = [_final_text(answer, question) for answer in answers]
    foreign = [text for text in dict.fromkeys(finals) if _is_foreign(text, question)]
    first = {text: foreign[i] for text, i in zip(foreign, unify(foreign, question), strict=True)}
    return [_read_text(first.get(text, text), question) for text in finals]


@lru_cache(MOST_KEPT)
def _final_text(answer: str, question: str) -> str:
    if calls_of(answer) is not None:
        return answer
    found = final_answer(answer, question)
    return found.text if found else without_thinking(answer)


def _read_text(text: str, question: str) -> str:
    if calls_of(text) is not None:
        return text
    if (table := table_of(text)) is not None:
        return text if asks_for_order(question) else with_rows_in_order(table, exact_key)
    if _is_foreign(text, question):
        return bare(text, question)
    return _polarity(text, question) or without_order(text, question)


def _polarity(text: str, question: str) -> str:
    """Yes or no, where an English question asks for no more and the answer makes no exception; else ""."""
    if not _ASKS_WHETHER.match(question) or _ASKS_MORE.search(question) or _EXCEPTS.search(text):
        return ""
    found = _POLAR.match(text)
    return found.group(1).capitalize() if found else ""


def _is_foreign(text: str, question: str) -> bool:
    return calls_of(text) is None and not is_english(f"{question} {text}")


def is_long(text: str) -> bool:
    """More than one line, or more words than a bare answer has."""
    return "\n" in text.strip() or len(text.split()) > SHORT_WORDS or "\\boxed" in text


def is_unread(answer: str, question: str = "") -> bool:
    """A text of more than a few words whose final answer no rule reads: its model may state it."""
    text = without_thinking(answer).strip()
    if not text or not is_long(text) or calls_of(answer) or final_answer(answer, question) or declines(answer):
        return False
    return not (_CODE_ASKED.search(question) or code_of(text) is not None or is_program(text[:LONGEST]))


def stands_in(statement: str, answer: str) -> str:
    """A statement of the final answer of a text, bare, where it is short and stands in the text; else ""."""
    stated = _bare(statement.strip().partition("\n")[0])
    short = stated and len(stated.split()) <= LONGEST_STATED
    return stated if short and says(without_thinking(answer), stated) else ""


def without_thinking(text: str) -> str:
    """Without a leading block of thought (``<think>...</think>``); of one that does not end nothing is left."""
    return _THINKING.sub("", text) if "<think" in (plain := text.casefold()) or "</think" in plain else text


def _read_boxed(text: str, _: str) -> str:
    """The content of the last ``\\boxed{...}``, braces balanced."""
    found = list(_BOXED.finditer(text))
    if not found:
        return ""
    depth, start = 1, found[-1].end()
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place].strip()
    return ""


def _read_marked(text: str, _: str) -> str:
    found = _MARKED.findall(text)
    return _bare(found[-1]) if found else ""


def _read_stated(text: str, question: str) -> str:
    """What follows the last "the answer is", up to the end of its sentence."""
    for found in reversed(list(_STATED.finditer(text))):
        rest = _CALCULATOR.sub("", _SENTENCE_END.split(text[found.end() :].lstrip(), maxsplit=1)[0])
        stated = _bare(rest)
        if stated and len(stated.split()) <= LONGEST_STATED:
            return _letter(stated, question) or stated
    return ""


def _option(text: str, question: str) -> str:
    """The letter that the text begins or ends with, where the question lists options."""
    first, last = text.partition("\n")[0], _sentences(text)[-1]
    return _letter(first, question) or _letter(last, question)


def _letter(stated: str, question: str) -> str:
    letters = set(_OPTIONS.findall(question)) or set(_options(question))
    found = _LETTER.match(stated) if len(letters) > 1 else None
    return found.group(1) if found and found.group(1) in letters else ""


def _option_said(text: str, question: str) -> str:
    """The letter of the option that is all of a text, as "B", "B) mercury", "mercury" or "The answer is (B).", where
    the question lists it.

    A letter beside the text of another option chooses neither; a small letter is one unless it is an option's text.
    """
    options = _options(question)
    if not options:
        return ""
    chosen = _bare(text)
    found = _CHOSEN.match(chosen[lead_in.end() :] if (lead_in := _CHOOSES.match(chosen)) else chosen)
    assert found is not None  # both of its parts may be missing
    written, option = found["letter"] or "", _bare(found["option"]).casefold()
    by_text = next((letter for letter, listed in options.items() if listed in (option, chosen.casefold())), "")
    if not written or (by_text and not option):
        return by_text
    letter = written.upper()
    return letter if letter in options and option in ("", options[letter]) else ""


def _options(question: str) -> dict[str, str]:
    """The options that a question lists: by letter, in capitals, their texts; none where two have one text, or where
    small letters are not in order.
    """
    listed = _LISTED.findall(question)
    if not listed:
        small = _LISTED_SMALL.findall(question)
        in_order = "".join(letter for letter, _ in small) == SMALL[: len(small)]
        listed = [(letter.upper(), option) for letter, option in small] if in_order else []
    options = {letter: _bare(option).casefold() for letter, option in listed}
    return options if 1 < len(options) == len(set(options.values())) and all(options.values()) else {}


def _program(text: str, _: str) -> str:
    value = program_value(text)
    return "" if value is None else f"{value:.10g}"


def _equation(text: str, question: str) -> str:
    """The right side of the last equation, where a quantity is asked or the text does its sums in marks."""
    if not (_QUANTITY_ASKED.search(question) or _CALCULATOR.search(text)):
        return ""
    found = _EQUALS.findall(_sentences(text)[-1])
    return found[-1].strip().rstrip(",") if found else ""


def _number(text: str, question: str) -> str:
    """The only number of the last sentence, where a quantity is asked: of several, any may be the answer."""
    if not _QUANTITY_ASKED.search(question):
        return ""
    found = {number.rstrip(",") for number in _NUMBER.findall(_CALCULATOR.sub("", _sentences(text)[-1]))}
    return found.pop() if len(found) == 1 else ""


_RULES: dict[str, Callable[[str, str], str]] = {
    "program": _program,
    "boxed": _read_boxed,
    "marked": _read_marked,
    "stated": _read_stated,
    "option": _option,
    "equation": _equation,
    "number": _number,
}


def _sentences(text: str) -> list[str]:
    return [part for part in _SENTENCE_END.split(text) if part.strip()] or [text]


def _bare(text: str) -> str:
    """Without emphasis and the sentence's end."""
    plain = text.strip().strip("*_`").strip()
    plain = re.sub(r"\A\$(.*)\$\Z", r"\1", plain)
    return plain.rstrip(".。 ").strip().strip("*_`\"'").strip()
