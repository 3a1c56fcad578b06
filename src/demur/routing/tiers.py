"""More than two models: those between the weak and the strong one, and which of all is worth its price for a prompt.

A router of a pair predicts what the strong model gains over the weak one. Beside it every model between them has a fit
of the same method, on the same embeddings, of what it gains. The choice is by gain minus price (`demur.measure.tiers`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from demur.measure.tiers import choose_models, cost_parts, step_scores
from demur.methods.estimator import Estimator
from demur.methods.saved_method import learned_arrays, restore_method
from demur.records import FloatArray, IntArray, Method, Role

PREFIX = "tiers."  # of its arrays in a saved router


@dataclass(frozen=True, eq=False)
class Tiers:
    """Every model of a router of more than two, by rising cost: the weak one first, the strong one last (K)."""

    names: tuple[str, ...]
    models: tuple[str, ...]
    methods: tuple[Method, ...]  # of the models between, fitted on 1/2 + gain/2
    usd: tuple[float, ...]  # of one answer, expected, as sampled
    qualities: FloatArray  # (n, K) of the training prompts, believed or graded
    training_values: FloatArray  # (n, K) gains over the weak model, by fits that did not see the prompt

    @cached_property
    def costs(self) -> FloatArray:
        """(K,) parts of the step from the weak model to the strong one. Raises InputError where they do not rise."""
        return cost_parts(np.array(self.usd), self.names)

    @property
    def roles(self) -> tuple[Role, ...]:
        """What decisions, the ledger and the metrics call them."""
        return ("weak", *self.names[1:-1], "strong")

    @property
    def last(self) -> int:
        """Where the strong model stands."""
        return len(self.names) - 1

    def model_of(self, role: Role) -> str:
        """The name of a role's model."""
        return self.models[self.roles.index(role)]

    def name_of(self, role: Role) -> str:
        """The name of a role's tier."""
        return self.names[self.roles.index(role)]

    def values(self, vectors: FloatArray, pair_scores: FloatArray) -> FloatArray:
        """(n, K) gains over the weak model; ``pair_scores``: of the strong one, y of 1/2 + gain/2."""
        between = [method.predict_proba(vectors)[:, 1] for method in self.methods]
        return gains_of(between, pair_scores)

    def steps(self, values: FloatArray) -> FloatArray:
        """(n, K - 1) `demur.measure.tiers.step_scores`."""
        return step_scores(values, self.costs)

    def scores(self, values: FloatArray) -> FloatArray:
        """(n,) the highest threshold at which the strong model is chosen."""
        return np.asarray(self.steps(values)[:, -1])

    def choices(self, values: FloatArray, threshold: float) -> IntArray:
        """(n,) the tier of each prompt."""
        return choose_models(self.steps(values), threshold)

    def choose(self, values: Sequence[float], threshold: float, able: Collection[Role] | None = None) -> Role:
        """The tier of one prompt, among those that are ``able``; None for all."""
        at = [i for i, role in enumerate(self.roles) if able is None or role in able]
        steps = step_scores(np.array([values])[:, at], self.costs[at])
        return self.roles[at[int(choose_models(steps, threshold)[0])]]

    def sentence(self, role: Role, values: Sequence[float], threshold: float) -> str:
        """Why a tier is chosen, in words."""
        price = 2 * threshold - 1
        worth = " / ".join(f"{v - price * c:+.3f}" for v, c in zip(values, self.costs, strict=True))
        return f"tier {self.name_of(role)}: gain minus price of {' / '.join(self.names)} is {worth}"

    @property
    def training_pair_scores(self) -> FloatArray:
        """(n,) held-out scores of the strong model beside the weak one alone."""
        return np.asarray(0.5 + self.training_values[:, -1] / 2)

    @property
    def description(self) -> dict[str, Any]:
        """What is saved beside the arrays."""
        return {"names": list(self.names), "models": list(self.models), "usd": list(self.usd)}

    @property
    def arrays(self) -> dict[str, FloatArray]:
        """What is saved, by name."""
        found = {f"{PREFIX}qualities": self.qualities, f"{PREFIX}values": self.training_values}
        for number, method in enumerate(self.methods):
            assert isinstance(method, Estimator), "with_tiers refuses a classifier of the user's own"
            found |= {f"{PREFIX}{number}.{key}": value for key, value in learned_arrays(method).items()}
        return found


def gains_of(between: Sequence[FloatArray], pair_scores: FloatArray) -> FloatArray:
    """(n, K) gains over the weak model, from scores of 1/2 + gain/2."""
    columns = [np.full(len(pair_scores), 0.5), *between, pair_scores]
    return np.asarray(2 * np.column_stack(columns) - 1)


def restored_tiers(description: Mapping[str, Any], arrays: Mapping[str, FloatArray]) -> Tiers | None:
    """The tiers of a saved router; None of a pair."""
    saved = description.get("tiers")
    if not saved:
        return None
    names = tuple(map(str, saved["names"]))
    methods = [
        restore_method(
            str(description["method"]),
            description["params"],
            _part(arrays, f"{PREFIX}{number}."),
            dimension=int(description["dimension"]),
        )
        for number in range(len(names) - 2)
    ]
    usd = tuple(map(float, saved["usd"]))
    qualities, values = arrays[f"{PREFIX}qualities"], arrays[f"{PREFIX}values"]
    return Tiers(names, tuple(map(str, saved["models"])), tuple(methods), usd, qualities, values)


def _part(arrays: Mapping[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
