"""RouterDC and GraphRouter as methods like any other: of a pair, or one router over all models of a pool.

Of a pair the targets are the quality of a pool of two models, and a score is the softmax over them. Over a pool there
is one fit; what it says of each model beside the first is a method of these two (`fit_pairs`), so that whatever chooses
among several models by pairs chooses by that one router. They take no sample weights, as their authors' systems.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Self

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import Estimator, sigmoid
from demur.methods.pools.contrastive import RouterDC
from demur.methods.pools.estimate import slope_of
from demur.methods.pools.graph import GraphRouter, GraphWeights, model_nodes
from demur.methods.pools.pool import PoolRouter, pair_quality
from demur.records import BoolArray, FloatArray, IntArray
from demur.statistics import folds, held_out


class PoolPair(Estimator):
    """A pool's router as a method of its first model and another one.

    ``level_`` (2,): the gain over the first model where both score alike, and the gain per unit of score; of a pair
    alone there is none.
    """

    level_: FloatArray

    def pool(self) -> PoolRouter:
        """The router over any number of models, not fitted."""
        raise TypeError(f"{type(self).__name__} does not say what router it is of")

    def take(self, made: PoolRouter, at: int, X: FloatArray) -> Self:
        """The first model and model ``at`` of a fitted router; embeddings are of the width and type of X (n, d)."""
        raise TypeError(f"{type(self).__name__} does not say what it keeps")

    def differences(self, X: FloatArray) -> FloatArray:
        """(n,) score of the other model minus that of the first, in the router's own scale."""
        raise TypeError(f"{type(self).__name__} does not say how it scores")

    @property
    def of_several(self) -> bool:
        """Whether the router is of more models than these two."""
        return hasattr(self, "level_")

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        if np.ptp(weight) > 0:
            name = type(self.pool()).__name__
            raise InputError(f"{name} takes no sample_weight; leave it out, or choose another method")
        self.take(self.pool().fit(X, pair_quality(y)), 1, X)

    def _strong(self, X: FloatArray) -> FloatArray:
        apart = self.differences(X)
        if not self.of_several:
            return sigmoid(apart)
        return np.asarray(np.clip(0.5 + (self.level_[0] + self.level_[1] * apart) / 2, 0.0, 1.0))


