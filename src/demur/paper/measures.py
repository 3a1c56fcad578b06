"""Rows measured: scores and curves of every system on every benchmark, in-domain folds, learning curves, money."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from demur.errors import DemurError, InputError
from demur.gate.cascade.answer_scorer import AnswerScorer, embed_answers
from demur.measure.curve import CostQualityCurve, Protocol, cost_quality_curve
from demur.paper.outcomes import PAPER_DATA, SMALL_PAIR, Benchmark, Costs, Data, benchmark, check_gap, small_pair
from demur.paper.sources.arena import SCORES, ArenaPair
from demur.paper.sources.authors import AUTHORS, authors_set
from demur.paper.sources.own import UNKNOWN_TO, served_router, served_scores
from demur.paper.sources.own_pair import own_pair
from demur.paper.sources.trainings import ANSWER_WRONG, Training, human_judged_answers, preferences, training
from demur.paper.systems import ROUTERS, Scorer, System
from demur.records import Encoder, FloatArray, IntArray, Progress, no_progress
from demur.routing.prompt_router import PromptRouter
from demur.statistics import draw_counts, folds, held_out, interval, percentile_interval

RANDOM_ROUTERS = 200
OTHER_PAIR = "the authors' labels compare another pair than this run's"
SIZES = (50, 100, 200, 400, 800, 1600, 2400, 3600)
SEEDS = 5
_Made = TypeVar("_Made")


@dataclass
class Laboratory:
    """A folder of data and an encoder; what was computed once is kept for the parts that need it again."""

    folder: Path
    encoder: Encoder
    out: Path  # folder of what is made
    judge_model: str = ""
    judged: int = 0  # questions that Table 3's judge is asked about at each CPT
    rows: frozenset[str] = frozenset()  # keys of the only rows to make; empty: all
    data: Data = PAPER_DATA  # what the folder holds
    arena: ArenaPair | None = None  # battles that RouteLLM learns from; None: what the folder holds stands for them
    progress: Progress = no_progress
    _kept: dict[object, object] = field(default_factory=dict)

    def wants(self, key: str) -> bool:
        """Whether the row of this key is to be made."""
        return not self.rows or key in self.rows

    def benchmark(self, name: str) -> Benchmark:
        """A benchmark by name. Raises InputError, also where its models leave no gap."""

        def read() -> Benchmark:
            if name == SMALL_PAIR:
                found = self._of_table_2() if self.data.own else small_pair(self.folder)
            else:
                found = benchmark(self.folder, name, self.data)
            check_gap(found)
            return found

        return self._once(("benchmark", name), read)

    @property
    def main(self) -> str:
        """The set of Table 2's and 3's shapes and of Figure 1: GSM8K, or of a run the first that leaves a gap."""
        for name in (self.data.main, *self.data.sets) if self.data.own else ():
            try:
                self.benchmark(name)
            except DemurError:
                continue
            return name
        return self.data.main

    def _of_table_2(self) -> Benchmark:
        """A run has one pair: Table 2's shape is its main set again."""
        found = benchmark(self.folder, self.main, self.data)
        return replace(found, name=f"{found.name}, {self.data.strong} / {self.data.weak}")

    def pair(self, name: str) -> Training:
        """A pair by its name in PAIRS; of a run's outcomes its own is the only one."""
        if self.data.own and name == "nq-open":
            return self._once(("pair", name), lambda: own_pair(self.folder, self.data))
        if self.data.own:
            raise InputError("these are the outcomes of a run, whose own pair is the only one")
        return self._once(("pair", name), lambda: training(self.folder, name))

    def supervision(self, source: str, pair: str = "nq-open") -> tuple[list[str], FloatArray]:
        """Questions and targets of a source, for the benchmarks; of a ``pair`` where they come from samples."""
        if source == "preference" and self.arena is not None:
            arena = self.arena
            return self._once(source, lambda: arena.supervision)
        if self.data.own and source in (AUTHORS, "preference"):
            raise InputError(OTHER_PAIR if source == AUTHORS else self.pair(pair).lacking[source])
        if source == "preference":
            return self._once(source, lambda: preferences(self.folder))
        if source == AUTHORS:
            return self._once(source, lambda: authors_set(self.folder))
        found = self.pair(pair)
        if source not in found.targets:
            raise InputError(found.lacking[source])
        return found.questions, found.targets[source]

    def scores(self, system: System, benchmark: Benchmark) -> FloatArray:
        """(n,) score of a system on a benchmark's questions; fitted once per system and benchmark."""
        make = self._router_scores
        if system.cascade or system.served:
            make = self._cascade_scores if system.cascade else self._served_scores
        return self._once(("scores", system.key, benchmark.name), lambda: make(system, benchmark))

    def _router_scores(self, system: System, benchmark: Benchmark) -> FloatArray:
        if self.arena and system.key in SCORES:
            return SCORES[system.key](self.arena, self.encoder, self.encoder.encode(benchmark.questions))
        questions, y = self.supervision(system.source, system.pair)
        return system.score(self.encoder.encode(questions), y, self.encoder.encode(benchmark.questions))

    def _served_scores(self, system: System, benchmark: Benchmark) -> FloatArray:
        if self.data.own:
            return self._of_run(system, benchmark)
        if system.lacks:
            raise InputError(system.lacks)
        router = self._once(("router", system.pair), lambda: self._served_router(system))
        return served_scores(router, benchmark.questions, UNKNOWN_TO[str(system.served)])

    def _of_run(self, system: System, benchmark: Benchmark) -> FloatArray:
        """The scores of the router that the run serves."""
        if system.pair != "nq-open":
            self.pair(system.pair)
        if system.served is None or system.served not in benchmark.served:
            raise InputError(
                "the run's router has no gate" if benchmark.served else "the run's own router is not stored"
            )
        return benchmark.served[system.served]

    def _served_router(self, system: System) -> PromptRouter:
        questions, y = self.supervision(system.source, system.pair)
        unknown = self.pair(system.pair).unknown
        left_out = {one.prompt for one in unknown}
        told = [i for i, question in enumerate(questions) if question not in left_out]
        return served_router(self.encoder, [questions[i] for i in told], y[told], unknown)

    def _cascade_scores(self, system: System, benchmark: Benchmark) -> FloatArray:
        if benchmark.weak_answers is None:
            raise InputError("no weak answers are stored")
        scorer = self._once("scorer", self._fit_scorer)
        return 1.0 - scorer.right(embed_answers(self.encoder, benchmark.questions, benchmark.weak_answers))

    def _fit_scorer(self) -> AnswerScorer:
        questions, answers, right = self._scored_answers()
        return AnswerScorer.fit(embed_answers(self.encoder, questions, answers), right)

    def _scored_answers(self) -> tuple[list[str], list[str], FloatArray]:
        """Questions, answers of a weak model, and whether they are right."""
        if not self.data.own:
            return human_judged_answers(self.folder)
        found = self.pair("nq-open")
        if found.answers is None:
            raise InputError(found.lacking[ANSWER_WRONG])
        return found.questions, found.answers, 1.0 - found.targets[ANSWER_WRONG]

    def curve(self, system: System, benchmark: Benchmark, protocol: Protocol = "full") -> CostQualityCurve:
        """The system's curve on a benchmark."""
        return cost_quality_curve(self.scores(system, benchmark), benchmark.weak, benchmark.strong, protocol=protocol)

    def _once(self, key: object, make: Callable[[], _Made]) -> _Made:
        """What ``make`` returned, or raised, when it was first asked for under this key."""
        if key not in self._kept:
            try:
                self._kept[key] = make()
            except DemurError as error:
                self._kept[key] = error
        found = self._kept[key]
        if isinstance(found, DemurError):
            raise found
        return found  # type: ignore[return-value]


