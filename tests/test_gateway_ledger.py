"""The ledger when things go wrong: records that do not fit, databases that go and come back, budgets that are read."""

from __future__ import annotations

import csv
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import needed
from demur.cli.main import main
from demur.errors import InputError, StoreError
from demur.gateway.clients.keys import Admission, ClientKey, bearer, read_keys
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.ledger.export import bill_page, ledger
from demur.gateway.ledger.ledger import Ledger, SqliteBackend
from demur.gateway.ledger.read import read_ledger
from demur.gateway.ledger.record import COLUMNS, LARGEST_INTEGER, LedgerRecord, storable, storable_rows
from demur.prompts import read_prompts
from gateways import RECORD

HALF = "\ud800"  # half a character, which JSON can hold and no database takes


class Away(SqliteBackend):
    """A database that can be away."""

    away = True

    def write(self, records: Sequence[LedgerRecord]) -> None:
        if self.away:
            raise sqlite3.OperationalError("gone")
        super().write(records)


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        ({"asked": f"a{HALF}b"}, {"asked": "a?b"}),
        ({"prompt": "a\0b"}, {"prompt": "a?b"}),
        ({"prompt_tokens": 10**30}, {"prompt_tokens": 2**63 - 1}),
        ({"completion_tokens": -(10**30)}, {"completion_tokens": -(2**63 - 1)}),
        ({"usd": float("nan"), "score": float("inf")}, {"usd": None, "score": None}),
        ({"reason": "größer\n"}, {"reason": "größer\n"}),
    ],
)
def test_what_no_database_takes_is_kept_as_near_as_can_be(
    tmp_path: Path, changed: dict[str, Any], kept: dict[str, Any]
) -> None:
    book = Ledger(SqliteBackend(str(tmp_path / "l.sqlite")))
    book.add(replace(RECORD, **changed))
    book.close()
    assert read_ledger(str(tmp_path / "l.sqlite")) == [replace(RECORD, **kept)]


