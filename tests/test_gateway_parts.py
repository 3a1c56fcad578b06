"""The gateway's parts by themselves: the wire, keys, ledger, metrics, conversations."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path

import pytest

from demur.config import from_mapping
from demur.errors import InputError, StoreError
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.keys import ClientKey, Doorkeeper, new_key, read_keys
from demur.gateway.ledger.export import ledger
from demur.gateway.ledger.ledger import Ledger, LedgerRecord, SqliteBackend, read_ledger
from demur.gateway.operator.metrics import DESCRIBED, Gauges, Metrics, prometheus
from demur.gateway.operator.tracing import attributes
from demur.gateway.settings import GatewaySettings, read_settings

ROOT = Path(__file__).parents[1]
RECORD = LedgerRecord(
    *(
        "id1",
        time.time(),
        "",
        "/v1/chat/completions",
        "demur",
        "small",
        "weak",
        0.2,
        0.5,
        "score",
        "gate",
        2,
        False,
        200,
        False,
    ),
    *(10, 20, True, 0.001, 0.01, 0.0, 0.0015, 0.0005, 0.05, 0.1, 0.2, "ok", ""),
)


def test_keys_are_hashed_at_rest_and_admit_their_holder(tmp_path: Path) -> None:
    secret = new_key(tmp_path / "keys.json", "ann", requests_per_minute=2)
    assert secret not in (tmp_path / "keys.json").read_text()
    assert (tmp_path / "keys.json").stat().st_mode & 0o077 == 0
    door = Doorkeeper(read_keys(tmp_path / "keys.json"))
    assert door.admit({"Authorization": f"Bearer {secret}"}) == "ann"
    for wrong in ("", "Bearer x", f"Bearer {secret}x"):
        with pytest.raises(ApiError) as raised:
            door.admit({"Authorization": wrong})
        assert raised.value.status == 401
    door.admit({"Authorization": f"Bearer {secret}"})
    with pytest.raises(ApiError) as raised:
        door.admit({"Authorization": f"Bearer {secret}"})
    assert raised.value.status == 429
    assert raised.value.retry_after
    with pytest.raises(InputError, match="a key is called 'ann' already"):
        new_key(tmp_path / "keys.json", "ann")


def test_a_spent_budget_ends_a_key() -> None:
    import hashlib

    door = Doorkeeper([ClientKey("bob", hashlib.sha256(b"s").hexdigest(), usd=0.01)])
    door.charge("bob", 0.009)
    assert door.admit({"Authorization": "Bearer s"}) == "bob"
    door.charge("bob", 0.002)
    with pytest.raises(ApiError) as raised:
        door.admit({"Authorization": "Bearer s"})
    assert raised.value.code == "insufficient_quota"
    assert Doorkeeper(None).admit({}) == ""


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
    class Away(SqliteBackend):
        away = True

        def write(self, records: Sequence[LedgerRecord]) -> None:
            if self.away:
                raise sqlite3.OperationalError("gone")
            super().write(records)

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


def test_metrics_are_prometheus_and_documented() -> None:
    metrics = Metrics()
    metrics.add(RECORD)
    metrics.add(replace(RECORD, model='odd"name', status=502, outcome="upstream_error"))
    text = prometheus(metrics.series, Gauges(3, 0, 0, 0.5))
    line = re.compile(
        r'^[a-z_]+(\{[a-z_]+="(\\.|[^"\\])*"(,[a-z_]+="(\\.|[^"\\])*")*\})? -?[0-9.e+-]+$|^# (HELP|TYPE) .+$'
    )
    assert all(line.match(row) for row in text.strip().splitlines())
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    for name, kind, help_text in DESCRIBED:
        assert f"# TYPE {name} {kind}" in text
        assert f"| `{name}` | {kind} | {help_text} |" in page
    assert 'demur_stage_seconds_count{stage="total"} 2' in text


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    for field in fields(GatewaySettings):
        assert f"`{field.name}`" in page, field.name


def test_settings_from_a_file_with_the_command_line_over_them(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(
        'port = 9000\nhost = "0.0.0.0"\n[weak]\nmodel = "small"\nbase_url = "http://x/v1"\n'
    )
    found = read_settings(tmp_path / "g.toml", port=1, host=None)
    assert (found.port, found.host, found.weak and found.weak.model) == (1, "0.0.0.0", "small")
    (tmp_path / "g.toml").write_text("prt = 9000\n")
    with pytest.raises(InputError, match="unknown key 'prt'"):
        read_settings(tmp_path / "g.toml")


@pytest.mark.parametrize("name", [one.name for one in fields(GatewaySettings) if one.metadata])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-5", "1" + "0" * 400])
def test_no_number_of_the_settings_switches_a_limit_off(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "g.toml").write_text(f"{name} = {value}\n")
    with pytest.raises(InputError, match=f"{name}"):
        read_settings(tmp_path / "g.toml")


def test_every_number_of_the_settings_has_a_range() -> None:
    numbers = [one for one in fields(GatewaySettings) if one.type in ("int", "float", "int | None")]
    assert len(numbers) == 17
    assert all(one.metadata for one in numbers)


@pytest.mark.parametrize(
    ("name", "value"),
    [("usd_per_million_input", -1), ("usd_per_million_output", float("nan")), ("concurrency", 0)]
    + [("timeout_seconds", value) for value in (0.0, -1.0, float("nan"))],
)
def test_no_number_of_a_model_pays_or_waits_for_ever(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"weak: {name} is"):
        from_mapping(GatewaySettings, {"weak": {"model": "small", name: value}}, where="serve")


def test_spans_follow_the_genai_conventions() -> None:
    found = attributes(replace(RECORD, score=None, usd=None))
    assert found["gen_ai.request.model"] == "demur"
    assert found["gen_ai.response.model"] == "small"
    assert (found["gen_ai.usage.input_tokens"], found["gen_ai.usage.output_tokens"]) == (10, 20)
    assert "demur.score" not in found
    assert "prompt" not in " ".join(found).replace("prompt_tokens", "")
