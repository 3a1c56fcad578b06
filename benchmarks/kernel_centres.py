"""Which training prompts should be kernel ridge's centres, where there are more prompts than centres?

APGR of 5-fold scores with evenly spaced centres (as the method takes them), centres drawn at random, k-means centres
and centres drawn by approximate ridge leverage (Alaoui and Mahoney 2015: a prompt's leverage is estimated from a first
draw of as many prompts), beside the exact fit on all prompts. Labels from grades, so that centres alone are compared;
the default encoder. Each difference is of the same folds, with a 95 % interval by bootstrap over prompts; draws are
averaged over seeds. Seconds are of the CPU, one thread, of a fit on four fifths of the prompts; `choosing` is what of
them the rule itself takes.

    python benchmarks/kernel_centres.py            # MMLU, on which a rule would be chosen
    python benchmarks/kernel_centres.py --confirm  # sets that choose nothing
    python benchmarks/kernel_centres.py --confirm --sets NQ-Open,pool --sizes 2048 --rules k-means
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from demur.methods import KernelRidge
from demur.methods.kernel import Gaussian
from demur.records import BoolArray, FloatArray
from demur.statistics import draw_counts, folds, held_out, mean_ranks, percentile_interval
from environment import describe, on_one_thread, shared_rows
from nq_open import both, correctness, embeddings

SIZES = (512, 1024, 2048, 4096)
ENCODER = "bge-small-6"
POOL9 = ("triviaqa", "mmlu", "gsm8k")
Rule = Callable[["KernelRidge", FloatArray, np.random.Generator], FloatArray]


@dataclass(frozen=True)
class Graded:
    """Prompts with the quality of both models' answers."""

    name: str
    texts: list[str]
    weak: FloatArray
    strong: FloatArray


def mmlu() -> Iterator[Graded]:
    rows = shared_rows("outcomes/mmlu_gpt4_mixtral")
    weak, strong = (
        np.array([float(row["correct"][model]) for row in rows])
        for model in ("mixtral-8x7b-instruct", "gpt-4-1106-preview")
    )
    yield Graded("MMLU, Mixtral 8x7B, GPT-4", [row["question"] for row in rows], weak, strong)


def confirming_sets() -> Iterator[Graded]:
    """None of them was looked at when a rule was chosen."""
    rows = shared_rows("outcomes/llmrouter_9models")
    quality = {name: np.array([float(row["scores"][name]) for row in rows]) for name in rows[0]["scores"]}
    order = sorted(quality, key=lambda name: float(quality[name].mean()))
    for low, high in ((0, -1), (4, -1)):  # by rank in mean quality
        names = order[low], order[high]
        yield Graded(
            f"LLMRouter, {' to '.join(names)}", [row["question"] for row in rows], *(quality[name] for name in names)
        )
    nq = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    yield Graded("NQ-Open, Llama-2-7B to gpt-3.5", [row["question"] for row in nq], *both(nq, correctness))
    pool = [row for name in POOL9 for row in shared_rows(f"outcomes/pool9_{name}")]
    for weak, strong in (("llama3.1-8b", "llama3.1-70b"), ("llama3.2-1b", "gpt-4o")):
        of = (np.array([float(row["models"][name]["correct"]) for row in pool]) for name in (weak, strong))
        yield Graded(f"pool of nine, {weak} to {strong}", [row["text"] for row in pool], *of)


# -- rules: (m, d) centres of X (n, d), before they are scaled -------------------------------------------------------


def draw_rows(method: KernelRidge, X: FloatArray, random: np.random.Generator) -> FloatArray:
    return X[random.choice(len(X), method.centres, replace=False)]


def by_k_means(method: KernelRidge, X: FloatArray, random: np.random.Generator) -> FloatArray:
    from sklearn.cluster import MiniBatchKMeans

    seed, batch = int(random.integers(2**31)), max(1024, method.centres)
    made = MiniBatchKMeans(
        method.centres, init="random", n_init=1, batch_size=batch, max_iter=5, reassignment_ratio=0.0, random_state=seed
    )
    return np.asarray(made.fit(X).cluster_centers_, dtype=X.dtype)


def by_leverage(method: KernelRidge, X: FloatArray, random: np.random.Generator) -> FloatArray:
    """Drawn without replacement, each row with its estimated ridge leverage k(x, x) - k' (K + alpha)^-1 k."""
    scaled = (X - method.mean_) / method.scale_
    first = scaled[random.choice(len(X), method.centres, replace=False)]
    kernel = Gaussian(method.gamma, first, method.mean_, method.scale_)
    system = kernel.of_scaled(first).astype(float)
    system[np.diag_indices_from(system)] += method.alpha * len(first) / len(X)
    root = np.linalg.cholesky(system).astype(X.dtype)
    inverse = np.linalg.inv(root)
    leverage = np.empty(len(X))
    for start in range(0, len(X), 2048):
        part = slice(start, start + 2048)
        leverage[part] = 1 - ((kernel.of_scaled(scaled[part]) @ inverse.T) ** 2).sum(axis=1)
    leverage = np.maximum(leverage, 1e-9)
    keys = np.log(random.random(len(X))) / leverage  # the m largest: a weighted draw without replacement
    return X[np.argpartition(-keys, method.centres)[: method.centres]]