def test_one_record_that_cannot_be_kept_costs_no_other(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    book = Ledger(SqliteBackend(str(tmp_path / "l.sqlite")))
    for i in range(7):
        book.add(replace(RECORD, id=str(i), role=[] if i == 3 else "weak"))  # type: ignore[arg-type]
    book.close()
    assert sorted(one.id for one in read_ledger(str(tmp_path / "l.sqlite"))) == ["0", "1", "2", "4", "5", "6"]
    assert book.dropped == 1
    assert book.failures == 0
    assert "record 3 cannot be kept" in capfd.readouterr().err


def test_a_database_that_was_away_once_loses_nothing_at_the_end(tmp_path: Path) -> None:
    """The last records wait for it even where an earlier commit had failed."""
    backend = Away(str(tmp_path / "l.sqlite"))
    book = Ledger(backend)
    book.add(RECORD)
    while not book.failures:
        time.sleep(0.01)
    for i in range(5000):
        book.add(replace(RECORD, id=str(i)))
    backend.away = False
    book.close()
    assert len(read_ledger(str(tmp_path / "l.sqlite"), last=10_000)) == 5001


def test_what_is_lost_at_the_end_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("demur.gateway.ledger.ledger.LAST_TRIES_SECONDS", 0.1)
    book = Ledger(Away(str(tmp_path / "l.sqlite")))
    for i in range(30):
        book.add(replace(RECORD, id=str(i)))
    book.close()
    assert book.dropped == 30
    said = capfd.readouterr().err
    assert "30 records are lost" in said
    assert said.count(f"{tmp_path / 'l.sqlite'} cannot be written (gone); records wait") == 1


def test_a_ledger_that_was_moved_away_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    backend = SqliteBackend(str(path))
    backend.write([RECORD])
    path.rename(tmp_path / "old.sqlite")
    backend.write([replace(RECORD, id="id2")])
    backend.close()
    assert [one.id for one in read_ledger(str(path))] == ["id2"]


def test_the_last_records_are_not_taken_for_all(tmp_path: Path) -> None:
    """25 requests at $.001 instead of $.01, of which 20 are shown: $.02 of $.20, and $.025 of $.25 in all."""
    path = str(tmp_path / "ledger.sqlite")
    SqliteBackend(path).write([replace(RECORD, id=f"id{i}", at=RECORD.at - i) for i in range(25)])
    head, *shown, last, everything = ledger(path).lines
    assert head.split("  ")[0] == "time"
    assert [head.index(one) for one in ("-> ", "score", "outcome")] == [  # over what they name
        shown[0].index("-> "),
        shown[0].index("0.200"),
        shown[0].index("ok"),
    ]
    assert len(shown) == 20
    assert last.startswith("of the last 20 records, shown here: 20 requests, 0% of those routed strong; $0.02 paid")
    assert everything.startswith("in all: 25 requests; $0.025 paid, $0.25 always strong")
    assert len(ledger(path, last=25).lines) == 27  # under their head all are shown, and summed once


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, "ok"),  # .2 is below .5, and the weak model answered
        ({"role": "strong", "stage": "unknown"}, "ok  unknown"),
        ({"role": "strong", "stage": "prompt"}, "ok  held"),
        ({"role": "strong", "reason": "3 requests are under way at the weak model (weak_at_most 3)"}, "ok  busy"),
        ({"score": 0.7, "threshold": None}, "ok  budget"),
        ({"role": "strong", "outcome": "fallback"}, "fallback"),
        ({"role": "middle"}, "ok"),
        ({"role": "direct", "score": None}, "ok"),
    ],
)
def test_a_row_says_what_decided_where_the_score_did_not(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    path = str(tmp_path / "ledger.sqlite")
    SqliteBackend(path).write([replace(RECORD, **changed)])
    assert ledger(path).lines[1].partition("$")[2].split("  ", 1)[1] == why


def test_what_is_no_ledger_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("root:x:0:0:root\n" * 100)
    with pytest.raises(StoreError, match="not a ledger that can be read"):
        read_ledger(str(tmp_path / "text"))
    needed("psycopg")
    with pytest.raises(StoreError, match="cannot be read") as raised:
        read_ledger("postgresql://u:secret-word@127.0.0.1:1/x")
    assert "secret-word" not in str(raised.value)


def test_a_budget_outlives_the_process_and_is_shared_with_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("demur.gateway.ledger.ledger.SPENT_SECONDS", 0.0)
    monkeypatch.setattr("demur.gateway.ledger.ledger.COMMIT_SECONDS", 0.01)
    path = str(tmp_path / "l.sqlite")
    key = ClientKey("bob", "x", usd=1.0)
    first = Admission([key, ClientKey("ann", "y")])
    book = Ledger(SqliteBackend(path), first)
    book.add(replace(RECORD, key="bob", usd=0.75))
    book.add(replace(RECORD, id="id2", key="ann", usd=9.0))
    book.close()

    second = Admission([key])
    other = Ledger(SqliteBackend(path), second)
    assert second.accounts.read("bob")[0].ever == 0.75
    backend = SqliteBackend(path)  # a third process
    backend.write([replace(RECORD, id="id3", key="bob", usd=0.5)])
    backend.close()
    deadline = time.monotonic() + 5
    while second.accounts.read("bob")[0].ever < 1.25 and time.monotonic() < deadline:
        time.sleep(0.01)
    other.close()
    assert second.accounts.read("bob")[0].ever == 1.25


def test_a_key_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "k.json").write_text("[]")
    with pytest.raises(ApiError):
        Admission(read_keys(tmp_path / "k.json")).admit({"Authorization": "Bearer x"})


def test_the_bearer_scheme_has_no_case() -> None:
    assert bearer({"Authorization": "bearer  abc "}) == "abc"
    assert bearer({"Authorization": "Basic abc"}) == ""
    assert bearer({}) == ""


def filled(path: Path, *asked: str) -> str:
    """A ledger of one record for each of these models that clients named."""
    backend = SqliteBackend(str(path))
    backend.write([replace(RECORD, id=str(i), asked=text) for i, text in enumerate(asked)])
    backend.close()
    return str(path)


def test_an_export_is_of_all_records_and_a_page_of_the_newest(tmp_path: Path) -> None:
    url = filled(tmp_path / "l.sqlite", *["demur"] * 57)
    assert len(ledger(url).records) == 20
    assert len(ledger(url, export=tmp_path / "all.jsonl").records) == 57
    assert (tmp_path / "all.jsonl").read_text().count("\n") == 57
    assert len(ledger(url, last=3, export=tmp_path / "three.jsonl").records) == 3
    with pytest.raises(InputError, match="last is 0; give the number of records, 1 or more"):
        ledger(url, last=0)


