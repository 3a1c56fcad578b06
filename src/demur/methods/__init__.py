"""Routing methods: scikit-learn-style estimators on y in [0, 1], in numpy alone.

``fit(X, y, sample_weight=None)``; ``predict_proba(X)[:, 1]`` is P(the strong model is needed). Constructors only store;
learned arrays end in ``_``, and are all that a saved router keeps. Any scikit-learn classifier fits in their place:
`demur.methods.classifier`.
"""

from __future__ import annotations

from demur.methods.cascade import Cascade
from demur.methods.estimator import Estimator
from demur.methods.factorization import MatrixFactorization
from demur.methods.kernel import KernelRidge
from demur.methods.logistic import LogisticRegression
from demur.methods.neighbours import KNN
from demur.methods.perceptron import MLP
from demur.methods.pools.pair_pools import POOLS
from demur.methods.similarity import SimilarityWeighted

BY_NAME: dict[str, type[Estimator]] = {
    "sw": SimilarityWeighted,
    "mf": MatrixFactorization,
    "mlp": MLP,
    "knn": KNN,
    "logistic": LogisticRegression,
    "kernel": KernelRidge,
}

EVERY: dict[str, type[Estimator]] = {
    **BY_NAME,
    **POOLS,
    "cascade": Cascade,
}  # with those of pools, which take no sample weights

__all__ = [
    "BY_NAME",
    "EVERY",
    "KNN",
    "MLP",
    "Estimator",
    "KernelRidge",
    "LogisticRegression",
    "MatrixFactorization",
    "SimilarityWeighted",
]
