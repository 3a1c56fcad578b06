"""Meaning decided by rule, before any model is asked: normalised text, numbers, quantities, dates, ordinals.

`same_meaning` says True or False only where that is certain; None means: ask the entailment model. A rule must never
merge different meanings, so what could change a meaning (signs, decimal points, C against C++, emoji) is kept.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from math import floor, log10

_LEAD_IN = re.compile(
    r"^(?:(?:the )?(?:correct |final )?answer(?: is|:)|a:|it is|it's|it was)[:\s]+(?=\S)", re.IGNORECASE
)
# "a flat" is no "flat", "a few" are not "few": the article belongs to these.
_ARTICLE = re.compile(
    r"^(?:the|an|a(?! (?:minor|major|flat|sharp|few|little|bit|lot|level|priori|posteriori)\b)) (?=\w\w)"
)
_DROPPED = re.compile(r"[\"“”«»`*_]|(?:[;:,.?)\]}]|(?<!\d)!)+(?=\s|$)|(?<!\S)[(\[{]|(?<=\s)[-–—]+(?=\s)|[,;](?=\s)")

_UNITS_BELOW_20 = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS_WORDS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * i for i, word in enumerate(_TENS_WORDS, start=2)}
_SMALL = {word: value for value, word in enumerate(_UNITS_BELOW_20)} | _TENS
_SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_ORDINAL_WORDS = (
    *("first", "second", "third", "fourth", "fifth", "sixth"),
    *("seventh", "eighth", "ninth", "tenth", "eleventh", "twelfth"),
)
_ORDINALS = {word: value for value, word in enumerate(_ORDINAL_WORDS, start=1)}
_MONTH_NAMES = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTHS = {name[:length]: number for number, name in enumerate(_MONTH_NAMES, start=1) for length in (3, len(name))} | {
    "sept": 9
}

# unit -> (dimension, factor to its base unit)
_UNITS: dict[str, tuple[str, float]] = {}
for _dimension, _members in {
    "length": {"mm millimeter millimetre": 1e-3, "cm centimeter centimetre": 1e-2, "m meter metre": 1.0,
               "km kilometer kilometre": 1e3, "inch": 0.0254, "ft foot": 0.3048, "yd yard": 0.9144, "mile": 1609.344},
    "mass": {"mg milligram": 1e-6, "g gram": 1e-3, "kg kilogram": 1.0, "tonne": 1e3, "lb pound": 0.45359237,
             "oz ounce": 0.028349523125},
    "time": {"second sec": 1.0, "minute min": 60.0, "hour hr": 3600.0, "day": 86400.0, "week": 604800.0},
    "months": {"month": 1.0, "year": 12.0, "decade": 120.0, "century": 1200.0},
    "volume": {"ml milliliter millilitre": 1e-3, "l liter litre": 1.0},
    "dollar": {"$ usd dollar": 1.0, "cent": 0.01},
    "euro": {"€ eur euro": 1.0},
    "pound sterling": {"£ gbp": 1.0},
    "share": {"% percent": 0.01},
    "celsius": {"°c celsius": 1.0},
    "fahrenheit": {"°f fahrenheit": 1.0},
    "angle": {"° degree": 1.0},
}.items():  # fmt: skip
    for _names, _factor in _members.items():
        for _name in _names.split():
            _UNITS[_name] = (_dimension, _factor)
            if len(_name) > 2:
                _UNITS[_name + "s"] = (_dimension, _factor)
_UNITS |= {"feet": _UNITS["foot"], "inches": _UNITS["inch"], "centuries": _UNITS["century"], "lbs": _UNITS["lb"]}
_SCALE_OF_DEGREES = re.compile(r"degrees? (?=celsius$|fahrenheit$)")

_NUMERAL = re.compile(r"[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-−]?\.\d+")
_AMBIGUOUS = re.compile(r"\d{1,3}[.,]\d{3}$")  # 1.000 is one or a thousand, by country; 1,000 is taken for a thousand
_LEADING_ZERO = re.compile(r"[-−]?0\d")  # 007 and 02134 are names, no numbers
_ORDINAL_NUMERAL = re.compile(r"(\d+)(?:st|nd|rd|th)$")
_HALF_DAY = re.compile(r"(\d{1,2})(?::([0-5]\d))? ?([ap])\.?m$")
_WHOLE_DAY = re.compile(r"(1[3-9]|2[0-3]):([0-5]\d)$")
_DATES = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})$"),
    re.compile(r"(?P<d>1[3-9]|2\d|3[01])[/.](?P<m>\d{1,2})[/.](?P<y>\d{4})$"),  # above 12 it can be no month:
    re.compile(r"(?P<m>\d{1,2})[/.](?P<d>1[3-9]|2\d|3[01])[/.](?P<y>\d{4})$"),  # 4/7/1776 stays undecided
    re.compile(r"(?P<d>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<m>[a-z]+),? (?P<y>\d{4})$"),
    re.compile(r"(?P<m>[a-z]+) (?P<d>\d{1,2})(?:st|nd|rd|th)?,? (?P<y>\d{4})$"),
    re.compile(r"(?P<m>[a-z]+),? (?P<y>\d{4})$"),
    re.compile(r"(?P<d>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<m>[a-z]+)$"),
    re.compile(r"(?P<m>[a-z]+) (?P<d>\d{1,2})(?:st|nd|rd|th)?$"),
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with what it counts: a unit's dimension, other words, or nothing."""

    value: float  # in the dimension's base unit
    dimension: str  # "" for a bare number; the words themselves when they are no known unit
    digits: int  # decimal places of `value` that were written (-5 for 2.5 million): a rounding is no difference


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date; parts that were not said are None."""

    year: int | None
    month: int
    day: int | None


def exact_key(text: str) -> str:
    """The normalised text under which answers are identical; case, lead-ins, articles and loose punctuation go.

    What is nothing but punctuation stays as it is: it is not the empty answer.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).replace("’", "'").casefold().split())
    key = " ".join(_DROPPED.sub(" ", _LEAD_IN.sub("", folded)).split())
    return _ARTICLE.sub("", key) or folded


