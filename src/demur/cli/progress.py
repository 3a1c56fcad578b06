"""Columns of a progress bar that are of a whole stage: how much is done per second, and the time left at that rate."""

from __future__ import annotations

from typing import Any

from rich.progress import TextColumn
from rich.table import Column
from rich.text import Text


class Rate(TextColumn):
    """Work done per second since the stage began, as a column of the progress bar. Answers of fast and slow requests
    come in bursts: the rate of the last seconds, which rich shows, would be another one than that of the whole.
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
    seconds = task.finished_time if task.finished else task.elapsed
    done: float = task.completed - task.fields["before"]
    return done / seconds if seconds and done > 0 else 0.0


def _clock(seconds: float) -> str:
    """Minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
