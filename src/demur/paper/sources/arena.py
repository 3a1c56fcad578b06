"""RouteLLM as its authors train it, from a file of arena battles: SW over tiers of models, MF over all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from demur.labels.battles.arena import TIERS, Arena, read_arena, tier_pair, tier_quality
from demur.labels.battles.factorization import ArenaFactorization
from demur.methods.pools import PoolRanking
from demur.records import Encoder, FloatArray


@dataclass(frozen=True, eq=False)
class ArenaPair:
    """Battles of many models, and which two of them are routed between."""

    arena: Arena
    weak: str
    strong: str

    @property
    def supervision(self) -> tuple[list[str], FloatArray]:
        """Prompts and targets of the battles between the two models' tiers: what other routers learn from."""
        rows = tier_pair(self.arena, self.weak, self.strong).preferences
        return [row.prompt for row in rows], np.array([row.target for row in rows])

    @property
    def note(self) -> str:
        """What the rows of RouteLLM are learned from."""
        return (
            f"RouteLLM: {len(self.arena.battles):,} battles of {len(self.arena.models)} models "
            f"({self.arena.path.name}), SW over {TIERS} tiers, MF over all models, as there; {self.weak} stands for "
            f"the weak and {self.strong} for the strong model; this encoder for OpenAI's embeddings, no battles added "
            "by GPT-4 as a judge."
        )


def arena_pair(path: str, weak: str, strong: str) -> ArenaPair:
    """The battles of a file, and its own names of the two models. Raises InputError for a model without any."""
    arena = read_arena(path)
    return ArenaPair(arena, arena.find_model(weak), arena.find_model(strong))


def tier_scores(pair: ArenaPair, encoder: Encoder, queries: FloatArray) -> FloatArray:
    """(n,) SW over tiers: by how much the strong model's tier leads the weak one's, on prompts ``queries`` (n, d)."""
    quality, tiers, places = tier_quality(pair.arena)
    X = encoder.encode([pair.arena.battles[i].prompt for i in places.tolist()])
    scores = PoolRanking().fit(X, quality).scores(queries)
    return np.asarray(scores[:, tiers[pair.strong]] - scores[:, tiers[pair.weak]])


def model_scores(pair: ArenaPair, encoder: Encoder, queries: FloatArray) -> FloatArray:
    """(n,) MF over all models: P(the strong one beats the weak one) on prompts ``queries`` (n, d)."""
    arena = pair.arena
    X = np.asarray(encoder.encode([row.prompt for row in arena.battles]), dtype=float)
    won = np.array([1.0 - row.target for row in arena.battles])
    made = ArenaFactorization().fit(X, arena.sides, won, len(arena.models))
    return made.gap(np.asarray(queries, dtype=float), arena.models.index(pair.strong), arena.models.index(pair.weak))


SCORES: Mapping[str, Callable[[ArenaPair, Encoder, FloatArray], FloatArray]] = {  # by the key of a row
    "routellm-sw": tier_scores,
    "routellm-mf": model_scores,
}
