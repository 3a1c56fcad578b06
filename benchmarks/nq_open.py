"""Which labels train the best prompt router? NQ-Open, gpt-3.5-turbo (strong) and Llama-2-7b-chat (weak), 5-fold.

A table of label kind x router x CPT50 / CPT80 / APGR, with 95 % bootstrap intervals of APGR. Quality is the
mean correctness of the ten samples; it only measures (and labels the last two rows). Folds are fixed by seed. The
samples have no texts, so the default kind is its calibrated half: agreement takes texts.

    python benchmarks/nq_open.py --sizes 50,100,200,400,800,1600   # how much of the gain do so many prompts give?
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demur import cost_quality_curve
from demur.labels.scores.sureness import Sureness, calibrated_targets
from demur.labels.targets import hard_targets, margin_targets
from demur.methods import BY_NAME
from demur.models.catalogue import cache_folder
from demur.models.encoders.encoder import CachedEncoder, load_encoder
from demur.records import BoolArray, FloatArray
from demur.statistics import folds, held_out
from demur.store import Store
from environment import describe, shared_rows
from staged_nq import nq_clusters, nq_sureness

STRONG, WEAK = "gpt-3.5-turbo", "llama-2-7b-chat"
CORRECT = 0.5  # a sample is correct when its ROUGE-L against gold is above this


def discrete_entropy(row: Mapping[str, Any], model: str) -> float:
    """-mean log(class_size / n): discrete semantic entropy, nats."""
    sizes = np.array(row["models"][model]["class_size"])
    return max(0.0, float(-np.log(sizes / len(sizes)).mean()))


def correctness(row: Mapping[str, Any], model: str) -> float:
    return float(np.mean(np.array(row["models"][model]["rouge_l"]) > CORRECT))


def both(
    rows: list[dict[str, Any]], measure: Callable[[Mapping[str, Any], str], float]
) -> tuple[FloatArray, FloatArray]:
    """A measure of the weak and of the strong model, (n,) each."""
    weak, strong = (np.array([measure(row, model) for row in rows]) for model in (WEAK, STRONG))
    return weak, strong


def sureness(rows: list[dict[str, Any]]) -> tuple[Sureness, Sureness]:
    """Of the weak and of the strong model."""
    weak, strong = (
        nq_sureness(
            nq_clusters([row["models"][model]["class_size"] for row in rows])[0],
            np.array([row["models"][model]["nll_sum"] for row in rows]),
        )
        for model in (WEAK, STRONG)
    )
    return weak, strong


def label_kinds(rows: list[dict[str, Any]]) -> dict[str, FloatArray]:
    """Every kind of target, (n,) in [0, 1]."""
    weak_se, strong_se = both(rows, discrete_entropy)
    weak_eq2, strong_eq2 = both(rows, lambda row, model: float(row["models"][model]["eq2_length_normalised"]))
    weak_true, strong_true = both(rows, correctness)
    return {
        "Eq. 2 as printed, hard (tau .1)": hard_targets(weak_eq2, strong_eq2, delta="paper"),
        "discrete SE, hard (tau .1)": hard_targets(weak_se, strong_se),
        "discrete SE, soft margin": margin_targets(weak_se, strong_se),
        "calibrated (default)": calibrated_targets(*sureness(rows)),
        "true labels, hard": hard_targets(1 - weak_true, 1 - strong_true, tau=0.0),
        "true labels, soft": margin_targets(1 - weak_true, 1 - strong_true),
    }


def held_out_scores(method: str, X: FloatArray, y: FloatArray, seed: int = 0) -> FloatArray:
    """Scores of every prompt by a router that did not see it."""

    def predict(train: BoolArray, held: BoolArray) -> FloatArray:
        return BY_NAME[method]().fit(X[train], y[train]).predict_proba(X[held])[:, 1]

    return held_out(folds(len(X), seed=seed), predict)


def by_training_prompts(rows: list[dict[str, Any]], X: FloatArray, sizes: list[int], draws: int = 20) -> None:
    """Print the APGR of kernel ridge on so many training prompts, drawn anew each time; the last row has all."""
    weak, strong = both(rows, correctness)
    fold_of, sure = folds(len(X), seed=0), sureness(rows)
    everything = int((fold_of != 0).sum())

    def apgr(size: int, random: np.random.Generator) -> float:
        def predict(train: BoolArray, held: BoolArray) -> FloatArray:
            chosen = np.zeros(len(X), dtype=bool)
            chosen[random.permutation(np.flatnonzero(train))[:size]] = True
            targets = calibrated_targets(*(one.of(chosen) for one in sure))
            return BY_NAME["kernel"]().fit(X[chosen], targets).predict_proba(X[held])[:, 1]

        return cost_quality_curve(held_out(fold_of, predict), weak, strong).apgr

    whole = apgr(everything, np.random.default_rng(0))
    print(f"{'training prompts':<18}{'APGR':>7}   {'least to most':<16}{'share of the gain':>18}   of {draws} draws")
    for size in sizes:
        found = [apgr(size, np.random.default_rng(draw)) for draw in range(draws)]
        mean = float(np.mean(found))
        share = (mean - 0.5) / (whole - 0.5)
        print(f"{size:<18}{mean:>7.3f}   {min(found):.3f} to {max(found):.3f}  {share:>18.0%}", flush=True)
    print(f"{everything:<18}{whole:>7.3f}")


def embeddings(texts: list[str], encoder: str) -> FloatArray:
    """Embedded once, kept in demur's cache."""
    with Store(Path(cache_folder()).parent / "benchmarks.sqlite") as store:
        return CachedEncoder(load_encoder(encoder), store).encode(texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="bge-small")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", default=",".join(BY_NAME))
    parser.add_argument("--sizes", default="", help="numbers of training prompts, instead of the table")
    options = parser.parse_args()
    print(describe())
    rows = shared_rows("samples/nq_open_gpt35_llama2_7b_chat")
    weak, strong = both(rows, correctness)
    X = embeddings([row["question"] for row in rows], options.encoder)
    if options.sizes:
        return by_training_prompts(rows, X, [int(size) for size in options.sizes.split(",")])
    print(f"{len(rows)} prompts, weak {weak.mean():.3f}, strong {strong.mean():.3f}, encoder {options.encoder}\n")
    print(f"{'label':<34}{'router':<10}{'CPT50':>7}{'CPT80':>8}{'APGR':>8}   95 % interval")
    for kind, y in label_kinds(rows).items():
        for method in options.methods.split(","):
            curve = cost_quality_curve(held_out_scores(method, X, y, options.seed), weak, strong)
            low, high = curve.interval("apgr")
            print(
                f"{kind:<34}{method:<10}{100 * curve.cpt(0.5):>7.1f}{100 * curve.cpt(0.8):>8.1f}{curve.apgr:>8.3f}"
                f"   [{low:.3f}, {high:.3f}]",
                flush=True,
            )
    return None


if __name__ == "__main__":
    main()
