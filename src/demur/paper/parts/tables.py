"""Tables 1 and 2, figures 1 and 2 and the API cost, from the laboratory's scores and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from demur.errors import DemurError, InputError
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.paper.measures import (
    RANDOM_ROUTERS,
    SEEDS,
    SIZES,
    Laboratory,
    learning_curve,
    oracle_intervals,
    random_routers,
    usd_at_cpt80,
)
from demur.paper.outcomes import SMALL_PAIR, Benchmark, Costs
from demur.paper.parts.figures import NAMES, learning_figure, trade_off_figure
from demur.paper.parts.part import (
    Cells,
    PartContent,
    cells,
    cells_or_why,
    reasons_together,
    row_or_why,
    rows_or_why,
    span_columns,
)
from demur.paper.parts.printed_figures import MT_BENCH_USD, figures_of
from demur.paper.systems import DEPARTURES, OF_RUN, ROUTERS, SYSTEMS, System, of_key
from demur.records import FloatArray
from demur.statistics import RESAMPLES, interval

COLUMNS = (
    *("row", "CPT50 [95 %]", "CPT80 [95 %]", "APGR [95 %]"),
    *("RouteLLM's CPT50", "RouteLLM's CPT80", "RouteLLM's APGR", "the paper CPT50 / CPT80"),
)
PROTOCOLS = (
    f"Intervals are 95 % bootstrap over prompts, {RESAMPLES:,} resamples. Columns 2 to 4 are at full resolution; 5 to "
    "7 are RouteLLM's protocol (eleven thresholds at the deciles of the scores, recomputed in every resample). "
    f"Random: the analytic chord, under RouteLLM's protocol the median, and the 95 % range of {RANDOM_ROUTERS} routers "
    "with random scores. The oracle never harms at full resolution; under RouteLLM's protocol it is ordered by gain "
    "and ends at always-strong. The oracle's APGR has four digits."
)
GUESSED_TOKENS = "; tokens are characters / 4, and a second turn sends the first and its answer again"
SMALLER = (
    "gpt-4o-2024-08-06 and gemma-2-2b-it (ZeroEval's GSM8K, not decontaminated) stand for GPT-4 and "
    "Qwen2-1.5B-Instruct; the paper's figures are of that pair."
)


def _head(benchmark: Benchmark) -> Cells:
    scale, digits = (1, 5) if benchmark.rated else (100, 4)
    weak, strong = (
        _span(float(side.mean()), interval(side), digits, scale=scale, cut=False)
        for side in (benchmark.weak, benchmark.strong)
    )
    return (" ".join((f"{benchmark.name}: n {len(benchmark.weak)}, weak {weak}, strong {strong}", *benchmark.notes)),)


def _oracle(benchmark: Benchmark) -> Cells:
    theirs = cost_quality_curve(
        benchmark.strong - benchmark.weak, benchmark.weak, benchmark.strong, protocol="routellm"
    )
    best, spans = theirs.oracle, oracle_intervals(benchmark)
    full = (
        _span(best.cpt(0.5), spans["cpt50"], 2, scale=100, cut=False),
        _span(best.cpt(0.8), spans["cpt80"], 2, scale=100, cut=False),
        _span(best.apgr, spans["apgr"], 4, cut=False),
    )
    return (*full, *cells(theirs), "")


def _random(benchmark: Benchmark) -> Cells:
    chord = cost_quality_curve(np.zeros(len(benchmark.weak)), benchmark.weak, benchmark.strong)
    exact = {"cpt50": chord.cpt(0.5), "cpt80": chord.cpt(0.8), "apgr": chord.apgr}
    full = {name: (exact[name], low, high) for name, (_, low, high) in random_routers(benchmark, "full").items()}
    return (
        *_of_metrics(full),
        *_of_metrics(random_routers(benchmark, "routellm")),
        figures_of("Random", benchmark.name),
    )


def _of_metrics(found: Mapping[str, tuple[float, float, float]]) -> Cells:
    shares = (_span(value, span, 1, scale=100) for value, *span in (found["cpt50"], found["cpt80"]))
    return (*shares, span_columns(*found["apgr"], 3))


def _span(value: float, span: Sequence[float], digits: int, *, scale: float = 1, cut: bool = True) -> str:
    low, high = span
    return span_columns(scale * value, scale * low, scale * high, digits, cut=cut)


def _measure(lab: Laboratory, system: System, benchmark: Benchmark) -> Cells:
    paper = figures_of(system.printed_as, benchmark.name)
    return (*cells(lab.curve(system, benchmark)), *cells(lab.curve(system, benchmark, "routellm")), paper)


def rows_on(lab: Laboratory, name: str) -> tuple[Cells, ...]:
    """Ends, oracle, the chord and every system on one benchmark; only the rows that are wanted."""
    benchmark = lab.benchmark(name)
    rows: list[Cells] = [_head(benchmark)]
    if lab.wants("oracle"):
        rows.append(row_or_why("oracle", partial(_oracle, benchmark)))
    if lab.wants("random"):
        rows.append(row_or_why("Random", partial(_random, benchmark)))
    wanted = [system for system in SYSTEMS if lab.wants(system.key)]
    for done, system in enumerate(wanted, start=1):
        rows.append(row_or_why(_show(system), partial(_measure, lab, system, benchmark)))
        lab.progress(f"systems on {benchmark.name[:16]}", done, len(wanted))
    return reasons_together(rows)


def _show(system: System) -> str:
    return f"{system.name} ({system.source})"


def _footnotes(lab: Laboratory) -> tuple[str, ...]:
    """Where the systems depart, and what is known of their labels."""
    try:
        of_labels = lab.pair("nq-open").notes
    except DemurError:
        of_labels = ()
    return (PROTOCOLS, *_departures(lab), *lab.data.notes, *of_labels)


def _departures(lab: Laboratory) -> tuple[str, ...]:
    """Of the systems; with an arena's battles RouteLLM's are other ones."""
    known = OF_RUN if lab.data.own else DEPARTURES
    return known if lab.arena is None else (lab.arena.note, *(one for one in known if not one.startswith("RouteLLM:")))


def table_1(lab: Laboratory) -> PartContent:
    """Every system on the three benchmarks of the paper."""
    rows = [row for name in lab.data.sets for row in rows_or_why(name, partial(rows_on, lab, name))]
    return PartContent(COLUMNS, tuple(rows), notes=_footnotes(lab))


def table_2(lab: Laboratory) -> PartContent:
    """A smaller weak model."""
    rows = rows_or_why(lab.main if lab.data.own else SMALL_PAIR, partial(rows_on, lab, SMALL_PAIR))
    return PartContent(COLUMNS, rows, notes=(*(() if lab.data.own else (SMALLER,)), *_footnotes(lab)))


def figure_1(lab: Laboratory) -> PartContent:
    """Training prompts against routing efficiency."""
    drawn: dict[str, tuple[tuple[int, ...], FloatArray]] = {}

    def line(source: str) -> Cells:
        sizes, values = drawn[source] = learning_curve(lab, source, lab.benchmark(lab.main))
        shown = [span_columns(mean, low, high, 3) for mean, low, high in values.tolist()]
        return (*shown, *[f"only {len(lab.supervision(source)[0])} prompts"] * (len(SIZES) - len(sizes)))

    sources = ("preference", "entropy hard", "entropy margin")
    rows = tuple(row_or_why(source, partial(line, source)) for source in sources)
    return PartContent(
        ("APGR of SW [95 %]", *(str(size) for size in SIZES)),
        rows,
        learning_figure(drawn, NAMES.get(lab.main, lab.main)) if drawn else None,
        (
            f"Mean of {SEEDS} random subsets of each size [95 %: test prompts and subsets drawn again]; on "
            f"{NAMES.get(lab.main, lab.main)}, {lab.data.strong} / {lab.data.weak}.",
        ),
    )


FIGURE_2 = {
    "demur's default, as served (kernel)": of_key("demur-served"),
    "kNN, accuracy": of_key("to-knn"),
    "kNN, preference": System("routellm-knn", "RouteLLM", "kNN", "preference", ROUTERS["knn"], "Figure 2"),
    "kNN, uncertainty (hard)": of_key("confidence-knn"),
    "kNN, uncertainty (margin)": of_key("margin-knn"),
}


def figure_2(lab: Laboratory) -> PartContent:
    """kNN's curves by supervision."""
    drawn: dict[str, Mapping[str, CostQualityCurve]] = {}

    def lines(name: str) -> tuple[Cells, ...]:
        benchmark, curves = lab.benchmark(name), {}

        def line(label: str) -> Cells:
            curves[label] = lab.curve(FIGURE_2[label], benchmark)
            return cells(curves[label])

        rows = tuple(row_or_why(f"{name}: {label}", partial(line, label)) for label in FIGURE_2)
        if curves:
            drawn[name] = curves
        return rows

    rows = [row for name in lab.data.sets for row in rows_or_why(name, partial(lines, name))]
    return PartContent(COLUMNS[:4], tuple(rows), trade_off_figure(drawn) if drawn else None)


