"""The table that the paper lacks: every source of supervision x every router, held out on the pair it comes from."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import numpy as np

from demur.errors import InputError
from demur.mapping import on_threads
from demur.measure.curve import CostQualityCurve, cost_quality_curve
from demur.paper.measures import Laboratory, score_held_out
from demur.paper.parts.part import Cells, PartContent, reasons_together, row_or_why, rows_or_why, span_columns
from demur.paper.sources.own import two_stages
from demur.paper.sources.peers import smoothie_targets
from demur.paper.sources.trainings import ANSWER_WRONG, DEFAULT, PAIRS, SMOOTHIE, SOURCES, Training
from demur.paper.systems import CENTRES, ROUTERS
from demur.records import FloatArray
from demur.statistics import FOLDS, RESAMPLES

CASCADE = "frugalgpt"
STAGED = "two stages"
COLUMNS = ("source (APGR [95 %])", *ROUTERS, CASCADE, STAGED)
NOTE = (
    f"{FOLDS}-fold, held out; {RESAMPLES:,} resamples per interval. kernel: kernel ridge, demur's own default, here "
    f"with {CENTRES} centres, which costs it about .005. {CASCADE}: the cascade's scorer learns the row's target from "
    f"question and weak answer together, and is measured on that very answer; '{ANSWER_WRONG}' is its own label. "
    f"{STAGED}: the kernel router and the gate on the weak answer and up to 3 further samples, both label-free, as "
    "demur serves its default; on NQ-Open, whose samples have no texts, benchmarks/routing_quality.py approximates it."
)


def row_key(pair: str, source: str) -> str:
    """By which --only picks a row."""
    return "-".join((pair, *re.findall(r"\w+", source.casefold())))


def in_domain_table(lab: Laboratory) -> PartContent:
    """All sources x all routers, one block per pair; sources that a pair lacks are listed."""
    pairs = PAIRS[:1] if lab.data.own else PAIRS
    wanted = {pair: [s for s in SOURCES if lab.wants(row_key(pair, s))] for pair in pairs}
    rows = [
        row
        for pair, sources in wanted.items()
        if sources
        for row in rows_or_why(pair, partial(_block, lab, pair, sources))
    ]
    notes = [NOTE]
    for pair, sources in wanted.items():
        try:
            notes += lab.pair(pair).notes if sources else ()
        except InputError:
            continue  # its rows say why
    return PartContent(COLUMNS, tuple(rows), notes=tuple(notes))


def _block(lab: Laboratory, pair: str, sources: list[str]) -> tuple[Cells, ...]:
    found = lab.pair(pair)
    weak, strong = (float(side.mean()) for side in found.quality)
    if np.isnan(strong):
        raise InputError("a training prompt has no gold answers to measure by")
    if strong <= weak:
        raise InputError(f"the strong model is no better than the weak one (mean quality {strong:.3f} and {weak:.3f})")
    head = (f"{found.name}: n {len(found.questions)}, weak {weak:.3f}, strong {strong:.3f}",)
    X, with_answers = lab.encoder.encode(found.questions), None
    if found.answers is not None:
        with_answers = lab.encoder.encode([f"{q} {a}" for q, a in zip(found.questions, found.answers, strict=True)])
    if found.voters is not None and SMOOTHIE in sources:
        found = replace(found, targets={**found.targets, SMOOTHIE: smoothie_targets(lab.encoder, found.voters)})
    labels = {source: found.targets[source].tobytes() for source in sources if source in found.targets}
    first = {key: source for source, key in reversed(labels.items())}  # equal labels are learned from once

    def row(source: str) -> Cells:
        if source in labels and (same := first[labels[source]]) != source:
            return (f"{source}: the same labels as {same}",)
        return row_or_why(source, partial(_measure, found, source, X, with_answers))

    rows: list[Cells] = [head]
    for made in on_threads(row, sources):
        rows.append(made)
        lab.progress(f"in domain: {pair}", len(rows) - 1, len(sources))
    return reasons_together(rows)


def _measure(found: Training, source: str, X: FloatArray, with_answers: FloatArray | None) -> Cells:
    """One cell per router."""
    if source in found.lacking:
        raise InputError(found.lacking[source])
    y = found.targets[source]
    cells = [_apgr(score_held_out(score, X, y), found.quality) for score in ROUTERS.values()]
    if with_answers is None or found.answer_quality is None:
        return (*cells, "no texts", *(["no texts"] if source == DEFAULT else []))
    cells.append(_apgr(score_held_out(ROUTERS["logistic"], with_answers, y), found.answer_quality))
    if source != DEFAULT or found.answered is None:
        return tuple(cells)
    return (*cells, _cell_text(two_stages(X, y, found.answered, found.quality[1], CENTRES)))


def _apgr(scores: FloatArray, quality: tuple[FloatArray, FloatArray]) -> str:
    return _cell_text(cost_quality_curve(scores, *quality))


def _cell_text(curve: CostQualityCurve) -> str:
    return span_columns(curve.apgr, *curve.interval("apgr"), 3)
