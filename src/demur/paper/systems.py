"""The systems of the paper as rows: what each learns from, how it scores a prompt, and where it departs.

A router needs embeddings and targets only; a cascade reads the weak model's answer beside the question.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from demur.methods import KNN, MLP, KernelRidge, LogisticRegression, MatrixFactorization, SimilarityWeighted
from demur.methods.pools import GraphRouter, RouterDC
from demur.methods.pools.pool import PoolRouter, pair_quality
from demur.paper.sources.authors import AUTHORS
from demur.paper.sources.own import NO_DRAFTS
from demur.paper.sources.trainings import ANSWER_WRONG, DEFAULT, PRINTED
from demur.records import FloatArray, Method

CENTRES = 1024  # of kernel ridge, which is fitted a hundred times here: about .005 below its default of 4096
ServingMode = Literal["as served", "unknown to strong", "two stages"]
Scorer = Callable[[FloatArray, FloatArray, FloatArray], FloatArray]  # (X, y, X of the prompts to score) -> scores


@dataclass(frozen=True, slots=True)
class System:
    """One row of Table 1."""

    key: str  # by which --only picks it
    group: str
    method: str
    source: str  # of supervision, by the name that its training set gives it
    score: Scorer
    cites: str  # paper, section, equation
    cascade: bool = False  # X is the question with the weak answer, and both models are paid for where it goes on
    served: ServingMode | None = None  # how demur serves it; None: the method's score alone
    pair: str = "nq-open"  # whose labels it learns from, where they are of samples

    @property
    def name(self) -> str:
        """Group and method."""
        return f"{self.group}: {self.method}"

    @property
    def lacks(self) -> str:
        """Why it cannot score stored outcomes; "" where it can."""
        return NO_DRAFTS if self.served == "two stages" else ""

    @property
    def printed_as(self) -> str:
        """The row of the paper's tables that it stands beside."""
        return f"{self.group.partition(',')[0]}: {self.method.partition(',')[0]}"


def by_method(make: Callable[[], Method], X: FloatArray, y: FloatArray, queries: FloatArray) -> FloatArray:
    """Fit a method on targets and score."""
    return make().fit(X, y).predict_proba(queries)[:, 1]


def by_pool(make: Callable[[], PoolRouter], X: FloatArray, y: FloatArray, queries: FloatArray) -> FloatArray:
    """Fit a pool router on weak and strong as a pool of two, and score."""
    return make().fit(X, pair_quality(y)).strong_score(queries)


ROUTERS: dict[str, Scorer] = {
    "sw": partial(by_method, SimilarityWeighted),
    "mf": partial(by_method, MatrixFactorization),
    "knn": partial(by_method, KNN),
    "mlp": partial(by_method, MLP),
    "logistic": partial(by_method, LogisticRegression),
    "kernel": partial(by_method, partial(KernelRidge, centres=CENTRES)),
    "routerdc": partial(by_pool, RouterDC),
    "graphrouter": partial(by_pool, GraphRouter),
}
AS_PRINTED: dict[str, Scorer] = {
    **ROUTERS,
    "sw": partial(by_method, partial(SimilarityWeighted, weighting="paper")),
    "knn": partial(by_method, partial(KNN, 1)),
}
_SHOWN = {"sw": "SW", "mf": "MF", "knn": "kNN", "mlp": "MLP", "logistic": "logistic regression", "kernel": "kernel"}
_FOUR = ("sw", "mf", "knn", "mlp")
_EQUATIONS = {"sw": "Eqs. 5-8", "mf": "Eq. 9", "knn": "Eqs. 11-12", "mlp": "Eq. 10"}
_ZHANG = "Zhang et al. 2025"
_DING = {
    "det": "section 3.2, deterministic labels",
    "prob": "section 3.3, probabilistic labels",
    "trans": "section 3.4, transformed labels, t* = argmax of the labels' mean difference",
}


def _row(key: str, group: str, router: str, source: str, cites: str) -> System:
    return System(f"{key}-{router}", group, _SHOWN[router], source, ROUTERS[router], cites)


_OWN: dict[str, tuple[str, ServingMode | None]] = {
    "served": ("kernel, as served", "as served"),
    "unknown": ("kernel, as served, unknown prompts to the strong model", "unknown to strong"),
    "method": ("kernel's score alone", None),
    "staged": ("two stages", "two stages"),
}


def _own(key: str, pair: str, of: str) -> tuple[System, ...]:
    """demur's default label and default router, learned from the samples of a pair."""
    cites = f"docs/method.md, labels of {of}"
    return tuple(
        System(f"{key}-{row}", key, method, DEFAULT, ROUTERS["kernel"], cites, served=served, pair=pair)
        for row, (method, served) in _OWN.items()
    )


