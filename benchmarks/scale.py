"""How a run grows: labelling and training from 1,000 stub prompts on, workers of a Ray cluster, and lost nodes.

    python benchmarks/scale.py labelling --sizes 1000,10000,100000   CPU time, memory and disk per prompt
    python benchmarks/scale.py workers                               two workers of a cluster beside one
    python benchmarks/scale.py kills --kills 20                      nodes killed while prompts are sampled
    python benchmarks/scale.py memory --sizes 1000,5000,20000        the largest worker of a cluster, by prompts
    python benchmarks/scale.py samplers --store postgresql:///...    two samplers on one store beside one

Stub prompts: half sums, at which the weak model guesses, four of ten colours, and a tenth answered by paraphrases,
about which the entailment model is asked. Samples (2 to 5 of each model) are written to the store, as if they had been
paid for; ``kills`` asks a fake endpoint, which counts. Times are CPU seconds of the one process that labels, so that
other work on the machine does not count; ratios of workers are of wall time, the median of interleaved repetitions.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import resource
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import demur.pipeline as stages
from demur.config import RouterConfig, RunConfig, load_run
from demur.mapping.on_ray import RayWorkers, workers_at
from demur.models.local import parse_model
from demur.prompts import load_prompts
from demur.records import SamplingSettings, content_hash
from demur.runs.run import open_run
from demur.sampling.pair import endpoints_of, settled_key
from demur.store import Store
from demur.testing import FakeEndpoint, fake_endpoint, in_a_thread
from environment import describe, on_one_thread, output_of
from scale_samplers import print_samplers

PARTS = ("labelling", "workers", "kills", "memory", "samplers", "grow", "weigh")
SIZES, MEMORY_SIZES = "1000,10000,100000", "1000,5000,20000"
PARAPHRASES = ("a shade of blue", "blue, more or less", "the colour is blue", "some kind of blue", "it looks bluish")
FEWEST, MOST, UNSETTLED = 2, 5, 0.8
LEAST_CPU, LEAST_WAITING = 1.7, 1.9  # two workers, of one
REPETITIONS, PORTIONS = 3, 16
WARMING, WARMING_SECONDS = 8, 1.5
CORE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
SOON_DEAD = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 1000}


@dataclass(frozen=True, slots=True)
class Grown:
    """A run of so many prompts; seconds are of the CPU, bytes the largest of the process."""

    prompts: int
    label_seconds: float
    train_seconds: float
    memory: int
    store_bytes: int

    @property
    def line(self) -> str:
        """A row of the table."""
        each = 1e3 * self.label_seconds / self.prompts, 1e3 * self.train_seconds / self.prompts
        return (
            f"{self.prompts:>9,} {self.label_seconds:>9.1f} {each[0]:>9.3f} {self.train_seconds:>9.1f} {each[1]:>9.3f} "
            f"{self.memory / 2**20:>9,.0f} {self.store_bytes / self.prompts:>9,.0f}"
        )


# -- labelling and training ------------------------------------------------------------------------------------------


def write_stub(folder: Path, count: int) -> RunConfig:
    """Prompts, and a store with both models' samples of them."""
    chance = random.Random(0)
    rows = []
    for i in range(count):
        text = f"What is {chance.randrange(10**6)} plus {chance.randrange(10**6)}, question {i}?"
        if i % 2:
            text = f"Which colour has picture {i} of the {chance.choice(['sky', 'sea', 'rose'])}?"
        rows.append({"id": f"p{i}", "prompt": text})
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    weak, strong = (parse_model(f"{name}@http://127.0.0.1:9/v1") for name in ("small", "large"))
    router = RouterConfig(encoder="letters", methods=("kernel",), gate="off")
    settings = SamplingSettings(n=f"{FEWEST}..{MOST}")
    config = RunConfig(str(prompts), weak, strong, run=str(folder / "run"), sampling=settings, router=router)
    config.save()
    fill_store(config, chance)
    return config


