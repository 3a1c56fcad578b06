"""Simulates a run's stages on a Ray cluster with slow and lost nodes: time, idle workers, what is asked for again.

    python benchmarks/scale_simulation.py --prompts 1000000

Discrete events, seeded. A worker takes the next portion of prompts and samples it; then all are measured. A portion
whose node is lost goes to another worker. As the store is, only what was under way is asked for again; beside it, the
same where a portion's answers are kept when it ends. Unit costs are those of docs/scaling.md. The last workers to end
leave the others idle, the more the larger a portion is.
"""

from __future__ import annotations

import argparse
import heapq
from dataclasses import dataclass, replace

import numpy as np

from environment import describe


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is simulated; times in seconds."""

    prompts: int
    workers: int
    portion: int = 256  # prompts
    sample_each: float = 0.25  # of a prompt, with a worker's four requests at a time
    measure_each: float = 0.002  # of a prompt, on one core
    under_way: int = 8  # prompts whose requests run at once on a worker, of both models
    slow_share: float = 0.02  # of portions, that meet a slow node or endpoint
    slowness: float = 5.0
    hours_to_failure: float = 24.0  # of a worker's node, on average; exponential
    restart: float = 60.0  # until its place is taken
    kept_each: bool = True  # answers are kept as they come, or with their portion


@dataclass(frozen=True, slots=True)
class Course:
    """How it went."""

    hours: float
    busy: float  # share of the workers' time, of which work came
    lost_nodes: int
    asked_again: int  # prompts


def simulate(cluster: Cluster, seed: int) -> Course:
    """Both stages, a portion after another on whichever worker is free first."""
    chance = np.random.default_rng(seed)
    sampled = _stage(cluster, cluster.sample_each, chance, paid=True)
    measured = _stage(cluster, cluster.measure_each, chance, paid=False)
    hours = sampled.hours + measured.hours
    busy = (sampled.busy * sampled.hours + measured.busy * measured.hours) / hours
    return Course(hours, busy, sampled.lost_nodes + measured.lost_nodes, sampled.asked_again)


def _stage(cluster: Cluster, each: float, chance: np.random.Generator, *, paid: bool) -> Course:
    waiting = [cluster.portion] * (cluster.prompts // cluster.portion)
    waiting += [cluster.prompts % cluster.portion] if cluster.prompts % cluster.portion else []
    mean = 3600 * cluster.hours_to_failure
    fails = chance.exponential(mean, cluster.workers)
    free = [(0.0, worker) for worker in range(cluster.workers)]
    heapq.heapify(free)
    end, useful, lost, again = 0.0, 0.0, 0, 0
    while waiting:
        now, worker = heapq.heappop(free)
        count = waiting.pop()
        slow = cluster.slowness if chance.random() < cluster.slow_share else 1.0
        needs = count * each * slow * chance.lognormal(0.0, 0.2)
        if now + needs <= fails[worker]:
            useful += count * each
            end = max(end, now + needs)
            heapq.heappush(free, (now + needs, worker))
            continue
        done = int(count * max(0.0, fails[worker] - now) / needs)  # of its prompts, when the node was lost
        lost += 1
        if paid:
            again += min(cluster.under_way, count - done) if cluster.kept_each else min(count, done + cluster.under_way)
        kept = done if cluster.kept_each and paid else 0
        useful += kept * each
        waiting.append(count - kept)
        back = max(now, float(fails[worker])) + cluster.restart
        fails[worker] = back + chance.exponential(mean)
        heapq.heappush(free, (back, worker))
    return Course(end / 3600, useful / (cluster.workers * end), lost, again)


def print_row(name: str, cluster: Cluster, runs: int) -> None:
    """Means over seeds."""
    found = [simulate(cluster, seed) for seed in range(runs)]
    mean = [np.mean([getattr(one, key) for one in found]) for key in ("hours", "busy", "lost_nodes", "asked_again")]
    extra = f"{mean[3] / cluster.prompts:.4%}"
    print(f"{name:<48} {mean[0]:>8.2f} {mean[1]:>7.1%} {mean[2]:>7.1f} {mean[3]:>9,.0f} {extra:>9}")


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    print(describe())
    print(f"{given.prompts:,} prompts{'':<32} {'hours':>14} {'busy':>7} {'lost':>7} {'again':>9} {'of all':>9}")
    usual = Cluster(given.prompts, 64)
    for workers in (8, 64, 512):
        print_row(f"{workers} workers", replace(usual, workers=workers), given.runs)
    print_row("64 workers, answers kept with their portion", replace(usual, kept_each=False), given.runs)
    print_row("64 workers, a node lost every hour each", replace(usual, hours_to_failure=1.0), given.runs)
    kept_late = replace(usual, hours_to_failure=1.0, kept_each=False)
    print_row("  the same, answers kept with their portion", kept_late, given.runs)
    print_row("64 workers, no slow portions", replace(usual, slow_share=0.0), given.runs)
    print_row("64 workers, a tenth of portions slow", replace(usual, slow_share=0.1), given.runs)
    for portion in (64, 4096):
        print_row(f"512 workers, portions of {portion:,}", replace(usual, workers=512, portion=portion), given.runs)


if __name__ == "__main__":
    main()
