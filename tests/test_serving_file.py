"""`demur status` and `demur calibrate` know whether a run is served, by one process or several, until it has ended."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demur.cli.main import app
from demur.config import ModelConfig, RunConfig
from demur.errors import StoreError
from demur.gateway.exchange import OF_OUR_OWN
from demur.gateway.ledger.export import ledger
from demur.learning.versions import Version
from demur.measure.threshold import Calibration
from demur.routing.artifact import save_calibration
from demur.runs.lineage import keep_made, keep_report, newer_than_report, outdated_stages
from demur.runs.steps import serve_command
from demur.serving_file import restart_note, served_before, serving_file, serving_gateways
from test_gateway_processes import configured, fakes, served
from test_gateway_workers import until

ADDRESS = "http://127.0.0.1:8111"


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_gateway_is_seen_until_it_is_killed_and_says_which_router_it_has(tmp_path: Path, workers: str) -> None:
    async with fakes() as (weak, strong):
        command = await asyncio.to_thread(configured, tmp_path, weak, strong, ledger="")
        async with served([*command, "--workers", workers]) as (child, address):
            (seen,) = serving_gateways(tmp_path)
            assert (seen.address, seen.pid, seen.outdated) == (address, child.pid, False)
            save_calibration(tmp_path / "router", Calibration(-1.0, 1.0, 5, "strong share 100%"))
            (seen,) = serving_gateways(tmp_path)
            assert "the run's newer router or threshold is not loaded yet" in seen.sentence
            os.kill(seen.pid, signal.SIGHUP)
            await until(lambda: not serving_gateways(tmp_path)[0].outdated)
            os.kill(seen.pid, signal.SIGKILL)
            await until(lambda: not serving_gateways(tmp_path))


def test_who_looks_for_a_ledger_in_the_run_of_a_gateway_is_told_where_it_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    serving = serving_file(tmp_path / "other", ADDRESS, lambda: Path("other/router"), 1234, ledger="run/ledger.sqlite")
    with serving, pytest.raises(StoreError, match=re.escape("demur ledger run/ledger.sqlite")):
        ledger("other/ledger.sqlite")
    with pytest.raises(StoreError, match="`demur serve` writes one"):
        ledger("other/ledger.sqlite")  # it has ended


def test_the_next_command_beside_a_gateway_is_a_request_until_its_ledger_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("kept").mkdir()
    router = tmp_path / "run" / "router"
    router.mkdir(parents=True)
    (router / "router.json").write_text("{}")
    with serving_file(Path("run"), ADDRESS, lambda: router, 1234, ledger="kept/l.sqlite"):
        assert serve_command(Path("run/router")).startswith(f"curl {ADDRESS}/v1/chat/completions ")
        with closing(sqlite3.connect("kept/l.sqlite")) as ledger:
            ledger.execute("create table decisions (role text, reason text)")
            ledger.execute("insert into decisions values ('', ?)", (OF_OUR_OWN,))  # to see whether a model is up
            ledger.execute("insert into decisions values ('decided', '')")  # no model was asked
            ledger.commit()
            assert serve_command(Path("run/router")).startswith("curl ")
            ledger.execute("insert into decisions values ('weak', '')")
            ledger.commit()
        assert serve_command(Path("run/router")) == "demur ledger kept/l.sqlite --by day"


def test_a_request_to_a_gateway_that_asks_for_keys_carries_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    keys = ["run/keys.json"]
    serving = (Path("run"), ADDRESS, lambda: Path("run/router"), 1234)
    with serving_file(*serving, learn="run/learn", keys=lambda: "".join(keys)) as loaded:
        for said in (serve_command(Path("run/router")), status()):
            assert f"curl {ADDRESS}/v1/chat/completions -H 'Authorization: Bearer YOUR_KEY' -H " in said
        keys.clear()  # they are taken out of the settings, which are read again
        loaded()
        assert "Bearer" not in serve_command(Path("run/router"))


def test_the_status_says_who_serves_and_how_a_new_router_gets_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    router = tmp_path / "run" / "router"
    router.mkdir(parents=True)
    (router / "router.json").write_text("{}")
    with serving_file(tmp_path / "run", ADDRESS, lambda: router, 1234) as loaded:
        clock = time.strftime("%H:%M")
        assert f"serving on {ADDRESS} since {clock} (router of {clock})" in status()
        (router / "router.json").write_text('{"calibration": null}')
        assert "the run's newer router or threshold is not loaded yet" in status()
        assert serving_gateways(tmp_path / "run")[0].reload == "kill -HUP 1234"
        loaded()
        assert "not loaded yet" not in status()
    assert "serving on" not in status()


def test_beside_a_gateway_that_has_not_loaded_the_threshold_its_reload_is_offered_with_any_other_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for a router without a threshold, nor once it is loaded."""
    monkeypatch.chdir(tmp_path)
    router, reload = tmp_path / "run" / "router", "kill -HUP 1234"
    router.mkdir(parents=True)

    def set_threshold(calibration: dict[str, float] | None) -> None:
        (router / "router.json").write_text(json.dumps({"calibration": calibration}))

    def offered() -> list[str]:
        return [line for line in status_with_next().splitlines() if line.startswith(("next:", "or:"))]

    set_threshold({"threshold": 0.5})
    with serving_file(tmp_path / "run", ADDRESS, lambda: router, 1234) as loaded:
        keep_made(Path("run"), "routers", "", "")
        set_threshold(None)
        assert not any(reload in line for line in offered())
        set_threshold({"threshold": 0.6})
        assert f"or:   {reload}   (the gateway on {ADDRESS} loads what is newer)" in offered()
        loaded()
        assert not any(reload in line for line in offered())


