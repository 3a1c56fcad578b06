"""Table 3's shape: a judge compares the answers that each system's best router would have served at its own CPT."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.errors import InputError
from demur.labels.judge.judge import ask_judge, read_items
from demur.labels.judge.judge_replies import judge_report
from demur.models.catalogue import model
from demur.paper.measures import Laboratory
from demur.paper.outcomes import Benchmark
from demur.paper.parts.part import Cells, PartContent, row_or_why, span_columns, why
from demur.paper.parts.printed_figures import TABLE_3
from demur.paper.systems import SYSTEMS, System
from demur.store import Store

JUDGED_QUESTIONS = 30  # at each of CPT50 and CPT80; routers give one and the same answer to half of them
GROUPS = ("TO-Router", "RouteLLM", "Confidence-Driven", "demur")
TASK = "math problem solutions"  # as `demur judge` has it, so that it goes on from the same judgements


def judged_answers(lab: Laboratory) -> PartContent:
    """Scores of both judged sets, beside the paper's; all items are written, the first few are judged."""
    benchmark = lab.benchmark(lab.main)
    best, lacking = _best(lab, benchmark)
    rows: list[Cells] = []
    notes = [
        f"Routers: the best of each system on {benchmark.name} (least mean of CPT50 and CPT80), as in the paper: "
        f"{', '.join(f'{system.name} ({system.source})' for system in best.values())}.",
        *lacking,
    ]
    for recovered, paper in TABLE_3.items():
        name = f"CPT({recovered:.0%})"
        rows.append(row_or_why(name, partial(_judge_table, lab, benchmark, list(best.values()), recovered, notes)))
        printed = dict(zip(GROUPS, map(str, paper), strict=False))
        rows.append((f"the paper, o1 as judge, {name}", *(printed.get(group, "") for group in best)))
    return PartContent(("Score [95 %]", *(one.name for one in best.values())), tuple(rows), notes=tuple(notes))


def _best(lab: Laboratory, benchmark: Benchmark) -> tuple[dict[str, System], list[str]]:
    """The best system of every group, and why a group has none. Raises InputError where fewer than two have one."""
    best, lacking = {}, []
    for group in GROUPS:
        try:
            best[group] = best_of_group(lab, group, benchmark)
        except InputError as error:
            lacking.append(f"{group}: {why(error)}.")
    if len(best) < 2:
        raise InputError(" ".join(lacking))
    return best, lacking


def best_of_group(lab: Laboratory, group: str, benchmark: Benchmark) -> System:
    """The system of a group with the least mean of CPT50 and CPT80. Raises InputError where none recovers both."""

    def shares(system: System) -> float:
        try:
            curve = lab.curve(system, benchmark)
        except InputError as error:
            whys.append(str(error))
            return math.inf
        return float(np.nan_to_num(curve.cpt(0.5) + curve.cpt(0.8), nan=math.inf))

    whys: list[str] = []
    found = min((system for system in SYSTEMS if system.group == group), key=shares)
    if math.isinf(shares(found)):
        reached = f"no router of {group} recovers 80 % of the gap on {benchmark.name}"
        raise InputError(whys[0] if whys else reached)
    return found


def _judge_table(
    lab: Laboratory, benchmark: Benchmark, systems: Sequence[System], recovered: float, notes: list[str]
) -> Cells:
    """Scores of the first items; judgements are kept in the folder and resumed."""
    file = lab.out / f"judged-cpt{100 * recovered:.0f}.jsonl"
    written = routed_items(lab, benchmark, systems, recovered)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in written), encoding="utf-8")
    if lab.judge_model and "@" not in lab.judge_model and not model(lab.judge_model).here:
        raise InputError(
            f"the judge {lab.judge_model} is not fetched; `demur models fetch {lab.judge_model}`, or --judge "
            "MODEL@BASE_URL"
        )
    items = read_items(Path(file))[: lab.judged]
    with Store(lab.out / "judge.sqlite") as kept:
        replies = ask_judge(items, lab.judge_model, kept, task=TASK, progress=lab.progress)
    found = judge_report(lab.judge_model, items, replies)
    told = [line.strip() for line in found.lines if not any(name in line for name in found.scores)]
    notes += [
        f"CPT({recovered:.0%}): {' '.join(told)}. Of {len(written)} items {len(items)} were judged; the rest: "
        f"`demur judge {file} --judge {lab.judge_model} --store {lab.out / 'judge.sqlite'}`."
    ]
    return tuple(span_columns(*found.scores[system.name], 1, cut=False) for system in systems)


def routed_items(
    lab: Laboratory, benchmark: Benchmark, systems: Sequence[System], recovered: float
) -> list[dict[str, Any]]:
    """All questions in one fixed order, with the answers served at each router's own CPT, as `demur judge` reads them.

    Raises InputError for a router that never recovers so much, or a benchmark without answers or gold.
    """
    if benchmark.weak_answers is None or benchmark.strong_answers is None or benchmark.gold is None:
        raise InputError(f"{benchmark.name}: stored answers of both models and questions/gsm8k_test are needed")
    up = {system.name: goes_strong(lab, system, benchmark, recovered) for system in systems}
    said, right = (benchmark.weak_answers, benchmark.strong_answers), (benchmark.weak, benchmark.strong)
    return [
        {
            "question": benchmark.questions[i],
            "reference": benchmark.gold[i],
            "responses": {name: said[int(strong[i])][i] for name, strong in up.items()},
            "correct": {name: float(right[int(strong[i])][i]) for name, strong in up.items()},
        }
        for i in np.random.default_rng(0).permutation(len(benchmark.questions)).tolist()
    ]


def goes_strong(lab: Laboratory, system: System, benchmark: Benchmark, recovered: float) -> NDArray[np.bool_]:
    """(n,) which prompts a system sends to the strong model at its own CPT. Raises InputError where it has none."""
    share, scores = lab.curve(system, benchmark).cpt(recovered), lab.scores(system, benchmark)
    if math.isnan(share):
        raise InputError(f"{system.name} never recovers {recovered:.0%} of the gap on {benchmark.name}")
    return np.asarray(np.argsort(np.argsort(-scores, kind="stable")) < round(share * len(scores)))
