"""Any scikit-learn classifier or pipeline as a method: a soft target becomes two weighted rows of classes 0 and 1.

A prompt with target y is a row of class 1 with weight y and a row of class 0 with weight 1 - y. Both are made within
`fit`, so whoever splits prompts into folds keeps them together.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any, Self

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import checked_training
from demur.records import FloatArray


class Classifier:
    """The user's own classifier under a ``name``; its object is copied, never fitted itself."""

    def __init__(self, classifier: Any, name: str) -> None:
        """Raises InputError for an object that cannot score."""
        for needed in ("fit", "predict_proba"):
            if not hasattr(classifier, needed):
                kind = type(classifier).__name__
                raise InputError(
                    f"method {name!r}, a {kind}, has no {needed}; give a classifier that has, such as "
                    f"sklearn.calibration.CalibratedClassifierCV({kind}())"
                )
        self.classifier, self.name = copy.deepcopy(classifier), name

    @property
    def kind(self) -> str:
        """What it is: the name of its class."""
        return type(self.classifier).__name__

    @property
    def is_fitted(self) -> bool:
        """Whether it knows its classes, as every fitted classifier of scikit-learn's does."""
        return hasattr(self.classifier, "classes_")

    def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> Self:
        """Learn from embeddings X (n, d) and targets y (n,) in [0, 1]; returns self.

        Raises InputError for soft targets where the classifier takes no weights: repeated rows would be another method
        to it, such as more neighbours.
        """
        rows, classes, weight = two_rows(*checked_training(X, y, sample_weight))
        argument = weight_argument(self.classifier)
        if np.ptp(weight) == 0:
            self.classifier.fit(rows, classes)
        elif argument:
            self.classifier.fit(rows, classes, **{argument: weight})
        else:
            soft = int(((np.asarray(y) > 0) & (np.asarray(y) < 1)).sum())
            raise InputError(
                f"method {self.name!r}: {self.kind}.fit takes no sample_weight, and {soft} of {len(y)} targets are "
                "soft or ties; give a classifier that takes weights"
            )
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """(n, 2): P(weak is enough), P(strong is needed)."""
        strong = list(self.classifier.classes_).index(1)
        scores = np.asarray(self.classifier.predict_proba(X), dtype=float)[:, strong]
        return np.stack([1.0 - scores, scores], axis=1)


def two_rows(X: FloatArray, y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows, classes (0 or 1) and weights: each target y as (1, weight y) and (0, weight 1 - y); none of weight 0."""
    weights = np.stack([weight * y, weight * (1 - y)], axis=1).ravel()
    used = weights > 0
    return np.repeat(X, 2, axis=0)[used], np.tile([1, 0], len(X))[used], weights[used]


def weight_argument(classifier: Any) -> str | None:
    """The name under which ``classifier.fit`` takes weights; None where it takes none.

    A pipeline hands it to its last step, a search to the classifier that it searches over.
    """
    parameters = inspect.signature(classifier.fit).parameters
    if "sample_weight" in parameters:
        return "sample_weight"
    if not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return None
    if hasattr(classifier, "steps"):
        name, last = classifier.steps[-1]
        inner = weight_argument(last)
        return f"{name}__{inner}" if inner else None
    return weight_argument(classifier.estimator) if hasattr(classifier, "estimator") else None