def cost(lab: Laboratory) -> PartContent:
    """USD of a whole benchmark at CPT80."""
    rows: list[Cells] = [
        cells_or_why(f"always {which}", [partial(_alone, lab, name, which) for name in lab.data.sets])
        for which in ("weak", "strong")
    ]
    if lab.wants("random"):
        rows.append(cells_or_why("Random (chord)", [partial(_usd, lab, name, None) for name in lab.data.sets]))
    wanted = [system for system in SYSTEMS if lab.wants(system.key)]
    for done, system in enumerate(wanted, start=1):
        rows.append(cells_or_why(_show(system), [partial(_usd, lab, name, system) for name in lab.data.sets]))
        lab.progress("cost", done, len(wanted))
    return PartContent(
        ("row", *(f"{NAMES.get(name, name)}, USD [95 %]" for name in lab.data.sets)),
        reasons_together(rows),
        notes=_cost_notes(lab),
    )


def _costs(benchmark: Benchmark) -> Costs:
    if benchmark.costs is None:
        raise InputError(benchmark.no_costs)
    return benchmark.costs


def _alone(lab: Laboratory, name: str, which: str) -> str:
    costs = _costs(lab.benchmark(name))
    paid = costs.weak if which == "weak" else costs.strong
    return _span(float(paid.mean()), interval(paid), _usd_digits(costs), scale=len(paid), cut=False)


