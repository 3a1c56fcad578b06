"""RouterDC (Chen et al. 2024): prompts and models in one space, learned by two contrastive losses.

Sample-LLM loss: a prompt is drawn to the K+ best models and away from the K- worst. Sample-sample loss:
to a prompt of its own cluster, away from H of others. Score = cosine of prompt and model. Departs from the paper: the
encoder is frozen under a learned linear map (there: mDeBERTa, fine-tuned), clusters come without t-SNE, and a
temperature sharpens the cosines, which a fine-tuned encoder can do without. The authors' code takes absolute scores to
exclude positives (score 0) and negatives (above .5); `extremes` takes the best and worst of the prompt, so that
any scale of quality will do, and weights a prompt by how far its models are apart.
"""

from __future__ import annotations

import numpy as np

from demur.methods.estimator import centre_and_scale, unit_rows
from demur.methods.fit.optimiser import Adam
from demur.methods.groups.kmeans import spherical_kmeans
from demur.methods.pools.pool import PoolRouter, quality_range
from demur.records import FloatArray, IntArray

BATCH_ROWS = 64  # as in the paper


class RouterDC(PoolRouter):
    """Cosine of the mapped prompt and a learned embedding per model; losses and gradients written out.

    ``positives`` / ``negatives``: K+ and K- (3), at most half the pool; ``others``: H (3); ``groups``: N (5);
    ``balance``: lambda (1), the weight of the sample-sample loss: the paper's defaults.
    """

    def __init__(
        self,
        dimension: int = 64,
        positives: int = 3,
        negatives: int = 3,
        others: int = 3,
        groups: int = 5,
        balance: float = 1.0,
        temperature: float = 0.2,
        steps: int = 600,
        learning_rate: float = 2e-3,
        decay: float = 1e-3,
        seed: int = 0,
    ) -> None:
        self.dimension = dimension
        self.positives = positives
        self.negatives = negatives
        self.others = others
        self.groups = groups
        self.balance = balance
        self.temperature = temperature
        self.steps = steps
        self.learning_rate = learning_rate
        self.decay = decay
        self.seed = seed

    def _fit(self, X: FloatArray, quality: FloatArray, task: IntArray | None) -> None:
        random = np.random.default_rng(self.seed)
        self.mean_, self.scale_ = centre_and_scale(X, np.ones(len(X)))
        rows = ((X - self.mean_) / self.scale_).astype(np.float32)  # twice as fast as float64, and as good
        group, _ = spherical_kmeans(X, self.groups, random)
        best, worst = (a.astype(np.float32) for a in extremes(quality, self.positives, self.negatives))
        learnable = np.flatnonzero(best.any(axis=1))
        projection = random.normal(0, X.shape[1] ** -0.5, (X.shape[1], self.dimension)).astype(np.float32)
        models = random.normal(0, self.dimension**-0.5, (quality.shape[1], self.dimension)).astype(np.float32)
        optimiser = Adam([projection, models], self.learning_rate, self.decay)
        for _ in range(self.steps):
            batch = random.choice(learnable, size=min(BATCH_ROWS, len(learnable)), replace=False)
            to_map, to_models = sample_llm_gradient(
                rows[batch], projection, models, best[batch], worst[batch], self.temperature
            )
            if self.balance > 0 and group.min() < group.max():
                near = near_and_far(group, batch, self.others, random)
                to_map = to_map + self.balance * sample_sample_gradient(rows, batch, near, projection, self.temperature)
            optimiser.step([to_map, to_models])
        self.projection_, self.vectors_ = projection, models

    def _scores(self, X: FloatArray, task: IntArray | None) -> FloatArray:
        return np.asarray(unit_rows(((X - self.mean_) / self.scale_) @ self.projection_) @ unit_rows(self.vectors_).T)


def near_and_far(group: IntArray, batch: IntArray, others: int, random: np.random.Generator) -> IntArray:
    """(b, 1 + H) rows: one of the same cluster as each of the batch, then ``others`` of other clusters."""
    order = np.argsort(group, kind="stable")  # every cluster is one block of it
    counts = np.bincount(group)
    size, start = counts[group[batch]], (np.cumsum(counts) - counts)[group[batch]]
    friend = start + (random.random(len(batch)) * size).astype(int)
    far = (random.random((len(batch), others)) * (len(group) - size)[:, None]).astype(int)
    far += np.where(far >= start[:, None], size[:, None], 0)  # step over the own block
    return np.asarray(order[np.concatenate([friend[:, None], far], axis=1)])


