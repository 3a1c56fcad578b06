"""Can a router learn open-ended prompts from preferences? 805 instructions of AlpacaEval, judged pairs of four models.

Five pairs, 5-fold, targets from the judge's preferences. A router sees the prompt's embedding (bge-small); the prompt's
length beside it; its surface too (length, line breaks, question mark); or also the weak model's answer (its length,
whether it declines), which is known once that model has answered, as in a gate. The features' weight was chosen on the
first pair; the other four confirm it. The weight of the length alone (encoder ``bge-small+length``) was chosen on the
first, third and fifth pair, of four weights and three sets of features; the second and fourth confirm it. Baselines are
random (.5) and the prompt's length alone, in the direction that is better on the pair.

The set has one answer per model: what several samples would show (support) cannot be measured on it. The judge's
preferences compare each model with gpt4_1106_preview, so two other models compare only through that one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur.meaning.rules.declined_answers import declines
from demur.methods import KernelRidge
from demur.models.encoders.encoder import load_encoder
from demur.records import BoolArray, FloatArray
from demur.statistics import folds, held_out, interval, mean_ranks
from environment import describe, on_one_thread, shared_rows

WEIGHT = 0.1  # of a feature's standard deviation, where embeddings have a mean square distance of 1
REFERENCE = "gpt4_1106_preview"
PAIRS = (  # weak, strong; the first is the one that WEIGHT was chosen on
    ("FuseChat-Llama-3.2-1B-Instruct", REFERENCE),
    ("gpt-3.5-turbo-1106", REFERENCE),
    ("FuseChat-Llama-3.2-1B-Instruct", "FuseChat-Llama-3.1-8B-Instruct"),
    ("gpt-3.5-turbo-1106", "FuseChat-Llama-3.1-8B-Instruct"),
    (REFERENCE, "FuseChat-Llama-3.1-8B-Instruct"),
)


def main() -> None:
    """Print every pair's routers with their APGR, and the difference to length alone."""
    print(describe())
    rows = shared_rows("preferences/alpacaeval_4models")
    X = load_encoder("bge-small+length").encode([row["instruction"] for row in rows])
    scale = np.sqrt(((X[:, :-1] - X[:, :-1].mean(axis=0)) ** 2).sum(axis=1).mean())
    with_length = X / scale
    embedding = with_length[:, :-1]
    lengths = np.array([len(row["instruction"]) for row in rows], dtype=float)
    for weak, strong in PAIRS:
        low, high = qualities(rows, weak, strong)
        print(f"{strong} ({high.mean():.3f}) over {weak} ({low.mean():.3f}), {len(rows)} prompts")
        gains = high - low
        by_length = max((caught(way * lengths, gains) for way in (1, -1)), key=np.mean)
        show("length alone", by_length, gains)
        show_router("embedding, length", with_length, gains, by_length)
        surface, answers = surface_of(rows), answers_of(rows, weak)
        for name, features in {
            "embedding": [],
            "embedding, surface": surface,
            "embedding, surface, weak answer": [*surface, *answers],
        }.items():
            columns = np.column_stack([embedding, *(WEIGHT * standard(one) for one in features)])
            show_router(name, columns, gains, by_length)


def show_router(name: str, columns: FloatArray, gains: FloatArray, by_length: FloatArray) -> None:
    """A router that sees these columns, beside length alone."""
    scores = out_of_fold(columns.astype(np.float32), np.clip((1 + gains) / 2, 0, 1))
    show(name, caught(scores, gains), gains, beside=by_length)


def qualities(rows: Sequence[Mapping[str, Any]], weak: str, strong: str) -> tuple[FloatArray, FloatArray]:
    """(n,) of both models' answers, from the judge's preferences over the reference."""
    preferred = {
        name: np.array([row["models"][name]["preference"] for row in rows], dtype=float) for name in (weak, strong)
    }
    if strong == REFERENCE:
        return preferred[weak], 1 - preferred[weak]
    return (1 - preferred[strong] if weak == REFERENCE else preferred[weak]), preferred[strong]


def surface_of(rows: Sequence[Mapping[str, Any]]) -> list[FloatArray]:
    """What every prompt shows without being understood."""
    texts = [str(row["instruction"]) for row in rows]
    return [
        np.log1p([len(text) for text in texts]),
        np.array(["\n" in text for text in texts], dtype=float),
        np.array(["?" in text for text in texts], dtype=float),
    ]


def answers_of(rows: Sequence[Mapping[str, Any]], weak: str) -> list[FloatArray]:
    """What the weak model's answers show."""
    answers = [row["models"][weak] for row in rows]
    return [
        np.log1p([one["length"] for one in answers]),
        np.array([declines(one["output"]) for one in answers], dtype=float),
    ]


def standard(values: FloatArray) -> FloatArray:
    """With mean 0 and spread 1; zeros where all are equal."""
    return np.asarray((values - values.mean()) / (values.std() or 1.0))


def out_of_fold(X: FloatArray, y: FloatArray) -> FloatArray:
    """Scores of every prompt by kernel ridge that did not see it."""

    def predict(train: BoolArray, held: BoolArray) -> FloatArray:
        return KernelRidge().fit(X[train], y[train]).predict_proba(X[held])[:, 1]

    return held_out(folds(len(X), seed=0), predict)


def caught(scores: FloatArray, gains: FloatArray) -> FloatArray:
    """(n,) each prompt's part in the gain over random order; its mean over the mean gain is APGR - 1/2."""
    return np.asarray((gains - gains.mean()) * (mean_ranks(scores) - 0.5))


def show(name: str, found: FloatArray, gains: FloatArray, *, beside: FloatArray | None = None) -> None:
    """APGR with its interval over prompts, and the paired difference to another order."""
    low, high = apgr_interval(found, gains)
    line = f"  {name:<34}{0.5 + found.mean() / gains.mean():.3f} [{0.5 + low:.3f}, {0.5 + high:.3f}]"
    if beside is not None:
        low, high = apgr_interval(found - beside, gains)
        line += f"   over length {(found - beside).mean() / gains.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
    print(line, flush=True)


def apgr_interval(found: FloatArray, gains: FloatArray) -> tuple[float, float]:
    return interval(np.column_stack([found, gains]), lambda drawn: drawn[:, 0].mean() / drawn[:, 1].mean())


if __name__ == "__main__":
    on_one_thread()
    main()
