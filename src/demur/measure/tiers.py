"""One of several models by rising cost for each prompt: value minus price times cost. A pair is the case of two.

Values are gains over the cheapest model, whose own is 0; costs are parts of the step from the cheapest to the dearest,
so that theirs are 0 and 1. A step's score is the highest price at which its model, or a dearer one, is chosen, read as
the scores of a pair are: score = 1/2 + price/2. The last step's is the score of the dearest model. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from demur.errors import InputError
from demur.measure.threshold import TRIED, Calibration
from demur.records import FloatArray, IntArray, dollars


def cost_parts(usd: FloatArray, names: tuple[str, ...]) -> FloatArray:
    """(K,) costs as parts of the step from the first to the last. Raises InputError where they do not rise."""
    for i in range(len(usd) - 1):
        if not usd[i] < usd[i + 1]:
            raise InputError(
                f"the models stand by rising price, and {names[i]} at {dollars(1000 * usd[i])} per 1,000 answers does "
                f"not cost less than {names[i + 1]} at {dollars(1000 * usd[i + 1])}; order [[models]] by price, leave "
                "one out, or give prices (usd_per_million_input, usd_per_million_output)"
            )
    return np.asarray((usd - usd[0]) / (usd[-1] - usd[0]))


def step_scores(values: FloatArray, costs: FloatArray) -> FloatArray:
    """(n, K - 1) scores of every step up, which fall from step to step; values (n, K), costs (K,)."""
    count = len(costs)
    found = np.empty((len(values), count - 1))
    for step in range(1, count):
        gains = values[:, step:, None] - values[:, None, :step]  # of every model above over every one below
        slopes = gains / (costs[step:, None] - costs[None, :step])
        found[:, step - 1] = 0.5 + slopes.min(axis=2).max(axis=1) / 2
    return found


def choose_models(steps: FloatArray, threshold: float) -> IntArray:
    """(n,) the model of each prompt by its `step_scores`; of equal ones the dearest, as in a pair."""
    return np.asarray((steps >= threshold).sum(axis=1))


def take_chosen(columns: FloatArray, at: IntArray) -> FloatArray:
    """(n,) of each prompt what its model's column says; columns (n, K) or (K,)."""
    wide = np.broadcast_to(columns, (len(at), columns.shape[-1]))
    return np.asarray(np.take_along_axis(wide, at[:, None], axis=1)[:, 0])


def threshold_within(steps: FloatArray, usd_at: Callable[[float], float], usd_per_1k: float, on: str) -> Calibration:
    """The lowest threshold at which 1,000 such prompts are expected to cost at most ``usd_per_1k``.

    ``usd_at``: expected USD per prompt at a threshold. Raises InputError where even the cheapest model costs more.
    """
    levels = _levels(steps)
    fits = [level for level in levels if 1000 * usd_at(level) <= usd_per_1k + 1e-12]
    if not fits:
        least = 1000 * usd_at(levels[-1])
        raise InputError(
            f"{dollars(usd_per_1k)} per 1,000 prompts is not enough: at the threshold that costs least they cost "
            f"{dollars(least)}"
        )
    return _at(steps, min(fits), f"at most {dollars(usd_per_1k)} expected per 1,000 prompts", on)


def threshold_keeping(steps: FloatArray, quality_at: Callable[[float], float], keep: float, on: str) -> Calibration:
    """The highest threshold whose estimated quality is ``keep`` times that of the lowest, always-strong."""
    if not 0 < keep <= 1:
        raise InputError(f"keep_quality is {keep}; it is a fraction of the strong model's quality, from 0 to 1")
    levels = _levels(steps)
    least = keep * quality_at(-np.inf)
    good = [level for level in (-np.inf, *levels) if quality_at(level) >= least - 1e-12]
    found = max(good) if np.isfinite(max(good)) else float(levels[0])
    return _at(steps, found, f"{100 * keep:.4g}% of the strong model's quality (estimated without labels)", on)


def _levels(steps: FloatArray) -> list[float]:
    """Thresholds between which the choices of these prompts differ, rising, at most `TRIED` of them; above them all
    nothing but the cheapest model is chosen."""
    if not steps.size or not np.isfinite(steps).all():
        raise InputError(f"{len(steps)} prompts have a score that is a number; calibrate on some prompts")
    every = np.unique(steps)
    some = every[np.unique(np.linspace(0, len(every) - 1, min(len(every), TRIED)).astype(int))]
    return [*map(float, some), float(np.nextafter(every[-1], np.inf))]


def _at(steps: FloatArray, threshold: float, asked: str, on: str) -> Calibration:
    return Calibration(threshold, float(np.mean(steps[:, -1] >= threshold)), len(steps), asked, on)
