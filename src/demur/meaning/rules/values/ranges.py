"""Ranges as short answers write them: "7-9 hours", "between seven and nine hours", "from 1914 to 1918".

Read from normalised answers, both ends as `quantities` reads them. Ambiguous texts give None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from demur.meaning.rules.values.quantities import SCALES, Quantity, parse_quantity, same_quantity, words_after_number

LONGEST = 80  # characters of a range
_SPAN = re.compile(r"(?:between|from) (?P<low>.+?) (?:and|to|through|until|till|up to) (?P<high>.+)")
_TO = re.compile(r"(?P<low>\S+(?: \S+)?) to (?P<high>.+)")
_DASH = re.compile(r"(?P<low>\S*\d)(?: ?[-–—] ?)(?P<high>[$€£]?\d.*)")
_MORE = re.compile(r"[=<>]|\bto\b")  # in a unit: 3 - 5 = -2
_CURRENCY = re.compile(r"[$€£]")


@dataclass(frozen=True, slots=True)
class Range:
    """Two quantities of one dimension, the lower one first."""

    low: Quantity
    high: Quantity
    certain: bool  # in words or with a unit; "3-5" may also be a score, a difference, a date

    @property
    def meaning(self) -> object:
        """Equal for ranges that are surely the same."""
        return "range", self.low.meaning, self.high.meaning


def parse_range(key: str) -> Range | None:
    """The answer as a range; None where its ends are not two quantities in order."""
    found = next((match for form in (_SPAN, _TO, _DASH) if (match := form.fullmatch(key[: LONGEST + 1]))), None)
    if len(key) > LONGEST or found is None:
        return None
    ends = _ends(found["low"], found["high"])
    if ends is None or ends[0].dimension != ends[1].dimension or not ends[0].value < ends[1].value:
        return None
    return Range(*ends, certain=found.re is not _DASH or ends[0].dimension != "")


def _ends(low: str, high: str) -> tuple[Quantity, Quantity] | None:
    """Both ends, each with the unit or the currency that only the other one names."""
    if low[:1] in "$€£" and not _CURRENCY.search(high):
        high = low[0] + high
    upper, lower, unit = parse_quantity(high), parse_quantity(low), words_after_number(high)
    if upper is None or lower is None or _MORE.search(unit):
        return None
    scaled = bool(set(low.split()) & set(SCALES))
    if set(high.split()) & set(SCALES) and not (scaled or low[-1:].isdigit()):
        return None  # two to three hundred
    if scaled:
        unit = " ".join(word for word in unit.split() if word not in SCALES)
    return (lower if lower.dimension or not unit else parse_quantity(f"{low} {unit}") or lower), upper


def same_range(a: Range, b: Range) -> bool | None:
    """True and False where that is certain."""
    if a.meaning == b.meaning:
        return True
    ends = (same_quantity(a.low, b.low), same_quantity(a.high, b.high))
    return False if False in ends else None


def differs_from(a: Range, b: Quantity) -> bool | None:
    """False: a range is not one value of its dimension."""
    return False if a.certain and a.low.dimension == b.dimension else None
