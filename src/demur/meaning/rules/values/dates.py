"""Calendar dates and times of day, as short answers write them; read from normalised answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from demur.meaning.rules.values.quantities import SMALL, Quantity

TIME_OF_DAY, CLOCK = "time of day", "clock"  # in minutes; CLOCK: either half of the day, or no time at all

_MONTH_NAMES = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTHS = {name[:length]: number for number, name in enumerate(_MONTH_NAMES, start=1) for length in (3, len(name))} | {
    "sept": 9
}
_DATES = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{2})-(?P<d>\d{2})$"),
    re.compile(r"(?P<d>1[3-9]|2\d|3[01])[/.](?P<m>\d{1,2})[/.](?P<y>\d{4})$"),  # above 12 it cannot be a month:
    re.compile(r"(?P<m>\d{1,2})[/.](?P<d>1[3-9]|2\d|3[01])[/.](?P<y>\d{4})$"),  # 4/7/1776 stays undecided
    re.compile(r"(?P<d>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<m>[a-z]+),? (?P<y>\d{4})$"),
    re.compile(r"(?P<m>[a-z]+) (?P<d>\d{1,2})(?:st|nd|rd|th)?,? (?P<y>\d{4})$"),
    re.compile(r"(?P<m>[a-z]+),?(?: of)? (?P<y>\d{4})$"),
    re.compile(r"(?P<d>\d{1,2})(?:st|nd|rd|th)?(?: of)? (?P<m>[a-z]+)$"),
    re.compile(r"(?P<m>[a-z]+) (?P<d>\d{1,2})(?:st|nd|rd|th)?$"),
)

_WHOLE_DAY = re.compile(r"(1[3-9]|2[0-3]):([0-5]\d)$")
_HOUR = rf"(?P<hour>[1-9]|1[0-2]|{'|'.join(word for word, value in SMALL.items() if 1 <= value <= 12)})"
_HALF = r"(?: ?(?P<half>[ap])\.?m| in the (?P<part>morning|afternoon|evening))?$"
_TIME = re.compile(rf"{_HOUR}(?::(?P<minute>[0-5]\d))?(?P<clock> o'clock)?{_HALF}")
_PAST = re.compile(rf"(?:a )?(?P<part_of_hour>half|quarter) (?P<way>past|to) {_HOUR}{_HALF}")


@dataclass(frozen=True, slots=True)
class Date:
    """A calendar date; parts that were not said are None."""

    year: int | None
    month: int
    day: int | None


def parse_date(key: str) -> Date | None:
    """The answer as a date."""
    for pattern in _DATES:
        if found := pattern.match(key):
            parts = found.groupdict()
            month = int(parts["m"]) if parts["m"].isdigit() else _MONTHS.get(parts["m"], 0)
            day = int(parts["d"]) if parts.get("d") else None
            if 1 <= month <= 12 and (day is None or 1 <= day <= 31):
                return Date(int(parts["y"]) if parts.get("y") else None, month, day)
    return None


def same_date(a: Date, b: Date) -> bool | None:
    """True and False where that is certain; None where one says more than the other."""
    if a == b:
        return True
    parts = ((a.year, b.year), (a.month, b.month), (a.day, b.day))
    return False if any(x is not None and y is not None and x != y for x, y in parts) else None


def time_of_day(key: str) -> Quantity | None:
    """``3:05 p.m.``, ``15:05``, ``noon``, ``half past six``; without a half of the day on the clock's face (CLOCK)."""
    if key in ("noon", "midday", "midnight"):
        return Quantity(Fraction(0 if key == "midnight" else 720), TIME_OF_DAY)
    if found := _WHOLE_DAY.match(key):
        return Quantity(Fraction(int(found.group(1)) * 60 + int(found.group(2))), TIME_OF_DAY)
    if found := _PAST.match(key):
        minute = {"half": 30, "quarter": 15}[found["part_of_hour"]]
        if found["way"] == "to":
            return None if found["part_of_hour"] == "half" else _on_the_clock(found, -minute)
        return _on_the_clock(found, minute)
    found = _TIME.match(key)
    if found is None or not (found["minute"] or found["clock"] or found["half"] or found["part"]):
        return None
    return _on_the_clock(found, int(found["minute"] or 0), digits=0 if found["minute"] or found["clock"] else -1)


def _on_the_clock(found: re.Match[str], minute: int, *, digits: int = 0) -> Quantity | None:
    """3 pm may stand for 3:02 (digits -1); "12 in the morning" is ambiguous."""
    hour = int(found["hour"]) if found["hour"].isdigit() else SMALL[found["hour"]]
    if found["part"] == "morning" and hour == 12:
        return None
    if not (found["half"] or found["part"]):
        return Quantity(Fraction((hour % 12 * 60 + minute) % 720), CLOCK, digits)
    late = found["half"] == "p" or found["part"] in ("afternoon", "evening")
    return Quantity(Fraction(((hour % 12 + 12 * late) * 60 + minute) % 1440), TIME_OF_DAY, digits)


def same_time(a: Quantity, b: Quantity) -> bool | None:
    """As `quantities.same_quantity`; None for 10:20 and 5:10, which may be equal ratios."""
    ratios = [divmod(int(time.value), 60) for time in (a, b)]
    (h, m), (i, n) = ratios
    return None if h * n == i * m else False
