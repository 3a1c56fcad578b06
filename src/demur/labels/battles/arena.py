"""An arena's battles: who beat whom on which prompt; ratings of the models, and tiers (RouteLLM, section 3.1).

Files have the fields of lmsys-arena-human-preference-55k: model_a, model_b, prompt (a JSON list of turns), and the
winner. Battles of every pair of models tell something of one pair: those between the tiers of its two models count as
theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from demur.errors import InputError
from demur.labels.preference_files import PairPreferences, orient, read_preferences
from demur.methods.estimator import sigmoid
from demur.records import FloatArray, IntArray, Preference, count_of

TIERS = 10  # RouteLLM's
RIDGE = 0.1  # in battles, on a rating: without it a model that always wins has no finite one
STEPS = 50


@dataclass(frozen=True, eq=False)
class Arena:
    """Battles of a file."""

    path: Path
    battles: tuple[Preference, ...]

    @cached_property
    def models(self) -> tuple[str, ...]:
        """All models, by name."""
        return tuple(sorted({name for row in self.battles for name in (row.model_a, row.model_b)}))

    @cached_property
    def sides(self) -> IntArray:
        """(n, 2) places of model_a and model_b among the models."""
        place = {name: i for i, name in enumerate(self.models)}
        return np.array([(place[row.model_a], place[row.model_b]) for row in self.battles])

    @cached_property
    def ratings(self) -> Mapping[str, float]:
        """Bradley-Terry rating of every model, natural log-odds around 0; a tie is half a win of either."""
        won = np.array([1.0 - row.target for row in self.battles])  # of model_a
        return dict(zip(self.models, bradley_terry(self.sides, won, len(self.models)).tolist(), strict=True))

    def find_model(self, name: str) -> str:
        """The model of this name, or the only one whose name begins with it or holds it. Raises InputError."""
        if name in self.models:
            return name
        found = [one for one in self.models if one.startswith(name)] or [one for one in self.models if name in one]
        if len(found) == 1:
            return found[0]
        shown = ", ".join(found or self.models[:8])
        raise InputError(
            f"{self.path}: no battle is of a model called {name!r}; it holds {len(self.models)} models, such as "
            f"{shown}: name its weak and its strong model, --models WEAK,STRONG (of reproduce: --arena-models)"
        )


def read_arena(path: str | Path) -> Arena:
    """The battles of a file; those of a model with itself are left out. Raises InputError."""
    rows = [row for row in read_preferences(path) if row.model_a != row.model_b]
    if not rows:
        raise InputError(f"{path}: no battles of two models in it")
    return Arena(Path(path), tuple(rows))


def bradley_terry(sides: IntArray, won: FloatArray, models: int) -> FloatArray:
    """(models,) ratings that fit battles best by Newton's method: ``sides`` (n, 2), ``won`` (n,) by the first side."""
    rating = np.zeros(models)
    for _ in range(STEPS):
        p = sigmoid(rating[sides[:, 0]] - rating[sides[:, 1]])
        gradient, weight = RIDGE * rating, p * (1 - p)
        np.add.at(gradient, sides[:, 0], p - won)
        np.add.at(gradient, sides[:, 1], won - p)
        curvature = RIDGE * np.eye(models)
        for one, other in ((0, 0), (1, 1)):
            np.add.at(curvature, (sides[:, one], sides[:, other]), weight)
        for one, other in ((0, 1), (1, 0)):
            np.add.at(curvature, (sides[:, one], sides[:, other]), -weight)
        step = np.linalg.solve(curvature, gradient)
        rating -= step.clip(-1.0, 1.0)
        if np.abs(step).max() < 1e-9:
            break
    return rating


def rating_tiers(ratings: Mapping[str, float], count: int = TIERS) -> dict[str, int]:
    """Tier of every model, 0 the worst: the split of the ratings in order that has the least sum of variances.

    As RouteLLM splits them; with no more models than tiers each has its own. Raises InputError for no tier.
    """
    if count < 1:
        raise InputError(f"{count_of(count, 'tier')}; give at least 1, RouteLLM has {TIERS}")
    names = sorted(ratings, key=lambda name: ratings[name])
    values = np.array([ratings[name] for name in names])
    cuts = _least_variance(values, min(count, len(names)))
    tiers = np.repeat(np.arange(len(cuts)), np.diff([0, *cuts])).tolist()
    return dict(zip(names, tiers, strict=True))


def _least_variance(values: FloatArray, count: int) -> list[int]:
    """Ends (exclusive) of ``count`` groups of ascending values, by dynamic programming."""
    n = len(values)
    spread = np.array([[float(np.var(values[i : j + 1])) if j >= i else np.inf for j in range(n)] for i in range(n)])
    best, ends = spread[0].copy(), [[j + 1] for j in range(n)]
    for tier in range(1, count):
        found, chosen = np.full(n, np.inf), [list[int]() for _ in range(n)]
        for j in range(tier, n):
            split = min(range(tier - 1, j), key=lambda i: best[i] + spread[i + 1, j])
            found[j], chosen[j] = best[split] + spread[split + 1, j], [*ends[split], j + 1]
        best, ends = found, chosen
    return ends[-1]


def tier_pair(arena: Arena, weak: str, strong: str, count: int = TIERS) -> PairPreferences:
    """The battles between the tiers of two models, as if the two had fought them; the others are counted.

    Raises InputError for a model that has no battle, and for two models of one tier.
    """
    tiers = rating_tiers(arena.ratings, count)
    names = {weak: arena.find_model(weak), strong: arena.find_model(strong)}
    low, high = tiers[names[weak]], tiers[names[strong]]
    if low == high:
        raise InputError(
            f"{arena.path}: {names[weak]} and {names[strong]} are of one tier of {count}, so that battles between "
            "tiers do not tell them apart; ask for more tiers, or 0 for the battles of exactly this pair"
        )
    stand_in = {name: weak if tier == low else strong for name, tier in tiers.items() if tier in (low, high)}
    fought = [
        replace(row, model_a=stand_in[row.model_a], model_b=stand_in[row.model_b])
        for row in arena.battles
        if {tiers[row.model_a], tiers[row.model_b]} == {low, high}
    ]
    found = orient(fought, weak=weak, strong=strong)
    reason = f"they are of other tiers than {names[weak]} ({low}) and {names[strong]} ({high})"
    return PairPreferences(tuple(found), {reason: len(arena.battles) - len(found)})


def tier_quality(arena: Arena, count: int = TIERS) -> tuple[FloatArray, dict[str, int], IntArray]:
    """(m, tiers) quality of the tiers in the m battles between two of them (a win is 1, a tie .5, nan: absent), the
    tier of every model, and the places of these battles."""
    tiers = rating_tiers(arena.ratings, count)
    of = np.array([tiers[name] for name in arena.models])[arena.sides]
    between = np.flatnonzero(of[:, 0] != of[:, 1])
    quality = np.full((len(between), 1 + max(tiers.values())), np.nan)
    won = np.array([1.0 - arena.battles[i].target for i in between.tolist()])
    quality[np.arange(len(between)), of[between, 0]] = won
    quality[np.arange(len(between)), of[between, 1]] = 1.0 - won
    return quality, tiers, between
