"""Numbers and what they count: numerals, number words, fractions, powers, units, currencies; exact, no rounding.

It reads normalised answers (`normalise.exact_key`). Ambiguous texts give None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor, gcd, log10

LONGEST = 1100  # characters; longer texts are not numbers
EXACT = 99  # decimal places of a value that is no rounding
LARGEST_EXPONENT = 100
ROUNDING = Fraction(5, 100)  # what a value in another unit may be off by: converted, and rounded to two figures

_BELOW_20 = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS_WORDS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * i for i, word in enumerate(_TENS_WORDS, start=2)}
SMALL = {word: value for value, word in enumerate(_BELOW_20)} | _TENS
SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SHORT_SCALES = {"bn": 10**9, "tn": 10**12}
_MONEY_SCALES = {"k": 10**3, "m": 10**6, "mm": 10**6, "mn": 10**6, "mln": 10**6, "b": 10**9} | _SHORT_SCALES
_ORDINALS = {"third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
             "tenth": 10, "twelfth": 12, "sixteenth": 16, "twentieth": 20, "hundredth": 100}  # fmt: skip
_PARTS = {"half": Fraction(1, 2), "quarter": Fraction(1, 4), "three quarters": Fraction(3, 4)}

# Before these, "a" and "an" are a number: "an hour", "a million".
ONE_OF = (
    *("hour", "minute", "day", "week", "fortnight", "month", "year", "decade", "century", "mile", "kilometre"),
    *("kilometer", "kilogram", "gram", "litre", "liter", "dollar", "euro", *SCALES),
)

# dimension -> factor to its base unit -> the unit's names. Short symbols differ by case (mW, MW): `exact_key` keeps it.
_DIMENSIONS = {
    "length": {"0.001": "mm,millimeter,millimetre", "0.01": "cm,cms,centimeter,centimetre", "1": "m,meter,metre",
               "1000": "km,kms,kilometer,kilometre", "0.0254": "inch,inches", "0.3048": "ft,foot,feet",
               "0.9144": "yd,yds,yard", "1609.344": "mile"},
    "mass": {"0.000001": "mg,milligram", "0.001": "g,gram", "1": "kg,kgs,kilogram", "1000": "Mg,tonne",
             "0.45359237": "lb,lbs,pound", "0.028349523125": "oz,ounce"},
    "time": {"1": "s,sec,secs,second", "60": "min,mins,minute", "3600": "hr,hrs,hour", "86400": "day,days",
             "604800": "week", "1209600": "fortnight"},
    "months": {"1": "month", "12": "yr,yrs,year", "120": "decade", "1200": "century,centuries"},
    "volume": {"0.001": "ml,mL,milliliter,millilitre", "1": "l,liter,litre"},
    "area": {"1": "m^2,sq m,square meter,square metre", "1000000": "km^2,sq km,square kilometer,square kilometre"},
    "speed": {"1000": "km/h,kph,kilometers per hour,kilometres per hour", "1609.344": "mph,miles per hour",
              "3600000": "m/s,meters per second,metres per second"},
    "power": {"0.001": "mW,milliwatt", "1": "watt", "1000": "kw,kilowatt", "1000000": "MW,megawatt"},
    "data": {"125000": "Mb,megabit", "125000000": "Gb,gigabit", "1000000": "MB,megabyte", "1000000000": "GB,gigabyte",
             "1000000000000": "tb,terabyte"},
    "dollar": {"1": "$,usd,us$,dollar,us dollar", "0.01": "cent"},
    "australian dollar": {"1": "a$,au$,aud,australian dollar"},
    "canadian dollar": {"1": "c$,ca$,cad,canadian dollar"},
    "euro": {"1": "€,eur,euro"},
    "sterling": {"1": "£,gbp,pounds sterling,pound sterling,british pound"},
    "share": {"0.01": "%,percent,per cent,pct"},
    "celsius": {"1": "°c,celsius,degree celsius,degrees celsius"},
    "fahrenheit": {"1": "°f,fahrenheit,degree fahrenheit,degrees fahrenheit"},
    "angle": {"1": "°,degree"},
    "era": {"1": "ad,ce", "-1": "bc,bce"},
}  # fmt: skip
_MONEY = {"dollar", "australian dollar", "canadian dollar", "euro", "sterling"}
_UNITS = {
    name + plural: (dimension, Fraction(factor), names)
    for dimension, units in _DIMENSIONS.items()
    for factor, names in units.items()
    for name in names.split(",")
    for plural in ("", "s" if len(name) > 3 else "")
}
_CURRENCY = re.compile(r"(-?)((?:us|au?|ca?)?\$|[€£]) ?(?=[\d.-])")

_NUMERAL = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|-?\.\d+")
_FRACTION = re.compile(r"(?:(\d{1,9}) )?(\d{1,3})/([1-9]\d{0,2}) ")
_MINUS = re.compile(r"(?:minus|negative) (?=[\d.a-z])")
_E_NOTATION = re.compile(r"(-?\d{1,9}(?:\.\d{1,9})?)e([-+]?\d{1,3})((?:\s.*)?)$")
_SHORT_DECADE = re.compile(r"'?\d0s$")  # the 70s may be the 1970s
_POWER = re.compile(r"(?:(-?\d{1,9}(?:\.\d{1,9})?) ?[x×*] ?)?(\d{1,4})\^(-?\d{1,2})(?=\s|$)")
_AMBIGUOUS = re.compile(r"-?\d{1,3}\.\d{3}")  # 1.000 is one or a thousand, by country; 1,000 is taken for a thousand
_LEADING_ZERO = re.compile(r"-?0\d")  # 007 and 02134 are names, no numbers
_PART_OF = re.compile(r"(?:an? |one )?(half|quarter|three quarters)(?: of)? an? (?=\w)")
_OF_ALL = r"(?: of (?:it|them|all))?$"
_SHARE = re.compile(rf"(\d{{1,3}})/(\d{{1,3}}){_OF_ALL}")
_SHARE_IN_WORDS = re.compile(
    rf"(?:(?P<above>an?|{'|'.join(_BELOW_20[1:])})[ -])?(?P<below>half|{'|'.join(_ORDINALS)})s?{_OF_ALL}"
)
_AND_PART = re.compile(r"and (?:a |one )?(half|quarter|three quarters)(?=\s|$)")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number with what it counts: a unit's dimension, other words, or nothing."""

    value: Fraction  # in the dimension's base unit
    dimension: str  # "" for a bare number; "number of ..." when the words are no known unit
    digits: int = 0  # decimal places of `value` that were written (-5 for 2.5 million): rounded values do not differ
    unit: str = ""  # names of the unit as it was written; "" for none
    zeros: int = 0  # a bare number's last decimals that are 0: 3.10 may be a version, not 3.1

    @property
    def meaning(self) -> tuple[str, Fraction, int]:
        """Equal for quantities that are surely the same: 0.25, 1/4 and 25 % among them."""
        share = not self.dimension and 0 < self.value < 1
        return "share" if share else self.dimension, self.value, self.zeros


