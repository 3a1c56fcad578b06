"""RouterDC and GraphRouter on a pair, as methods like any other: targets are the quality of a pool of two models.

Their scores are the softmax over the two models. They take no sample weights: their authors' systems have none.
"""

from __future__ import annotations

import copy

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import Estimator, sigmoid
from demur.methods.pools.contrastive import RouterDC
from demur.methods.pools.graph import GraphRouter, GraphWeights, model_nodes
from demur.methods.pools.pool import pair_quality
from demur.records import FloatArray


class PairRouterDC(Estimator):
    """RouterDC (Chen et al. 2024) of weak and strong; ``steps`` and ``seed`` of its training."""

    def __init__(self, steps: int = 600, seed: int = 0) -> None:
        self.steps = steps
        self.seed = seed

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        _check_weight(weight, "RouterDC")
        made = RouterDC(steps=self.steps, seed=self.seed).fit(X, pair_quality(y))
        self.mean_, self.scale_, self.projection_, self.vectors_ = (
            np.asarray(one, dtype=X.dtype) for one in (made.mean_, made.scale_, made.projection_, made.vectors_)
        )

    def _strong(self, X: FloatArray) -> FloatArray:
        made = RouterDC()
        made.mean_, made.scale_, made.projection_, made.vectors_ = self._learned
        scores = made._scores(X, None)
        return sigmoid((scores[:, 1] - scores[:, 0]) / made.temperature)

    @property
    def _learned(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        return self.mean_, self.scale_, self.projection_, self.vectors_


class PairGraphRouter(Estimator):
    """GraphRouter (Feng et al. 2024) of weak and strong, clusters of prompts standing for tasks.

    ``hidden``: as GraphRouter's; above 0 it keeps what `of_new_model` needs.
    """

    def __init__(self, steps: int = 400, hidden: float = 0.0, seed: int = 0) -> None:
        self.steps = steps
        self.hidden = hidden
        self.seed = seed

    def _fit(self, X: FloatArray, y: FloatArray, weight: FloatArray) -> None:
        _check_weight(weight, "GraphRouter")
        made = GraphRouter(steps=self.steps, hidden=self.hidden, seed=self.seed).fit(X, pair_quality(y))
        assert made.centres_ is not None, "no tasks were given"
        parts = (made.mean_, made.scale_, made.centres_, made.weights_.prompt, made.weights_.task, made.nodes_)
        self.mean_, self.scale_, self.centres_, self.prompt_, self.task_, self.nodes_ = (
            np.asarray(one, dtype=X.dtype) for one in parts
        )
        if self.hidden:
            weights = made.weights_
            self.own_ = weights.model.mean(axis=0, keepdims=True)  # what a new model's node begins as
            self.message_, self.update_ = weights.message, weights.update
            self.range_ = np.array(made.range_)

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

    def _strong(self, X: FloatArray) -> FloatArray:
        task = np.argmax(X @ self.centres_.T, axis=1)
        hidden = ((X - self.mean_) / self.scale_) @ self.prompt_ + self.task_[task]
        return sigmoid(hidden @ (self.nodes_[1] - self.nodes_[0]))


POOLS: dict[str, type[Estimator]] = {"routerdc": PairRouterDC, "graphrouter": PairGraphRouter}


def _check_weight(weight: FloatArray, name: str) -> None:
    if np.ptp(weight) > 0:
        raise InputError(f"{name} takes no sample_weight; leave it out, or choose another method")
