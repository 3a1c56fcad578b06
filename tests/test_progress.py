"""What a progress bar says: a rate and a time that hold for the rest of a stage, whatever came in bursts."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress, Task
from typer.testing import CliRunner

from demur.cli import printing, progress
from demur.cli.main import app
from demur.cli.printing import Terminal
from demur.cli.progress import Rate, RecentRate, TimeLeft, _clock, progress_bar


def task(*, total: int | None, before: int, completed: int, seconds: float, finished: bool = False) -> Task:
    """A stage as rich has it, at a time."""
    bar = Progress(disable=True, get_time=lambda: seconds)
    number = bar.add_task("stage", total=total, completed=completed, recent=RecentRate(before))
    made = next(one for one in bar.tasks if one.id == number)
    made.start_time = 0.0
    if finished:
        made.finished_time = seconds
    return made


@pytest.mark.parametrize(
    ("given", "rate", "time"),
    [
        ({"total": 2446, "before": 0, "completed": 2446, "seconds": 30.0, "finished": True}, "81.5/s", "00:30 taken"),
        ({"total": 100, "before": 40, "completed": 70, "seconds": 60.0}, "0.5/s", "01:00 left"),  # 40 were stored
        ({"total": 100, "before": 40, "completed": 40, "seconds": 60.0}, "", "--:-- left"),
        ({"total": None, "before": 0, "completed": 50, "seconds": 10.0}, "5.0/s", ""),  # nobody knows how many
        ({"total": 7200, "before": 0, "completed": 1, "seconds": 1.0}, "1.0/s", "1:59:59 left"),
    ],
)
def test_rate_and_time_by_hand(given: dict[str, float | bool | None], rate: str, time: str) -> None:
    found = task(**given)  # type: ignore[arg-type]
    column = progress._whole()
    assert str(Rate(table_column=column).render(found)) == rate
    assert str(TimeLeft(table_column=column).render(found)) == time


def test_what_came_before_the_first_work_counts_no_more_after_as_long_again() -> None:
    """Three minutes to fetch a model, then one answer a second: 160 are left of 348 after 188 seconds of answers."""
    recent = RecentRate(0)
    for second in range(1, 369):
        recent.mark(second, max(0, second - 180))
    assert recent.rate(368, 188) == pytest.approx(1.0, rel=0.05)  # 0.51 since the beginning
    assert (348 - 188) / recent.rate(368, 188) == pytest.approx(160, rel=0.05)


def test_a_rate_is_of_a_minute_at_least() -> None:
    """Bursts of ten answers, one every ten seconds, are one answer a second, seen just before a burst or after it."""
    recent = RecentRate(0)
    for second in range(1, 91):
        recent.mark(second, 10 * (second // 10))
    assert recent.rate(90, 90) == pytest.approx(1.0, rel=0.2)
    assert recent.rate(89.9, 80) == pytest.approx(1.0, rel=0.2)


def test_marks_of_a_long_stage_are_forgotten() -> None:
    recent = RecentRate(0)
    for second in range(1, 10_001):
        recent.mark(second, second)
        recent.rate(second, second)
    assert len(recent._marks) <= 5_001


def test_a_clock_by_hand() -> None:
    assert [_clock(seconds) for seconds in (0.4, 59.6, 3599, 3600)] == ["00:00", "01:00", "59:59", "1:00:00"]


def test_the_bars_last_line_has_both(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(progress, "err", Terminal(file=page, width=100))
    with progress_bar() as show:
        for done in (0, 1, 3):
            show("counting", done, 3)
    assert re.search(r"counting .* 3/3 +[\d,.]+/s +00:00 taken", page.getvalue())


def test_the_table_of_routers_is_whole_in_80_columns() -> None:
    """With the widest values: the gate's name as it is served, and intervals that end at 100."""
    served = ("kernel + gate (served)", "25 [18, 100]", "50 [32, 100]", ".700 [.635, .773]", "$0.154")
    written = io.StringIO()
    found = printing.router_table("a title", [served], [("random (chord)", "50", "80", ".500", "$0.247")])
    Console(width=80, file=written, color_system=None).print(found)
    (line,) = [one for one in written.getvalue().splitlines() if "served" in one]
    assert re.split(r"\s{2,}", line.strip()) == [*served]


def test_an_interrupt_while_the_command_line_is_imported_is_one_line() -> None:
    code = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'demur.cli.main':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from importlib.metadata import EntryPoint\n"
        "EntryPoint('demur', sys.argv[1], 'console_scripts').load()()\n"
    )
    script = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]["demur"]
    done = subprocess.run([sys.executable, "-c", code, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "demur: stopped before anything was done\n")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"total": 480, "before": 0, "completed": 96, "seconds": 192.0}, "stage: 96 of 480, 0.5/s, 12:48 left"),
        ({"total": None, "before": 0, "completed": 50, "seconds": 10.0}, "stage: 50, 5.0/s"),
        ({"total": 1200, "before": 0, "completed": 0, "seconds": 60.0}, "stage: 0 of 1,200, --:-- left"),
    ],
)
def test_a_stage_as_a_line(given: dict[str, float | bool | None], line: str) -> None:
    assert progress._line_of(task(**given)) == line  # type: ignore[arg-type]


def test_a_log_gets_lines_while_a_stage_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that reports nothing for a while is written of as well, and a finished one no more."""
    page = io.StringIO()
    monkeypatch.setattr(progress, "err", Terminal(file=page, width=100))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    with progress_bar() as show:
        show("counting", 2, 2)
        show("measuring", 1, 4)
        end = time.monotonic() + 10
        while "measuring: 1 of 4" not in page.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
    assert "counting: " not in page.getvalue()
    bars = page.getvalue().splitlines()[-2:]
    assert [line.split()[0] for line in bars] == ["counting", "measuring"]  # as at a terminal, at the end


def test_quiet_writes_no_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(progress, "err", Terminal(file=page, width=100))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.001)
    token = printing.QUIET.set(True)
    try:
        with progress_bar() as show:
            show("measuring", 1, 4)
            time.sleep(0.05)
    finally:
        printing.QUIET.reset(token)
    assert page.getvalue() == ""


def test_ctrl_c_says_how_far_it_was_and_what_the_next_start_begins_with(monkeypatch: pytest.MonkeyPatch) -> None:
    page = io.StringIO()
    monkeypatch.setattr(progress, "err", Terminal(file=page, width=200))
    with pytest.raises(KeyboardInterrupt), progress_bar("it begins anew") as show:
        show("training routers", 2, 5)
        raise KeyboardInterrupt
    assert "demur: stopped (training routers: 2 of 5); it begins anew\n" in page.getvalue()


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("demur.paper.overhead.report.overhead", ["overhead"]),
        ("demur.models.catalogue.fetch", ["models", "fetch", "smollm2-135m"]),
        ("demur.paper.reproduction.reproduce", ["reproduce", "--from", "stored"]),
    ],
)
def test_ctrl_c_speaks_of_paid_answers_only_where_some_are_paid_for(
    monkeypatch: pytest.MonkeyPatch, function: str, words: list[str]
) -> None:
    def interrupted(*given: object, progress: Callable[[str, int, int], None], **named: object) -> None:
        progress("stage", 1, 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupted)
    said = CliRunner().invoke(app, words).stderr
    assert "demur: stopped (stage: 1 of 2); " in said
    assert "paid" not in said
