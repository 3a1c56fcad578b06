"""Budgets of a day and a month: they warn, taper, refuse, and begin again; and the commands of keys."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demur.cli import printing
from demur.cli.commands.gateway import show_serving
from demur.cli.main import app
from demur.errors import InputError
from demur.gateway.clients.budgets import Spent, kept_share, seconds_left, start_of, uses
from demur.gateway.clients.keys import Admission, ClientKey, new_key, read_keys, remove_key
from demur.gateway.http.openai_bodies import ApiError
from demur.gateway.ledger.ledger import SqliteBackend
from demur.models.prices import Price
from gateways import HARD, RECORD, gateway

NOON = datetime(2026, 2, 28, 12, tzinfo=UTC).timestamp()  # the last day of a month
DIGITS = "0123456789abcdef" * 4
RUNNER = CliRunner()


def admission(*, at: Callable[[], float] = lambda: NOON, **budgets: float) -> Admission:
    return of_key(ClientKey("ann", DIGITS, **budgets), at)  # type: ignore[arg-type]  # of USD alone


def of_key(key: ClientKey, at: Callable[[], float] = lambda: NOON) -> Admission:
    """Admission by one key, which has spent $5, $3 of it this month and $1 of that today."""
    found = Admission([key], clock=at)
    found.learn({"ann": Spent(ever=5.0, month=3.0, day=1.0, at=NOON)})
    return found


@pytest.mark.parametrize(
    ("budgets", "says"),
    [
        (
            {"usd": 5},
            r"\(\$5\.00\) is spent\. Whoever runs .* raise it \(`usd` in the file of keys, then a reload\)\.$",
        ),
        ({"usd_per_month": 3}, r"\(\$3\.00 per month\) is spent\. It begins again in 12.0 h\. .* \(`usd_per_month` in"),
        (
            {"usd_per_day": 1, "usd": 9},
            r"\(\$1\.00 per day\) is spent\. It begins again in 12.0 h\. .* \(`usd_per_day` in",
        ),
    ],
)
def test_a_spent_budget_refuses_and_says_when_it_begins_again(budgets: dict[str, float], says: str) -> None:
    with pytest.raises(ApiError) as raised:
        of_key(ClientKey("ann", DIGITS, **budgets)).reserve("ann", 0.1)  # type: ignore[arg-type]  # of USD alone
    assert raised.value.status == 429
    assert raised.value.code == "insufficient_quota"
    assert re.search(says, raised.value.message)


def test_below_its_budgets_a_key_is_served_and_what_is_under_way_counts() -> None:
    found = admission(usd=5.5, usd_per_day=1.5, usd_per_month=3.5)
    assert found.reserve("ann", 0.5) == 0.5
    with pytest.raises(ApiError, match="or reserved by its requests under way"):
        found.reserve("ann", 0.5)
    found.charge("ann", 0.25, reserved=0.5)
    assert found.accounts.read("ann")[0] == Spent(5.25, 3.25, 1.25, NOON)
    assert found.reserve("ann", 0.5) == 0.5


def test_a_new_day_and_a_new_month_begin_at_nothing() -> None:
    now = [NOON]
    found = admission(at=lambda: now[0], usd_per_day=1.0, usd_per_month=100.0)
    now[0] += 13 * 3600
    assert found.reserve("ann", 0.0) == 0.0
    found.charge("ann", 0.25)
    assert found.accounts.read("ann")[0] == Spent(5.25, 0.25, 0.25, now[0])


def test_a_budget_warns_then_tapers(capsys: pytest.CaptureFixture[str]) -> None:
    assert admission(usd_per_day=1.26).most_used_budget("ann") is None  # 79 %
    warned = admission(usd_per_day=1.2)
    use = warned.most_used_budget("ann")
    assert use
    assert use.period == "day"
    assert use.share == pytest.approx(1 / 1.2)
    assert kept_share(use) == 1
    warned.most_used_budget("ann")
    assert capsys.readouterr().err == "demur: key 'ann' has used 83% of $1.20 per day; from 90% on it tapers\n"
    tapered = admission(usd_per_day=1.05).most_used_budget("ann")
    assert kept_share(tapered) == pytest.approx((1 - 1 / 1.05) / 0.1)
    assert "fewer of its requests go to the strong model" in capsys.readouterr().err


def test_a_budget_for_ever_does_not_taper() -> None:
    (use,) = uses(ClientKey("ann", DIGITS, usd=5.01), Spent(ever=5.0))
    assert kept_share(use) == 1
    assert admission(usd=5.01).most_used_budget("ann") is None


def test_months_and_days_are_those_of_utc() -> None:
    assert start_of("month", NOON) == datetime(2026, 2, 1, tzinfo=UTC).timestamp()
    assert start_of("day", NOON) == NOON - 12 * 3600
    assert seconds_left("month", datetime(2026, 1, 31, tzinfo=UTC).timestamp()) == 86_400
    assert seconds_left("day", NOON + 1) == 12 * 3600 - 1


def test_the_ledger_tells_what_was_spent_this_month_and_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOON)
    backend = SqliteBackend(str(tmp_path / "l.sqlite"))
    days = {"a": (0, 1.0), "b": (3, 2.0), "c": (40, 4.0)}
    backend.write([replace(RECORD, id=n, key="ann", at=NOON - d * 86_400, usd=usd) for n, (d, usd) in days.items()])
    assert backend.usd_spent(["ann", "bob"]) == {"ann": Spent(7.0, 3.0, 1.0, NOON)}
    backend.close()


async def test_a_tapering_budget_raises_the_threshold_and_says_so(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    secret = new_key(file, "ann", usd_per_day=1.0)
    headers = {"Authorization": f"Bearer {secret}"}
    async with gateway(tmp_path, keys=str(file)) as found:
        status, said, _ = await found.ask(HARD, headers=headers)
        assert status == 200
        assert "x-demur-budget" not in said
        found.gateway.admission.charge("ann", 0.98)
        status, later, _ = await found.ask(HARD, headers=headers)
        assert later["x-demur-budget"] == "98% of $1.00 per day"
        assert "as asked" not in later["x-demur-reason"]
        assert "(raised, because a budget of the key is nearly used up)" in later["x-demur-reason"]
        router = found.gateway.decider.router
        assert float(said["x-demur-threshold"]) == pytest.approx(router.threshold)
        assert float(later["x-demur-threshold"]) > router.threshold
        left = (router.training_finals >= float(later["x-demur-threshold"])).mean()
        assert left <= 0.2 * (router.training_finals >= router.threshold).mean() + 1 / len(router.training_finals)
        found.gateway.admission.charge("ann", 0.02)
        status, _, body = await found.ask(HARD, headers=headers)
        assert status == 429
        assert "per day" in body["error"]["message"]


def test_what_is_reserved_is_the_dearest_that_tokens_may_be() -> None:
    price = Price(1.0, 2.0, "test", 0.1, 1.25, 2.0, 3.0, {"flex": 0.5, "priority": 2.0})
    assert price.most_usd(10, 10) == 2 * (10 * 2.0 + 10 * 3.0)
    assert Price(1.0, 2.0, "test").most_usd(10, 10) == 30


def test_a_key_is_removed_by_name(tmp_path: Path) -> None:
    file = tmp_path / "k.json"
    for name in ("ann", "bob"):
        new_key(file, name, usd_per_month=2.0)
    remove_key(file, "ann")
    assert [key.name for key in read_keys(file)] == ["bob"]
    with pytest.raises(InputError, match=f"no key is called 'ann'; `demur key list --file {file}` shows them"):
        remove_key(file, "ann")


def test_the_printed_request_carries_a_key_where_clients_need_one(capsys: pytest.CaptureFixture[str]) -> None:
    show_serving("http://127.0.0.1:8111", "http://127.0.0.1:8112", True)
    keyed = capsys.readouterr().out
    assert "chat/completions -H 'Authorization: Bearer YOUR_KEY' -H 'Content-Type: application/json' -d '{" in keyed
    assert "`demur key add NAME`" in keyed
    show_serving("http://127.0.0.1:8111", "http://127.0.0.1:8112", False)
    assert "Bearer" not in capsys.readouterr().out


def test_the_commands_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    none = RUNNER.invoke(app, ["key", "list"])
    assert (none.exit_code, none.stdout) == (0, "run/keys.json: no key was made yet\n")
    assert "next: demur key add NAME" in none.stderr
    made = RUNNER.invoke(app, ["key", "add", "ann", "--usd-per-day", "2", "--usd", "9"])
    assert made.exit_code == 0
    assert "clients send it as the header Authorization: Bearer KEY" in " ".join(made.stderr.split())
    shown = json.loads(RUNNER.invoke(app, ["key", "list", "--json"]).stdout)
    assert shown == [
        {"name": "ann", "requests_per_minute": None, "usd": 9.0, "usd_per_day": 2.0, "usd_per_month": None}
    ]
    assert "sha256" not in RUNNER.invoke(app, ["key", "list"]).stdout
    backend = SqliteBackend("run/ledger.sqlite")
    monkeypatch.setattr("time.time", lambda: NOON)
    backend.write(
        [
            replace(RECORD, id="a", key="ann", at=NOON, usd=0.5, usd_strong=2.0),
            replace(RECORD, id="b", key="ann", at=NOON - 86_400 * 40, usd=1.0, usd_strong=0.75),
        ]
    )
    backend.close()
    (spent,) = json.loads(RUNNER.invoke(app, ["key", "spend", "ann", "--json"]).stdout)
    assert (spent["usd_today"], spent["usd_this_month"], spent["usd_in_all"]) == (0.5, 0.5, 1.5)
    assert (spent["usd_per_day"], spent["usd"], spent["saved_in_all"]) == (2.0, 9.0, 1.25)
    monkeypatch.setattr(printing.out, "_width", 80)
    shown = RUNNER.invoke(app, ["key", "spend"]).stdout
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    for cell in ("$0.50 of $2.00", "$0.50 ", "$1.50 of $9.00", "$1.25"):
        assert cell in shown
    assert "removed" in RUNNER.invoke(app, ["key", "remove", "ann"]).stdout
    assert read_keys("run/keys.json") == []