def test_an_export_replaces_no_file_unless_it_is_told_to(tmp_path: Path) -> None:
    url, mine = filled(tmp_path / "l.sqlite", "demur"), tmp_path / "prompts.jsonl"
    mine.write_text("my own prompts")
    with pytest.raises(InputError, match=r"prompts\.jsonl exists; give another name, or --force to replace a file"):
        ledger(url, export=mine)
    assert mine.read_text() == "my own prompts"
    ledger(url, export=mine, force=True)
    assert "my own prompts" not in mine.read_text()


def test_an_export_says_how_many_records_hold_no_prompt(tmp_path: Path) -> None:
    backend = SqliteBackend(str(tmp_path / "l.sqlite"))
    backend.write([replace(RECORD, id="1", prompt=""), replace(RECORD, id="2", prompt="")])
    said = ledger(str(tmp_path / "l.sqlite"), export=tmp_path / "none.jsonl").lines[0]
    assert (
        "none of them holds its prompt (`demur serve --record prompts` keeps those of later requests that it routes)"
        in said
    )
    assert not bill_page(str(tmp_path / "l.sqlite"), "day").recorded
    backend.write([replace(RECORD, id="3", prompt="Why?")])
    backend.close()
    assert "2 of them hold no prompt" in ledger(str(tmp_path / "l.sqlite"), export=tmp_path / "some.jsonl").lines[0]
    assert bill_page(str(tmp_path / "l.sqlite"), "day").recorded


def test_the_bill_advises_an_export_that_can_be_replayed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not into prompts.jsonl, which is the name of everybody's own prompts. First of all to record prompts, which the
    plain ledger alone says."""
    url = filled(tmp_path / "l.sqlite", "demur")
    replayed = f"demur ledger {url} --export ledger.jsonl, then demur replay ledger.jsonl"

    def advised(*options: str) -> list[str]:
        monkeypatch.setattr("sys.argv", ["demur", "ledger", url, *options])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        return capsys.readouterr().err.splitlines()

    record, by_day = advised()
    assert record.endswith(f"add --record prompts to the command that starts the gateway, and later: {replayed}")
    assert by_day == f"next: demur ledger {url} --by day"
    assert advised("--by", "day") == []
    backend = SqliteBackend(url)
    backend.write([replace(RECORD, id="with its prompt", prompt="Why?")])
    backend.close()
    assert advised() == [by_day]
    assert advised("--by", "day") == [f"next: {replayed}"]


def test_one_is_not_written_as_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    url, file = filled(tmp_path / "l.sqlite", "demur"), tmp_path / "l.jsonl"
    assert ledger(url).lines[-1].startswith("1 request, 0% of those routed strong")
    assert ledger(url, export=file).lines[0].startswith(f"wrote 1 record to {file}; none of them")
    backend = SqliteBackend(url)
    backend.write([replace(RECORD, id="a", prompt="Why?")])
    backend.close()
    assert "2 records" in ledger(url, export=file, force=True).lines[0]
    assert "; 1 of them holds no prompt" in ledger(url, export=file, force=True).lines[0]
    read_prompts(file)
    assert f"{file}: 1 of 2 records holds no prompt and is left out; " in caplog.text


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_an_export_is_read_without_the_records_that_hold_no_prompt(
    tmp_path: Path, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept before --record prompts was given, and of requests that name their model: 2 of these 4."""
    url, file = filled(tmp_path / "l.sqlite"), tmp_path / f"l.{ending}"
    backend = SqliteBackend(url)
    named = replace(RECORD, id="4", prompt="", role="direct", score=None, threshold=None)
    backend.write(
        [replace(RECORD, id=str(i), prompt=text, answer="Because.") for i, text in enumerate(("Why?", "", "Who?"))]
        + [named]
    )
    backend.close()
    ledger(url, export=file)
    prompts = read_prompts(file)
    assert sorted(prompt.text for prompt in prompts) == ["Who?", "Why?"]
    assert [prompt.answers for prompt in prompts] == [(), ()], "the strong model's answer is not a gold answer"
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"{file}: 2 of 4 records hold no prompt and are left out; `demur serve --record prompts` keeps those of later "
        "requests that it routes"
    ]