@lru_cache(maxsize=65536)
def parsed(text: str) -> Quantity | Date | int | None:
    """The whole answer as a quantity, a date, or an ordinal (int); None when it is other text."""
    key = exact_key(text)
    return _date(key) or _ordinal(key) or _time_of_day(key) or _quantity(key)


def same_meaning(a: str, b: str) -> bool | None:
    """True: surely the same. False: surely different. None: ask the entailment model. Bare answers, no question."""
    decided = ruling(a, b)
    return None if decided is None else decided[1]


def ruling(a: str, b: str) -> tuple[str, bool] | None:
    """The rule that decides about two bare answers, and what it says; None where only a model can tell."""
    if exact_key(a) == exact_key(b):
        return "identical after normalisation", True
    left, right = parsed(a), parsed(b)
    if left is None or type(left) is not type(right):
        return None
    if isinstance(left, Quantity) and isinstance(right, Quantity):
        return _named("numbers and units", _same_quantity(left, right))
    if isinstance(left, Date) and isinstance(right, Date):
        return _named("dates", _same_date(left, right))
    return "ordinals", left == right


def _named(rule: str, same: bool | None) -> tuple[str, bool] | None:
    return None if same is None else (rule, same)


def meaning_key(text: str) -> object:
    """Equal for two answers exactly when `same_meaning` is True of them."""
    found = parsed(text)
    if isinstance(found, Quantity):
        return (found.dimension, float(f"{found.value:.9g}"))
    return exact_key(text) if found is None else found


def _same_quantity(a: Quantity, b: Quantity) -> bool | None:
    if a.dimension != b.dimension:
        return None
    if meaning_value(a.value) == meaning_value(b.value):
        return True
    digits = min(a.digits, b.digits)
    if a.digits != b.digits and round(a.value, digits) == round(b.value, digits):
        return None  # 3.14 and 3.1416: perhaps a rounding
    return False


def meaning_value(value: float) -> float:
    """A number to nine significant digits, so that 0.1 m + float noise equals 10 cm."""
    return float(f"{value:.9g}")


def _same_date(a: Date, b: Date) -> bool | None:
    if a == b:
        return True
    known = [
        (x, y) for x, y in ((a.year, b.year), (a.month, b.month), (a.day, b.day)) if x is not None and y is not None
    ]
    return False if any(x != y for x, y in known) else None


