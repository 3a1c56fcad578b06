"""What every method shares: scikit-learn's parameter contract by duck typing, and the check of its input.

It imports no scikit-learn; the tags are built only when scikit-learn itself asks for them.
"""

from __future__ import annotations

import inspect
from typing import Any, Self

import numpy as np

from demur.errors import InputError
from demur.methods.fit.threads import one_thread
from demur.records import FloatArray


class Estimator:
    """Base of the methods: parameters are the constructor's arguments, learned arrays end in ``_``."""

    _estimator_type = "classifier"
    classes_: FloatArray

    def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> Self:
        """Learn from embeddings X (n, d) and targets y (n,) in [0, 1]; returns self. Raises InputError."""
        X, y, weight = checked_training(X, y, sample_weight)
        self.classes_ = np.array([0, 1])
        self.n_features_in_ = X.shape[1]
        with one_thread():
            self._fit(X, y, weight)
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """(n, 2): P(weak is enough), P(strong is needed). Raises InputError for another width than in fit."""
        strong = self._strong(checked_rows(X, getattr(self, "n_features_in_", None), type(self).__name__))
        return np.stack([1.0 - strong, strong], axis=1)

    def predict(self, X: FloatArray) -> FloatArray:
        """(n,) 1 where the strong model is needed rather than not."""
        return np.asarray(self.classes_[(self.predict_proba(X)[:, 1] > 0.5).astype(int)])

    def score(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> float:
        """Accuracy against y (n,) of 0 and 1, as scikit-learn's classifiers have it. Raises InputError for soft y."""
        truth = np.asarray(y)
        if not np.isin(truth, (0, 1)).all():
            raise InputError("score is an accuracy: it needs y of 0 and 1; for soft targets compare curves")
        return float(np.average(self.predict(X) == truth, weights=sample_weight))

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it learns")

    def _strong(self, X: FloatArray) -> FloatArray:
        raise TypeError(f"{type(self).__name__} does not say how it scores")

    def arrange(self, name: str, value: FloatArray) -> FloatArray:
        """A learned array as it was read from a file, in the order in memory that decisions are fastest with."""
        return value

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments and their values."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Set constructor arguments by name; returns self."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"Invalid parameter {name!r} for estimator {self!r}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(multi_class=False),
            input_tags=InputTags(),
        )


def checked_training(
    X: FloatArray, y: FloatArray, sample_weight: FloatArray | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """X as float rows, y in [0, 1] and weights as floats of the same length; raises InputError."""
    X = checked_rows(X, None, "")
    if y is None:
        raise InputError("fit requires y to be passed, but the target y is None; give one target per row")
    targets = np.asarray(y)
    if targets.ndim != 1 or len(targets) != len(X):
        raise InputError(f"y has shape {targets.shape} for {len(X)} rows of X; give one target per row")
    try:
        targets = targets.astype(float)
    except ValueError:
        raise InputError(f"targets must be numbers in [0, 1], found {targets[0]!r}") from None
    if not np.isfinite(targets).all() or targets.min() < 0 or targets.max() > 1:
        raise InputError(
            f"targets must lie in [0, 1], found {targets.min():g} to {targets.max():g} (NaN or inf included)"
        )
    if targets.min() == targets.max():
        raise InputError(
            f"all {len(targets)} targets are {targets[0]:g}: only one class, nothing to learn; label more prompts, or "
            "a pair of models that differ"
        )
    if sample_weight is None:
        return X, targets, np.ones(len(X))
    weight = np.asarray(sample_weight, dtype=float)
    if weight.shape != (len(X),) or not np.isfinite(weight).all() or weight.min() < 0 or weight.sum() == 0:
        raise InputError(f"sample_weight of shape {weight.shape} must be {len(X)} values >= 0, not all zero")
    used = weight > 0  # rows of weight 0 are removed: they must not count for SW's largest similarity
    return X[used], targets[used], weight[used]


def checked_rows(X: FloatArray, width: int | None, owner: str) -> FloatArray:
    """X as (n, d) floats (float32 stays float32); raises InputError for other shapes, NaN, or an unfitted owner."""
    if hasattr(X, "toarray"):
        raise InputError(f"X is a sparse {type(X).__name__}, and sparse input is not supported; give X.toarray()")
    rows = np.asarray(X)
    if owner and width is None:
        raise InputError(f"this {owner} is not fitted yet; call fit first")
    if rows.dtype != np.float32:
        if np.iscomplexobj(rows):
            raise InputError("Complex data not supported")
        rows = rows.astype(float)
    if rows.ndim == 2 and rows.shape[1] == 0:
        raise InputError(f"X has 0 feature(s) (shape={rows.shape}) while a minimum of 1 is required.")
    if rows.ndim != 2 or 0 in rows.shape:
        raise InputError(f"X has shape {rows.shape}: expected (n, d) with at least one row. Reshape your data")
    if width is not None and rows.shape[1] != width:
        raise InputError(f"X has {rows.shape[1]} features, but {owner} is expecting {width} features as input")
    if not np.isfinite(rows).all():
        raise InputError(f"X holds NaN or inf in {int((~np.isfinite(rows)).any(axis=1).sum())} of {len(rows)} rows")
    return rows


def unit_rows(X: FloatArray) -> FloatArray:
    """Rows of length 1; a zero row stays zero."""
    lengths = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.where(lengths == 0, 1.0, lengths).astype(X.dtype)


def sigmoid(z: FloatArray) -> FloatArray:
    """1 / (1 + exp(-z)), without overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * z)))


def centre_and_scale(X: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean row (d,) and one common scale (1,) that give rows of mean square length 1, whatever the encoder."""
    mean = np.average(X, axis=0, weights=weight).astype(X.dtype)
    length = np.sqrt(np.average(((X - mean) ** 2).sum(axis=1), weights=weight))
    return mean, np.array([length if length > 0 else 1.0], dtype=X.dtype)