@dataclass(frozen=True, slots=True)
class _Number:
    """A number at the start of an answer, and the words after it."""

    value: Fraction
    digits: int
    rest: str
    zeros: int = 0


def same_quantity(a: Quantity, b: Quantity) -> bool | None:
    """True and False where that is certain; what may be a rounding, or the same in another unit, is None."""
    if a.meaning == b.meaning:
        return True
    if a.dimension != b.dimension:
        return False if a.value == b.value and {a.dimension, b.dimension} <= _MONEY else None  # $100 and €100
    if a.value == b.value:
        return None  # 3.1 and 3.10
    digits, apart = min(a.digits, b.digits), abs(a.value - b.value)
    if a.digits != b.digits and round(a.value, digits) == round(b.value, digits):
        return None  # 3.14 and 3.1416
    if a.unit == b.unit:
        return False
    if a.dimension == "celsius":  # 1.5 °C and 2.7 °F are the same difference, 100 of either never
        return False if a.value in (b.value * 9 / 5 + 32, (b.value - 32) * 5 / 9) else None
    near = max(ROUNDING * max(abs(a.value), abs(b.value)), Fraction(10) ** -digits / 2)
    return None if apart <= near else False


def parse_quantity(key: str) -> Quantity | None:
    """``$1,250``, ``twelve apples``, ``half a mile``, ``$1.2bn``; None when the answer is more than that."""
    if len(key) > LONGEST or _SHORT_DECADE.match(key):
        return None
    if (share := _share(key)) is not None:
        return Quantity(share, "share", EXACT, "fraction")
    money = _CURRENCY.match(key)
    currency = money.group(2) if money else ""
    number = _scale(_number(money.group(1) + key[money.end() :] if money else key), currency)
    return None if number is None else _count_unit(number, currency)


