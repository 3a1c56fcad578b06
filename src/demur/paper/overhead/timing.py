"""Measures of a call and of what an object holds, and how they grow. Knows no router; the clock is an argument."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from demur.records import FloatArray

Clock = Callable[[], float]  # seconds


def call_seconds(
    call: Callable[[int], object], most: int, limit: float, clock: Clock = time.perf_counter
) -> FloatArray:
    """(calls,) seconds of call(0), call(1), ...: ``most`` of them, or as many as begin within ``limit`` seconds.

    One call before them is not counted: it pays for what is loaded and allocated once.
    """
    call(0)
    taken: list[float] = []
    begin = clock()
    while len(taken) < most:
        start = clock()
        if taken and start - begin >= limit:
            break
        call(len(taken))
        taken.append(clock() - start)
    return np.array(taken)


def slope(sizes: Sequence[float], values: Sequence[float | None]) -> float | None:
    """a of the power law value ~ size^a: the slope of a line through the logarithms. None with fewer than two."""
    known = [(size, value) for size, value in zip(sizes, values, strict=True) if value]
    if len(known) < 2:
        return None
    x, y = np.log(np.array(known)).T
    return float(np.polyfit(x, y, 1)[0])


def least_expected(sizes: Sequence[float], values: Sequence[float | None], size: float) -> float | None:
    """The value at ``size`` by the power law through the two largest sizes that have one, in proportion at most; None
    without. Kernel ridge grows faster only until it has all of its centres.
    """
    known = [(one, value) for one, value in zip(sizes, values, strict=True) if value][-2:]
    grown = slope([one for one, _ in known], [value for _, value in known])
    return None if grown is None else float(known[-1][1] * (size / known[-1][0]) ** min(grown, 1.0))


def array_bytes(learned: object) -> int:
    """Bytes of the arrays that an object holds, in its attributes and in theirs; an array held twice counts once."""
    arrays = {id(array): array.nbytes for array in _arrays(learned)}
    return sum(arrays.values())


def _arrays(held: object) -> Iterator[FloatArray]:
    if isinstance(held, np.ndarray):
        yield held
    elif isinstance(held, list | tuple):
        for one in held:
            yield from _arrays(one)
    elif type(held).__module__.startswith("demur."):
        names = getattr(held, "__slots__", ()) or vars(held)
        for name in names:
            yield from _arrays(getattr(held, name))
