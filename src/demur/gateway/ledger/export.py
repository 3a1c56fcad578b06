"""Prints the ledger, or exports it to a file for other tools."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from demur.errors import InputError, require
from demur.files import check_output
from demur.gateway.ledger.read import query_ledger, read_ledger
from demur.gateway.ledger.record import COLUMNS, DECIDED, LARGEST_INTEGER, LedgerRecord
from demur.gateway.ledger.totals.bills import Bill, bill_of, bills, parse_since, replaced_counts
from demur.prompts.files import RECORDED
from demur.records import count_of, dollars
from demur.routing.known.unknown_setting import UNLIKE

# Rows of a bill without a name.
NAMELESS = {"key": "(no key)", "conversation": "(none)", "model": "(no answer)", "threshold": "(none)"}
OWN = "(demur's own)"  # the same where no client asked
INSTEAD = "by another model than the chosen one"  # what an outage does
SHOWN = 20  # records that are printed
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a cell begins with that a spreadsheet runs


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Records, newest first, and where they went."""

    records: tuple[LedgerRecord, ...]
    exported: str = ""
    whole: Bill | None = None  # of all records, where these are not all that are asked for

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        if self.exported:
            return (f"wrote {count_of(len(self.records), 'record')} to {self.exported}{self._without_prompts}",)
        said = _summary(self.records)
        if self.whole is not None:
            said = f"of the last {count_of(len(self.records), 'record')}, shown here: {said}"
            return (
                *self._rows,
                said,
                f"in all: {count_of(self.whole.requests, 'request')}; {self.whole.sentence}",
                *_held_note(self.whole),
            )
        return (*self._rows, said, *_held_note(bill_of(self.records)))

    @property
    def _rows(self) -> tuple[str, ...]:
        """A line per record under the names of its columns; none of no record."""
        return (_HEAD, *map(_line, self.records)) if self.records else ()

    @property
    def _without_prompts(self) -> str:
        """How many records hold no prompt, where there are any."""
        empty = sum(not record.prompt for record in self.records)
        of = f"{empty:,} of them {'holds' if empty == 1 else 'hold'} no prompt"
        if empty == len(self.records):
            of = "none of them holds its prompt"
        return f"; {of} ({RECORDED})" if empty else ""


def ledger(
    url: str = "run/ledger.sqlite", *, last: int | None = None, export: Path | None = None, force: bool = False
) -> LedgerPage:
    """The newest records of a ledger, 20 unless ``last`` says how many; ``export`` writes them, all of them unless
    ``last`` is given, to .csv, .jsonl or .parquet. Raises InputError, also where the file exists, unless ``force``;
    StoreError.
    """
    if last is not None and not 0 < last <= LARGEST_INTEGER:
        raise InputError(f"last is {last}; give the number of records, 1 or more")
    if export is None:
        shown = tuple(read_ledger(url, last=SHOWN if last is None else last))
        number = query_ledger(url, "select count(*) from decisions")[0][0]
        return LedgerPage(shown, whole=bills(url)[0] if number > len(shown) else None)
    check_output(export, force=force)
    records = tuple(read_ledger(url, last=last))
    rows = [asdict(record) for record in records]
    if export.suffix == ".parquet":
        pyarrow = require("pyarrow", extra="hub", purpose="writing parquet")
        require("pyarrow.parquet", extra="hub", purpose="writing parquet").write_table(
            pyarrow.Table.from_pylist(rows), export
        )
    elif export.suffix == ".csv":
        with export.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows({name: _cell(value) for name, value in row.items()} for row in rows)
    elif export.suffix == ".jsonl":
        export.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    else:
        raise InputError(f"{export}: exports end in .csv, .jsonl or .parquet, not {export.suffix or 'nothing'!r}")
    return LedgerPage(records, str(export))


def _cell(value: object) -> object:
    """A cell that a spreadsheet does not run as a formula; some of these texts are written by clients."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _printable(text: str, width: int) -> str:
    """What a client wrote, for the operator's terminal: what cannot be printed is shown as Python spells it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:width])[:width]


_HEAD = (
    f"{'time':<14}  {'asked for':<20} -> {'answered by':<24} {'score':>6}  {'status':>6}  {'took':>11}  "
    f"{'cost':>10}  outcome"
)


def _line(record: LedgerRecord) -> str:
    at = datetime.fromtimestamp(record.at).strftime("%m-%d %H:%M:%S")
    score = "     -" if record.score is None else f"{record.score:6.3f}"
    usd = "unknown" if record.usd is None else dollars(record.usd)
    asked, model = _printable(record.asked, 20), _printable(record.model, 24) or "-"
    return (
        f"{at}  {asked:<20} -> {model:<24} {score}  {record.status:>6}  "
        f"{1000 * record.total_seconds:8.1f} ms  {usd:>10}  {record.outcome}{_why(record)}"
    )


def _why(record: LedgerRecord) -> str:
    """One word where something other than the score decided, or a score that is a guess; the whole reason is on the
    dashboard and in exports."""
    if record.score is None or record.role == DECIDED or record.outcome != "ok":  # the outcome says it
        return ""
    if record.stage == "unknown":
        return "  unknown"
    if record.threshold is None or math.isinf(record.threshold):  # as a key with a spent budget is routed
        return "  budget"
    by_score = "strong" if record.score >= record.threshold else "weak"
    if record.role not in ("weak", "strong") or record.role == by_score:
        return "  guess" if UNLIKE in record.reason else ""
    return "  busy" if "weak_at_most" in record.reason else "  held"


