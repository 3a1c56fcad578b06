"""The one seam by which work is spread: a function like the built-in `map`, over portions of the prompts.

    map             one after another, in this process
    on_threads      on as many threads as there are cores
    RayWorkers      on a Ray cluster (`demur.mapping.on_ray`)

All give the results in the order of the portions, so that whatever is summed over them is the same to the last bit.
What is mapped is a picklable object with ``__call__``; what it needs, such as a model, it opens where it runs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

_Portion = TypeVar("_Portion")
_Result = TypeVar("_Result")
Map = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # map, on_threads, or a cluster's workers

PORTION = 256  # prompts: they cross a cluster together, and what they need is in memory together
PER_CORE = 4  # portions, at least: a worker that is late has little left
threads = os.cpu_count() or 1  # of `on_threads`; a worker of a cluster, one of several on its node, has one


def on_threads(work: Callable[[_Portion], _Result], portions: Iterable[_Portion]) -> Iterator[_Result]:
    """`map` on threads; numpy and ONNX release the interpreter during long computations."""
    if threads == 1:
        yield from map(work, portions)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, portions)


def portions_of(values: Sequence[_Portion], size: int = PORTION) -> Iterator[Sequence[_Portion]]:
    """The values in order, so many at a time."""
    return (values[start : start + size] for start in range(0, len(values), size))


def portion_size(mapping: Map, count: int) -> int:
    """Prompts per portion; on a cluster the portions of a small run are smaller, so that every worker has some."""
    return min(PORTION, max(1, count // (PER_CORE * getattr(mapping, "cores", 1)))) if mapping is not map else PORTION
