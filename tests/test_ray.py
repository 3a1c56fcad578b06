"""A run on a Ray cluster: the same to the last bit as on one machine; a lost node costs only what was under way."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import demur
from conftest import needed
from demur.cli.main import app
from demur.errors import BudgetError, InputError, ModelError
from demur.mapping.on_ray import workers_at
from demur.meaning.entailment import LaterEntailment
from demur.methods import KernelRidge, kernel
from demur.methods.fit.spread import fit_on
from demur.models.catalogue import fetch
from demur.models.encoders.encoder import LetterEncoder, load_encoder
from demur.models.requests.request import BASE_SEED_SPACING
from demur.prompts import load_prompts
from demur.records import SamplingSettings, content_hash
from demur.store import Store
from pairs import Pair, running_pair, write_questions

pytestmark = pytest.mark.slow
README = Path(__file__).parents[1] / "README.md"

RUN_FILE = """
prompts = "{prompts}"
run = "{run}"
{more}
[weak]
model = "small"
base_url = "{weak}"
[strong]
model = "large"
base_url = "{strong}"
[sampling]
n = "2..4"
[router]
encoder = "letters"
methods = ["kernel"]
"""
CORE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
SOON_DEAD = {"health_check_period_ms": 300, "health_check_failure_threshold": 3, "health_check_initial_delay_ms": 1000}
ADDRESSED = """
import sys, ray
from demur.mapping.on_ray import workers_at
from demur.models.encoders.encoder import LetterEncoder
with workers_at(sys.argv[1]) as workers:
    rows = [len(found) for found in workers(LetterEncoder().encode, [["a"], ["b", "c"]])]
    print(workers.cores, rows, ray.get_runtime_context().gcs_address)
"""
PRIORITY = """
import os
from demur.mapping.on_ray import workers_at
with workers_at("local") as workers:
    print(list(workers(lambda step: os.nice(step), [0])), [os.nice(0)])
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with running_pair() as found:
        yield found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes on this machine, of one core each; this process is on the first."""
    ray, utils = needed("ray"), needed("ray.cluster_utils")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    head = {**CORE, "include_dashboard": False, "_system_config": SOON_DEAD}
    found = utils.Cluster(initialize_head=True, head_node_args=head)
    found.add_node(**CORE)
    found.add_node(**CORE)
    ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
    yield found
    ray.shutdown()
    found.shutdown()


def run_file(folder: Path, pair: Pair, name: str, more: str = "") -> Path:
    prompts, file = folder / "questions.jsonl", folder / f"{name}.toml"
    if not prompts.exists():
        write_questions(prompts)
    urls = {"weak": pair.weak.base_url, "strong": pair.strong.base_url}
    text = RUN_FILE.format(prompts=prompts.as_uri(), run=folder / name, more=more, **urls)
    file.write_text(text, encoding="utf-8")
    return file


def drawn(pair: Pair) -> Counter[tuple[str, str, int]]:
    """How often each sample was asked for: model, prompt and seed."""
    return Counter(
        (body["model"], body["messages"][-1]["content"], int(body.get("seed", 0)) + i)
        for fake in (pair.weak, pair.strong)
        for body in fake.requests
        for i in range(int(body.get("n", 1)))
    )


def asked_samples(body: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """The samples that a request asks for: model, hash of the prompt, index."""
    prompt = content_hash(body["messages"][-1]["content"])
    return [(body["model"], prompt, body["seed"] % BASE_SEED_SPACING + i) for i in range(body["n"])]


def kept(run: Path) -> set[tuple[str, str, int]]:
    """The samples that a run's store holds."""
    with closing(sqlite3.connect(run / "store.sqlite")) as db:
        rows = db.execute("select model, prompt, sample from samples").fetchall()
    return {(model.partition("@")[0], prompt, sample) for model, prompt, sample in rows}


@contextmanager
def only_core(cluster: Any, **variables: str) -> Iterator[None]:
    """A node that joins now, with these variables of its environment; all other cores are taken while it is there."""
    ray, places = needed("ray"), needed("ray.util.scheduling_strategies")

    class Taker:
        def ready(self) -> None: ...

    at = [places.NodeAffinitySchedulingStrategy(one["NodeID"], soft=False) for one in ray.nodes() if one["Alive"]]
    takers = [ray.remote(Taker).options(num_cpus=1, scheduling_strategy=one).remote() for one in at]
    ray.get([one.ready.remote() for one in takers], timeout=60)
    node = cluster.add_node(**CORE, env_vars=variables)
    try:
        yield
    finally:
        for one in takers:
            ray.kill(one)
        cluster.remove_node(node)


def other_version(folder: Path) -> str:
    """PYTHONPATH of a node that has demur 9.9.9."""
    other = folder / "demur-9.9.9.dist-info"
    other.mkdir()
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: demur\nVersion: 9.9.9\n")
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def readme_command() -> list[str]:
    """What the README's section on growing says of Ray."""
    section = README.read_text(encoding="utf-8").partition("\n## Growing\n")[2].partition("\n## ")[0]
    (line,) = (line for line in section.splitlines() if line.startswith("demur ") and "# Ray" in line)
    return shlex.split(line, comments=True)[1:]