class PairRouterDC(PoolPair):
    """RouterDC (Chen et al. 2024) of weak and strong; ``steps`` and ``seed`` of its training."""

    def __init__(self, steps: int = 600, seed: int = 0) -> None:
        self.steps = steps
        self.seed = seed

    def pool(self) -> RouterDC:
        """RouterDC of these settings."""
        return RouterDC(steps=self.steps, seed=self.seed)

    def take(self, made: PoolRouter, at: int, X: FloatArray) -> Self:
        """As in `PoolPair`."""
        assert isinstance(made, RouterDC), "pool() is what is fitted"
        parts = (made.mean_, made.scale_, made.projection_, made.vectors_[[0, at]])
        self.mean_, self.scale_, self.projection_, self.vectors_ = (np.asarray(one, dtype=X.dtype) for one in parts)
        self.n_features_in_ = X.shape[1]
        return self

    def differences(self, X: FloatArray) -> FloatArray:
        """Of the cosines, sharpened by the temperature."""
        made = RouterDC()
        made.mean_, made.scale_, made.projection_, made.vectors_ = self._learned
        scores = made._scores(X, None)
        return np.asarray((scores[:, 1] - scores[:, 0]) / made.temperature)

    @property
    def _learned(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return self.mean_, self.scale_, self.projection_, self.vectors_


class PairGraphRouter(PoolPair):
    """GraphRouter (Feng et al. 2024) of weak and strong, clusters of prompts standing for tasks.

    ``hidden``: as GraphRouter's; above 0 it keeps what `of_new_model` needs.
    """

    def __init__(self, steps: int = 400, hidden: float = 0.0, seed: int = 0) -> None:
        self.steps = steps
        self.hidden = hidden
        self.seed = seed

    def pool(self) -> GraphRouter:
        """GraphRouter of these settings."""
        return GraphRouter(steps=self.steps, hidden=self.hidden, seed=self.seed)

    def take(self, made: PoolRouter, at: int, X: FloatArray) -> Self:
        """As in `PoolPair`."""
        assert isinstance(made, GraphRouter), "pool() is what is fitted"
        assert made.centres_ is not None, "no tasks were given"
        parts = (made.mean_, made.scale_, made.centres_, made.weights_.prompt, made.weights_.task, made.nodes_[[0, at]])
        self.mean_, self.scale_, self.centres_, self.prompt_, self.task_, self.nodes_ = (
            np.asarray(one, dtype=X.dtype) for one in parts
        )
        if self.hidden:
            weights = made.weights_
            self.own_ = weights.model.mean(axis=0, keepdims=True)  # what a new model's node begins as
            self.message_, self.update_ = weights.message, weights.update
            self.range_ = np.array(made.range_)
        self.n_features_in_ = X.shape[1]
        return self

    def of_new_model(self, X: FloatArray, y: FloatArray, target: FloatArray) -> PairGraphRouter:
        """The router of the weak model and one that `fit` did not see; nothing is fitted again.

        ``X`` (m, d): a few prompts, ``y`` (m,) their targets in fit, and ``target`` (m,) what fit would have had for
        the new model beside the weak one. What is beyond fit's scale of quality counts as the nearest end of it. See
        `GraphRouter.with_model`. Raises InputError.
        """
        if not self.hidden:
            raise InputError("fitted with hidden=0, its messages do not tell models apart; train again with hidden 0.5")
        low, high = self.range_
        quality = np.clip(1.0 - y + (2.0 * target - 1.0), low, high)  # of the weak model, and the gain over it
        edges = ((quality - low) / (high - low)).astype(np.float32)[:, None]
        weights = GraphWeights(self.prompt_, self.task_, self.own_, self.message_, self.update_)
        rows = ((np.asarray(X) - self.mean_) / self.scale_).astype(np.float32)
        found = copy.copy(self)
        found.nodes_ = np.concatenate([self.nodes_[:1], model_nodes(weights, rows, edges)[0]]).astype(self.nodes_.dtype)
        return found

    def differences(self, X: FloatArray) -> FloatArray:
        """Of the products of the prompt's node with both models'."""
        task = np.argmax(X @ self.centres_.T, axis=1)
        hidden = ((X - self.mean_) / self.scale_) @ self.prompt_ + self.task_[task]
        return np.asarray(hidden @ (self.nodes_[1] - self.nodes_[0]))


POOLS: dict[str, type[Estimator]] = {"routerdc": PairRouterDC, "graphrouter": PairGraphRouter}


def fit_pairs(
    method: PoolPair, X: FloatArray, quality: FloatArray, groups: IntArray | None = None
) -> tuple[Sequence[PoolPair], FloatArray]:
    """One router over K models, from embeddings (n, d) and quality (n, K), as its K - 1 pairs of the first model and
    each other one; and the (n, K) gains over the first that fits on other prompts predict. Rows of one of the
    ``groups`` (n,) are one prompt.

    Scores become gains by one slope for all models, `demur.methods.pools.estimate.slope_of` on held-out prompts, around
    each model's mean gain; 0 where the prompts tell nothing. Raises InputError as `PoolRouter.fit`.
    """

    def predict(train: BoolArray, held: BoolArray) -> FloatArray:
        try:
            pairs = _pairs_of(method, X[train], quality[train])
        except InputError:  # the models never differ on the other folds
            return np.zeros((int(held.sum()), quality.shape[1]))
        return np.asarray(_scores(pairs, X[held]) - _scores(pairs, X[train]).mean(axis=0))

    scores = held_out(folds(len(X), groups=groups), predict)
    slope, gains = slope_of(scores, quality), (quality - quality[:, :1]).mean(axis=0)
    pairs = _pairs_of(method, X, quality)
    for pair, gain, score in zip(pairs, gains[1:], _scores(pairs, X).mean(axis=0)[1:], strict=True):
        pair.level_ = np.array([gain - slope * score, slope])
    return pairs, gains + slope * scores


def _pairs_of(method: PoolPair, X: FloatArray, quality: FloatArray) -> list[PoolPair]:
    made = method.pool().fit(X, quality)
    return [copy.copy(method).take(made, at, X) for at in range(1, quality.shape[1])]


def _scores(pairs: Sequence[PoolPair], X: FloatArray) -> FloatArray:
    """(n, K) of every model over the first one."""
    return np.column_stack([np.zeros(len(X)), *(pair.differences(X) for pair in pairs)])