def test_an_export_without_a_prompt_and_an_empty_prompt_of_ones_own_are_errors(tmp_path: Path) -> None:
    url = filled(tmp_path / "l.sqlite", "demur", "demur")
    ledger(url, export=tmp_path / "l.jsonl")
    with pytest.raises(InputError, match=r"l\.jsonl: none of its 2 records holds a prompt; `demur serve --record"):
        read_prompts(tmp_path / "l.jsonl")
    (tmp_path / "mine.jsonl").write_text('{"prompt": "", "id": "a", "source": "mine"}\n')
    with pytest.raises(InputError, match=r"mine\.jsonl:1: field 'prompt' must be a text that is not empty"):
        read_prompts(tmp_path / "mine.jsonl")


def test_what_clients_write_neither_moves_a_terminal_nor_runs_in_a_spreadsheet(tmp_path: Path) -> None:
    url = filled(tmp_path / "l.sqlite", "=cmd|'/C calc'!A0", "\x1b[2J\x1b]0;", "a\nb", "größer")
    page = ledger(url)
    assert all(line.isprintable() for line in page.lines)
    assert any("größer" in line for line in page.lines)
    ledger(url, export=tmp_path / "l.csv")
    with (tmp_path / "l.csv").open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t"))]
    assert "'=cmd|'/C calc'!A0" in cells


def test_a_ledger_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "l.sqlite"
    filled(path, "demur")
    path.chmod(0o644)  # as earlier versions made it
    backend = SqliteBackend(str(path))
    backend.write([RECORD])
    assert {one.name: one.stat().st_mode & 0o777 for one in tmp_path.iterdir()} == {
        "l.sqlite": 0o600,
        "l.sqlite-wal": 0o600,
        "l.sqlite-shm": 0o600,
    }
    backend.close()


def test_records_come_back_as_they_went(tmp_path: Path) -> None:
    book = Ledger(SqliteBackend(str(tmp_path / "l.sqlite")))
    book.add(RECORD)
    book.add(replace(RECORD, id="id2", score=None, usd=None, at=RECORD.at + 1, streamed=True))
    book.close()
    found = read_ledger(str(tmp_path / "l.sqlite"))
    assert [record.id for record in found] == ["id2", "id1"]
    assert found[1] == RECORD
    assert found[0].usd is None
    for ending in ("csv", "jsonl", "parquet"):
        page = ledger(str(tmp_path / "l.sqlite"), export=tmp_path / f"out.{ending}")
        assert "wrote 2 records" in page.lines[0]
    assert (tmp_path / "out.csv").read_text().count("\n") == 3
    with pytest.raises(StoreError, match="no ledger here"):
        read_ledger(str(tmp_path / "none.sqlite"))
    with pytest.raises(InputError, match=r"exports end in"):
        ledger(str(tmp_path / "l.sqlite"), export=tmp_path / "out.xls")


def test_a_database_that_is_away_loses_nothing(tmp_path: Path) -> None:
    backend = Away(str(tmp_path / "l.sqlite"))
    book = Ledger(backend)
    for i in range(100):
        book.add(replace(RECORD, id=str(i)))
    while not book.failures:
        time.sleep(0.01)
    backend.away = False
    book.close()
    assert len(read_ledger(str(tmp_path / "l.sqlite"), last=1000)) == 100
    assert book.dropped == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_rows_hold_what_databases_accept_of_each_value(count: int) -> None:
    """Columns are looked at together, and one odd value must not hide behind others that sum up to something."""
    odd: list[dict[str, Any]] = [
        {"asked": "a\0b", "prompt_tokens": 10**20, "usd": float("nan")},
        {"asked": "\ud800", "prompt_tokens": -(10**20), "usd": float("inf")},
        {"asked": "größer", "usd": -float("inf"), "usd_strong": None},
    ]
    records = [replace(RECORD, id=str(i), **changed) for i, changed in enumerate(odd[:count])]
    rows = storable_rows(records)
    assert rows == [tuple(storable(getattr(record, name)) for name in COLUMNS) for record in records]
    kept = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    assert [row["asked"] for row in kept] == ["a?b", "?", "größer"][:count]
    assert [row["prompt_tokens"] for row in kept][:2] == [LARGEST_INTEGER, -LARGEST_INTEGER][:count]
    assert [row["usd"] for row in kept] == [None] * count
