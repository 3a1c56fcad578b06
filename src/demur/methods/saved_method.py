"""A fitted method as a few plain values and arrays, and back again; never pickle.

Of demur's own methods that is all they learned. Of the user's classifier it is what it was fitted on and how it scored:
the object is given again when the router is loaded, fitted or not, and its scores must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demur.errors import ArtifactError
from demur.methods import EVERY
from demur.methods.classifier import Classifier
from demur.methods.estimator import Estimator
from demur.records import FloatArray, Method

SAME_SCORES = 1e-3  # a classifier that is fitted again on the same rows scores within this


def method_name(method: Method) -> str:
    """The name that it is saved under. Raises ArtifactError for an object that has none."""
    if isinstance(method, Classifier):
        return method.name
    for name, kind in EVERY.items():
        if type(method) is kind:
            return name
    raise ArtifactError(
        f"{type(method).__name__} is not one of demur.methods; give it to demur.train(methods={{'mine': ...}})"
    )


def restore_classifier(given: Any, name: str, X: FloatArray, y: FloatArray, scores: FloatArray) -> Classifier:
    """The user's classifier, fitted on (X, y) where it is not fitted yet. Raises ArtifactError for other ``scores``."""
    method = given if isinstance(given, Classifier) else Classifier(given, name)
    if not method.is_fitted:
        method.fit(X, y)
    apart = float(np.abs(method.predict_proba(X)[:, 1] - scores).max())
    if apart > SAME_SCORES:
        raise ArtifactError(
            f"method {name!r}: this {method.kind} scores the training prompts otherwise than the saved one, by up to "
            f"{apart:.3f}; give the same settings (random_state too), or the fitted object"
        )
    return method


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
    method = EVERY[name]().set_params(**params)
    for attribute, value in arrays.items():
        setattr(method, attribute, method.arrange(attribute, value))
    method.n_features_in_ = dimension
    return method
