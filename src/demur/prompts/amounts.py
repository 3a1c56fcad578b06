"""Numbers as answers write them: signs of every kind, currencies, accountants' brackets, years inside dates."""

from __future__ import annotations

import re
from dataclasses import dataclass

from demur.prompts.words import CURRENCY_SYMBOLS, CURRENCY_WORDS, currencies, plain_signs

_AMOUNT = re.compile(
    r"(?P<minus>(?<!\d)(?<!\d )(?:-|(?<!\w)(?:minus|negative)(?= )) {0,2})?\+?"
    rf"(?:(?P<before>[{CURRENCY_SYMBOLS}] ?)(?P<inner>-)?)?(?P<digits>\d[\d,]*(?:\.\d+)?|\.\d+)"
    rf"(?P<after> ?(?:[{CURRENCY_SYMBOLS}]|(?:{CURRENCY_WORDS})(?!\w)))?",
    re.I,
)
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(  # with its year, in whichever group
    rf"\b(\d{{4}})-\d\d?-\d\d?(?:t\S*)?|\b\d\d?[/.]\d\d?[/.](\d{{4}})|\b{_DAY}(?: of)? {_MONTH},? (\d{{4}})"
    rf"|\b{_MONTH} {_DAY},? (\d{{4}})",
    re.I,
)
_CLOCK = re.compile(r"\b\d{1,2}(?:[:.]\d\d)*\s*(?:[ap]\.?m\b\.?|o['’]clock)|\b\d{1,2}:\d\d(?::\d\d)?\b", re.I)
_YEAR = re.compile(r"[12]\d{3}")
TOLERANCE = 1e-4  # relative, as for gold numbers that were rounded


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its currency."""

    value: float
    currency: str = ""  # its symbol; "" when none is written
    bracketed: bool = False  # (5): to an accountant a negative number, to others the number

    def answers(self, gold: Amount) -> bool:
        """True when this is the gold number, in no other currency."""
        if self.currency and gold.currency and self.currency != gold.currency:
            return False
        value = -self.value if self.bracketed and gold.value < 0 else self.value
        return abs(value - gold.value) <= TOLERANCE * max(1.0, abs(gold.value))


def last_amount(text: str) -> Amount | None:
    """The number that an answer ends on (``#### 18``, ``-$1,234.50``); None without one."""
    plain = plain_signs(text.rpartition("####")[2] if "####" in text else text)
    last = None
    for last in _AMOUNT.finditer(plain):  # noqa: B007 -- the last one is wanted
        pass
    return None if last is None else _amount(last)


def only_amount(text: str) -> Amount | None:
    """The number that a text is; None when it says anything else."""
    found = _AMOUNT.fullmatch(plain_signs(text.strip()))
    return None if found is None else _amount(found)


def is_year(text: str) -> bool:
    """True when a text may be a year."""
    return _YEAR.fullmatch(text.strip()) is not None


def dates_as_years(text: str) -> str:
    """Each date as its year, and no times of day."""
    return _CLOCK.sub(" ", _DATE.sub(lambda found: next(year for year in found.groups() if year), text))


def _amount(found: re.Match[str]) -> Amount:
    value = float(found["digits"].replace(",", ""))
    text, start, end = found.string, found.start(), found.end()
    bracketed = text[end : end + 1] == ")" and re.search(r"(?<!\w)\($", text[max(0, start - 2) : start]) is not None
    return Amount(
        value=-value if found["minus"] or found["inner"] else value,
        currency=next(iter(currencies(f"{found['before'] or ''} {found['after'] or ''}")), ""),
        bracketed=bracketed and not (found["minus"] or found["inner"]),
    )