def test_the_next_gateway_of_a_folder_is_on_the_port_of_the_last_one(tmp_path: Path) -> None:
    def served_at(port: int) -> str:
        with serving_file(tmp_path, f"http://127.0.0.1:{port or 40_000}", lambda: tmp_path / "router", 1, port=port):
            pass
        return serve_command(tmp_path / "router")

    first = serve_command(tmp_path / "router")
    assert "--port" not in first
    assert served_at(8222) == f"{first} --port 8222"
    assert served_at(0) == f"{first} --port 8222"  # any free one: there is none to keep
    assert served_at(8111) == first


def test_the_next_gateway_of_a_router_begins_as_its_last_one_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not as another router's of the same folder, nor as the gateway that learns there."""
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    Path("own.toml").write_text('port = 8222\nrouter = "run/other"\n[weak]\nmodel = "small"\n')

    def serve_once(router: str, port: int, config: str = "", learn: str = "", keys: str = "") -> None:
        where = (Path("run"), f"http://127.0.0.1:{port}", lambda: Path(router), 1)
        with serving_file(*where, port=port, config=config, learn=learn, keys=lambda: keys):
            pass

    serve_once("run/other", 8222, "own.toml")
    serve_once("run/third", 8333, "own.toml")
    serve_once("run/router", 8444, learn="run/learn")
    assert serve_command(Path("run/router")) == "demur serve"
    assert serve_command(Path("run/other")) == "demur serve run/other --config own.toml"
    assert serve_command(Path("run/third")) == "demur serve run/third --config own.toml --port 8333"
    serve_once("run/router", 8222, "own.toml")
    assert serve_command(Path("run/router")) == "demur serve run/router --config own.toml"
    assert served_before(Path("run/learn")).options == " --port 8444"
    serve_once("run/router", 8444, keys="run/keys.json")
    assert serve_command(Path("run/router")) == "demur serve --port 8444 --keys run/keys.json"  # not open to everybody
    Path("own.toml").write_text('keys = "run/keys.json"\n')
    serve_once("run/router", 8111, "own.toml", keys="run/keys.json")
    assert serve_command(Path("run/router")) == "demur serve --config own.toml"
    Path("linked").symlink_to("run")
    assert served_before(Path("linked/../run/other")) == served_before(Path("run/other"))
    Path("own.toml").unlink()
    assert serve_command(Path("run/router")) == "demur serve"


def test_a_gateway_of_another_router_is_not_asked_for_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run").mkdir()
    with serving_file(Path("run"), ADDRESS, lambda: Path("run/other"), 1, port=8111):
        assert serve_command(Path("run/other")).startswith(f"curl {ADDRESS}/")
        assert serve_command(Path("run/router")) == "demur serve"


