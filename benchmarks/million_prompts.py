"""SW and kNN among a million training prompts: estimated, exact, and by FAISS's IVF, in one run.

    python benchmarks/million_prompts.py [--rows 1000000] [--kernel]
    python benchmarks/million_prompts.py --knn --worlds clustered,anisotropic,real

Worlds of 384 numbers: `topics` of very different frequency, vectors as narrow as a small encoder's (two prompts
have a median cosine of about .5), each topic with its own share of strong wins; `clustered`, 300 topics whose prompts
are nearly equal (cosine .9); `anisotropic`, no topics, numbers of falling variance and wins that follow one direction;
`real`, the default encoder's vectors of 27,000 prompts (MMLU, LLMRouter, NQ-Open and others), each repeated with
noise (cosine .9 with its original) and with wins that follow one direction, queries being prompts that are not among
them; `single`, those vectors as they are, however many rows are asked for. One thread, CPU time. Errors are differences
from the exact score of the same query; `spread` is the standard deviation of exact scores over queries: an error
matters beside it. `--kernel`: seconds and memory of kernel ridge's fit instead, at the paper's 12,247 prompts and at
100,000; `--knn`: without SW.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

from demur.methods import KNN, KernelRidge, SimilarityWeighted
from demur.methods.neighbours import ADDED_AT_ONCE, import_faiss
from demur.methods.saved_method import learned_arrays
from demur.records import FloatArray
from environment import describe, on_one_thread
from kernel_centres import ENCODER, confirming_sets, mmlu
from nq_open import embeddings

WIDTH, TOPICS, QUERIES = 384, 3000, 300
CLUSTERS, SAME = 300, 0.9  # cosine of a repeated prompt with its original
TIMED = 200
KERNEL_ROWS = (12_247, 100_000)


World = tuple[FloatArray, FloatArray, FloatArray]  # unit rows (n, 384), outcomes (n,), queries (300, 384)


def topics(rows: int, count: int = TOPICS, *, topic: float = 0.6, mean: float = 0.9, own: float = 0.7) -> World:
    """So many topics; the lengths of a prompt's three parts: its topic's, what all share, its own."""
    random = np.random.default_rng(0)
    share = 1 / np.arange(1, count + 1) ** 0.8
    of = random.choice(count, size=rows + QUERIES, p=share / share.sum())
    centres = _noise(random, count, topic)
    shared = _noise(random, 1, mean)
    X = _noise(random, rows + QUERIES, own)
    X += centres[of] + shared
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    wins = random.beta(0.6, 0.6, size=count)
    y = (random.random(rows) < wins[of[:rows]]).astype(float)
    return X[:rows], y, X[rows:]


def anisotropic(rows: int) -> World:
    """Numbers of falling variance around a mean; wins follow a direction."""
    random = np.random.default_rng(0)
    X = _noise(random, rows + QUERIES, WIDTH**0.5)
    X *= (1 / np.sqrt(1 + np.arange(WIDTH))).astype(np.float32)
    X /= np.linalg.norm(X, axis=1).mean()
    X += _noise(random, 1, 0.9)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X[:rows], _directed_wins(random, X[:rows]), X[rows:]


def real(rows: int) -> World:
    """Real prompts' vectors, repeated with noise; queries are prompts of their own."""
    random = np.random.default_rng(0)
    vectors = prompt_vectors()
    known = vectors[QUERIES:]
    X = known[np.arange(rows) % len(known)]
    X += _noise(random, rows, (1 / SAME**2 - 1) ** 0.5)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    return X, _directed_wins(random, X), vectors[:QUERIES]


def single(rows: int) -> World:
    """Real prompts' vectors as they are, so many at most."""
    vectors = prompt_vectors()
    X = vectors[QUERIES : QUERIES + rows]
    return X, _directed_wins(np.random.default_rng(0), X), vectors[:QUERIES]