def extremes(quality: FloatArray, positives: int, negatives: int) -> tuple[FloatArray, FloatArray]:
    """(n, M) each prompt's K+ best models, weighted by how much the choice matters there, and a mask of its K- worst.

    A positive must be better than the row's worst and a negative worse than its best, so that ties are not learned
    from, and near-ties hardly (the paper's scores are of one size).
    """
    half = max(1, quality.shape[1] // 2)
    filled = np.where(np.isnan(quality), np.nanmean(quality, axis=1, keepdims=True), quality)
    rank = np.argsort(np.argsort(-filled, axis=1, kind="stable"), axis=1)
    asked = ~np.isnan(quality)
    low, high = filled.min(axis=1, keepdims=True), filled.max(axis=1, keepdims=True)
    best = (rank < min(positives, half)) & (filled > low) & asked
    worst = (rank >= quality.shape[1] - min(negatives, half)) & (filled < high) & asked
    usable = best.any(axis=1, keepdims=True) & worst.any(axis=1, keepdims=True)
    weight = quality_range(quality) / quality_range(quality).mean()
    return (best & usable) * weight[:, None], (worst & usable).astype(float)


def sample_llm_gradient(
    rows: FloatArray,
    projection: FloatArray,
    models: FloatArray,
    best: FloatArray,
    worst: FloatArray,
    temperature: float,
) -> tuple[FloatArray, FloatArray]:
    """Gradient of the mean sample-LLM loss: sum over t+ of -log e(t+) / (e(t+) + sum of e(t-)).

    For the projection and the models; weights ``best`` of t+ and mask ``worst`` of t-, (b, M).
    """
    mapped = rows @ projection
    unit, vectors = unit_rows(mapped), unit_rows(models)
    exponentials = np.exp(unit @ vectors.T / temperature)
    against = (worst * exponentials).sum(axis=1, keepdims=True)
    miss = against / (exponentials + against)  # 1 - probability of t+, were it a positive
    push = ((best * miss / np.maximum(against, 1e-300)).sum(axis=1, keepdims=True)) * worst * exponentials
    # d/ds(t-) of -log p(t+) is e(t-) / (e(t+) + against) = miss e(t-) / against
    pull = (push - best * miss) / (temperature * len(rows))
    to_mapped = through_normalisation(pull @ vectors, unit, mapped)
    return rows.T @ to_mapped, through_normalisation(pull.T @ unit, vectors, models)


def sample_sample_gradient(
    rows: FloatArray, batch: IntArray, near: IntArray, projection: FloatArray, temperature: float
) -> FloatArray:
    """Gradient of the mean sample-sample loss, for the projection.

    ``near`` (b, 1 + H): a prompt of the same cluster, then H of others.
    """
    own, other = rows[batch] @ projection, rows[near] @ projection  # (b, h), (b, 1 + H, h)
    unit, units = unit_rows(own), other / np.linalg.norm(other, axis=2, keepdims=True)
    similarity = np.einsum("bh,bkh->bk", unit, units) / temperature
    p = np.exp(similarity - similarity.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[:, 0] -= 1.0
    p /= temperature * len(batch)
    to_own = through_normalisation(np.einsum("bk,bkh->bh", p, units), unit, own)
    flat = other.reshape(-1, other.shape[2])
    to_other = through_normalisation((p[:, :, None] * unit[:, None, :]).reshape(flat.shape), unit_rows(flat), flat)
    return np.asarray(rows[batch].T @ to_own + rows[near.ravel()].T @ to_other)


def through_normalisation(gradient: FloatArray, unit: FloatArray, raw: FloatArray) -> FloatArray:
    """The gradient for raw rows, from that for rows of length 1."""
    along = (gradient * unit).sum(axis=1, keepdims=True)
    return np.asarray((gradient - along * unit) / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-12))