def test_beside_a_gateway_that_learns_the_next_step_is_of_learning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting, sampling, a version that is not promoted, one that serves, and one before it."""
    monkeypatch.chdir(tmp_path)
    learn, serving = Path("run/learn"), Path("run/learn/serving")
    learn.mkdir(parents=True)
    (learn / "settings.json").write_text('{"router": "run/router"}')
    assert routers().endswith("next: demur serve --learn --weak MODEL@http://HOST/v1 --strong MODEL@https://HOST/v1\n")

    def promoted(number: int) -> None:
        saved = learn / "versions" / f"{number:06d}" / "router"
        saved.mkdir(parents=True)
        (saved / "router.json").write_text(f'{{"number": {number}}}')
        serving.unlink(missing_ok=True)
        serving.symlink_to(saved.relative_to(learn))
        version = Version(number, 0.0, 50, True, "better", 0.5, 0.3)
        (saved.parent / "version.json").write_text(json.dumps(asdict(version)))
        loaded()

    where = (Path("run"), ADDRESS, lambda: serving if serving.exists() else Path("run/router"), 1234)
    with serving_file(*where, ledger="run/ledger.sqlite", learn="run/learn") as loaded:
        for said in (status(), routers()):
            assert f"next: curl {ADDRESS}/v1/chat/completions " in said
            assert "(learning from its traffic, no router yet)" in said
        with closing(sqlite3.connect("run/ledger.sqlite")) as ledger:
            ledger.execute("create table decisions (role text, reason text)")
            ledger.execute("insert into decisions values ('weak', '')")
            ledger.commit()
        (learn / "status.json").write_text('{"sentence": "1 prompt seen"}')
        assert "next: demur routers\n" in status()
        assert "learning: 1 prompt seen" in routers()
        assert routers().endswith("next: demur ledger --by day\n")
        promoted(1)
        for said in (status(), routers()):
            assert "next: demur ledger --by day\n" in said
            assert f"(learning from its traffic, router of {time.strftime('%H:%M')})" in said
        promoted(2)
        assert routers().endswith("next: demur rollback VERSION, to serve an earlier one\n")
        assert "not loaded yet" not in status()  # it follows by itself


def test_where_a_gateway_learned_the_next_step_learns_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its models, settings file and port, from wherever it is asked for; a run of prompts has its own steps."""
    monkeypatch.chdir(tmp_path)
    Path("run/learn").mkdir(parents=True)
    Path("own.toml").write_text("sticky = false\n")
    weak = {"model": "small", "base_url": "http://10.0.0.1/v1", "images": None}
    strong = {"model": "large", "base_url": "https://host/v1", "api_key_env": "LARGE", "usd_per_million_input": 2}
    settings = {"router": "run/router", "weak": weak, "strong": strong | {"usd_per_million_output": 8}}
    Path("run/learn/settings.json").write_text(json.dumps(settings | {"learn": {"folder": "run/learn"}}))
    where = (Path("run"), ADDRESS, lambda: Path("run/router"), 1)
    with serving_file(*where, learn="run/learn", config="own.toml", port=8222):
        pass
    pair = "--weak small@http://10.0.0.1/v1 --strong 'large@https://host/v1#LARGE#usd=2/8'"
    command = f"demur serve --learn {pair} --config own.toml --port 8222"
    for said in (status(), routers()):
        assert f"next: {command}\n" in said
        assert "demur demo" not in said
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    from_there = command.replace("own.toml", f"{tmp_path}/own.toml")
    for words in (["status", "--run", "../run"], ["routers", "--folder", "../run/learn"]):
        assert f"next: cd {tmp_path} && {from_there}\n" in RUNNER.invoke(app, words).output
    monkeypatch.chdir(tmp_path)
    with serving_file(*where, port=8222):  # another one came after it, which did not learn
        pass
    assert "demur serve --learn" not in status()


def routers() -> str:
    return RUNNER.invoke(app, ["routers"]).output


def test_a_target_that_a_gateway_holds_stands_in_the_status_and_in_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    router = tmp_path / "run" / "router"
    router.mkdir(parents=True)
    (router / "router.json").write_text("{}")
    with serving_file(tmp_path / "run", ADDRESS, lambda: router, 1234, port=8111, target="5 USD/day"):
        assert "it holds the target 5 USD/day in place of the threshold)" in status()
        (tmp_path / "run" / "made.json").write_text('{"routers": {"content": "", "source": ""}}')  # without a threshold
        assert "[x] calibrate  no threshold: the gateway holds the target 5 USD/day" in status()
        assert "next: demur calibrate" not in status_with_next()
        (router / "router.json").write_text('{"calibration": {"threshold": 0.5}}')  # which the target replaces
        assert "kill -HUP" not in status_with_next()
        assert "not loaded yet" not in status()
        (router / "router.json").write_text('{"method": "sw", "calibration": {"threshold": 0.5}}')
        assert "kill -HUP 1234" in status_with_next()
        assert "not loaded yet" in status()
        (router / "router.json").write_text("{}")
    assert serve_command(Path("run/router")).endswith(" --target '5 USD/day'")
    assert "[x] calibrate" not in status()
    with serving_file(tmp_path / "run", ADDRESS, lambda: router, 1234, port=8111):
        assert "target" not in status()
    assert "--target" not in serve_command(Path("run/router"))