@cache
def prompt_vectors() -> FloatArray:
    """Unit vectors of 27,000 prompts, shuffled."""
    texts = list(dict.fromkeys(text for given in (*mmlu(), *confirming_sets()) for text in given.texts))
    vectors = np.random.default_rng(0).permutation(embeddings(texts, ENCODER))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _noise(random: np.random.Generator, rows: int, length: float) -> FloatArray:
    """Normal rows of about this length."""
    return random.standard_normal((rows, WIDTH), dtype=np.float32) * np.float32(length / WIDTH**0.5)


def _directed_wins(random: np.random.Generator, X: FloatArray) -> FloatArray:
    """(n,) outcomes whose share follows the place of a row along one direction between two of them."""
    along = X @ (X[0] - X[1])
    chance = 1 / (1 + np.exp(-2 * (along - along.mean()) / along.std()))
    return np.asarray(random.random(len(X)) < chance, dtype=float)


WORLDS: dict[str, Callable[[int], World]] = {
    "topics": topics,
    "clustered": partial(topics, count=CLUSTERS, topic=0.7, mean=0.6, own=0.3),
    "anisotropic": anisotropic,
    "real": real,
    "single": single,
}


def decision_milliseconds(decide: Callable[[FloatArray], object], queries: FloatArray) -> list[float]:
    """CPU time of lone decisions: on an idle machine what they take."""
    taken = []
    for i in range(TIMED):
        start = time.process_time()
        decide(queries[i % len(queries)][None])
        taken.append(1e3 * (time.process_time() - start))
    return taken


def milliseconds(decide: Callable[[FloatArray], object], queries: FloatArray) -> str:
    """Their p50 and p99."""
    taken = decision_milliseconds(decide, queries)
    return f"p50 {np.median(taken):.2f} ms, p99 {np.quantile(taken, 0.99):.2f} ms"


def compared(scores: FloatArray, exact: FloatArray) -> str:
    """Errors against the exact scores, and the rank correlation with them."""
    error = np.abs(scores - exact)
    ranks = np.corrcoef(np.argsort(np.argsort(exact)), np.argsort(np.argsort(scores)))[0, 1]
    middle, most = np.quantile(error, (0.5, 0.99))
    return f"error median {middle:.4f}, 99 % {most:.4f}, largest {error.max():.4f}; rank correlation {ranks:.4f}"


def megabytes(method: SimilarityWeighted | KNN) -> str:
    """What the method keeps beside the training prompts' own vectors."""
    own = sum(array.nbytes for name, array in learned_arrays(method).items() if name not in ("rows_", "outcomes_"))
    return f"{own / 1e6:.0f} MB beside the {method.rows_.nbytes / 1e6:.0f} MB of the vectors"


def show_sw(X: FloatArray, y: FloatArray, queries: FloatArray) -> None:
    exact = SimilarityWeighted(exact_rows=len(X)).fit(X, y)
    scores = exact.predict_proba(queries)[:, 1]
    print(f"SW exact: spread {scores.std():.4f}; {milliseconds(exact.predict_proba, queries[:20])}", flush=True)
    del exact
    start = time.process_time()
    method = SimilarityWeighted(exact_rows=0).fit(X, y)
    print(f"SW estimated: fit {time.process_time() - start:.0f} CPU s; {megabytes(method)}")
    estimate = method.estimate(queries)
    held = np.mean(np.abs(estimate.strong - scores) <= estimate.bound)
    print(f"  {milliseconds(method.predict_proba, queries)}; {compared(estimate.strong, scores)}")
    print(f"  stated bound: median {np.median(estimate.bound):.5f}, holds for {held:.3f} of queries", flush=True)


