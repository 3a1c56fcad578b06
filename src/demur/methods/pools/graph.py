"""GraphRouter (Feng et al. 2024): edges from prompts to models, on a graph of tasks, prompts and models.

A prompt's node is its projected embedding plus its task's learned vector (a look-up); a model's node takes up the
prompts that it answered, each message weighted by the edge's quality. A batch's own edges are masked while it is
predicted, as a new prompt has none. Departs from the paper: one round of messages, from prompts to models only (the
paper's are mutual; in the authors' code, too, predicted prompts keep their own features), a weight on a message where
they have an MLP of the edge, learned model nodes (there: descriptions embedded by a language model), a softmax over
the models where they have a sigmoid and binary cross-entropy on each edge, and cost left to the choice
(`demur.measure.frontier`), not on the edge. Without given tasks, clusters of prompts stand for them.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from demur.errors import InputError
from demur.methods.estimator import centre_and_scale, unit_rows
from demur.methods.fit.optimiser import Adam
from demur.methods.groups.kmeans import spherical_kmeans
from demur.methods.pools.pool import PoolRouter, quality_range
from demur.records import FloatArray, IntArray

_OWN = 2  # the models' own nodes among `GraphWeights.arrays`
BATCH_ROWS, NEIGHBOUR_ROWS = 128, 256  # prompts predicted per step, and prompts whose edges are seen meanwhile


@dataclass(frozen=True, slots=True)
class GraphWeights:
    """Learned arrays; h is the width of the hidden nodes."""

    prompt: FloatArray  # (d, h) a prompt's own features
    task: FloatArray  # (tasks, h)
    model: FloatArray  # (M, h) a model's own node
    message: FloatArray  # (d, h) prompt -> model
    update: FloatArray  # (h, h)

    @property
    def arrays(self) -> list[FloatArray]:
        """In the order of `edge_gradients`."""
        return [self.prompt, self.task, self.model, self.message, self.update]


class GraphRouter(PoolRouter):
    """Dot product of the prompt's and the model's hidden nodes, learned by cross-entropy over the best models.

    ``tasks``: how many clusters stand for tasks where `fit` is given none. ``hidden``: share of the steps at which all
    models' own nodes are hidden, as that of a new model is, so that messages alone must tell them apart: `with_model`
    needs it (.5 costs the known models nothing in a planted pool of eight).
    """

    def __init__(
        self,
        dimension: int = 32,
        tasks: int = 8,
        steps: int = 400,
        learning_rate: float = 3e-3,
        decay: float = 3e-3,
        hidden: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.dimension = dimension
        self.hidden = hidden
        self.tasks = tasks
        self.steps = steps
        self.learning_rate = learning_rate
        self.decay = decay
        self.seed = seed

    def _fit(self, X: FloatArray, quality: FloatArray, task: IntArray | None) -> None:
        random = np.random.default_rng(self.seed)
        self.mean_, self.scale_ = centre_and_scale(X, np.ones(len(X)))
        rows = ((X - self.mean_) / self.scale_).astype(np.float32)  # twice as fast as float64, and as good
        self.centres_ = None  # (tasks, d) of clusters; None where tasks are given
        if task is None:
            task, self.centres_ = spherical_kmeans(X, self.tasks, random)
        edges, wanted = (a.astype(np.float32) for a in (edge_weights(quality), best_models(quality)))
        weights = _initial(random, X.shape[1], quality.shape[1], int(task.max()) + 1, self.dimension)
        optimiser = Adam(weights.arrays, self.learning_rate, self.decay)
        for _ in range(self.steps):
            order = random.permutation(len(rows))
            split = min(BATCH_ROWS, max(1, len(rows) // 2))
            batch, seen = order[:split], order[split : split + NEIGHBOUR_ROWS]
            masked = self.hidden > 0 and random.random() < self.hidden  # without: the draws are as they were
            used = replace(weights, model=_common(weights.model)) if masked else weights
            found = edge_gradients(used, rows[batch], task[batch], wanted[batch], rows[seen], edges[seen])
            found[_OWN] = _common(found[_OWN]) if masked else found[_OWN]
            optimiser.step(found)
        self.weights_ = weights
        self.nodes_ = model_nodes(weights, rows, edges)[0]
        self.range_ = (float(np.nanmin(quality)), float(np.nanmax(quality)))

    def with_model(self, X: FloatArray, quality: FloatArray) -> Self:
        """A copy that also routes to a model that `fit` did not see, as its last one; nothing is fitted again.

        ``X`` (m, d): a few prompts, and ``quality`` (m,) how good the new model's answers to them are, in fit's scale.
        Its node begins as the mean of the known models' own nodes and takes up the messages of these prompts, which is
        GraphRouter's own claim (section 4.3, new LLMs in few shots). Raises InputError for values outside that scale.
        """
        if not self.hidden:
            raise InputError("fitted with hidden=0, its messages do not tell models apart; fit with hidden=0.5")
        low, high = self.range_
        known = np.asarray(quality, dtype=float)
        if known.shape != (len(X),) or not np.isfinite(known).all() or known.min() < low or known.max() > high:
            raise InputError(
                f"quality of shape {known.shape} for {len(X)} prompts must be {len(X)} values from {low:g} to "
                f"{high:g}, the scale that the router was fitted on"
            )
        rows = ((np.asarray(X) - self.mean_) / self.scale_).astype(np.float32)
        edges = ((known - low) / (high - low)).astype(np.float32)[:, None]
        own = replace(self.weights_, model=self.weights_.model.mean(axis=0, keepdims=True))
        found = copy.copy(self)
        found.nodes_ = np.concatenate([self.nodes_, model_nodes(own, rows, edges)[0]])
        found.models_ = self.models_ + 1
        return found

    def _scores(self, X: FloatArray, task: IntArray | None) -> FloatArray:
        if task is None and self.centres_ is not None:
            task = np.argmax(unit_rows(X) @ self.centres_.T, axis=1)
        elif task is None or self.centres_ is not None:
            raise InputError("this GraphRouter was fitted with tasks and is asked without them, or the other way round")
        unseen = np.zeros((1, self.dimension))  # what a task has that fit did not see
        of_task = np.concatenate([self.weights_.task, unseen])[np.minimum(task, len(self.weights_.task))]
        nodes = ((X - self.mean_) / self.scale_) @ self.weights_.prompt + of_task
        return np.asarray(nodes @ self.nodes_.T)


def _common(nodes: FloatArray) -> FloatArray:
    """The mean row, as often."""
    return np.broadcast_to(nodes.mean(axis=0), nodes.shape)


def _initial(random: np.random.Generator, d: int, models: int, tasks: int, h: int) -> GraphWeights:
    def draw_weights(*shape: int) -> FloatArray:
        return random.normal(0, h**-0.5, shape).astype(np.float32)

    return GraphWeights(
        draw_weights(d, h),
        np.zeros((tasks, h), np.float32),
        draw_weights(models, h),
        draw_weights(d, h),
        draw_weights(h, h),
    )


def edge_weights(quality: FloatArray) -> FloatArray:
    """(n, M) weight of every edge in [0, 1]; an edge that was never observed weighs nothing."""
    low, high = np.nanmin(quality), np.nanmax(quality)
    return np.nan_to_num((quality - low) / (high - low), nan=0.0)


def best_models(quality: FloatArray) -> FloatArray:
    """(n, M) the label of every edge as a distribution: shared by the models of a prompt's best quality.

    The less the models of a prompt differ, of the largest difference there is, the more all of them share it.
    """
    best = quality == np.nanmax(quality, axis=1, keepdims=True)
    share = (quality_range(quality) / quality_range(quality).max())[:, None]
    return np.asarray(share * best / best.sum(axis=1, keepdims=True) + (1 - share) / quality.shape[1])


def model_nodes(
    weights: GraphWeights, rows: FloatArray, edges: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(M, h) hidden model nodes, the mean message to each, (M, h), and the messages (n, h)."""
    messages = np.maximum(rows @ weights.message, 0.0)
    gathered = edges.T @ messages / max(1, len(rows))
    return np.asarray(weights.model + gathered @ weights.update), gathered, messages


def edge_gradients(
    weights: GraphWeights, rows: FloatArray, task: IntArray, wanted: FloatArray, seen: FloatArray, edges: FloatArray
) -> list[FloatArray]:
    """Gradients of the mean cross-entropy of a batch's masked edges, in the order of `GraphWeights.arrays`."""
    models, gathered, messages = model_nodes(weights, seen, edges)
    prompts = rows @ weights.prompt + weights.task[task]
    logits = prompts @ models.T
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    error = (p / p.sum(axis=1, keepdims=True) - wanted) / len(rows)
    to_prompts, to_models = error @ models, error.T @ prompts
    to_task = np.zeros_like(weights.task)
    np.add.at(to_task, task, to_prompts)
    to_messages = edges @ (to_models @ weights.update.T) / max(1, len(seen)) * (messages > 0)
    return [rows.T @ to_prompts, to_task, to_models, seen.T @ to_messages, gathered.T @ to_models]