def test_a_run_on_a_cluster_is_the_run_of_one_machine(
    cluster: Any, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = needed("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    demur.run(run_file(tmp_path, pair, "here"))
    once = drawn(pair)
    assert set(once.values()) == {1}
    run_file(tmp_path, pair, "run")
    done = CliRunner().invoke(app, readme_command())
    assert done.exit_code == 0, done.output
    assert drawn(pair) == once + once
    router = [f"router/{path.name}" for path in (tmp_path / "here" / "router").iterdir() if path.suffix != ".json"]
    for name in ("preferences.jsonl", "unknown.jsonl", *router):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    tables = tmp_path / "run" / "parquet"
    lines = (tmp_path / "run" / "preferences.jsonl").read_text("utf-8").splitlines()
    assert parquet.read_table(tables / "preferences.parquet").to_pylist() == [json.loads(line) for line in lines]
    assert len(parquet.read_table(tables / "samples.parquet")) == len(once)
    meanings = {row["id"]: row for row in parquet.read_table(tables / "meanings.parquet").to_pylist()}
    for line in map(json.loads, lines):
        assert len(set(meanings[line["id"]]["weak"])) == line["meanings_a"]
        assert len(meanings[line["id"]]["joint"]) == 2 * line["n"]


def test_training_sums_over_blocks_on_the_cluster(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "ROWS_TOGETHER", 500)
    random = np.random.default_rng(0)
    X = random.standard_normal((4000, 16)).astype(np.float32)
    y = (X[:, 0] > 0).astype(float)
    asked: list[Any] = []
    with workers_at("auto") as workers:
        assert workers is not None

        def counted(work: Any, portions: Iterable[Any]) -> Iterator[Any]:
            asked.extend(portions)
            return workers(work, asked)

        there = KernelRidge(centres=100)
        fit_on(counted, there, X, y)
    assert len(asked) == 8
    here = KernelRidge(centres=100).fit(X, y)
    assert there.coefficients_.tobytes() == here.coefficients_.tobytes()


def test_workers_write_to_a_database_themselves(cluster: Any, pair: Pair, postgres: Any, tmp_path: Path) -> None:
    before = drawn(pair)
    demur.run(run_file(tmp_path, pair, "shared", f'store = "{postgres.url}"'), ray="auto")
    assert set((drawn(pair) - before).values()) <= {1}
    assert not (tmp_path / "shared" / "store.sqlite").exists()
    with Store(postgres.url) as store:
        prompts = [one.text for one in load_prompts(str(tmp_path / "questions.jsonl"))]
        kept = [
            store.samples_of(f"{name}@{one.base_url}", prompts, SamplingSettings().key)
            for name, one in (("small", pair.weak), ("large", pair.strong))
        ]
    assert sum(len(one) for side in kept for one in side.values()) == sum((drawn(pair) - before).values())


def test_a_budget_is_kept_by_all_workers_together(cluster: Any, pair: Pair, tmp_path: Path) -> None:
    price = "usd_per_million_input = 0\nusd_per_million_output = 1000000"  # a dollar a token
    file = run_file(tmp_path, pair, "dear", "max_usd = 100")
    file.write_text(file.read_text().replace("[strong]", f"{price}\n[strong]"))
    pair.weak.requests.clear()
    with pytest.raises(BudgetError, match=rf"node {socket.gethostname()}: small: .*limit is \$100\.00"):
        demur.run(file, ray="auto")
    with closing(sqlite3.connect(tmp_path / "dear" / "store.sqlite")) as db:
        ((spent,),) = db.execute("select total(completion_tokens) from samples where model like 'small%'")
    assert spent <= 100


def test_a_node_without_the_model_file_is_named(cluster: Any, tmp_path: Path) -> None:
    missing = tmp_path / "model.onnx"
    with workers_at("auto") as workers:
        assert workers is not None
        with pytest.raises(ModelError, match=f"node {socket.gethostname()}: {missing}: no model") as raised:
            list(workers(LaterEntailment(str(missing)), [[("a", "b")]]))
    assert "\n" not in str(raised.value)


def test_an_encoder_of_the_catalogue_is_found_by_name_where_a_node_keeps_its_models(
    cluster: Any, tmp_path: Path
) -> None:
    encoder, home = load_encoder("bge-small-6"), tmp_path / "home"
    folder = fetch("bge-small-6")
    shutil.copytree(folder, home / ".cache" / "demur" / "models" / folder.name)
    with workers_at("auto") as workers, only_core(cluster, HOME=str(home), XDG_CACHE_HOME="", DEMUR_MODELS=""):
        assert workers is not None
        (found,) = workers(encoder.encode, [["Why is the sky blue?"]])
    assert found.tobytes() == encoder.encode(["Why is the sky blue?"]).tobytes()
    assert list((home / ".cache" / "demur" / "models" / "verified").iterdir())  # it was read there


def test_a_node_without_the_encoder_that_cannot_fetch_it_is_named_with_the_file(cluster: Any, tmp_path: Path) -> None:
    offline = {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    with (
        workers_at("auto") as workers,
        only_core(cluster, HOME=str(tmp_path), XDG_CACHE_HOME="", DEMUR_MODELS="", **offline),
    ):
        assert workers is not None
        said = f"^node {socket.gethostname()}: bge-small: model.onnx .* cannot be fetched: .*set DEMUR_MODELS to it$"
        with pytest.raises(ModelError, match=said):
            list(workers(load_encoder("bge-small-6").encode, [["Why is the sky blue?"]]))


@pytest.mark.parametrize("where", ["HOST:PORT", "local"])
def test_addresses_of_a_cluster(cluster: Any, where: str) -> None:
    """In a process of its own, which has no connection yet; a local cluster ends with the command."""
    command = [sys.executable, "-c", ADDRESSED, cluster.address if where == "HOST:PORT" else where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    said = re.search(r"^(\d+) (\[.*\]) (\S+)$", done.stdout, re.MULTILINE)  # Ray may print warnings before and after
    assert said, done.stdout
    cores, rows, head = said.groups()
    assert rows == "[1, 2]"
    host, port = head.split(":")
    if where == "local":
        assert int(cores) == os.cpu_count()
        with pytest.raises(OSError, match="refused"), socket.create_connection((host, int(port)), 5):
            pass
    else:
        assert (int(cores), head) == (3, cluster.address)


@pytest.mark.parametrize("wanted", [None, 3])
def test_local_workers_have_the_priority_of_the_command(wanted: int | None) -> None:
    """Unless Ray's own variable says otherwise; by itself Ray would start them 15 steps lower."""
    asked = {} if wanted is None else {"RAY_worker_niceness": str(wanted)}
    others = {name: value for name, value in os.environ.items() if name != "RAY_worker_niceness"}
    command = [sys.executable, "-c", PRIORITY]
    done = subprocess.run(command, env=others | asked, capture_output=True, text=True, timeout=120, check=False)
    said = re.search(r"^\[(\d+)\] \[(\d+)\]$", done.stdout, re.MULTILINE)
    assert said, done.stdout + done.stderr
    assert int(said[1]) - int(said[2]) == (wanted or 0)


def test_workers_of_another_version_are_refused(cluster: Any, tmp_path: Path) -> None:
    node = cluster.add_node(**CORE, env_vars={"PYTHONPATH": other_version(tmp_path)})
    try:
        said = f"has demur 9.9.9, this one is {re.escape(demur.__version__)}: .*install the same version on all nodes"
        with pytest.raises(InputError, match=said), workers_at("auto"):
            pass
    finally:
        cluster.remove_node(node)


def test_a_node_that_joins_later_with_another_version_is_refused(cluster: Any, tmp_path: Path) -> None:
    said = f"^node {socket.gethostname()}: has demur 9.9.9, the command that asks is {re.escape(demur.__version__)}; "
    with workers_at("auto") as workers, only_core(cluster, PYTHONPATH=other_version(tmp_path)):
        assert workers is not None
        with pytest.raises(InputError, match=said):
            list(workers(LetterEncoder().encode, [["a"]]))


def test_a_lost_node_costs_only_what_was_under_way(cluster: Any, tmp_path: Path) -> None:
    """Two nodes are killed, one after the other, at moments drawn by chance, while every request takes a while.

    All answers but those under way are in the store by then, and of these none is asked for again.
    """
    chance, kills, nodes, at_once = random.Random(0), 2, 3, 8  # four requests to each of two models
    with running_pair() as pair, ThreadPoolExecutor(1) as thread:
        sides = [fake.requests for fake in (pair.weak, pair.strong)]
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.2
        write_questions(tmp_path / "questions.jsonl", 160)
        going = thread.submit(demur.run, run_file(tmp_path, pair, "lost", more="test_share = 0.0"), ray="auto")
        lost: list[tuple[list[int], set[tuple[str, str, int]], list[int]]] = []
        for _ in range(kills):
            before = len(pair.weak.requests)
            while len(pair.weak.requests) < before + 8 and not going.done():  # work goes on
                time.sleep(0.05)
            time.sleep(chance.uniform(0, 0.8))
            lost.append(([*map(len, sides)], kept(tmp_path / "lost"), [*map(len, sides)]))  # in this order
            cluster.remove_node(list(cluster.worker_nodes)[-1], allow_graceful=False)
            cluster.add_node(**CORE)
        assert not going.done()
        pair.weak.hang_seconds = pair.strong.hang_seconds = 0.0
        going.result()
    for earlier, (before_it, there, after_it) in enumerate(lost):
        sent = [body for side, count in zip(sides, before_it, strict=True) for body in side[:count]]
        missing = sum(not {*asked_samples(body)} <= there for body in sent)
        assert missing <= (nodes + earlier) * at_once  # what an earlier kill cost may not be asked for again yet
        later = [body for side, count in zip(sides, after_it, strict=True) for body in side[count:]]
        assert not {one for body in later for one in asked_samples(body)} & there
    every = Counter(one for side in sides for body in side for one in asked_samples(body))
    assert kept(tmp_path / "lost") == {*every}
    assert every.total() - len(every) <= kills * at_once * 2  # two samples of a request
