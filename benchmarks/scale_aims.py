"""The aims of growing, measured in one run: what was aimed at, what this machine gives, and whether that meets it.

    python benchmarks/scale_aims.py [--only sampling,workers] [--rows 1000000]

Each part calls the benchmark that measures it at length, on short settings: about a quarter of an hour in all on two
idle cores. Ratios hold on other machines; seconds and requests per second are of this one, and an aim that is given in
them can be missed because the machine is slow or busy: the load average is printed before and after. A part that cannot
run here (no wrk, no model) is named, and the others go on.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import both_cores
import entailment_rate
import gateway
import million_prompts
import saturated
import scale
import workers
from demur.methods import KNN, SimilarityWeighted
from demur.sampling import local_servers
from environment import describe, on_one_thread
from gateway_load import Target, process, wait_for
from served_gateway import demur_command

PROMPTS, ROUNDS, REQUESTS = 12, 3, 3000  # of sampling; of the gateway, and its requests in a round
LABELLED = (1_000, 10_000)


@dataclass(frozen=True, slots=True)
class Aim:
    """One figure beside its aim; ``missed``: why it is not met, where that is known."""

    name: str
    limit: float
    found: float
    unit: str = ""
    at_least: bool = False
    missed: str = ""

    @property
    def line(self) -> str:
        """A row of the table."""
        met = self.found >= self.limit if self.at_least else self.found <= self.limit
        sign = ">=" if self.at_least else "<="
        end = "met" if met else f"missed: {self.missed}" if self.missed else "missed"
        return f"| {self.name} | {sign} {self.limit:,g}{self.unit} | {self.found:,.3g}{self.unit} | {end} |"


def lone_requests() -> Iterator[Aim]:
    """The gateway on one core, load and upstream on the other: one request at a time, and 32."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        upstream = [sys.executable, "-c", gateway.UPSTREAM_CODE, str(gateway.UPSTREAM)]
        first = stack.enter_context(process(upstream, 0)).pid
        command = demur_command(Path(name), upstream=gateway.UPSTREAM, port=gateway.DEMUR)
        served = stack.enter_context(process(command, 1)).pid
        rows = [
            gateway.Row(Target("direct", gateway.UPSTREAM, "large"), first),
            gateway.Row(Target("passing through", gateway.DEMUR, "large"), served),
            gateway.Row(Target("routed", gateway.DEMUR, "demur"), served),
        ]
        for row in rows:
            wait_for(row.target)
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {0})
        for _ in range(ROUNDS):
            for concurrency in (1, 32):
                for row in rows:
                    row.measure(concurrency, REQUESTS)
        os.sched_setaffinity(0, cores)
    direct, passed, routed = rows
    added = routed.median(routed.middles, 1) - direct.median(direct.middles, 1)
    half = "the embedding is the largest part (lone_request.py)"
    yield Aim("A1 a lone routed request adds, p50", 1.5, added, " ms", missed=half)
    slow = "checks of bodies, conversations and a record of every request, in Python: .56 of a bare proxy's"
    yield Aim("A6 passed requests/s on a core, 32 at once", 5000, passed.median(passed.rates, 32), "", True, slow)
    yield Aim("A6 routed requests/s on a core, 32 at once", 1000, routed.median(routed.rates, 32), "", True)


def sampling() -> Iterator[Aim]:
    wall, work, _ = both_cores.run(both_cores.Watched, PROMPTS)
    at_once = min(local_servers.AT_ONCE, local_servers.available_cores())
    yield Aim("A2 sampling the demo: wall time over its bound", both_cores.MOST_RATIO, wall / (work / at_once))


