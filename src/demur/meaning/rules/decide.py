"""Meaning decided by rule, before any model is asked: calls of tools, code, tables, formulas, normalised text,
quantities, ranges, dates, times, ordinals, names.

`same_meaning` says True or False only where that is certain; None means: ask the entailment model. A rule must never
merge different meanings. `normalise` normalises an answer; `quantities` and `dates` read it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from demur.meaning.rules.code import canonical_code, code_of
from demur.meaning.rules.declined_answers import declines
from demur.meaning.rules.formulas import formula_of, plain_formula
from demur.meaning.rules.normalise import (
    MOST_KEPT,
    ORDINAL_WORDS,
    differ_by_number,
    differ_by_symbol,
    exact_key,
    is_symbols,
)
from demur.meaning.rules.tables import canonical_table, table_of
from demur.meaning.rules.values.dates import CLOCK, Date, parse_date, same_date, same_time, time_of_day
from demur.meaning.rules.values.names import differ_by_middle_name, name_of
from demur.meaning.rules.values.quantities import Quantity, parse_quantity, same_quantity
from demur.meaning.rules.values.ranges import Range, differs_from, parse_range, same_range
from demur.prompts.tool_calls import ToolCalls, calls_of

__all__ = ["Reading", "decide", "exact_key", "meaning_key", "read_answer", "ruling", "same_meaning"]

DECLINED = "(declined)"  # no answer is normalised to it: a key has no brackets around it

_ORDINAL_NUMERAL = re.compile(r"(\d{0,8}(?:1[1-3]th|(?<!1)(?:1st|2nd|3rd)|[04-9]th))$")
_IN_CODE = str.maketrans({"≥": ">=", "≤": "<=", "²": "^2", "³": "^3"})
_IN_NO_CODE = re.compile("[±√π∞∑∫·×÷≈]")
_IT_IS = re.compile(r"it(?: is| was|'s) ")
_WHEN = re.compile(r"(?:in|on|at) ")
_LETTER = re.compile(r"[A-J]")  # of an option, as `final_answer` reads it
_YEAR = re.compile(r"(?:the )?([12]\d{3}s?)$")  # 1945, the 1960s


@dataclass(frozen=True, slots=True)
class Reading:
    """A bare answer as the rules read it."""

    key: str  # normalised text; DECLINED for every refusal
    found: Quantity | Range | Date | int | None  # the whole answer as one of these (int: an ordinal); None: other text
    form: tuple[str, str] | None = None  # code, a formula or a table, and its canonical form
    calls: ToolCalls | None = None  # of tools, where the answer consists of them
    name: tuple[str, ...] = ()  # its words, where all begin with a capital
    is_letter: bool = False  # one of A to J, in capitals

    @property
    def meaning(self) -> object:
        """Equal for two answers exactly when the rules say True of them."""
        if self.calls is not None:
            return calls_meaning(self.calls)
        if self.form is not None:
            return self.form
        if isinstance(self.found, Quantity | Range):
            return self.found.meaning
        return self.key if self.found is None else self.found


@lru_cache(MOST_KEPT)  # a prompt's answers are read for each model, and for both together
def read_answer(answer: str) -> Reading:
    """What the rules see in a bare answer."""
    if (calls := calls_of(answer)) is not None:
        return Reading("", None, calls=calls)
    if declines(answer):
        return Reading(DECLINED, None)
    key = exact_key(answer)
    if (form := _form_of(answer, key)) is not None:
        return Reading(key, None, form)
    if it_is := _IT_IS.match(key):  # before a number or a date it says nothing; "it is Paris" is for the model
        return Reading(key, _measure(key[it_is.end() :]))
    return Reading(key, _ordinal(key) or _measure(key), name=name_of(answer), is_letter=bool(_LETTER.fullmatch(answer)))


def _form_of(answer: str, key: str) -> tuple[str, str] | None:
    """Code, a table or a formula, in the form in which equal ones are equal."""
    written = plain_formula(answer)
    is_math = "```" not in answer and _IN_NO_CODE.search(written)
    if not is_math and (code := code_of(written.translate(_IN_CODE))) is not None:
        return "code", canonical_code(code)
    if (table := table_of(answer)) is not None:
        return "tables", canonical_table(table, exact_key)
    formula = formula_of(key)
    return None if formula is None or _is_measure(key) else ("formulas", formula)


def _is_measure(key: str) -> bool:
    """A date, a range or an amount in a known unit: 3 × 10^8 m/s, but not 2πr."""
    found = _measure(key)
    return found is not None and not (isinstance(found, Quantity) and found.dimension.startswith("number of "))


def calls_meaning(calls: ToolCalls) -> object:
    """Equal for the same tools with equal arguments, in whatever order; a call that is written as text runs nothing, so
    it is another answer than one that the endpoint returned as a call.
    """
    return "calls", calls.native, calls.content


def same_meaning(a: str, b: str) -> bool | None:
    """True: certainly the same. False: certainly different. None: the entailment model decides. Bare answers, no
    question.
    """
    decided = ruling(a, b)
    return None if decided is None else decided[1]


def ruling(a: str, b: str) -> tuple[str, bool] | None:
    """The rule that decides about two bare answers, and what it says; None where only a model can tell."""
    return decide(read_answer(a), read_answer(b))


def meaning_key(text: str) -> object:
    """Equal for two answers exactly when `same_meaning` is True of them."""
    return read_answer(text).meaning


def decide(a: Reading, b: Reading) -> tuple[str, bool] | None:
    """`ruling` of answers that have been read."""
    if a.calls is not None or b.calls is not None:
        return "calls of tools", a.meaning == b.meaning
    if a.form and b.form and a.form[0] == b.form[0]:
        return a.form[0], a.form == b.form
    if a.form or b.form:
        formulas = formula_of(a.key), formula_of(b.key)  # one of them may be an assignment as well
        return ("formulas", False) if None not in formulas and formulas[0] != formulas[1] else None
    if a.key == b.key:
        return "answers that decline" if a.key == DECLINED else "identical after normalisation", True
    if DECLINED in (a.key, b.key):
        return "an answer that declines is its own meaning", False
    if differ_by_symbol(a.key, b.key):
        return "symbols that differ by case", False
    left, right = a.found, b.found
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        return _with_rule("numbers and units", _same_quantity(left, right))
    if isinstance(left, Range) or isinstance(right, Range):
        return _with_rule("ranges", _same_ranges(left, right))
    if isinstance(left, Date) and isinstance(right, Date):
        return _with_rule("dates", same_date(left, right))
    if isinstance(left, int) and isinstance(right, int):
        return "ordinals", left == right
    if is_symbols(a.key) and is_symbols(b.key):
        return "other symbols", False
    if {a.key, b.key} == {"yes", "no"}:
        return "yes and no", False
    if left is None and right is None and differ_by_number(a.key, b.key):
        return "numbers in a word", False
    if a.is_letter and b.is_letter:
        return "letters that differ", False
    if differ_by_middle_name(a.name, b.name):
        return "middle names that differ", False
    return None


def _same_quantity(a: Quantity, b: Quantity) -> bool | None:
    if a.dimension == b.dimension == CLOCK and a.value != b.value:
        return same_time(a, b)
    return same_quantity(a, b)


def _same_ranges(a: object, b: object) -> bool | None:
    if isinstance(a, Range) and isinstance(b, Range):
        return same_range(a, b)
    one, other = (a, b) if isinstance(a, Range) else (b, a)
    return differs_from(one, other) if isinstance(one, Range) and isinstance(other, Quantity) else None


def _with_rule(rule: str, same: bool | None) -> tuple[str, bool] | None:
    return None if same is None else (rule, same)


def _measure(key: str) -> Quantity | Range | Date | None:
    """A date, a time, a quantity or a range that is the whole key."""
    if when := _WHEN.match(key):
        return _moment(key[when.end() :])
    return parse_date(key) or time_of_day(key) or parse_range(key) or parse_quantity(key)


def _moment(key: str) -> Quantity | Date | None:
    """What "in", "on" or "at" can stand before without meaning more; "in 5 minutes" is not "5 minutes"."""
    year = _YEAR.match(key)
    return parse_date(key) or time_of_day(key) or (parse_quantity(year.group(1)) if year else None)


def _ordinal(key: str) -> int | None:
    if found := _ORDINAL_NUMERAL.match(key):
        return int(found.group()[:-2])
    return ORDINAL_WORDS.index(key) + 1 if key in ORDINAL_WORDS else None