def test_beside_a_gateway_that_holds_a_target_a_report_is_made_once_and_says_that_no_threshold_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was older than a threshold that nobody was to set, so that the next command was the report for ever."""
    monkeypatch.chdir(tmp_path)
    run, router = Path("run"), tmp_path / "run" / "router"
    router.mkdir(parents=True)
    save_router(router)
    RunConfig("p.jsonl", ModelConfig("w", "http://w/v1"), ModelConfig("s", "http://s/v1"), run=str(run)).save()
    (run / "preferences.jsonl").write_text("{}\n")
    keep_made(run, "samples", "samples")
    keep_made(run, "routers", "weights")
    with serving_file(run, ADDRESS, lambda: router, 1234, port=8111, target="quality 95%") as loaded:
        save_router(router, verdict=NOT_SHOWN | {"low": 0.01})  # trained again
        assert "next: demur report" in status_with_next()
        (run / "report.html").write_text("a page")
        keep_report(run)
        assert "[x] report" in status()
        assert "next: kill -HUP 1234" in status_with_next()
        (said,) = outdated_stages(run)
        assert "demur calibrate" not in said
        assert said.endswith(f"needs none: the gateway on {ADDRESS} holds the target quality 95%")
        loaded()
        assert newer_than_report(run) == ""
        save_router(router, {"threshold": 0.3})
        assert newer_than_report(run) == "router or its threshold"
    save_router(router)
    (said,) = outdated_stages(run)
    assert said.endswith("set its threshold: `demur calibrate`")  # nothing holds a target


def test_who_changes_the_settings_of_a_gateway_that_runs_is_told_to_restart_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in ("own.toml", "other.toml"):
        Path(name).write_text("")
    with serving_file(tmp_path / "run", ADDRESS, lambda: tmp_path / "run" / "router", 1234, config="own.toml"):
        assert restart_note(Path("own.toml")).endswith(f"end the gateway on {ADDRESS} first, kill 1234)")
        assert restart_note(Path("other.toml")) == ""
    assert restart_note(Path("own.toml")) == ""


NOT_SHOWN = {"gain": 0.02, "low": -0.02, "high": 0.06, "n": 33}


@pytest.mark.parametrize("config", ["", "gateway.toml"])
def test_a_gateway_that_would_refuse_the_new_router_is_not_told_to_load_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    """`kill -HUP`, which it refused, was the next command for ever; more prompts are, as without a gateway."""
    monkeypatch.chdir(tmp_path)
    Path(config or "other.toml").write_text("")
    run, router = Path("run"), tmp_path / "run" / "router"
    router.mkdir(parents=True)
    RunConfig("p.jsonl", ModelConfig("w", "http://w/v1"), ModelConfig("s", "http://s/v1"), run=str(run)).save()
    (run / "preferences.jsonl").write_text("{}\n")
    for stage in ("samples", "routers"):
        keep_made(run, stage, stage)
    (run / "grades.jsonl").write_text("{}\n")
    save_router(router, {"threshold": 0.3}, NOT_SHOWN)
    with serving_file(run, ADDRESS, lambda: router, 1234, port=8222, config=config):
        assert "next: curl" in status_with_next()  # it has loaded that
        save_router(router, {"threshold": 0.4}, NOT_SHOWN)
        shown = status_with_next()
        (more,) = re.findall(r"^it learned from 33 prompts: add some to about 132 to p.jsonl", shown, re.MULTILINE)
        again = "demur sample p.jsonl --weak w@http://w/v1 --strong s@http://s/v1"
        assert shown.index(more) < shown.index(f"next: {again}\n")
        if config:
            assert "or, as it is: `anyway = true` in gateway.toml, then kill -HUP 1234" in shown
        else:
            serve = "demur serve --allow-endpoint w --allow-endpoint s --anyway --port 8222"
            assert f"or, as it is: {serve}   (once the gateway on {ADDRESS} has ended: kill 1234)" in shown
        assert "next: kill" not in shown
        assert "or:   kill" not in shown
        (gateway,) = serving_gateways(run)
        assert gateway.after_calibration.endswith("keeps what it has: this router was not shown to beat random")
        assert serve_command(Path("run/router")) in shown
    with serving_file(run, ADDRESS, lambda: router, 1234, port=8222, config=config, anyway=lambda: True):
        save_router(router, {"threshold": 0.5}, NOT_SHOWN)
        assert "next: kill -HUP 1234" in status_with_next()
    with serving_file(run, ADDRESS, lambda: router, 1234, port=8222, config=config):
        save_router(router, {"threshold": 0.5}, NOT_SHOWN | {"low": 0.01})
        assert "next: kill -HUP 1234" in status_with_next()


def save_router(
    router: Path, calibration: Mapping[str, float] | None = None, verdict: Mapping[str, float] | None = None
) -> None:
    record: dict[str, object] = {"models": {"weak": {}, "strong": {}}, "verdict": verdict}
    (router / "router.json").write_text(json.dumps({"calibration": calibration, "record": record}))


def test_a_folder_that_cannot_be_written_is_served_without_a_file(tmp_path: Path) -> None:
    with serving_file(tmp_path / "away", ADDRESS, lambda: tmp_path / "away" / "router", 1234, port=8222) as loaded:
        loaded()
    assert not list(tmp_path.iterdir())


def status_with_next() -> str:
    return RUNNER.invoke(app, ["status"]).output


def status() -> str:
    return RUNNER.invoke(app, ["status"]).stdout


RUNNER = CliRunner()
