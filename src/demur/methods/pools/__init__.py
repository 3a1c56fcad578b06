"""Routers over a pool of M models: fit(X, quality), scores(X); a pair is the pool of weak and strong.

X is (n, d) embeddings, quality (n, M) in any one scale, NaN where a model was not asked; scores (n, M), larger =
better. Cost enters only when a model is chosen (`demur.measure.frontier`). All are numpy, with gradients by hand.
"""

from __future__ import annotations

from demur.methods.pools.contrastive import RouterDC
from demur.methods.pools.factorization import PoolFactorization
from demur.methods.pools.graph import GraphRouter
from demur.methods.pools.pool import PoolRouter
from demur.methods.pools.ranking import PoolRanking

BY_NAME: dict[str, type[PoolRouter]] = {
    "sw": PoolRanking,
    "mf": PoolFactorization,
    "routerdc": RouterDC,
    "graphrouter": GraphRouter,
}

__all__ = ["BY_NAME", "GraphRouter", "PoolFactorization", "PoolRanking", "PoolRouter", "RouterDC"]
