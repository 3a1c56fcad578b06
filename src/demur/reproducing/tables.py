"""The tables and figures of `demur reproduce`, each filling a `Part` from the laboratory's scores and curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from demur.curves import CostQualityCurve, cost_quality_curve
from demur.errors import DemurError, InputError
from demur.reproducing import pools
from demur.reproducing.figures import learning_figure, trade_off_figure
from demur.reproducing.measuring import RESAMPLES, SIZES, Laboratory, in_domain, learning_curve
from demur.reproducing.outcomes import Benchmark, benchmark, judged_pair, local_pair, sampled_pair, small_pair
from demur.reproducing.part import Part, cells, span
from demur.reproducing.systems import DEPARTURES, RANDOM_OF_PAPER, ROUTERS, SYSTEMS, System, named

BENCHMARKS = ("mt_bench", "gsm8k", "mmlu")
COLUMNS = ("row", "CPT50 [95 %]", "CPT80 [95 %]", "APGR [95 %]", "routellm CPT50 / CPT80", "the paper CPT50 / CPT80")


def _two(a: float, b: float) -> str:
    return f"{a:.2f} / {b:.2f}"


def _system_row(lab: Laboratory, system: System, asked: Benchmark, place: int | None) -> tuple[str, ...]:
    curve, theirs = lab.curve(system, asked), lab.curve(system, asked, "routellm")
    paper = system.paper[2 * place : 2 * place + 2] if place is not None else ()
    return (
        f"{system.name} ({system.source})",
        *cells(curve),
        _two(100 * theirs.cpt(0.5), 100 * theirs.cpt(0.8)),
        _two(*paper) if paper else "",
    )


def _rows_on(lab: Laboratory, asked: Benchmark, place: int | None) -> list[tuple[str, ...]]:
    """Ends, oracle, the chord, every system, FrugalGPT."""
    ends = cost_quality_curve(np.zeros(len(asked.weak)), asked.weak, asked.strong, resamples=RESAMPLES)
    oracle = ends.oracle
    scale = 1 if asked.name == "mt_bench" else 100
    paper = _two(*RANDOM_OF_PAPER[2 * place : 2 * place + 2]) if place is not None else ""
    alone = f"weak {scale * ends.weak_quality:.5f}, strong {scale * ends.strong_quality:.5f}"
    head = f"{asked.name}: n {len(asked.weak)}, {alone}"
    found: list[tuple[str, ...]] = [
        (head, "", "", "", "", ""),
        ("oracle", f"{100 * oracle.cpt(0.5):.2f}", f"{100 * oracle.cpt(0.8):.2f}", f"{oracle.apgr:.3f}", "", ""),
        ("Random (chord)", "50.0", "80.0", "0.500", "", paper),
    ]
    for done, system in enumerate(SYSTEMS, start=1):
        try:
            found.append(_system_row(lab, system, asked, place))
        except DemurError as error:
            found.append((f"{system.name}: not computable: {error}", "", "", "", "", ""))
        lab.progress(f"systems on {asked.name}", done, len(SYSTEMS))
    if asked.weak_answers is None:
        return [*found, ("FrugalGPT: not computable: no weak answers are stored", "", "", "", "", "")]
    return [*found, ("FrugalGPT: cascade (Chen et al. 2023)", *cells(lab.frugal(asked)), "", "")]


def table_1(lab: Laboratory, _: object, part: Part) -> None:
    """Every system on the three benchmarks of the paper."""
    part.columns = COLUMNS
    for place, name in enumerate(BENCHMARKS):
        part.rows += _rows_on(lab, benchmark(lab.folder, name), place)
    part.notes = list(DEPARTURES)


def table_2(lab: Laboratory, _: object, part: Part) -> None:
    """A smaller weak model."""
    part.columns = COLUMNS
    part.rows = _rows_on(lab, small_pair(lab.folder), None)
    part.notes = ["gpt-4o-2024-08-06 and gemma-2-2b-it (ZeroEval) stand for GPT-4 and Qwen2-1.5B-Instruct."]


def figure_1(lab: Laboratory, _: object, part: Part) -> None:
    """Training prompts against routing efficiency."""
    asked = benchmark(lab.folder, "gsm8k")
    sources = ("preference", "entropy hard", "entropy margin")
    found = {source: learning_curve(lab, source, asked) for source in sources}
    part.figure = learning_figure(SIZES, found)
    part.columns = ("APGR, SW, mean of 5 seeds", *(str(size) for size in SIZES))
    part.rows = [(source, *(f"{v:.3f}" for v in values.mean(axis=1))) for source, values in found.items()]


def figure_2(lab: Laboratory, _: object, part: Part) -> None:
    """kNN's curves by supervision."""
    shown = {
        "accuracy": named("TO-Router: kNN", "accuracy hard"),
        "preference": System("RouteLLM", "kNN", "preference", ROUTERS["knn"], "Figure 2"),
        "uncertainty (hard)": named("Confidence-Driven: kNN", "entropy hard"),
        "uncertainty (margin)": named("Confidence-Driven, soft margin: kNN", "entropy margin"),
    }
    found: dict[str, Mapping[str, CostQualityCurve]] = {}
    for name in BENCHMARKS:
        asked = benchmark(lab.folder, name)
        found[name] = {label: lab.curve(system, asked) for label, system in shown.items()}
    part.figure = trade_off_figure(found)