def _usd(lab: Laboratory, name: str, system: System | None) -> str:
    """USD of a system, or of the chord."""
    benchmark = lab.benchmark(name)
    costs = _costs(benchmark)
    scores = np.zeros(len(benchmark.weak)) if system is None else lab.scores(system, benchmark)
    spent = usd_at_cpt80(scores, benchmark, costs, cascade=system is not None and system.cascade)
    return span_columns(*spent, _usd_digits(costs), cut=False)


def _usd_digits(costs: Costs) -> int:
    """Decimals that leave always-strong three digits, and at least three."""
    strong = float(costs.strong.sum())
    return max(3, 2 - math.floor(math.log10(strong))) if strong > 0 else 3


def _cost_notes(lab: Laboratory) -> tuple[str, ...]:
    prices: tuple[str, ...] = ()
    for name in lab.data.sets:
        try:
            prices = prices or _costs(lab.benchmark(name)).sources
        except DemurError:
            continue  # its cells say why
    return (
        f"USD of the whole benchmark at CPT80{'' if lab.data.own else GUESSED_TOKENS}. Intervals: prompts drawn again, "
        f"{RESAMPLES:,} times, CPT80 and cost recomputed in each.",
        *(f"Price: {source}." for source in prices),
        "Both models' calls are counted; the paper's figures are of OpenAI's bill alone.",
        f"The paper on MT-Bench (gpt-4-0613, 160 turns): {MT_BENCH_USD}.",
        "FrugalGPT pays for both models where it goes on.",
        *_departures(lab),
    )
