"""The gateway's settings: every one documented, every number within a range, the command line over the file."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.errors import InputError
from demur.gateway.settings import GatewaySettings, read_settings
from demur.limits import from_mapping
from demur.quickstart import EXAMPLES

ROOT = Path(__file__).parents[1]
LIMITS = {"at_least", "above"}


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    for field in fields(GatewaySettings):
        assert f"`{field.metadata.get('written', field.name)}`" in page.replace("`[[models]]`", "`models`"), field.name


def test_settings_from_a_file_with_the_command_line_over_them(tmp_path: Path) -> None:
    (tmp_path / "g.toml").write_text(
        'port = 9000\nhost = "0.0.0.0"\n[weak]\nmodel = "small"\nbase_url = "http://x/v1"\n'
    )
    found = read_settings(tmp_path / "g.toml", port=1, host=None)
    assert (found.port, found.host, found.weak and found.weak.model) == (1, "0.0.0.0", "small")
    (tmp_path / "g.toml").write_text("prt = 9000\n")
    with pytest.raises(InputError, match="unknown key 'prt'"):
        read_settings(tmp_path / "g.toml")


@pytest.mark.parametrize("name", [one.name for one in fields(GatewaySettings) if LIMITS & {*one.metadata}])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-5", "1" + "0" * 400])
def test_no_number_of_the_settings_switches_a_limit_off(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "g.toml").write_text(f"{name} = {value}\n")
    with pytest.raises(InputError, match=f"{name}"):
        read_settings(tmp_path / "g.toml")


def test_every_number_of_the_settings_has_a_range() -> None:
    numbers = [one for one in fields(GatewaySettings) if one.type in ("int", "float", "int | None")]
    assert len(numbers) == 20
    assert all(LIMITS & {*one.metadata} for one in numbers)


@pytest.mark.parametrize(
    ("name", "value"),
    [("usd_per_million_input", -1), ("usd_per_million_output", float("nan")), ("concurrency", 0)]
    + [("timeout_seconds", value) for value in (0.0, -1.0, float("nan"))],
)
def test_no_number_of_a_model_pays_or_waits_for_ever(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"weak: {name} is"):
        from_mapping(GatewaySettings, {"weak": {"model": "small", name: value}}, where="serve")


def test_options_override_the_file_only_where_they_are_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr("demur.gateway.server.serve", lambda router, **options: given.update(options))
    monkeypatch.chdir(tmp_path)
    names = {one.name for one in fields(GatewaySettings) if "help" in one.metadata}
    assert CliRunner().invoke(app, ["serve"]).exit_code == 0
    assert {given[name] for name in names} == {None}
    words = ["--host", "::1", "--port", "0", "--anyway", "--allow-endpoint", "a", "--allow-endpoint", "b"]
    assert CliRunner().invoke(app, ["serve", *words]).exit_code == 0
    assert {name: given[name] for name in names if given[name] is not None} == {
        "host": "::1",
        "port": 0,
        "anyway": True,
        "allow_endpoints": ["a", "b"],
    }


@pytest.mark.parametrize("ledger", ["run/ledger.sqlite", "my.sqlite", "postgresql://demur:secret@db/demur"])
def test_the_start_names_the_ledgers_file_and_no_password(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: str
) -> None:
    monkeypatch.setattr("demur.gateway.server.serve", lambda router, *, ready, **options: ready("here", "there", False))
    (tmp_path / "g.toml").write_text(f'ledger = "{ledger}"\n')
    said = CliRunner().invoke(app, ["serve", "other/router", "--config", str(tmp_path / "g.toml")])
    assert said.exit_code == 0
    assert (f"demur ledger {ledger}" in said.stdout) is (not ledger.startswith("postgresql"))
    assert "secret" not in said.output


@pytest.mark.parametrize(("keys", "command"), [("run/keys.json", ""), ("my keys.json", " --file 'my keys.json'")])
def test_the_start_names_the_file_of_keys_that_the_gateway_reads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("demur.gateway.server.serve", lambda router, *, ready, **options: ready("here", "there", True))
    Path("g.toml").write_text(f'keys = "{keys}"\n')
    said = CliRunner().invoke(app, ["serve", "--config", "g.toml"])
    assert f"  YOUR_KEY: one that `demur key add NAME{command}` has printed\n" in said.stdout


def test_a_router_of_another_run_folder_keeps_its_ledger_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other/router").mkdir(parents=True)
    Path("other/run.json").write_text("{}")
    assert read_settings(None, router="other/router").ledger == "other/ledger.sqlite"
    assert read_settings(None, router="other/router", ledger="mine.sqlite").ledger == "mine.sqlite"
    assert read_settings(None, router="other/router", ledger="").ledger == ""
    # A router that was copied somewhere, perhaps where nothing can be written, and no router at all.
    assert read_settings(None, router="elsewhere/router").ledger == "run/ledger.sqlite"
    assert read_settings(None).ledger == "run/ledger.sqlite"


def test_the_first_question_of_the_demo_is_one_that_its_models_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They complete question and answer in a few words: why the sky is blue took them three wrong ones."""
    monkeypatch.setattr("demur.gateway.server.serve", lambda router, *, ready, **options: ready("here", "there", False))
    monkeypatch.setattr("demur.quickstart.demo_router", lambda **named: str(tmp_path))
    said = CliRunner().invoke(app, ["serve", "--demo"])
    assert said.exit_code == 0
    assert any(json.dumps(one) in said.stdout for one in EXAMPLES)
