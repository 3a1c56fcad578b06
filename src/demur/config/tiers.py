"""More than two models in a file: [[models]] by rising price, in place of a weak and a strong one; and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from demur.errors import InputError

RESERVED = frozenset({"weak", "strong", "direct"})  # words that have a meaning where a model of several is named
IN_PLACE_OF_A_PAIR = {"written": "models", "instead_of": ("weak", "strong")}  # metadata of the field between


class Named(Protocol):
    """One of the models, as a file names it."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...


def with_tiers(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The values of a file with ``models`` (a list of tables by rising price) as weak, between and strong.

    Raises InputError for fewer than two, or where the pair is named beside them.
    """
    if "models" not in values:
        return values
    tiers, others = values["models"], {name: value for name, value in values.items() if name != "models"}
    if not isinstance(tiers, list) or len(tiers) < 2:
        raise InputError(f"{where}: models: {tiers!r} is not a list of two or more; write [[models]] twice")
    beside = [name for name in ("weak", "strong", "between") if name in others]
    if beside:
        raise InputError(f"{where}: both models and {beside[0]} are given; the first of models is the weak one")
    return {**others, "weak": tiers[0], "between": tiers[1:-1], "strong": tiers[-1]}


def tier_name(model: Named) -> str:
    """What a tier is called: its name, else that of its model."""
    return model.name or model.model


def check_names(models: Sequence[Named], where: str) -> None:
    """Raise InputError where two tiers have the same name, or one has a reserved name."""
    names = [tier_name(model) for model in models]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if len(names) > 2 and twice is not None:
        raise InputError(f"{where}: two of the models are called {twice!r}; give each a name of its own (name = ...)")
    reserved = RESERVED & {tier_name(model) for model in models[1:-1]}
    if reserved:
        raise InputError(f"{where}: a model in between is called {min(reserved)!r}, which has a meaning; rename it")
