"""Workers that hang, and what services that were killed leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Timer

import pytest

from demur.gateway.workers.shared_state import Beats, shared_folder

TWO_WORKERS = """
import os, sys, time
from pathlib import Path
from demur.gateway.workers import processes
from demur.gateway.workers.shared_state import Beats
processes.LOOK_SECONDS, processes.HUNG_LOOKS = 0.1, 5
beats = Beats(Path(sys.argv[1]))

def work(number, tell, lifeline):
    print(number, os.getpid(), flush=True)
    tell()
    while True:
        beats.beat(number)
        time.sleep(0.02)

processes.Workers(2, work, end_seconds=1, ending=lambda: None, beat=beats.last).run(lambda: print("ready", flush=True))
"""
HOLDS_A_FOLDER = """
import time
from demur.gateway.workers.shared_state import shared_folder
with shared_folder() as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def kill_all(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_stopped_worker_is_killed_and_replaced_and_the_other_is_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TWO_WORKERS, str(tmp_path / "beats")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stdout and parent.stderr
        said = [parent.stdout.readline().split() for _ in range(3)]
        pids = dict(line for line in said if len(line) == 2)
        clock = Timer(20, kill_all, [[parent.pid, *map(int, pids.values())]])  # who is not replaced is not waited for
        clock.start()
        os.kill(int(pids["1"]), signal.SIGSTOP)
        number, fresh = parent.stdout.readline().split()  # the next that starts
        assert number == "1"
        assert fresh != pids["1"]
        clock.cancel()
        parent.terminate()
        errors = parent.stderr.read()
    assert "worker 1 shows no sign of life for 0.5 s" in errors
    assert "worker 1 ended with -9; it is started again" in errors
    assert "worker 0" not in errors


def test_beats_are_those_of_each_number(tmp_path: Path) -> None:
    beats = Beats(tmp_path / "beats")
    beats.beat(3)
    other = Beats(tmp_path / "beats")
    assert other.last(3) == pytest.approx(time.monotonic(), abs=5)
    assert other.last(2) == 0


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def test_the_folder_of_a_killed_service_goes_at_the_next_start_and_a_living_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    env = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", HOLDS_A_FOLDER]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as dead,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as living,
    ):
        assert dead.stdout and living.stdout
        left, used = (Path(child.stdout.readline().strip()) for child in (dead, living) if child.stdout)
        dead.kill()
        dead.wait()
        assert left.is_dir()
        with shared_folder() as own:
            assert until(lambda: not left.exists())
            assert used.is_dir()
            assert own.is_dir()
        assert not own.exists()
        living.kill()