SPACED = "evenly spaced"
RULES: dict[str, tuple[Rule | None, int]] = {  # and how many seeds
    SPACED: (None, 1),
    "drawn": (draw_rows, 2),
    "k-means": (by_k_means, 2),
    "leverage": (by_leverage, 2),
}


class Chosen(KernelRidge):
    """Kernel ridge with centres by a rule."""

    rule: Rule | None = None
    random: np.random.Generator
    choosing = 0.0  # CPU seconds

    def _centre_rows(self, X: FloatArray) -> FloatArray:
        if self.rule is None or len(X) <= self.centres:
            return super()._centre_rows(X)
        begun = time.process_time()
        found = self.rule(self, X, self.random)
        self.choosing += time.process_time() - begun
        return found


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of every prompt, a column per seed, by fits that did not see it; CPU seconds of a fit."""

    ranks: FloatArray  # (n,) mean over seeds of centred ranks
    strong: FloatArray  # (n,) scores, mean over seeds
    fit: float
    choosing: float


def measure_rule(X: FloatArray, y: FloatArray, centres: int, rule: Rule | None, seeds: int) -> Measured:
    fold_of, found, fit, choosing = folds(len(X)), [], [], []

    for seed in range(seeds):
        random = np.random.default_rng(seed)

        def predict(train: BoolArray, held: BoolArray, random: np.random.Generator = random) -> FloatArray:
            method = Chosen(centres=centres)
            method.rule, method.random = rule, random
            begun = time.process_time()
            method.fit(X[train], y[train])
            fit.append(time.process_time() - begun)
            choosing.append(method.choosing)
            return method.predict_proba(X[held])[:, 1]

        found.append(held_out(fold_of, predict))
    ranks = np.mean([mean_ranks(scores) for scores in found], axis=0) - 0.5
    return Measured(ranks, np.mean(found, axis=0), float(np.median(fit)), float(np.median(choosing)))


def compare(given: Graded, sizes: Sequence[int], rules: Sequence[str]) -> None:
    """A row per number of centres and rule, that of evenly spaced centres first."""
    X, gains = embeddings(given.texts, ENCODER), given.strong - given.weak
    y, n = 0.5 + gains / 2, len(gains)
    counts = np.array(list(draw_counts(n)), dtype=np.float32)
    exact = measure_rule(X, y, n, None, 1)
    apgr = 0.5 + exact.ranks @ gains / gains.sum()
    low, high = percentile_interval(0.5 + counts @ (gains * exact.ranks) / (counts @ gains))
    print(f"\n{given.name}: {n:,} prompts, weak {given.weak.mean():.3f}, strong {given.strong.mean():.3f}")
    print(f"  exact: APGR {apgr:.4f} [{low:.4f}, {high:.4f}], fit {exact.fit:.1f} CPU s")
    columns = f"{'less exact':<27}{'less evenly spaced':<27}{'fit s':>7}{'choosing':>9}"
    print(f"  {'centres':<8}{'rule':<15}{'APGR':>7}  {columns}")
    for centres in sizes:
        if centres > 0.6 * n:  # of four fifths, nearly all
            continue
        of = {name: measure_rule(X, y, centres, *RULES[name]) for name in dict.fromkeys((SPACED, *rules))}
        for name, one in of.items():
            cells = []
            for base in (exact, of[SPACED]):
                less = one.ranks - base.ranks
                low, high = percentile_interval(counts @ (gains * less) / (counts @ gains))
                cells.append(f"{less @ gains / gains.sum():+.4f} [{low:+.4f}, {high:+.4f}]")
            apgr = 0.5 + one.ranks @ gains / gains.sum()
            last = f"{one.fit:>7.1f}{one.choosing:>9.1f}"
            print(f"  {centres:<8,}{name:<15}{apgr:>7.4f}  {cells[0]:<27}{cells[1]:<27}{last}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--confirm", action="store_true")
    parser.add_argument("--sets", default="", help="names that begin so, comma-separated; all unless given")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of centres, comma-separated")
    parser.add_argument("--rules", default=",".join(RULES), help=f"comma-separated, of {', '.join(RULES)}")
    options = parser.parse_args()
    on_one_thread()
    print(describe(), flush=True)
    wanted, sizes = tuple(options.sets.split(",")), [int(size) for size in options.sizes.split(",")]
    for given in confirming_sets() if options.confirm else mmlu():
        if given.name.startswith(wanted):
            compare(given, sizes, options.rules.split(","))


if __name__ == "__main__":
    main()
