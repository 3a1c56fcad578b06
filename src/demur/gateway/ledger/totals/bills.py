"""What requests have cost and what they have saved, in all and by key, conversation, model, day or threshold.

One sum for the command line, the dashboard and the operator's routes. Savings are signed: where checks of the weak
model's answers cost more than they saved, it is a loss.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from operator import add
from typing import Any, Literal, get_args

from demur.errors import InputError
from demur.gate.form.requested_form import OF_NO_USE
from demur.gateway.decision.conversation_model import HELD_MARKS
from demur.gateway.ledger.read import query_ledger
from demur.gateway.ledger.record import DECIDED, LedgerRecord
from demur.records import count_of, dollars
from demur.serving_file import IS_TEST

By = Literal["key", "conversation", "model", "day", "threshold"]
DAY_SECONDS = 86_400
UNIT_SECONDS = {"m": 60, "h": 3600, "d": DAY_SECONDS}
INTERVAL = 1.96  # standard deviations to either side: 95 %
ROUNDING = 1e-12  # of always-strong's cost: what the sums of requests that saved nothing may differ by
# The whole second: SQLite's cast cuts off the fraction, PostgreSQL's rounds.
_SECOND = '(cast("at" as bigint) - case when cast("at" as bigint) > "at" then 1 else 0 end)'
_GROUP = {
    "key": '"key"',
    "conversation": '"conversation"',
    "model": '"model"',
    "day": f"{_SECOND} / {DAY_SECONDS}",
    "threshold": '"threshold"',
}


@dataclass(frozen=True, slots=True)
class Bill:
    """Sums over requests. Money is in USD; what is unknown is counted, and never $0."""

    name: str  # of the key, conversation, model, day (UTC) or threshold; empty for all
    requests: int = 0  # of clients
    strong: int = 0  # of `routed`: answered by the strong model
    prompt_tokens: int = 0
    cached_tokens: int = 0  # of the prompts'
    cache_written_tokens: int = 0  # of the prompts'
    completion_tokens: int = 0
    reasoning_tokens: int = 0  # of the completions'
    unpriced: int = 0  # requests of which a cost is not known; they are in no sum below but `usd`
    usd: float = 0.0  # paid, as far as it is known
    usd_checks: float = 0.0  # of it: drafts that were dropped, extra samples, requests that were cut
    usd_compared: float = 0.0  # paid for requests of which always-strong's cost is known too
    usd_strong: float = 0.0  # what always-strong would have cost for those
    usd_spared: float = 0.0  # of it: not paid because the chosen, dearer model was down, which is no saving
    error: float = 0.0  # standard deviation of that which all guesses share, USD
    variance: float = 0.0  # of the guesses' own deviations, USD squared
    unguarded: int = 0  # guesses of always-strong's cost whose error is not known
    estimated: int = 0  # requests that cost something and a part of whose tokens the upstream did not count
    usd_estimated: float = 0.0  # of `usd`: what those cost
    held: int = 0  # stayed with the model of their conversation, although their score asked for a cheaper one
    routed: int = 0  # demur decided by a score; the others named a model, or no model could be chosen
    tests: int = 0  # requests of demur's own, which ask whether a model is down
    usd_tests: float = 0.0  # of `usd`: what those cost

    @property
    def saved(self) -> float:
        """USD saved against always-strong; negative for a loss. An outage saves nothing."""
        saved = self.usd_strong - self.usd_compared - self.usd_spared
        return 0.0 if abs(saved) < ROUNDING * self.usd_strong else saved

    @property
    def margin(self) -> float | None:
        """Half of the 95 % interval of `saved`, in USD; None where the error of a guess is not known."""
        return None if self.unguarded else INTERVAL * math.hypot(self.error, math.sqrt(self.variance))

    @property
    def saved_share(self) -> float | None:
        """`saved` as a fraction of always-strong; None where that costs nothing."""
        return self.saved / self.usd_strong if self.usd_strong > 0 else None

    @property
    def told_share(self) -> float | None:
        """`saved_share`; None also where the margin is as large: a percentage would be read as if it were known."""
        return None if self.margin and self.margin >= abs(self.saved) else self.saved_share

    @property
    def strong_share(self) -> float | None:
        """The share of `routed` that the strong model answered; None of none."""
        return self.strong / self.routed if self.routed else None

    def as_dict(self) -> dict[str, object]:
        """All sums with what follows from them, for JSON."""
        sums = {one.name: getattr(self, one.name) for one in fields(self)}
        said = {"saved": self.saved, "margin": self.margin, "saved_share": self.saved_share}
        return sums | said | {"strong_share": self.strong_share}

    @property
    def tests_in_words(self) -> str:
        """How many requests are of demur's own."""
        return f"{count_of(self.tests, 'test request')} of demur's own"

    @property
    def held_note(self) -> str:
        """How many requests stayed with their conversation's model, as a clause; empty for none."""
        whose = "its" if self.held == 1 else "their"
        stayed = f"{self.held:,} stayed with {whose} conversation's model although the score asked for a cheaper one"
        return f"of these {count_of(self.requests, 'request')} {stayed}" if self.held else ""

    @property
    def sentence(self) -> str:
        """The result as one sentence."""
        if not self.requests and not self.tests:
            return "no requests"
        margin = f" ± {dollars(self.margin)}" if self.margin else ""
        guess = "" if self.margin is not None else ", a guess of unknown error: the router was trained without samples"
        word, share = ("saved", "saves") if self.saved >= 0 else ("lost", "loses")
        part = "" if self.told_share is None else f" ({share} {abs(self.told_share):.0%})"
        if self.told_share is None and self.saved_share is not None:
            part = ", which is not told from 0: too few requests"
        checks = f", {dollars(self.usd_checks)} of it for checks" if self.usd_checks else ""
        checks += f", {dollars(self.usd_tests)} of it for {self.tests_in_words}" if self.tests else ""
        answers = f"{count_of(int(self.estimated), 'answer')} came without usage"
        checks += f", {dollars(self.usd_estimated)} of it estimated ({answers})" if self.usd_estimated else ""
        unknown = (
            f"; the cost of {self.unpriced:,} of {self.requests:,} is unknown and left out" if self.unpriced else ""
        )
        spared = f", {dollars(self.usd_spared)} spared by outages" if self.usd_spared else ""
        return (
            f"{dollars(self.usd)} paid{checks}, {dollars(self.usd_strong)} always strong{spared}: "
            f"{dollars(abs(self.saved))} {word}{margin}{part}{guess}{unknown}"
        )