def cost(lab: Laboratory, _: object, part: Part) -> None:
    """USD of a whole benchmark at CPT80."""
    part.columns = ("row", "MT-Bench, USD", "GSM8K, USD", "MMLU")
    asked = [benchmark(lab.folder, name) for name in ("mt_bench", "gsm8k")]
    if any(one.costs is None for one in asked):
        raise InputError("a list price of gpt-4-1106-preview or Mixtral-8x7B is unknown to the installed genai-prices")
    ends = [cost_quality_curve(np.zeros(len(b.weak)), b.weak, b.strong) for b in asked]
    chord = [0.2 * b.costs[0].sum() + 0.8 * b.costs[1].sum() for b in asked if b.costs]
    assert len(ends) == 2
    part.rows.append(("Random (chord)", *(f"{v:.3f}" for v in chord), "not computable: no responses"))
    for system in SYSTEMS:
        found = [_usd_at_cpt80(lab.curve(system, one)) for one in asked]
        part.rows.append((f"{system.name} ({system.source})", *found, "not computable: no responses"))
    found = [_usd_at_cpt80(lab.frugal(one)) for one in asked]
    part.rows.append(("FrugalGPT: cascade (both models paid)", *found, "not computable: no responses"))
    part.notes = [
        "List prices of genai-prices as installed, tokens as characters / 4, of the whole benchmark at CPT80.",
        "The paper on MT-Bench (gpt-4-0613, 160 turns): Random $4.06, TO-Router $3.88, RouteLLM $4.04, its own $3.74.",
    ]


def _usd_at_cpt80(curve: CostQualityCurve) -> str:
    share = curve.cpt(0.8)
    if math.isnan(share) or curve.costs is None or curve._samples is None:
        return "never"
    return f"{float(np.interp(share, curve.strong_shares, curve.costs)) * len(curve._samples.gains):.3f}"


def in_domain_table(lab: Laboratory, _: object, part: Part) -> None:
    """All sources x all routers, 5-fold on each pair."""
    part.columns = ("pair, source (APGR [95 %])", *ROUTERS)
    part.notes = ["Human-judged answers, one of each model: their only source, where accuracy is preference too."]
    makers = (sampled_pair, partial(judged_pair, weak="gpt35"), partial(judged_pair, weak="chatgpt"), local_pair)
    for make in makers:
        try:
            training = make(lab.folder)
        except DemurError as error:
            part.rows.append((f"not computable: {error}",))
            continue
        curves = in_domain(training, lab.encoder, lab.progress)
        for source in training.targets:
            found = [span(curves[source, r], "apgr", curves[source, r].apgr, 1, 3) for r in ROUTERS]
            part.rows.append((f"{training.name}: {source}", *found))


def pools_of_models(lab: Laboratory, _: object, part: Part) -> None:
    """What pool routers reach between the cheapest and the dearest model."""
    part.columns = pools.COLUMNS
    part.notes = [pools.NOTE]
    for title, make in (
        ("GSM8K, USD a prompt", pools.priced_pool),
        ("14 sets, cost in 1e9 parameters", pools.open_pool),
    ):
        pool = make(lab)
        part.rows.append((f"{title}: {', '.join(pool[0])}", "", "", ""))
        part.rows += pools.pool_rows(lab, pool)
