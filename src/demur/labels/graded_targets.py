"""Targets in [0, 1] (1 = the strong model is needed) from grades and judgements: pure functions on arrays.

Accuracy (TO-Router), pairwise preference (RouteLLM), quality gap in three variants (Hybrid LLM), and a judge's
judgements. Entropy and agreement targets live in `demur.labels.targets`. It does not know files, encoders or routers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from demur.errors import InputError
from demur.labels.targets import gain_targets, hard_targets, margin_targets
from demur.records import FloatArray

Gap = Literal["det", "prob", "trans"]
RELAXATIONS = 101  # candidate t of the transformed labels
PAIRS_AT_ONCE = 512  # prompts whose n x n sample pairs are held at once


def accuracy_targets(weak: FloatArray, strong: FloatArray, *, soft: bool = False) -> FloatArray:
    """Targets from graded correctness of both models, (n,) or (n, samples) each (TO-Router as
    Zhang et al. 2025 describe it; Stripelis et al. 2024 learn soft labels over many experts).

    ``soft``: 1/2 + (strong - weak) / 2 of the mean correctness; hard: which model's mean is larger, .5 when equal.
    """
    low, high = _means(weak), _means(strong)
    _check_pair(low, high)
    return 0.5 + (high - low) / 2 if soft else 0.5 + np.sign(high - low) / 2


def preference_targets(weak: FloatArray, strong: FloatArray, *, tie_below: float = 0.0) -> FloatArray:
    """Targets from the score that a human, or a judge, gave each answer: ties where they differ by <= ``tie_below``.

    The winner alone counts, as in arena rows (RouteLLM, Ong et al. 2024, section 3.1).
    """
    low, high = np.asarray(weak, dtype=float), np.asarray(strong, dtype=float)
    _check_pair(low, high)
    return np.where(np.abs(high - low) <= tie_below, 0.5, (high > low).astype(float))


def quality_gap_targets(
    weak: FloatArray, strong: FloatArray, variant: Gap = "prob", *, relaxation: float | None = None
) -> FloatArray:
    """1 - Hybrid LLM's label, from response quality (n, samples) of both models (Ding et al. 2024, sections 3.2-3.4).

    ``det``: the first samples, 1[q_weak < q_strong]. ``prob``: share of sample pairs with q_weak <
    q_strong. ``trans``: with q_weak < q_strong - t, ``relaxation`` t found by `best_relaxation` when None.
    """
    low, high = _samples(weak, "weak"), _samples(strong, "strong")
    _check_pair(low, high)
    if variant == "det":
        return (low[:, 0] < high[:, 0]).astype(float)
    if variant == "prob":
        return 1.0 - _share_within(low, high, 0.0)
    if variant != "trans":
        raise InputError(f"no quality gap is called {variant!r}; use det, prob or trans")
    return 1.0 - _share_within(low, high, best_relaxation(low, high) if relaxation is None else relaxation)


def best_relaxation(weak: FloatArray, strong: FloatArray) -> float:
    """t >= 0 that spreads the relaxed labels most: argmax of the mean |y_i(t) - y_j(t)| over all pairs."""
    low, high = _samples(weak, "weak"), _samples(strong, "strong")
    widest = float(max(0.0, high.max() - low.min()))
    candidates = np.linspace(0.0, widest, RELAXATIONS)
    return float(candidates[int(np.argmax([_sum_of_differences(_share_within(low, high, t)) for t in candidates]))])


def _share_within(low: FloatArray, high: FloatArray, relaxation: float) -> FloatArray:
    """(n,) share of the sample pairs in which the weak answer is at most ``relaxation`` worse."""
    parts = [
        (low[i : i + PAIRS_AT_ONCE, :, None] >= high[i : i + PAIRS_AT_ONCE, None, :] - relaxation).mean(axis=(1, 2))
        for i in range(0, len(low), PAIRS_AT_ONCE)
    ]
    return np.concatenate(parts)


def _sum_of_differences(y: FloatArray) -> float:
    """Sum of the absolute differences of all pairs, by sorting."""
    n = len(y)
    return float(np.sum((2 * np.arange(n) - n + 1) * np.sort(y)))


def _means(values: FloatArray) -> FloatArray:
    array = np.asarray(values, dtype=float)
    return array.mean(axis=1) if array.ndim == 2 else array


def _samples(values: FloatArray, name: str) -> FloatArray:
    array = np.asarray(values, dtype=float)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise InputError(f"{name} quality has shape {array.shape}; give (prompts, samples), at least one of each")
    return array


def _check_pair(low: FloatArray, high: FloatArray) -> None:
    if len(low) != len(high):
        raise InputError(f"{len(low)} prompts of the weak model and {len(high)} of the strong one; give both of each")
    if not len(low):
        raise InputError("no prompts to label; give at least one with both models' quality")
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InputError("a quality is missing (NaN); leave out prompts that lack one of the models")


def sources_of(
    *,
    entropy: tuple[FloatArray, FloatArray] | None = None,
    printed: Mapping[str, tuple[FloatArray, FloatArray]] | None = None,
    gains: FloatArray | None = None,
    correct: tuple[FloatArray, FloatArray] | None = None,
    quality: tuple[FloatArray, FloatArray] | None = None,
    tau: float = 0.1,
) -> dict[str, FloatArray]:
    """Targets (n,) of every source that the given data allow, by name. All data come as (weak, strong).

    ``entropy``: (n,) nats >= 0. ``printed``: name -> Eq. 2 as printed, which may be negative, and so meets Eq. 3 as
    printed. ``gains``: `demur.agreement`, (n,). ``correct``: graded answers, (n, samples) in {0, 1}. ``quality``: their
    quality in any grain, for the quality gap; without it ``correct`` stands for it.
    """
    found: dict[str, FloatArray] = {}
    if entropy is not None:
        found |= {"entropy hard": hard_targets(*entropy, tau=tau), "entropy margin": margin_targets(*entropy)}
    for name, values in (printed or {}).items():
        found[name] = hard_targets(*values, tau=tau, delta="paper")
    if gains is not None:
        found["agreement"] = gain_targets(gains)
    if correct is not None:
        found["accuracy hard"] = accuracy_targets(*correct)
        found["accuracy soft"] = accuracy_targets(*correct, soft=True)
    if (gap := quality or correct) is not None:
        for variant in ("det", "prob", "trans"):
            found[f"quality-gap {variant}"] = quality_gap_targets(*gap, variant)
    return found