SYSTEMS: tuple[System, ...] = (
    *_own("demur", "nq-open", "gpt-3.5 / Llama-2-7b on NQ-Open"),
    *_own("demur-local", "local", "Qwen-1.5B / SmolLM2 on four sets"),
    *(
        _row(
            "to", "TO-Router", r, "accuracy hard", "Stripelis et al. 2024, section 3, as Zhang et al. 2025 describe it"
        )
        for r in ("knn", "mlp")
    ),
    _row("routellm", "RouteLLM", "sw", "preference", "Ong et al. 2024, section 4.2, similarity-weighted ranking"),
    _row("routellm", "RouteLLM", "mf", "preference", "Ong et al. 2024, section 4.2, matrix factorization"),
    *(
        System(
            f"printed-{r}",
            "Confidence-Driven, as printed",
            f"{_SHOWN[r]}{', k = 1' if r == 'knn' else ''}",
            PRINTED,
            AS_PRINTED[r],
            f"{_ZHANG}, Eqs. 2-4, {_EQUATIONS[r]}",
        )
        for r in _FOUR
    ),
    *(_row("authors", "Confidence-Driven, authors' labels", r, AUTHORS, f"{_ZHANG}, {_EQUATIONS[r]}") for r in _FOUR),
    *(
        _row("confidence", "Confidence-Driven", r, "entropy hard", f"{_ZHANG}, Eqs. 3-4 symmetric, {_EQUATIONS[r]}")
        for r in _FOUR
    ),
    System(
        "confidence-1nn",
        "Confidence-Driven",
        "kNN, k = 1",
        "entropy hard",
        AS_PRINTED["knn"],
        f"{_ZHANG}, Eqs. 3-4 symmetric, Eqs. 11-12",
    ),
    *(
        _row("margin", "Confidence-Driven, soft margin", r, "entropy margin", "ours: ranks of SE_weak - SE_strong")
        for r in (*_FOUR, "logistic", "kernel")
    ),
    *(
        System(
            f"hybrid-{variant}",
            "Hybrid LLM",
            variant,
            f"quality-gap {variant}",
            ROUTERS["mlp"],
            f"Ding et al. 2024, {place}",
        )
        for variant, place in _DING.items()
    ),
    System(
        "routerdc",
        "RouterDC",
        "dual contrastive",
        "accuracy soft",
        ROUTERS["routerdc"],
        "Chen et al. 2024, section 3, sample-LLM loss + lambda sample-sample loss",
    ),
    System(
        "graphrouter",
        "GraphRouter",
        "edge prediction",
        "accuracy soft",
        ROUTERS["graphrouter"],
        "Feng et al. 2024, section 3, message passing and edge prediction",
    ),
    System(
        "frugalgpt",
        "FrugalGPT",
        "cascade",
        ANSWER_WRONG,
        ROUTERS["logistic"],
        "Chen et al. 2023, section 3, LLM cascade: scorer g(q, a) against a threshold",
        cascade=True,
    ),
)
DEPARTURES = (
    "demur: its default labels (calibrated sureness on NQ-Open, whose samples have no texts; demur-local: believed, "
    "from 1,100 prompts of four sets) and its default router, kernel ridge. As served: of the unknown prompts, "
    "questions on which both models guess go by their score, all others to the strong model (all of them to it: a row "
    "of its own), and beyond twice the length of 99 % of its training prompts a score passes over to one that rises "
    "with length (chosen on samples of these three sets: "
    "docs/method.md, Prompts of another kind). Neither pair of models is the one measured.",
    "All rows: a frozen encoder (bge-small-6 unless --encoder names another) under numpy heads; trained on NQ-Open, "
    "not on the paper's mix of 12,247.",
    "Confidence-Driven: SE is the discrete form over ten samples (cluster frequencies), its difference is taken over "
    "the larger SE (symmetric; Eq. 3 divides by SE_strong, often 0), tau .1; SW has RouteLLM's weights, 10^(1 + cosine "
    "over the query's largest), not Eq. 6; kNN takes sqrt(n) neighbours. Kernel: kernel ridge, demur's own default, "
    f"here with {CENTRES} centres, which costs it about .005.",
    "Confidence-Driven, as printed: Eq. 2 of whole sequences and Eq. 3 over SE_strong, tau .1, SW with Eq. 6, kNN with "
    "one neighbour. Eq. 2 can be negative, for which Eq. 3 has no meaning; this is the printed form.",
    "Confidence-Driven, authors' labels: the set that the authors published, where it can be loaded.",
    "TO-Router: its MLP and kNN over our encoder; labels are which of gpt-3.5 and Llama-2-7b is more often right.",
    "RouteLLM: 805 AlpacaEval comparisons (win rates against a third model; 72 % have both below .05) and 3,020 human "
    "judgements of GPT-4's and GPT-3.5's NQ-Open answers (no Mixtral among them); 76 % of the 3,825 rows are ties. Not "
    "80,000 arena battles: this is not a fair comparison with RouteLLM.",
    "Hybrid LLM: quality is the ROUGE-L of ten samples (there: BART score), the router an MLP (there: DeBERTa).",
    "RouterDC: frozen encoder under a linear map, clusters without t-SNE, temperature .2; positives and negatives are "
    "a prompt's best and worst models, weighted by how far apart (the authors' code: scores above 0, not above .5).",
    "GraphRouter: one round of messages, from prompts to models; edge weights without an MLP; learned model nodes; "
    "softmax over models, not a sigmoid an edge; tasks from clusters of prompts where none are known.",
    "FrugalGPT: logistic scorer on the embedding of question and answer (there: DistilBERT), trained on 1,000 of "
    "GPT-3.5's human-judged NQ-Open answers; the weak model is paid for on every prompt.",
)
OF_RUN = (
    "All rows learn from the run's own training prompts and its own pair, with its encoder, and are measured on its "
    "test sets. demur: the router that the run serves, with its labels; two stages: its gate has read the weak model's "
    "first answer. Confidence-Driven: discrete SE, symmetric difference, tau .1, RouteLLM's weights, kNN of sqrt(n); "
    "as printed: Eqs. 2, 3 and 6, one neighbour. TO-Router, Hybrid LLM, RouterDC, GraphRouter and FrugalGPT learn from "
    "the gold answers of the training prompts; docs/paper.md says how each departs from its authors' system.",
)


def of_key(key: str) -> System:
    """The row that --only calls so."""
    return next(one for one in SYSTEMS if one.key == key)
