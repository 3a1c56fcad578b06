"""The systems of the paper as rows: what each learns from, how it scores a prompt, and where it departs.

A row needs embeddings and targets only; FrugalGPT, which reads the weak answer, is scored apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from demur.methods import KNN, MLP, LogisticRegression, MatrixFactorization, SimilarityWeighted
from demur.pools import GraphRouter, RouterDC
from demur.pools.pool import PoolRouter, pair_quality
from demur.records import FloatArray, Method

Scorer = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]  # (X, y, X of the prompts to score) -> scores


@dataclass(frozen=True, slots=True)
class System:
    """One row of Table 1."""

    group: str
    method: str
    source: str  # of supervision, by the name that outcomes gives it
    score: Scorer
    cites: str
    paper: tuple[float, ...] = ()  # the paper's CPT50, CPT80 on MT-Bench, GSM8K, MMLU; empty where it has none

    @property
    def name(self) -> str:
        """Group and method."""
        return f"{self.group}: {self.method}"


def by_method(make: Callable[[], Method], X: FloatArray, y: FloatArray, asked: FloatArray) -> FloatArray:
    """Fit a method on targets and score."""
    return make().fit(X, y).predict_proba(asked)[:, 1]


def by_pool(make: Callable[[], PoolRouter], X: FloatArray, y: FloatArray, asked: FloatArray) -> FloatArray:
    """Fit a pool router on weak and strong as a pool of two, and score."""
    return make().fit(X, pair_quality(y)).strong_score(asked)


ROUTERS: dict[str, Scorer] = {
    "sw": partial(by_method, SimilarityWeighted),
    "mf": partial(by_method, MatrixFactorization),
    "knn": partial(by_method, KNN),
    "mlp": partial(by_method, MLP),
    "logistic": partial(by_method, LogisticRegression),
    "routerdc": partial(by_pool, RouterDC),
    "graphrouter": partial(by_pool, GraphRouter),
}
_SHOWN = {"sw": "SW", "mf": "MF", "knn": "kNN", "mlp": "MLP", "logistic": "logistic regression"}
_ZHANG, _PREFERENCE, _ACCURACY = "Zhang et al. 2025", "preference", "accuracy hard"
_PAPER = {
    "TO-Router: kNN": (59.72, 90.39, 47.93, 79.03, 43.73, 77.74),
    "TO-Router: MLP": (49.15, 86.67, 51.03, 77.77, 44.01, 77.43),
    "RouteLLM: SW": (56.08, 78.37, 46.03, 79.58, 47.41, 74.23),
    "RouteLLM: MF": (55.59, 84.12, 49.07, 80.09, 58.55, 83.68),
    "Confidence-Driven: SW": (27.31, 55.61, 48.03, 80.41, 37.96, 73.85),
    "Confidence-Driven: MF": (42.94, 63.53, 41.89, 75.34, 50.06, 78.38),
    "Confidence-Driven: kNN": (60.84, 81.50, 44.08, 76.32, 42.70, 75.28),
    "Confidence-Driven: MLP": (35.54, 74.92, 50.04, 79.79, 57.07, 83.27),
}
RANDOM_OF_PAPER = (51.29, 78.55, 48.79, 80.16, 50.04, 79.32)


def _row(group: str, router: str, source: str, cites: str, method: str = "") -> System:
    shown = method or _SHOWN[router]
    return System(group, shown, source, ROUTERS[router], cites, _PAPER.get(f"{group}: {shown}", ()))


SYSTEMS: tuple[System, ...] = (
    *(_row("TO-Router", router, _ACCURACY, "Stripelis et al. 2024") for router in ("knn", "mlp")),
    *(_row("RouteLLM", router, _PREFERENCE, "Ong et al. 2024, section 4.2") for router in ("sw", "mf")),
    *(
        _row("Confidence-Driven", router, "entropy hard", f"{_ZHANG}, Eqs. 3-12")
        for router in ("sw", "mf", "knn", "mlp")
    ),
    System(
        "Confidence-Driven",
        "kNN, k = 1 as printed",
        "entropy hard",
        partial(by_method, partial(KNN, 1)),
        f"{_ZHANG}, Eq. 11",
    ),
    *(
        _row("Confidence-Driven, soft margin", router, "entropy margin", "ours; DESIGN section 4")
        for router in ("sw", "mf", "knn", "mlp", "logistic")
    ),
    *(
        _row("Hybrid LLM", "mlp", f"quality-gap {variant}", "Ding et al. 2024", variant)
        for variant in ("det", "prob", "trans")
    ),
    _row("RouterDC", "routerdc", "accuracy soft", "Chen et al. 2024", "dual contrastive"),
    _row("GraphRouter", "graphrouter", "accuracy soft", "Feng et al. 2024", "edge prediction"),
)
DEPARTURES = (
    "All rows: a frozen encoder (bge-small) under numpy heads; trained on NQ-Open, not on the paper's mix of 12,247.",
    "TO-Router: its MLP and kNN over our encoder; labels are which of gpt-3.5 and Llama-2-7b is more often right.",
    "RouteLLM: 805 AlpacaEval comparisons (win rates against a third model; 72 % have both below .05) and 3,020 human "
    "judgements of NQ-Open answers, not 80,000 arena battles: this is no fair RouteLLM.",
    "Hybrid LLM: quality is graded correctness of ten samples (there: BART score), the router an MLP (there: DeBERTa).",
    "RouterDC: frozen encoder under a linear map, clusters without t-SNE, temperature .2.",
    "GraphRouter: one round of messages, tasks from clusters of prompts, learned model nodes.",
    "FrugalGPT: logistic scorer on the embedding of question and answer (there: DistilBERT), trained on 1,000 of "
    "GPT-3.5's human-judged NQ-Open answers; the weak model is paid for on every prompt.",
)


def named(name: str, source: str) -> System:
    """The row of that name and supervision."""
    return next(one for one in SYSTEMS if one.name == name and one.source == source)