def words_after_number(key: str) -> str:
    """The scale and the unit after the number that a quantity begins with: "million euros" of "2 million euros"."""
    found = _number(key)
    return found.rest if found else ""


def _share(key: str) -> Fraction | None:
    """A proper fraction in lowest terms, in figures or words; 3/4 of a bar is not 6/8 of it, and 9/11 may be a date."""
    if found := _SHARE.match(key):
        above, below = map(int, found.groups())
    elif (found := _SHARE_IN_WORDS.match(key)) and (found["above"] or found["below"] == "half"):
        above = SMALL.get(found["above"], 1)
        below = _ORDINALS.get(found["below"], 2)
    else:
        return None
    return Fraction(above, below) if 0 < above < below and gcd(above, below) == 1 else None


def _count_unit(number: _Number, currency: str) -> Quantity | None:
    rest = number.rest
    if currency and rest and _UNITS.get(rest, ("",))[0] != _UNITS[currency][0]:
        return _compound(number, currency, rest) if rest.startswith("and ") else None
    if (name := rest or currency) not in _UNITS:
        unit, _, more = rest.partition(" ")
        if unit in _UNITS and more and (found := _compound(number, unit, more)):
            return found
        return Quantity(number.value, f"number of {rest}" if rest else "", number.digits, rest, number.zeros)
    dimension, factor, unit = _UNITS[name]
    value = number.value
    if dimension == "fahrenheit":
        value, dimension, factor = value - 32, "celsius", Fraction(5, 9)
    return Quantity(value * factor, dimension, number.digits - _magnitude(factor), unit)


def _compound(number: _Number, name: str, more: str) -> Quantity | None:
    """``1 hour (and) 30 minutes``, ``an hour and a half``, ``two dollars and fifty cents``."""
    dimension, factor, unit = _UNITS[name]
    if dimension in ("celsius", "fahrenheit", "era") or number.value.denominator != 1 or number.value < 0:
        return None
    if part := _AND_PART.fullmatch(more):
        value = number.value + _PARTS[part.group(1)]
        return Quantity(value * factor, dimension, 2 - _magnitude(factor), unit)
    small = parse_quantity(more.removeprefix("and ")) if len(more) <= 40 else None
    if small is None or small.dimension != dimension or not 0 <= small.value < factor:
        return None
    return Quantity(number.value * factor + small.value, dimension, small.digits, small.unit)


def _magnitude(factor: Fraction) -> int:
    return floor(log10(abs(factor)))


def _number(key: str) -> _Number | None:
    """The number that the answer begins with."""
    if minus := _MINUS.match(key):
        return _negate(_number(key[minus.end() :]))
    if (decimal := _E_NOTATION.match(key)) and abs(int(decimal.group(2))) <= LARGEST_EXPONENT:
        return _Number(Fraction(decimal.group(1)) * Fraction(10) ** int(decimal.group(2)), 0, decimal.group(3).strip())
    if power := _POWER.match(key):
        times, root, exponent = power.groups()
        return _Number(Fraction(times or 1) * Fraction(root) ** int(exponent), 0, key[power.end() :].strip())
    if fraction := _FRACTION.match(key):
        whole, above, below = (int(part or 0) for part in fraction.groups())
        rest = key[fraction.end() :]
        return _Number(whole + Fraction(above, below), 2, rest) if rest in _UNITS or rest in SCALES else None
    if part := _PART_OF.match(key):
        rest = key[part.end() :]
        known = rest.partition(" ")[0] in SCALES or rest in _UNITS
        return _Number(_PARTS[part.group(1)], 2, rest) if known else None
    found = _NUMERAL.match(key)
    return _in_digits(found.group(), key[found.end() :]) if found else _in_words(key)