SUMS = len(fields(Bill)) - 1
_KINDS: tuple[Callable[[Any], Any], ...] = tuple(int if one.type == "int" else float for one in fields(Bill)[1:])


def bill_of(records: Iterable[LedgerRecord], name: str = "") -> Bill:
    """The bill of these records."""
    sums: tuple[Any, ...] = (0,) * SUMS
    for record in records:
        sums = tuple(a + b for a, b in zip(sums, sums_of(record), strict=True))
    return Bill(name, *sums)


def sums_of(record: LedgerRecord) -> tuple[float, ...]:
    """What a record adds to each sum of `Bill`, in their order; its name is none. A decision alone adds nothing."""
    if record.role == DECIDED:
        return (0.0,) * SUMS
    routed = record.score is not None
    compared = record.usd is not None and record.usd_strong is not None
    usd, strong, spread = record.usd or 0.0, record.usd_strong or 0.0, record.usd_strong_spread or 0.0
    return (
        *(
            not record.is_test,
            routed and record.role == "strong",
            record.prompt_tokens,
            record.cached_tokens,
            record.cache_written_tokens,
        ),
        *(record.completion_tokens, record.reasoning_tokens, not compared and not record.is_test, usd),
        0.0 if record.is_test else record.usd_checks or 0.0,
        *(
            (usd, strong, record.usd_spared, record.usd_strong_error or 0.0, spread * spread)
            if compared
            else (0.0,) * 5
        ),
        compared and record.usd_strong_error is None,
        *((1, usd) if usd and not record.tokens_counted else (0, 0.0)),
        record.role != "weak" and any(mark in record.reason for mark in HELD_MARKS),
        routed,
        *((1, usd) if record.is_test else (0, 0.0)),
    )


def bill_of_sums(sums: Iterable[float], name: str = "") -> Bill:
    """A bill from the sums of what its records add."""
    return Bill(name, *(kind(value or 0) for kind, value in zip(_KINDS, sums, strict=True)))


