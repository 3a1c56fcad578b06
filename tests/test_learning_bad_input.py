"""Learning under bad input: floods, outages, clocks, full disks, kills, and folders that were changed by hand."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demur.errors import DemurError, InputError
from demur.gateway.learning.changes import Changes
from demur.gateway.ledger.read import read_ledger
from demur.gateway.server import running
from demur.gateway.settings import GatewaySettings, LearnSettings, ServedModel
from demur.learning.choice import choose
from demur.learning.round import learn_round, learning_run
from demur.learning.traffic import taken_prompts
from demur.learning.versions import serving_version, versions
from demur.runs.lock import lock_run
from demur.runs.run import open_run
from demur.testing import fake_endpoint
from gateways import EASY, RECORD, gateway
from test_learning import NOW, planted_prompt, settings_of, weak_answer, write_records


def right(prompt: str, seed: int) -> str:
    return "right"


async def test_a_prompt_that_is_asked_a_thousand_times_is_sampled_once(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(right) as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": "Who?", "at": NOW + i / 1000} for i in range(1000)))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        asked = [one for one in strong.requests if "messages" in one]
    assert (status.seen, status.sampled) == (1, 1)
    assert sum(one.get("n", 1) for one in asked) == 4


def test_a_client_that_floods_one_region_does_not_take_the_samples_of_the_others() -> None:
    random = np.random.default_rng(0)
    centre, spread = np.zeros(32), random.normal(size=(40, 32))
    centre[0] = 1.0
    flood = centre + 0.02 * random.normal(size=(2000, 32))  # of nearly the same text
    rows = np.concatenate([flood, spread])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    chosen = choose(rows.astype(np.float32), np.empty((0, 0)), 60, np.random.default_rng(1))
    assert sum(one >= 2000 for one in chosen) == 40  # all of the rest
    assert sum(one < 2000 for one in chosen) <= 20


async def test_while_a_model_is_down_rounds_say_so_and_nothing_is_asked_twice_afterwards(tmp_path: Path) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(right) as strong:
        settings = settings_of(tmp_path, weak, strong)
        assert settings.weak is not None
        down = replace(settings.weak, base_url="http://127.0.0.1:9/v1", timeout_seconds=1.0)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(10)))
        away = replace(settings, weak=down)
        status = await asyncio.to_thread(learn_round, away, now=lambda: NOW + 100)
        assert "127.0.0.1:9" in status.said
        assert status.sampled == 0
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 3700)
        asked = sum(one.get("n", 1) for one in strong.requests if "messages" in one)
    assert status.sampled == 10
    assert asked == 4 * 10


def test_answers_of_another_length_raise_an_alarm_as_when_the_provider_has_changed_the_model() -> None:
    random, changes = np.random.default_rng(2), Changes()

    def said(mean: float, n: int) -> list[str]:
        lengths = random.poisson(mean, n)
        rows = (replace(RECORD, stage="gate", model="large", completion_tokens=int(one)) for one in lengths)
        return [alarm for row in rows for alarm in changes.add(row)]

    assert said(40, 1500) == []
    alarms = said(80, 300)
    assert len(alarms) == 1
    assert "recent answers of large differ in length" in alarms[0]
    assert "If the provider has changed the model" in alarms[0]


async def test_a_clock_that_jumps_back_or_ahead_loses_no_prompt_for_ever_and_spends_no_more_than_a_day(
    tmp_path: Path,
) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(right) as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(5)))
        await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        before = await asyncio.to_thread(learn_round, settings, now=lambda: NOW - 10 * 86_400)  # back
        ahead = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 10 * 86_400)  # and ahead
        later = ({"prompt": planted_prompt(i), "at": NOW + 200 + i} for i in range(5, 9))
        write_records(tmp_path / "later.sqlite", *later)
        settings = replace(settings, ledger=str(tmp_path / "later.sqlite"))
        status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 300)
    assert before.usd_today >= 0
    assert ahead.usd_today >= 0
    assert status.seen == 9


async def test_a_full_disk_ends_a_round_with_a_sentence_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(right) as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 50)

        def full(*given: Any, **more: Any) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched, pytest.raises((DemurError, OSError), match="No space"):
            patched.setattr("demur.learning.versions.shutil.copytree", full)
            await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        assert serving_version(tmp_path / "learn") is None
        assert versions(tmp_path / "learn") == []
        for _ in range(2):
            status = await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 200)
    assert status.serving == 1


async def test_the_gateway_serves_on_when_the_learning_folder_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "learn"
    folder.mkdir()
    (folder / "status.json").write_text("{")
    (folder / "serving").symlink_to("versions/000009/router")  # which somebody has deleted
    async with gateway(tmp_path, learn=LearnSettings(str(folder))) as found:
        assert (await found.ask(EASY))[0] == 200


def test_two_learners_of_one_folder_do_not_work_at_once(tmp_path: Path) -> None:
    settings = GatewaySettings(
        weak=ServedModel("small", "http://127.0.0.1:9/v1"),
        strong=ServedModel("large", "http://[::1]:9/v1"),
        ledger=str(tmp_path / "ledger.sqlite"),
        learn=LearnSettings(str(tmp_path / "learn")),
    )
    with lock_run(tmp_path / "learn", "learn"), pytest.raises(InputError, match="at work"):
        learn_round(settings)


async def test_a_version_whose_files_were_changed_by_hand_is_refused_and_the_old_router_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(right) as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        for _ in range(2):
            await asyncio.to_thread(learn_round, settings, now=lambda: NOW + 100)
        async with running(settings) as (found, *_):
            held = found.decider.router
            folder = tmp_path / "learn" / "versions" / "000002"
            (folder / "router").mkdir(parents=True)
            for file in (tmp_path / "learn" / "serving").iterdir():
                changed = file.read_bytes()[:-1] if file.suffix == ".safetensors" else file.read_bytes()
                (folder / "router" / file.name).write_bytes(changed)
            part = tmp_path / "learn" / "serving.part"
            part.symlink_to("versions/000002/router")
            part.replace(tmp_path / "learn" / "serving")
            for _ in range(100):
                if "is refused, the old stays" in (said := capsys.readouterr().err):
                    break
                await asyncio.sleep(0.1)
            assert "does not match its hash" in said
            assert found.decider.router is held


async def test_a_version_note_that_was_broken_by_hand_is_said_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "versions" / "000001").mkdir(parents=True)
    (tmp_path / "versions" / "000001" / "version.json").write_text("{")
    with pytest.raises(InputError, match=r"000001/version\.json"):
        versions(tmp_path)


async def test_learning_switched_off_and_on_again_goes_on_where_it_was(tmp_path: Path) -> None:
    on = LearnSettings(str(tmp_path / "learn"))
    for settings, asked in ((on, "zzz 1?"), (None, "zzz 2?"), (on, "zzz 3?")):
        async with gateway(tmp_path, learn=settings) as found:
            await found.ask(asked)
    kept = sorted(one.prompt for one in read_ledger(str(tmp_path / "ledger.sqlite")))
    assert kept == ["", "zzz 1?", "zzz 3?"]  # nothing of the time between


# -- kill -9 -----------------------------------------------------------------------------------------------------------

LEARN_ONCE = """
import sys
from demur.learning.process import learn
print("begun", flush=True)
learn(sys.argv[1], once=True)
"""


def killed_after(file: Path, seconds: float) -> bool:
    """A round in a process of its own that is killed so long after it has begun; True where it had ended before."""
    command = [sys.executable, "-c", LEARN_ONCE, str(file)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert child.stdout is not None
    child.stdout.readline()
    try:
        return child.wait(timeout=seconds) == 0
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        return False
    finally:
        child.stdout.close()


@pytest.mark.slow
async def test_kills_at_any_moment_lose_no_paid_sample_and_leave_no_promotion_half_done(tmp_path: Path) -> None:
    random, kills = np.random.default_rng(0), 0
    async with fake_endpoint(weak_answer) as weak, fake_endpoint(right) as strong:
        settings = settings_of(tmp_path, weak, strong)
        write_records(tmp_path / "ledger.sqlite", *({"prompt": planted_prompt(i), "at": NOW + i} for i in range(80)))
        file = tmp_path / "settings.json"
        file.write_text(json.dumps(asdict(settings)))
        stored, span = 0, 1.2
        for _ in range(16):
            ended = await asyncio.to_thread(killed_after, file, span * float(random.random()))
            kills += not ended
            span *= 0.7 if ended else 1.0  # a machine on which rounds end sooner kills sooner
            stored = await asyncio.to_thread(check_folder, settings, stored)
        for _ in range(4):
            status = await asyncio.to_thread(learn_round, settings)
            if status.serving:
                break
        chat = [one for one in strong.requests if "messages" in one]
        asked = sum(one.get("n", 1) for one in chat)
    assert kills >= 6
    assert status.serving is not None, status.sentence
    # What was asked and not stored is at most what was under way at each kill.
    assert asked - 4 * status.sampled <= kills * 4 * 8
    lines = sum(one.usd or 0.0 for one in read_ledger(settings.ledger, last=None) if one.role == "learning")
    assert lines == pytest.approx(status.usd_today)


def check_folder(settings: GatewaySettings, stored: int) -> int:
    """What a kill has left is whole: samples never fewer, and a router that serves can be read."""
    assert settings.learn is not None
    folder = Path(settings.learn.folder)
    now = serving_version(folder)
    if now is not None:
        assert (folder / "serving" / "router.json").is_file()
        assert now in [one.number for one in versions(folder) if one.promoted]
    if not (folder / "store.sqlite").exists() or not taken_prompts(folder):
        return stored
    with open_run(learning_run(settings, settings.learn)) as run:
        there = sum(len(side[prompt.id]) for side in (run.samples.weak, run.samples.strong) for prompt in run.prompts)
    assert there >= stored
    return there


# -- what is said at the start -----------------------------------------------------------------------------------------


async def test_a_private_address_that_counts_as_free_is_said_when_money_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weak, strong = (ServedModel(name, "http://10.0.0.1:8000/v1") for name in ("small", "large"))
    learn = LearnSettings(str(tmp_path / "learn"))
    async with gateway(tmp_path, weak=weak, strong=strong, learn=learn):
        pass
    said = capsys.readouterr().err
    assert "small: a private address, counted as $0 (MODEL@URL#usd=IN/OUT if it costs)" in said
    assert "large: a private address, counted as $0" in said