def _summary(records: Sequence[LedgerRecord]) -> str:
    made = [record for record in records if record.role != DECIDED]
    asked = [record for record in made if not record.is_test]
    routed = [record for record in asked if record.score is not None]
    bill = bill_of(records)
    untold = sum(record.stage == "unknown" for record in routed)
    unknown = f", {untold} unknown" if untold else ""
    guessed = sum(UNLIKE in record.reason and record.stage != "unknown" for record in routed)
    unknown += f", {guessed} by a score that is a guess" if guessed else ""
    replaced = sum(record.outcome == "fallback" for record in asked)
    unknown += f", {replaced} {INSTEAD}" if replaced else ""
    alone = f", {count_of(len(records) - len(made), 'decision')} alone" if len(made) < len(records) else ""
    strong = "none routed" if bill.strong_share is None else f"{bill.strong_share:.0%} of those routed strong"
    return f"{count_of(len(asked), 'request')}{alone}, {strong}{unknown}; {bill.sentence}"


@dataclass(frozen=True, slots=True)
class BillPage:
    """The bills of a ledger by key, conversation, model, day or threshold, and the whole."""

    bills: tuple[Bill, ...]
    whole: Bill
    by: str
    recorded: bool = False  # at least one of the ledger's records holds its prompt
    # By the names of the bills: requests that another model answered than the chosen one, which failed or gave an empty
    # answer.
    replaced: Mapping[str, int] = field(default_factory=dict)
    replaced_by_weak: int = 0  # of them by the weak model, in place of a dearer one
    replaced_empty: int = 0  # of them because the chosen one's answer was empty

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        names = [_printable(one.name, 40) or self._nameless(one) for one in self.bills]
        width = max(len(self.by), *map(len, names), 0)
        counted = f"{self.by:<{width}}  {'requests':>9}  {'routed strong':>13}"
        head = f"{counted}  {'paid':>12}  {'checks':>10}  {'always strong':>14}  saved"
        rows = (
            _bill_line(one, name.ljust(width), self.replaced.get(one.name, 0))
            for one, name in zip(self.bills, names, strict=True)
        )
        said = f"in all: {self.whole.sentence}{self._unanswered}"
        return (head, *rows, said, *self._outages, *_held_note(self.whole))

    def _nameless(self, bill: Bill) -> str:
        return OWN if bill.tests and not bill.requests else NAMELESS.get(self.by, "-")

    @property
    def _outages(self) -> tuple[str, ...]:
        """How many requests another model answered, where there are any."""
        number = sum(self.replaced.values())
        if not number:
            return ()
        of = f"{number:,} of {count_of(self.whole.requests, 'request')} {'was' if number == 1 else 'were'}"
        cheaper = f" (by the weak model in place of a dearer one: {self.replaced_by_weak:,})"
        failed = "" if self.replaced_empty == number else "failed"
        nothing = "gave an empty answer" if self.replaced_empty else ""
        mixed = f" ({self.replaced_empty:,} of them)" if failed and nothing else ""
        why = " or ".join(filter(None, (failed, nothing))) + mixed
        return (f"{of} answered {INSTEAD}, which {why}{cheaper if self.replaced_by_weak else ''}",)

    @property
    def _unanswered(self) -> str:
        """How many of the requests no model answered, such as those for a model that does not exist."""
        none = sum(one.requests for one in self.bills if self.by == "model" and not one.name)
        return (
            f"; {none:,} of {count_of(self.whole.requests, 'request')} {'was' if none == 1 else 'were'} answered by "
            "no model"
            if none
            else ""
        )


def bill_page(url: str, by: str, *, since: str | None = None) -> BillPage:
    """What a ledger's requests cost and saved, ``since`` a day or a time ago; raises InputError, StoreError."""
    start = 0.0 if since is None else parse_since(since, now=time.time())
    found = tuple(bills(url, by=by, since=start))
    replaced, by_weak, empty = replaced_counts(url, by=by, since=start)
    return BillPage(found, bills(url, since=start)[0], by, holds_prompts(url), replaced, by_weak, empty)


def holds_prompts(url: str) -> bool:
    """Whether at least one of a ledger's records holds its prompt. Raises StoreError."""
    return bool(query_ledger(url, "select 1 from decisions where prompt <> '' limit 1"))


def _held_note(bill: Bill) -> tuple[str, ...]:
    return (bill.held_note,) if bill.held else ()


def _bill_line(bill: Bill, name: str, replaced: int) -> str:
    saved = f"{dollars(bill.saved)}" + (f" ± {dollars(bill.margin)}" if bill.margin else "")
    saved += "" if bill.told_share is None else f" ({bill.told_share:.0%})"
    unknown = f", {bill.unpriced:,} of unknown cost left out" if bill.unpriced else ""
    unknown += f", {replaced:,} {INSTEAD}" if replaced else ""
    unknown += f", {dollars(bill.usd_spared)} spared by outages" if bill.usd_spared else ""
    unknown += f", {bill.tests_in_words}, {dollars(bill.usd_tests)}" if bill.tests else ""
    strong = "-" if bill.strong_share is None else f"{bill.strong_share:.0%}"
    return (
        f"{name}  {bill.requests:>9,}  {strong:>13}  {dollars(bill.usd):>12}  "
        f"{dollars(bill.usd_checks):>10}  {dollars(bill.usd_strong):>14}  {saved}{unknown}"
    )