def _date(key: str) -> Date | None:
    for pattern in _DATES:
        if found := pattern.match(key):
            parts = found.groupdict()
            month = int(parts["m"]) if parts["m"].isdigit() else _MONTHS.get(parts["m"], 0)
            day = int(parts["d"]) if parts.get("d") else None
            if 1 <= month <= 12 and (day is None or 1 <= day <= 31):
                return Date(int(parts["y"]) if parts.get("y") else None, month, day)
    return None


def _ordinal(key: str) -> int | None:
    if found := _ORDINAL_NUMERAL.match(key):
        return int(found.group(1))
    return _ORDINALS.get(key)


def _time_of_day(key: str) -> Quantity | None:
    """``3 pm``, ``3:05 p.m.``, ``15:00``, in minutes; 3:05 alone may be a score, a ratio, or either half of the day."""
    if found := _HALF_DAY.match(key):
        hour, minute, half = found.groups()
        if 1 <= int(hour) <= 12:
            minutes = (int(hour) % 12 + 12 * (half == "p")) * 60 + int(minute or 0)
            return Quantity(minutes, "time of day", 0 if minute else -1)  # 3 pm may stand for 3:02
    elif found := _WHOLE_DAY.match(key):
        return Quantity(int(found.group(1)) * 60 + int(found.group(2)), "time of day", 0)
    return None


def _quantity(key: str) -> Quantity | None:
    """``$1,250``, ``twelve apples``, ``-3.5 km``, ``5 million``; None when the answer is more than that."""
    currency = key[0] if key[:1] in ("$", "€", "£") else ""
    number = _leading_number(key.removeprefix(currency).strip())
    if number is None:
        return None
    value, digits, rest = number
    unit = _SCALE_OF_DEGREES.sub("", rest) or currency
    if rest and currency and _UNITS.get(rest, ("", 0))[0] != _UNITS[currency][0]:
        return None
    dimension, factor = _UNITS.get(unit, (unit, 1.0))
    if dimension == "fahrenheit":
        value, dimension, factor = value - 32, "celsius", 5 / 9
    return Quantity(value * factor, dimension, digits - floor(log10(factor)))


def _leading_number(key: str) -> tuple[float, int, str] | None:
    """Value, decimal places, and the words after it."""
    found = _NUMERAL.match(key)
    if not found:
        return _number_words(key)
    numeral, rest = found.group(), key[found.end() :]
    if (rest[:1].isalnum() and not re.match(r"(km|cm|mm|kg|mg|ml|m|g|l|s)\b", rest)) or rest[:1] in (
        "/",
        "-",
        "–",
        ":",
        "^",
        "!",
        ".",
    ):
        return None  # 3rd, 1/2, 1-2, 10:30, 2^10, 5!: more than a number
    if ("," not in numeral and _AMBIGUOUS.match(numeral)) or _LEADING_ZERO.match(numeral):
        return None
    value, digits = float(numeral.replace(",", "").replace("−", "-")), len(numeral.partition(".")[2])
    words = rest.split()
    if words and words[0] in _SCALES:
        value *= _SCALES[words[0]]
        digits -= len(str(_SCALES[words[0]])) - 1
        words = words[1:]
    return value, digits, " ".join(words)


def _number_words(key: str) -> tuple[float, int, str] | None:
    """``twenty-one thousand apples``: English number words at the start."""
    words = re.sub(r"(?<=ty)-(?=[a-z])", " ", key).split()
    total, group, used, last = 0, 0, 0, ""
    for word in words:
        if word in _SMALL and (last == "" or last in _SCALES or last == "and" or (last in _TENS and _SMALL[word] < 10)):
            group += _SMALL[word]
        elif word == "hundred" and 0 < group < 10:
            group *= 100
        elif word in _SCALES and (group or (word == "dozen" and not used)):
            total, group = total + (group or 1) * _SCALES[word], 0
        elif not (word == "and" and last in _SCALES):
            break
        used, last = used + 1, word
    if not used or last == "and":
        return None
    rest = words[used:]
    if rest and (rest[0] in _SMALL or rest[0] in _SCALES or rest[0] in ("point", "and", "or", "half", "to")):
        return None
    return float(total + group), 0, " ".join(rest)
