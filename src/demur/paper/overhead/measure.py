"""The costs of one architecture at one number of training prompts, in a process of its own that is ended in time."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from demur.methods.fit.threads import one_thread
from demur.paper.overhead.architectures import ARCHITECTURES, QUERIES, Fitted, planted_world, saved_bytes
from demur.paper.overhead.timing import Clock, array_bytes, call_seconds
from demur.records import FloatArray

BATCH = 32
DECISIONS, BATCHES = 400, 40  # at most
DECIDING_SECONDS = 2.0  # for either, at most
START_SECONDS = 120.0  # in which a process has started and made its vectors
AFTER_SECONDS = 60.0  # in which it has measured decisions, once it is fitted


@dataclass(frozen=True, slots=True)
class Cost:
    """What an architecture costs; None: not measured, and ``why_not`` says why."""

    name: str
    n: int  # training prompts; 0 for an encoder, which learns nothing
    fit_seconds: float | None = None
    p50: float | None = None  # seconds of one decision
    p99: float | None = None
    per_second: float | None = None  # decisions, in batches of BATCH
    memory: int | None = None  # bytes of the learned arrays
    artifact: int | None = None  # bytes on disk
    why_not: str = ""


def decision_times(
    decide: Callable[[slice], object], clock: Clock = time.perf_counter
) -> tuple[FloatArray, FloatArray]:
    """Seconds of single decisions and of batches of BATCH; ``decide`` is told which of QUERIES prompts."""

    def decide_rows(i: int, rows: int) -> object:
        first = i * rows % QUERIES
        return decide(slice(first, first + rows))

    single = call_seconds(lambda i: decide_rows(i, 1), DECISIONS, DECIDING_SECONDS, clock)
    return single, call_seconds(lambda i: decide_rows(i, BATCH), BATCHES, DECIDING_SECONDS, clock)


def with_times(cost: Cost, single: FloatArray, batches: FloatArray) -> Cost:
    """The same cost with p50, p99 and throughput."""
    p50, p99 = np.quantile(single, [0.5, 0.99]).tolist()
    return replace(cost, p50=p50, p99=p99, per_second=BATCH / float(np.median(batches)))


def measure_fitted(cost: Cost, fitted: Fitted, clock: Clock = time.perf_counter) -> Cost:
    """The same cost with what deciding and keeping it takes."""
    kept = replace(cost, memory=array_bytes(fitted.learned), artifact=saved_bytes(fitted))
    return with_times(kept, *decision_times(fitted.decide, clock))


def measure_within(name: str, n: int, dimension: int, seconds: float) -> Cost:
    """Measure an architecture on ``n`` planted prompts; a fit that takes longer than ``seconds`` is ended."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe(duplex=False)
    process = processes.Process(target=_measure, args=(there, name, n, dimension), daemon=True)
    process.start()
    there.close()
    try:
        return _receive(here, Cost(name, n), seconds)
    except EOFError:
        process.join(1)
        return Cost(name, n, why_not=f"its process ended (exit code {process.exitcode}): too little memory?")
    finally:
        process.kill()
        process.join()
        here.close()


def _receive(pipe: Any, cost: Cost, seconds: float) -> Cost:
    """What the process says, or which of its steps took too long."""
    steps = (
        (START_SECONDS, "its process was not ready after"),
        (seconds, "the fit takes longer than"),
        (AFTER_SECONDS, "its decisions were not measured after"),
    )
    for limit, why in steps:
        if not pipe.poll(limit):
            return replace(cost, why_not=f"{why} {limit:g} s")
        cost = pipe.recv()
    return cost


def _measure(pipe: Connection, name: str, n: int, dimension: int) -> None:
    """In the process: a message when the world is made, one when the router is fitted, one when all is measured."""
    with one_thread():
        fit = ARCHITECTURES[name](planted_world(n, dimension))
        pipe.send(Cost(name, n))
        start = time.perf_counter()
        fitted = fit()
        cost = Cost(name, n, time.perf_counter() - start)
        pipe.send(cost)
        pipe.send(measure_fitted(cost, fitted))
