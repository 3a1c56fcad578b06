"""RouteLLM's own SWRankingRouter, asked by `similarity_weighted.py`; runs under the Python of the peer's environment.

``python routellm_peer.py BATTLES.npz``: reads the number of a query a line, answers its strong win rate and the seconds
that the decision took. Its embedding call is answered from the file, so nothing goes to the network; torch and other
packages that SW never calls are stand-ins.
"""

from __future__ import annotations

import importlib
import sys
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np

NEVER_CALLED = (
    "datasets",
    "huggingface_hub",
    "routellm.routers.causal_llm.configs",
    "routellm.routers.causal_llm.llm_utils",
    "routellm.routers.causal_llm.model",
    "routellm.routers.matrix_factorization.model",
    "torch",
    "transformers",
)
STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"  # the peer's defaults


def peer_router(outcomes: Any, embeddings: Any) -> tuple[Any, Any]:
    """The published router over battles of two models, past its constructor (which downloads); and its module."""
    importlib.import_module("sklearn.linear_model")  # it looks for torch itself: first, and without the stand-ins
    sys.modules.update({name: MagicMock() for name in NEVER_CALLED})
    module = importlib.import_module("routellm.routers.routers")
    for name in NEVER_CALLED:
        del sys.modules[name]
    router = module.SWRankingRouter.__new__(module.SWRankingRouter)
    router.strong_model, router.weak_model, router.embedding_model = STRONG, WEAK, "none"
    router.model2tier = {STRONG: 1, WEAK: 0}
    winner = np.where(outcomes == 1, "model_a", np.where(outcomes == 0, "model_b", "tie"))
    frame = importlib.import_module("pandas").DataFrame({"model_a": 1, "model_b": 0, "winner": winner})
    router.arena_df, router.arena_conv_embedding = frame, embeddings
    return router, module


def main() -> None:
    battles = np.load(sys.argv[1])
    router, module = peer_router(battles["outcomes"], battles["embeddings"].astype(float))  # the peer keeps float64
    for line in sys.stdin:
        response = SimpleNamespace(data=[SimpleNamespace(embedding=battles["queries"][int(line)].astype(float))])
        module.OPENAI_CLIENT = SimpleNamespace(embeddings=SimpleNamespace(create=lambda answer=response, **_: answer))
        start = time.perf_counter()
        win_rate = router.calculate_strong_win_rate("")
        print(float(win_rate), time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