def usd_at_cpt80(
    scores: FloatArray, benchmark: Benchmark, costs: Costs, *, cascade: bool = False
) -> tuple[float, float, float]:
    """USD of the whole benchmark at CPT80 of these scores (nan: never), and its 95 % interval over prompts drawn again.

    A resample that never recovers 80 % costs what always-strong does, as in CPT's interval; one without a gap is left
    out.
    """
    weak = costs.weak
    strong = costs.strong + weak if cascade else costs.strong

    def usd_at_cpt(rows: IntArray) -> tuple[float, float]:
        """CPT80 of these prompts, and USD at it; of always-strong where there is none."""
        curve = cost_quality_curve(
            scores[rows], benchmark.weak[rows], benchmark.strong[rows], weak_cost=weak[rows], strong_cost=strong[rows]
        )
        if curve.costs is None or curve.gain <= 0:
            return math.nan, math.nan
        share = curve.cpt(0.8)
        return share, len(rows) * float(np.interp(np.nan_to_num(share, nan=1.0), curve.strong_shares, curve.costs))

    every = np.arange(len(scores))
    share, usd = usd_at_cpt(every)
    return math.nan if math.isnan(share) else usd, *interval(every, lambda rows: usd_at_cpt(rows)[1])


def oracle_intervals(benchmark: Benchmark) -> dict[str, tuple[float, float]]:
    """Metric -> 95 % interval over prompts of the oracle that never harms, at full resolution."""
    gains = np.sort(benchmark.strong - benchmark.weak)[::-1]
    found = []
    for counts in draw_counts(len(gains)):
        gap = float(counts @ gains)
        shares = np.append(0.0, np.cumsum(counts)) / len(gains)
        recovered = np.append(0.0, np.cumsum(counts * np.maximum(gains, 0.0))) / gap if gap > 0 else shares * math.nan
        area = float(np.diff(shares) @ (recovered[1:] + recovered[:-1])) / 2
        found.append((*np.interp([0.5, 0.8], recovered, shares), area))
    return dict(zip(("cpt50", "cpt80", "apgr"), map(tuple, percentile_interval(found).T.tolist()), strict=True))