def fill_store(config: RunConfig, chance: random.Random) -> None:
    """Both models' samples; four of five sums are not settled by the first ones."""
    pair, key = endpoints_of(config), config.sampling.key
    settled, rows = [], list[tuple[Any, ...]]()
    with Store(config.store_at) as store:
        for i, prompt in enumerate(load_prompts(config.prompts)):
            hard = i % 2 == 0 and chance.random() < UNSETTLED
            count = MOST if hard else FEWEST
            if not hard:
                settled.append(prompt.key)
            for endpoint in (pair.weak, pair.strong):
                for k in range(count):
                    guess = hard and endpoint is pair.weak
                    text = str(chance.randrange(1000)) if guess else str(3 * i)
                    if i % 2:
                        text = chance.choice(PARAPHRASES) if i % 10 == 1 else ("blue", "The blue.")[k % 2]
                    tokens = json.dumps([-0.1] * len(text.split()))
                    row = (endpoint.name, content_hash(prompt.key), key, k, text, tokens, "stop", 20, 3, count)
                    rows.append(row)
        store.add_settled(*settled_key(pair, config.sampling), settled)
    with closing(sqlite3.connect(config.store_at)) as db, db:
        db.executemany("insert into samples values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)


def grow(folder: Path) -> Grown:
    """Label and train in this process, on what `write_stub` left."""
    config = load_run(folder / "run")
    begun = time.process_time()
    with open_run(config) as run:
        stages.label_stage(run)
        labelled = time.process_time()
        router = stages.train_stage(run)
        stages.calibrate_stage(run, stages.gate_stage(run, router))
        count = len(run.prompts)
    trained = time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Grown(count, labelled - begun, trained - labelled, memory, Path(config.store_at).stat().st_size)


def grow_apart(prompts: int) -> Grown:
    """So many stub prompts labelled and trained on, in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory(prefix="demur-scale-") as folder:
        write_stub(Path(folder), prompts)
        return Grown(**json.loads(output_of([sys.executable, __file__, "grow", folder])))


def print_labelling(sizes: list[int]) -> None:
    print(f"{'prompts':>9} {'label s':>9} {'ms each':>9} {'train s':>9} {'ms each':>9} {'MiB':>9} {'store B':>9}")
    found = []
    for size in sizes:
        found.append(grow_apart(size))
        print(found[-1].line, flush=True)
    if len(found) < 2:
        return
    first, last = found[0], found[-1]
    ratio = (last.label_seconds / last.prompts) / (first.label_seconds / first.prompts)
    print(f"labelling a prompt of {last.prompts:,} costs {ratio:.2f} of what it costs among {first.prompts:,}")
    slope = (last.memory - found[-2].memory) / (last.prompts - found[-2].prompts)
    million = last.memory + slope * (1_000_000 - last.prompts)
    label, train = (1e6 / last.prompts * seconds / 60 for seconds in (last.label_seconds, last.train_seconds))
    print(
        f"a million, by the slope from {found[-2].prompts:,} to {last.prompts:,}: {label:.0f} minutes to label, "
        f"{train:.0f} to train, {million / 2**30:.1f} GiB ({slope / 1024:.1f} KiB a prompt)"
    )


# -- workers of a cluster --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Busy:
    """Work for the CPU: clusters paraphrases with the shipped entailment model, as often as it is told."""

    def __call__(self, times: int) -> int:
        from demur.meaning.clusters import meaning_clusters
        from demur.meaning.entailment import shipped_entailment

        model = shipped_entailment()
        found = [meaning_clusters(["Which colour?"], [PARAPHRASES], entailment=model) for _ in range(times)]
        return sum(one.pairs_scored for one in found)


@dataclass(frozen=True, slots=True)
class Warming:
    """The same work; a portion without any waits, so that another worker is started for the rest."""

    work: Callable[[int], int]

    def __call__(self, times: int) -> int:
        if not times:
            time.sleep(WARMING_SECONDS)
        return self.work(times)


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that waits: requests to an endpoint that takes a while."""

    seconds: float

    def __call__(self, times: int) -> int:
        for _ in range(times):
            time.sleep(self.seconds)
        return times


STAGES: tuple[tuple[str, Callable[[int], int], int, float], ...] = (  # work, how often in a portion, the aim
    ("CPU-bound (entailment model)", Busy(), 120, LEAST_CPU),
    ("I/O-bound (requests of 0.1 s)", Waiting(0.1), 15, LEAST_WAITING),
)


@contextmanager
def cluster_of(nodes: int, **settings: int) -> Iterator[Any]:
    """So many nodes of one core each on this machine, beside a head without any; ``settings`` of Ray's system."""
    import ray
    from ray.cluster_utils import Cluster

    head = {**CORE, "num_cpus": 0, "include_dashboard": False, "_system_config": settings}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(nodes):
        cluster.add_node(**CORE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def timed(workers: RayWorkers, work: Callable[[int], int], times: int) -> float:
    """Seconds of all portions, from the first result to the last: processes start before, while others wait."""
    results = iter(workers(Warming(work), [0] * WARMING + [times] * PORTIONS))
    for _ in range(WARMING):
        next(results)
    begun = time.perf_counter()
    for _ in results:
        pass
    return time.perf_counter() - begun


def worker_seconds(work: Callable[[int], int], times: int, repetitions: int = REPETITIONS) -> tuple[float, float]:
    """Seconds of one worker of a cluster and of two: medians of repetitions in turn."""
    taken: dict[int, list[float]] = {1: [], 2: []}
    with cluster_of(2, worker_niceness=0), workers_at("auto") as workers:
        assert workers is not None
        for _ in range(repetitions):
            for count, seconds in taken.items():
                workers.cores = count
                seconds.append(timed(workers, work, times))
    return statistics.median(taken[1]), statistics.median(taken[2])


def print_workers() -> None:
    """Two workers beside one, interleaved."""
    for name, work, times, least in STAGES:
        one, two = worker_seconds(work, times)
        said = "reached" if one / two >= least else "not reached"
        print(f"{name}: one worker {one:.1f} s, two {two:.1f} s: {one / two:.2f}x (aim {least}: {said})", flush=True)


@contextmanager
def served() -> Iterator[tuple[FakeEndpoint, FakeEndpoint]]:
    """Two fake endpoints, each in a thread of its own; the first one guesses."""
    guess, know = (lambda text, seed: str(seed % 97)), (lambda text, seed: text)
    with in_a_thread(fake_endpoint(guess)) as weak, in_a_thread(fake_endpoint(know)) as strong:
        yield weak, strong


# -- memory of a worker ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weighed:
    """Work, and the largest memory that its process has had, in bytes."""

    work: Callable[[Any], Any]

    def __call__(self, portion: Any) -> tuple[Any, int]:
        return self.work(portion), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Weighing:
    """Workers whose largest memory is kept."""

    def __init__(self, workers: RayWorkers) -> None:
        self._workers, self.cores, self.largest = workers, workers.cores, 0

    def __call__(self, work: Callable[[Any], Any], portions: Iterable[Any]) -> Iterator[Any]:
        for found, memory in self._workers(Weighed(work), portions):
            self.largest = max(self.largest, memory)
            yield found


def print_memory(sizes: list[int]) -> None:
    """The largest worker while so many prompts are labelled and embedded, each size on a cluster of its own."""
    print(f"{'prompts':>9} {'worker MiB':>11} {'command MiB':>12}")
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="demur-scale-") as folder:
            write_stub(Path(folder), size)
            said = output_of([sys.executable, __file__, "weigh", folder])
        worker, own = json.loads(said.splitlines()[-1])
        print(f"{size:>9,} {worker / 2**20:>11,.0f} {own / 2**20:>12,.0f}", flush=True)


def weigh(folder: Path) -> tuple[int, int]:
    """Bytes of the largest of two workers that label and embed what `write_stub` left, and of this process."""
    config = load_run(folder / "run")
    with cluster_of(2), workers_at("auto") as workers:
        assert workers is not None
        weighing = Weighing(workers)
        with open_run(config, workers=workers) as run:
            run.mapping = weighing
            labels = stages.label_stage(run)
            run.encoder.encode([row.prompt for row in labels.preferences])
        return weighing.largest, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


# -- nodes that are lost ---------------------------------------------------------------------------------------------


def print_kills(kills: int) -> None:
    """Nodes are killed at random moments while prompts are sampled; what was asked for more than once is counted."""
    chance, asked, kept, lost = random.Random(0), Counter[tuple[str, str, int]](), 0, 0
    with tempfile.TemporaryDirectory() as folder, cluster_of(3, **SOON_DEAD) as cluster, served() as pair:
        prompts = Path(folder) / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": f"What is {i} plus {i}?"}) + "\n" for i in range(60 * kills)))
        weak, strong = (parse_model(f"{name}@{one.base_url}") for name, one in zip("sl", pair, strict=True))
        config = RunConfig(str(prompts), weak, strong, run=str(Path(folder) / "run"), test_share=0.0)
        weak_end, strong_end = pair
        weak_end.hang_seconds = strong_end.hang_seconds = 0.3

        def sample() -> None:
            with workers_at("auto") as workers, open_run(config, workers=workers) as run:
                stages.sample_stage(run, None)

        going = threading.Thread(target=sample)
        going.start()
        while lost < kills and going.is_alive():
            before = len(weak_end.requests)
            while going.is_alive() and len(weak_end.requests) < before + 8:  # work goes on
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 1))
            if going.is_alive():
                cluster.remove_node(chance.choice(list(cluster.worker_nodes)), allow_graceful=False)
                cluster.add_node(**CORE)
                lost += 1
        weak_end.hang_seconds = strong_end.hang_seconds = 0.0
        going.join()
        for fake in pair:
            for body in fake.requests:
                at = body["model"], body["messages"][-1]["content"]
                asked.update((*at, int(body.get("seed", 0)) + i) for i in range(int(body.get("n", 1))))
        with closing(sqlite3.connect(config.store_at)) as db:
            ((kept,),) = db.execute("select count(*) from samples")
    twice = sum(asked.values()) - len(asked)
    bound = lost * 2 * weak.concurrency * MOST
    print(
        f"{lost} nodes killed: {len(asked):,} samples asked for, {kept:,} kept, {twice} asked for again; at most "
        f"{bound} were under way ({2 * weak.concurrency} requests of at most {MOST} samples at each kill)"
    )


def main() -> None:
    """Run one part, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=PARTS, help="one part; else all that need no store")
    parser.add_argument("folder", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--sizes", default=SIZES)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--store", help="of samplers: postgresql://...")
    given = parser.parse_args()
    on_one_thread()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if given.part == "grow":
        print(json.dumps(asdict(grow(Path(given.folder)))))
        return
    if given.part == "weigh":
        print(json.dumps(weigh(Path(given.folder))))
        return
    if given.part == "samplers" and not given.store:
        parser.error("samplers needs --store postgresql://...")
    print(describe())
    if given.part in (None, "labelling"):
        print_labelling([int(size) for size in given.sizes.split(",")])
    if given.part in (None, "workers"):
        print_workers()
    if given.part in (None, "kills"):
        print_kills(given.kills)
    if given.part in (None, "memory"):
        print_memory([int(size) for size in (given.sizes if given.part else MEMORY_SIZES).split(",")])
    if given.store:
        print_samplers(given.store)


if __name__ == "__main__":
    main()