_COMPARED = "case when usd is not null and usd_strong is not null then {} else 0 end"
IS_OF_NO_USE = f"replace(reason, '{OF_NO_USE}', '') <> reason"
_HELD = " or ".join(f"replace(reason, '{mark}', '') <> reason" for mark in HELD_MARKS)
_SUMS = (  # in the order of the fields of `Bill`
    f"sum(case when {IS_TEST} then 0 else 1 end)",
    "sum(case when role = 'strong' and score is not null then 1 else 0 end)",
    *(f"sum({name}_tokens)" for name in ("prompt", "cached", "cache_written", "completion", "reasoning")),
    f"sum(case when (usd is null or usd_strong is null) and not {IS_TEST} then 1 else 0 end)",
    "coalesce(sum(usd), 0)",
    f"coalesce(sum(case when {IS_TEST} then 0 else usd_checks end), 0)",
    f"sum({_COMPARED.format('usd')})",
    f"sum({_COMPARED.format('usd_strong')})",
    f"sum({_COMPARED.format('usd_spared')})",
    f"sum({_COMPARED.format('coalesce(usd_strong_error, 0)')})",
    f"sum({_COMPARED.format('coalesce(usd_strong_spread, 0) * coalesce(usd_strong_spread, 0)')})",
    f"sum({_COMPARED.format('case when usd_strong_error is null then 1 else 0 end')})",
    *(f"sum(case when usd <> 0 and not tokens_counted then {value} else 0 end)" for value in ("1", "usd")),
    f"sum(case when role <> 'weak' and ({_HELD}) then 1 else 0 end)",
    "sum(case when score is not null then 1 else 0 end)",
    *(f"coalesce(sum(case when {IS_TEST} then {value} else 0 end), 0)" for value in ("1", "usd")),
)


def bills(url: str, *, by: str | None = None, since: float = 0.0) -> list[Bill]:
    """The bills of a ledger from a time on (seconds since 1970), the largest first, days and thresholds in order; one
    without ``by``.

    Raises InputError for another ``by``, StoreError for a ledger that cannot be read.
    """
    if by is not None and by not in get_args(By):
        raise InputError(f"requests are added up by {by!r}; it can be {', '.join(get_args(By))}")
    group = _GROUP[by] if by else "''"
    which = f"at >= {float(since)!r} and role <> '{DECIDED}'"
    query = f"select {group}, {', '.join(_SUMS)} from decisions where {which} group by 1"
    sums: dict[str, list[float]] = {}  # thresholds that look alike are added up
    for group, *values in query_ledger(url, query):
        name, added = _name(group, by), [value or 0 for value in values]
        sums[name] = list(map(add, sums[name], added)) if name in sums else added
    found = [bill_of_sums(values, name) for name, values in sums.items()]
    if by is None and not found:
        return [Bill("")]
    return sorted(found, key=lambda one: _place(one, by))


def replaced_counts(url: str, *, by: str, since: float = 0.0) -> tuple[dict[str, int], int, int]:
    """How many requests another model answered than the chosen one, which failed or gave an empty answer: by the names
    of the bills; in all by the weak model; and in all because of an empty answer. Raises StoreError."""
    which = f"at >= {float(since)!r} and outcome = 'fallback'"
    empties = f"sum(case when {IS_OF_NO_USE} then 1 else 0 end)"
    query = f"select {_GROUP[by]}, role, count(*), {empties} from decisions where {which} group by 1, 2"
    found: Counter[str] = Counter()
    weak = empty = 0
    for name, role, count, of_no_use in query_ledger(url, query):
        found[_name(name, by)] += int(count)
        weak += int(count) if role == "weak" else 0
        empty += int(of_no_use)
    return dict(found), weak, empty


def _name(group: Any, by: str | None) -> str:
    """Of a row, from the value that its requests share."""
    if by == "threshold":
        return "" if group is None else f"{group:.4f}"
    return day_name(int(group) * DAY_SECONDS) if by == "day" else str(group)


def _place(bill: Bill, by: str | None) -> tuple[float, str]:
    if by == "threshold":
        return (float(bill.name or "inf"), "")
    return (0.0 if by == "day" else -bill.usd, bill.name)


def day_name(at: float) -> str:
    """The day (UTC) of a time in seconds since 1970."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def parse_since(text: str, *, now: float) -> float:
    """Seconds since 1970 of a day (2026-11-28, UTC) or of a time that has passed (30m, 24h, 7d); raises InputError."""
    number, unit = text[:-1], text[-1:]
    if number.isdecimal() and unit in UNIT_SECONDS:
        return now - int(number) * UNIT_SECONDS[unit]
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise InputError(f"since is {text!r}; give a day such as 2026-11-28, or 30m, 24h, 7d") from None