def hopeless() -> Iterator[Aim]:
    _, in_full, pairs, seconds = saturated.cost_of_different(saturated.all_different())
    yield Aim(f"A3 {saturated.SYNTHETIC} prompts whose answers all differ, labelled", 15, seconds, " CPU s")
    yield Aim("A3 the pairs asked of those in full", 1 / 6, pairs / in_full)
    rates = entailment_rate.measure_rates()
    why = f"the model is the same (AUC on the hard pairs {rates.auc_now:.3f}), one pair at a time"
    yield Aim("A3 pairs/s over those of the day when the aim was set", 2, rates.ratio, "x", True, why)
    yield Aim("A3 AUC on the hard pairs", 0.93, rates.auc_now, at_least=True)


def training() -> Iterator[Aim]:
    for rows, limit in zip(million_prompts.KERNEL_ROWS, (5, 60), strict=True):
        X, y, _ = million_prompts.topics(rows)
        _, _, cpu, megabytes = million_prompts.kernel_fit(X, y)
        yield Aim(f"A4 kernel ridge fits {rows:,} prompts", limit, cpu, " CPU s")
    yield Aim(f"A4 memory of that fit of {rows:,}, beside the vectors", 1000, megabytes, " MB")


def decisions(rows: int) -> Iterator[Aim]:
    X, y, queries = million_prompts.topics(rows)
    for name, made in (("SW", SimilarityWeighted), ("kNN", KNN)):
        method = made(exact_rows=0).fit(X, y)
        taken = float(np.median(million_prompts.decision_milliseconds(method.predict_proba, queries)))
        yield Aim(f"A5 a decision of {name} among {rows:,}, p50", 1, taken, " ms")
        del method


def processes() -> Iterator[Aim]:
    found = workers.measure_workers(4, 2, 64)
    whys = {
        "passing through": "",
        "routed": "one worker that routes takes up to 1.4 cores: it embeds beside the event loop (docs/gateway.md)",
    }
    for mode, why in whys.items():
        ratio = float(np.median(workers.ratios_of(found, mode)))
        yield Aim(f"A6 requests/s of two workers over one, {mode}", 1.7, ratio, "x", True, why)


def labelling() -> Iterator[Aim]:
    each = []
    for size in LABELLED:
        grown = scale.grow_apart(size)
        each.append(grown.label_seconds / grown.prompts)
    first, last = LABELLED
    yield Aim(f"labelling a prompt of {last:,} over one of {first:,}", 1.1, each[1] / each[0], "x")


def cluster() -> Iterator[Aim]:
    begins = "a worker and its process beside the command on two cores; two processes without Ray give 1.74"
    for (name, work, times, least), why in zip(scale.STAGES, (begins, ""), strict=True):
        one, two = scale.worker_seconds(work, times, 1)
        yield Aim(f"B2 two Ray workers over one, {name}", least, one / two, "x", True, why)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="training prompts of SW and kNN")
    parser.add_argument("--only", default="", help="parts, comma-separated")
    options = parser.parse_args()
    parts: dict[str, Callable[[], Iterator[Aim]]] = {
        "requests": lone_requests,
        "sampling": sampling,
        "hopeless": hopeless,
        "training": training,
        "decisions": lambda: decisions(options.rows),
        "workers": processes,
        "labelling": labelling,
        "ray": cluster,
    }
    unknown = sorted({*filter(None, options.only.split(","))} - {*parts})
    if unknown:
        parser.error(f"no part is called {unknown[0]!r}; parts: {', '.join(parts)}")
    on_one_thread()
    print(f"{describe()}; load {os.getloadavg()[0]:.1f}", flush=True)
    print("| what | aim | measured | |\n|---|---|---|---|", flush=True)
    begun = time.monotonic()
    for name, part in parts.items():
        if options.only and name not in options.only.split(","):
            continue
        try:
            for aim in part():
                print(aim.line, flush=True)
        except (Exception, SystemExit) as error:  # a tool or a model that is not here
            print(f"| {name} | | not measured: {' '.join(str(error).split())[:160]} | |", flush=True)
    print(f"{time.monotonic() - begun:.0f} s; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
