"""A fitted method as its name, its parameters and its learned arrays, and back again; never pickle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demur.errors import ArtifactError
from demur.methods import BY_NAME
from demur.methods.estimator import Estimator
from demur.records import FloatArray, Method


def method_name(method: Method) -> str:
    """The name under which `restore_method` makes it again. Raises ArtifactError for a method of another kind."""
    for name, kind in BY_NAME.items():
        if type(method) is kind:
            return name
    kind_name = type(method).__name__
    raise ArtifactError(
        f"{kind_name} is not one of demur.methods and cannot be saved without pickle; keep it in Python"
    )


def learned_arrays(method: Estimator) -> dict[str, FloatArray]:
    """Its attributes whose names end in ``_``."""
    return {
        name: value
        for name, value in vars(method).items()
        if name.endswith("_") and not name.startswith("_") and isinstance(value, np.ndarray)
    }


def restore_method(
    name: str, params: Mapping[str, Any], arrays: Mapping[str, FloatArray], *, dimension: int
) -> Estimator:
    """The fitted method that had these parameters and learned arrays."""
    method = BY_NAME[name]().set_params(**params)
    for attribute, value in arrays.items():
        # By columns, as SW learned them: a product takes two thirds of the time.
        setattr(method, attribute, np.asfortranarray(value) if (name, attribute) == ("sw", "rows_") else value)
    method.n_features_in_ = dimension
    return method