def show_knn(X: FloatArray, y: FloatArray, queries: FloatArray) -> None:
    exact = KNN(exact_rows=len(X)).fit(X, y)
    scores = exact.predict_proba(queries)[:, 1]
    print(f"kNN exact: spread {scores.std():.4f}; {milliseconds(exact.predict_proba, queries[:20])}", flush=True)
    del exact
    start = time.process_time()
    method = KNN(exact_rows=0).fit(X, y)
    print(f"kNN by index: fit {time.process_time() - start:.0f} CPU s; {megabytes(method)}")
    found = method.predict_proba(queries)[:, 1]
    print(f"  {milliseconds(method.predict_proba, queries)}; {compared(found, scores)}")
    held = np.mean(np.abs(found - scores) <= method.bound_[0])
    print(f"  stated bound: {method.bound_[0]:.5f}, holds for {held:.3f} of queries", flush=True)
    show_ivf(method, queries, scores)


def show_ivf(method: KNN, queries: FloatArray, scores: FloatArray) -> None:
    """FAISS's IVF alone in the same cells: the mean outcome of the k rows found, by cells read."""
    faiss, rows, k = import_faiss(), method.rows_, round(len(method.rows_) ** 0.5)
    faiss.omp_set_num_threads(1)
    start = time.process_time()
    cells, inner = method._index.quantizer, faiss.METRIC_INNER_PRODUCT
    numbers = faiss.IndexIVFScalarQuantizer(cells, WIDTH, cells.ntotal, faiss.ScalarQuantizer.QT_8bit, inner)
    numbers.train(rows[:: max(1, len(rows) // 50_000)])
    for first in range(0, len(rows), ADDED_AT_ONCE):
        numbers.add(rows[first : first + ADDED_AT_ONCE])
    print(f"FAISS IVF, 8-bit numbers: {time.process_time() - start:.0f} CPU s after the cells' k-means")
    for name, index, most in (("8-bit numbers", numbers, 128), ("4-bit codes", method._index, 512)):

        def decide(query: FloatArray, index: Any = index) -> float:
            found = index.search(query, k)[1][0]
            up, total = method.outcomes_[found[found >= 0]].sum(axis=0)
            return float(up / total)

        megabytes = len(faiss.serialize_index(index)) / 1e6
        print(f"FAISS IVF{cells.ntotal}, {name}: {megabytes:.0f} MB")
        for read in (count for count in (8, 16, 32, 64, 128, 256, 512) if count <= most):
            index.nprobe = read
            found = np.array([decide(query[None]) for query in queries])
            print(f"  {read} cells read: {milliseconds(decide, queries)}; {compared(found, scores)}", flush=True)


def kernel_fit(X: FloatArray, y: FloatArray) -> tuple[KernelRidge, float, float, float]:
    """A fit, its seconds of the clock and of the CPU, and megabytes beside the vectors."""
    tracemalloc.start()  # numpy tells it of its arrays
    start, cpu = time.perf_counter(), time.process_time()
    method = KernelRidge().fit(X, y)
    taken, used = time.perf_counter() - start, time.process_time() - cpu
    grown = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return method, taken, used, grown


def show_kernel(rows: int) -> None:
    X, y, queries = topics(rows)
    method, taken, used, grown = kernel_fit(X, y)
    print(f"kernel ridge, {rows:,} prompts: fit {taken:.1f} s ({used:.1f} CPU s), {grown:.0f} MB beside the vectors")
    print(f"  {milliseconds(method.predict_proba, queries)}", flush=True)


def main() -> None:
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kernel", action="store_true")
    parser.add_argument("--knn", action="store_true")
    parser.add_argument("--worlds", default="topics", help=f"comma-separated, of {', '.join(WORLDS)}")
    asked = parser.parse_args()
    rows = asked.rows
    print(describe())
    if asked.kernel:
        for size in KERNEL_ROWS:
            show_kernel(size)
        return
    for name in asked.worlds.split(","):
        X, y, queries = WORLDS[name](rows)
        print(f"\n{name}: {len(X):,} training prompts of {WIDTH} numbers, {QUERIES} queries", flush=True)
        if not asked.knn:
            show_sw(X, y, queries)
        show_knn(X, y, queries)


if __name__ == "__main__":
    main()
