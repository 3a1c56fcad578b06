"""One SW decision at N = 12,247, embedding excluded, beside the published `routellm` package on the same battles.

Both sides decide the same queries in turn, one thread each; the peer runs its own unchanged code (`routellm_peer.py`)
in an environment that is made under demur's cache when missing. MF, MLP, and a bare matrix-vector product as the floor
follow.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from demur.methods import MLP, MatrixFactorization, SimilarityWeighted
from demur.records import FloatArray
from environment import describe, median_seconds, on_one_thread, peer_python

N = 12_247  # the paper's training prompts
WIDTHS = {384: 30, 1536: 14}  # embedding dimension: least ratio to reach
QUERIES = 15
TOPICS = 60
PEER = ("routellm==0.2.0",)  # without dependencies: SW needs none of torch, transformers, datasets
PEER_NEEDS = ("numpy==2.2.6", "pandas==2.3.3", "scikit-learn==1.7.2", "openai")


def battles(width: int) -> dict[str, FloatArray]:
    """Prompts of some topics, each topic with its own share of strong wins; a tenth are ties."""
    random = np.random.default_rng(0)
    topics = random.normal(size=(TOPICS, width))
    topic = random.integers(TOPICS, size=N + QUERIES)
    X = (topics[topic] + random.normal(0, 1.2, (N + QUERIES, width))).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    outcomes = (random.random(N) < random.random(TOPICS)[topic[:N]]).astype(float)
    outcomes[random.random(N) < 0.1] = 0.5
    return {"embeddings": X[:N], "outcomes": outcomes, "queries": X[N:]}


@contextmanager
def peer_process(given: dict[str, FloatArray]) -> Iterator[subprocess.Popen[str]]:
    """The peer with these battles loaded; a query's number a line in, win rate and seconds out."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "battles.npz"
        np.savez(path, **given)  # type: ignore[arg-type]  # numpy's stub takes the names for its own flag
        python = peer_python("routellm-sw", PEER_NEEDS, alone=PEER)
        command = [str(python), "-W", "ignore", str(Path(__file__).with_name("routellm_peer.py")), str(path)]
        dummy = os.environ | {"OPENAI_API_KEY": "none"}  # its module makes a client on import, never asked
        with subprocess.Popen(
            command, env=dummy, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        ) as process:
            yield process
            assert process.stdin is not None
            process.stdin.close()


def ask(process: subprocess.Popen[str], query: int) -> tuple[float, float]:
    """The peer's strong win rate of a query, and its seconds."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(f"{query}\n")
    process.stdin.flush()
    win_rate, seconds = process.stdout.readline().split()
    return float(win_rate), float(seconds)


def in_turn(ours: SimilarityWeighted, given: dict[str, FloatArray]) -> tuple[FloatArray, FloatArray]:
    """(queries, 2) win rates and (queries, 2) seconds: the peer, then ours, query by query."""
    rates, seconds = [], []
    with peer_process(given) as process:
        ask(process, 0)  # its imports and first fit
        for i, query in enumerate(given["queries"]):
            theirs, their_seconds = ask(process, i)
            decide = partial(ours.predict_proba, query[None])
            seconds.append((their_seconds, median_seconds(decide, runs=15, warmup=3)))
            rates.append((theirs, decide()[0, 1]))
    return np.array(rates), np.array(seconds)


def beside_the_floor(ours: SimilarityWeighted, query: FloatArray) -> FloatArray:
    """(rounds, 2) seconds of a decision and of a bare matrix-vector product, in turn."""
    rounds = [
        (
            median_seconds(partial(ours.predict_proba, query[None]), runs=1, warmup=1),
            median_seconds(partial(np.matmul, ours.rows_, query), runs=1, warmup=1),
        )
        for _ in range(300)  # one by one: another process of the machine slows both alike
    ]
    return np.array(rounds)


def compare(width: int, least: int) -> None:
    given = battles(width)
    ours = SimilarityWeighted().fit(given["embeddings"], given["outcomes"])
    rates, seconds = in_turn(ours, given)
    peer, in_turn_ours = np.median(seconds, axis=0)
    ratio = float(np.median(seconds[:, 0] / seconds[:, 1]))
    difference = float(np.abs(rates[:, 0] - rates[:, 1]).max())
    rounds = 1e3 * beside_the_floor(ours, given["queries"][0])
    (decision, product), floor = np.median(rounds, axis=0), float(np.median(rounds[:, 0] / rounds[:, 1]))
    print(f"\nSW, N = {N:,}, d = {width}")
    print(
        f"  routellm 0.2.0 {1e3 * peer:8.2f} ms, demur {1e3 * in_turn_ours:.3f} ms (in turn): {ratio:.1f}x (>= {least})"
    )
    print(f"  win rates {rates.min():.3f} to {rates.max():.3f}, largest difference {difference:.1e} (<= 3e-5)")
    bound = " (< 1.5)" if width == 384 else ""
    print(f"  p50 {decision:.3f} ms{bound}; in the quietest round {rounds[:, 0].min():.3f} ms")
    print(f"  a bare matrix-vector product {product:.3f} ms: a decision takes {floor:.2f}x of it (<= 2)")
    for method in (MatrixFactorization(), MLP()):
        start = time.perf_counter()
        method.fit(given["embeddings"], given["outcomes"])
        fit = time.perf_counter() - start
        query = given["queries"][:1]
        p50 = median_seconds(partial(method.predict_proba, query))
        print(f"  {type(method).__name__}: p50 {1e3 * p50:.3f} ms (< .1); fit {fit:.2f} s")


def main() -> None:
    on_one_thread()
    print(describe())
    print(f"{QUERIES} queries, medians", flush=True)
    for width, least in WIDTHS.items():
        compare(width, least)


if __name__ == "__main__":
    main()