def _negate(number: _Number | None) -> _Number | None:
    return None if number is None or number.value <= 0 else replace(number, value=-number.value)


def _in_digits(numeral: str, rest: str) -> _Number | None:
    rest = f"s{rest[2:]}" if rest.startswith("'s") else rest  # the 1990's
    glued = rest.partition(" ")[0]
    if glued[:1].isalpha():
        if len(glued) == 1 and glued not in "gml":
            rest = f"-{rest}"  # 1990s is not seconds, 4G not grams: without a space it is another unit
        elif glued not in _UNITS and glued not in _SHORT_SCALES and glued not in _MONEY_SCALES:
            return None  # 3rd
    elif glued and glued not in _UNITS and glued[0] != "+":
        return None  # 1/2, 1-2, 10:30, 2^10, 5!, 101_2, 1,5: more than a number
    if ("," not in numeral and _AMBIGUOUS.fullmatch(numeral)) or _LEADING_ZERO.match(numeral):
        return None
    plain = numeral.replace(",", "")
    decimals = plain.partition(".")[2]
    return _Number(Fraction(plain), len(decimals), rest.strip(), len(decimals) - len(decimals.rstrip("0")))


def _scale(number: _Number | None, currency: str) -> _Number | None:
    """With the scale after it: 2.5 million, one and a half billion, $5m."""
    if number is None:
        return None
    value, digits, rest, zeros = number.value, number.digits, number.rest, number.zeros
    if (part := _AND_PART.match(rest)) and value.denominator == 1 and value >= 0:
        value, digits, rest = value + _PARTS[part.group(1)], 2, rest[part.end() :].strip()
    first, _, others = rest.partition(" ")
    word = first.removeprefix("-").casefold()
    scales = _SHORT_SCALES | (_MONEY_SCALES if currency else {}) | SCALES
    if word in scales:
        value, digits, rest, zeros = value * scales[word], digits - _magnitude(Fraction(scales[word])), others, 0
    elif first in _MONEY_SCALES and first not in _UNITS and others in _UNITS and _UNITS[others][0] == "dollar":
        return None
    return _Number(value, digits, rest, 0 if rest or currency else zeros)


def _in_words(key: str) -> _Number | None:
    """``twenty-one thousand apples``, ``an hour``: English number words at the start."""
    words = re.sub(r"(?<=ty)-(?=[a-z])", " ", key).split()
    if len(words) > 1 and words[0] in ("a", "an") and words[1] in ONE_OF:
        words[0] = "one"
    total, group, used, last = 0, 0, 0, ""
    for word in words:
        if word in SMALL and (last == "" or last in SCALES or last == "and" or (last in _TENS and SMALL[word] < 10)):
            group += SMALL[word]
        elif word == "hundred" and 0 < group < 100 and group % 10:  # nineteen hundred
            group *= 100
        elif word in SCALES and (group or (word == "dozen" and not used)):
            total, group = total + (group or 1) * SCALES[word], 0
        elif not (word == "and" and last in SCALES):
            break
        used, last = used + 1, word
    if not used or last == "and":
        return None
    rest = words[used:]
    if rest and (rest[0] in SMALL or rest[0] in SCALES or rest[0] in ("point", "or", "half", "to")):
        return None
    if rest[:1] == ["and"] and not (_AND_PART.match(" ".join(rest)) and last not in SCALES):
        return None
    return _Number(Fraction(total + group), 0, " ".join(rest))