def random_routers(benchmark: Benchmark, protocol: Protocol) -> dict[str, tuple[float, float, float]]:
    """Metric -> median and 95 % range over routers whose scores are random numbers."""
    random, n = np.random.default_rng(0), len(benchmark.weak)
    curves = [
        cost_quality_curve(random.random(n), benchmark.weak, benchmark.strong, protocol=protocol)
        for _ in range(RANDOM_ROUTERS)
    ]
    found = np.array([(c.cpt(0.5), c.cpt(0.8), c.apgr) for c in curves])
    columns = zip(np.nanmedian(found, axis=0).tolist(), *percentile_interval(found).tolist(), strict=True)
    return dict(zip(("cpt50", "cpt80", "apgr"), columns, strict=True))


def score_held_out(score: Scorer, X: FloatArray, y: FloatArray) -> FloatArray:
    """(n,) scores by routers that did not see the prompt."""
    return held_out(folds(len(X)), lambda train, held: score(X[train], y[train], X[held]))


def learning_curve(
    lab: Laboratory, source: str, benchmark: Benchmark, router: str = "sw"
) -> tuple[tuple[int, ...], FloatArray]:
    """Sizes, and (sizes, 3) APGR of routers trained on random subsets: the mean of SEEDS, and its 95 % interval over
    test prompts and subsets drawn again. Sizes above what is there are left out."""
    questions, y = lab.supervision(source)
    sizes = tuple(size for size in SIZES if size <= len(questions))
    if not sizes:
        raise InputError(f"{len(questions)} prompts have this label, the smallest size is {SIZES[0]}")
    X, queries = lab.encoder.encode(questions), lab.encoder.encode(benchmark.questions)
    found = np.empty((len(sizes), 3))
    for i, size in enumerate(sizes):
        curves = []
        for seed in range(SEEDS):
            some = np.random.default_rng(seed).permutation(len(X))[:size]
            scores = ROUTERS[router](X[some], y[some], queries)
            curves.append(cost_quality_curve(scores, benchmark.weak, benchmark.strong))
        found[i] = mean_apgr(curves)
        lab.progress(f"figure 1: {source}", i + 1, len(sizes))
    return sizes, found


def mean_apgr(curves: Sequence[CostQualityCurve]) -> tuple[float, float, float]:
    """Mean APGR of routers on the same prompts, and its 95 % interval over prompts and routers drawn again."""
    draws = np.stack([curve.draws("apgr") for curve in curves])
    routers = np.random.default_rng(0).integers(0, len(curves), draws.shape)
    low, high = percentile_interval(np.take_along_axis(draws, routers, axis=0).mean(axis=0))
    return float(np.mean([curve.apgr for curve in curves])), float(low), float(high)
