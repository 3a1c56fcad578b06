"""The progress bar: of each stage how much is done, how much per second of late, and the time left at that rate.

Where stderr is no terminal, as in a log, a bar would be drawn once, at the end: lines on each stage are written at
intervals.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from demur.cli.printing import QUIET, err
from demur.records import Progress

PAID_KEPT = "answers that were paid for are kept, and the same command continues from there"
FILES_KEPT = "files that are whole are kept, and the same command fetches the others"
NOTHING_KEPT = "the same command begins anew"
LINE_SECONDS = 20.0  # between two lines on a stage that goes on
SHORTEST_SECONDS = 60.0  # that a rate is of, where a stage has gone on for so long: answers come in bursts
MARK_SECONDS = 1.0  # between two marks of how much was done


class RecentRate:
    """What a stage did per second of late: over the last half of its time and a minute at least. What came before the
    first piece of work, such as fetching a model, would for long make the time left many times too long.
    """

    def __init__(self, done: float) -> None:
        self.begun, self._marks = done, deque([(0.0, done)])  # seconds since the start, and how much was done by then

    def mark(self, seconds: float, done: float) -> None:
        """Note how much is done by now."""
        if seconds - self._marks[-1][0] >= MARK_SECONDS:
            self._marks.append((seconds, done))

    def rate(self, seconds: float, done: float) -> float:
        """Per second, by now. 0: not known yet."""
        since = min(seconds - SHORTEST_SECONDS, seconds / 2)
        while len(self._marks) > 1 and self._marks[1][0] <= since:
            self._marks.popleft()
        at, then = self._marks[0]
        return (done - then) / (seconds - at) if seconds > at and done > then else 0.0


@contextmanager
def progress_bar(kept: str = PAID_KEPT) -> Iterator[Progress]:
    """One bar per stage on stderr: stage, count, rate, time left. ``kept``: what Ctrl-C leaves, and how to go on."""
    columns = (
        TextColumn("{task.description:<28}", table_column=_whole()),
        BarColumn(bar_width=14),
        MofNCompleteColumn(table_column=_whole()),
        Rate(table_column=_whole()),
        TimeLeft(table_column=_whole()),
    )
    bar, stages = Bar(*columns, console=err, disable=QUIET.get()), dict[str, Any]()

    def show(stage: str, done: int, total: int) -> None:
        if not stages:  # an empty bar would leave an empty line, such as before an error
            bar.start()
        if stage not in stages:
            stages[stage] = bar.add_task(stage, total=total or None, recent=RecentRate(done))  # 0: unknown
        bar.update(stages[stage], completed=done, total=total or None)
        task = next(one for one in bar.tasks if one.id == stages[stage])
        task.fields["recent"].mark(task.elapsed or 0.0, done)

    try:
        with ExitStack() as stack:
            if not err.is_terminal and not QUIET.get():
                stack.enter_context(_lines_at_intervals(bar))
            yield show
    except KeyboardInterrupt as stopped:
        if stages:
            bar.stop()
        last = [one for one in bar.tasks[-1:] if one.total]
        at = "".join(f" ({one.description}: {one.completed:,.0f} of {one.total:,.0f})" for one in last)
        said = f"; {stopped}" if str(stopped) else f"{at}; {kept}"
        err.print(f"demur: stopped{said}", markup=False, soft_wrap=True)
        raise
    finally:
        if stages:
            bar.stop()


@contextmanager
def _lines_at_intervals(bar: Bar) -> Iterator[None]:
    """Writes a line on the newest stage, and on others that moved, until they are finished and the block ends."""
    ended, written = threading.Event(), dict[int, float]()

    def write() -> None:
        while not ended.wait(LINE_SECONDS):
            for task in bar.tasks:
                moved = written.get(task.id) != task.completed
                if not task.finished and (moved or (task is bar.tasks[-1] and task.total is not None)):
                    written[task.id] = task.completed
                    err.print(_line_of(task), markup=False, soft_wrap=True)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def _line_of(task: Any) -> str:
    """A stage as text, such as "measuring samples: 96 of 480, 0.5/s, 12:48 left"."""
    done = f"{task.completed:,.0f}" + (f" of {task.total:,.0f}" if task.total is not None else "")
    figures = (column.render(task).plain for column in (Rate(_whole()), TimeLeft(_whole())))
    return ", ".join([f"{task.description}: {done}", *filter(None, figures)])


class Rate(TextColumn):
    """Work done per second, as a column of the progress bar. Answers of fast and slow requests come in bursts: the
    rate of the last seconds, which rich shows, would be another one every time; `RecentRate` has the one shown.
    """

    def __init__(self, table_column: Column) -> None:
        super().__init__("", table_column=table_column)

    def render(self, task: Any) -> Any:
        speed = _rate_of(task)
        return Text(f"{speed:,.1f}/s" if speed else "", style="dim")


class TimeLeft(Rate):
    """Time left at that rate, or taken."""

    def render(self, task: Any) -> Any:
        speed = _rate_of(task)
        if task.finished:
            return Text(f"{_clock(task.finished_time)} taken")
        if not speed or task.total is None:
            return Text("--:-- left" if task.total is not None else "")
        return Text(f"{_clock((task.total - task.completed) / speed)} left")


def _rate_of(task: Any) -> float:
    """Per second; what was there at the beginning, such as stored answers, took no time. 0: not known yet."""
    recent: RecentRate = task.fields["recent"]
    if task.finished:
        done: float = task.completed - recent.begun
        return done / task.finished_time if task.finished_time and done > 0 else 0.0
    return recent.rate(task.elapsed or 0.0, task.completed)


def _clock(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def _whole() -> Column:
    return Column(no_wrap=True, overflow="fold")
