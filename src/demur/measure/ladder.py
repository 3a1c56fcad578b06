"""Which of several models to use within a budget: every one, pair and ladder, with one choice of model per prompt.

A model is chosen per prompt by its predicted quality minus price x its cost; the price is the least at which the budget
holds, and between two prices prompts are divided at random. A pair is the case of two. Pure functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from demur.errors import InputError
from demur.measure.frontier import choices, earn
from demur.records import FloatArray, IntArray, dollars
from demur.statistics import interval

LARGEST = 3  # models of a ladder


@dataclass(frozen=True, slots=True)
class Ladder:
    """Some models by rising cost, used together within a budget."""

    models: tuple[int, ...]  # columns of the arrays that it was made from
    quality: float  # mean over the prompts
    low: float  # 95 % interval over the prompts
    high: float
    usd: float  # per prompt, at most the budget
    shares: tuple[float, ...]  # of the prompts that each model answers


def ladders(
    predicted: FloatArray, quality: FloatArray, usd: FloatArray, budget: float, *, largest: int = LARGEST
) -> list[Ladder]:
    """Every ladder of up to ``largest`` models that the budget (USD per prompt) allows, the best first.

    ``predicted``: quality that a router expects, held out; ``quality``: what it is worth; ``usd``: of one answer, all
    (n, M). Raises InputError where not even the cheapest model fits.
    """
    typical = usd.mean(axis=0)
    if typical.min() > budget:
        raise InputError(
            f"{dollars(1000 * budget)} per 1,000 prompts is not enough: the cheapest model costs "
            f"{dollars(1000 * typical.min())}"
        )
    order = np.argsort(typical, kind="stable").tolist()
    sets = [one for size in range(1, min(largest, len(order)) + 1) for one in combinations(order, size)]
    found = [ladder(predicted, quality, usd, budget, one) for one in sets if typical[one[0]] <= budget]
    return sorted(found, key=lambda one: (-one.quality, len(one.models), one.usd))


def ladder(
    predicted: FloatArray,
    quality: FloatArray,
    usd: FloatArray,
    budget: float,
    models: Sequence[int],
    groups: IntArray | None = None,
) -> Ladder:
    """These models, by rising cost, within a budget that the first of them keeps.

    ``groups`` (n,): rows of one prompt.
    """
    at = list(models)
    chosen = choices(predicted[:, at], usd[:, at])  # (prices, n), by a rising price of a USD
    costs = earn(chosen, usd[:, at]).mean(axis=1)
    fits = int(np.flatnonzero(costs <= budget + 1e-15)[0])  # the last of them is the cheapest model alone
    part = 0.0 if fits == 0 else _part(costs[fits - 1], costs[fits], budget)
    each = (1 - part) * np.take_along_axis(quality[:, at], chosen[fits][:, None], axis=1)[:, 0]
    shares = (1 - part) * np.bincount(chosen[fits], minlength=len(at)) / len(quality)
    if part:
        each = each + part * np.take_along_axis(quality[:, at], chosen[fits - 1][:, None], axis=1)[:, 0]
        shares = shares + part * np.bincount(chosen[fits - 1], minlength=len(at)) / len(quality)
    spent = (1 - part) * costs[fits] + part * costs[max(fits - 1, 0)]
    return Ladder(tuple(at), float(each.mean()), *interval(each, groups=groups), float(spent), tuple(shares.tolist()))


def _part(dearer: float, cheaper: float, budget: float) -> float:
    """The part of the prompts for the dearer of two choices that spends the budget."""
    return float(min(1.0, max(0.0, (budget - cheaper) / (dearer - cheaper)))) if dearer > cheaper else 0.0
