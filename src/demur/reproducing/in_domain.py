"""The table that the paper lacks: every source of supervision x every router, held out on the pair it comes from."""

from __future__ import annotations

import re
from functools import partial

from demur.curves import CostQualityCurve, cost_quality_curve
from demur.errors import InputError
from demur.records import FloatArray
from demur.reproducing.measuring import CELL_RESAMPLES, FOLDS, Laboratory, held_out
from demur.reproducing.part import Cells, Content, reasons_together, row_or_why, rows_or_why, spanned
from demur.reproducing.systems import CENTRES, ROUTERS
from demur.reproducing.trainings import ANSWER_WRONG, PAIRS, SOURCES, Training

CASCADE = "frugalgpt"
COLUMNS = ("source (APGR [95 %])", *ROUTERS, CASCADE)
NOTE = (
    f"{FOLDS}-fold, held out; {CELL_RESAMPLES} resamples an interval. kernel: kernel ridge, demur's own default, here "
    f"with {CENTRES} centres, which costs it about .005. {CASCADE}: the cascade's scorer learns the row's target from "
    f"question and weak answer together, and is measured on that very answer; '{ANSWER_WRONG}' is its own label."
)


def row_key(pair: str, source: str) -> str:
    """By which --only picks a row."""
    return "-".join((pair, *re.findall(r"\w+", source.casefold())))


def in_domain_table(lab: Laboratory) -> Content:
    """All sources x all routers, a block a pair; what a pair lacks is said."""
    wanted = {pair: [s for s in SOURCES if lab.wants(row_key(pair, s))] for pair in PAIRS}
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
    return Content(COLUMNS, tuple(rows), notes=tuple(notes))


def _block(lab: Laboratory, pair: str, sources: list[str]) -> tuple[Cells, ...]:
    found = lab.pair(pair)
    weak, strong = (float(side.mean()) for side in found.quality)
    if strong <= weak:
        raise InputError(f"the strong model is no better than the weak one (mean quality {strong:.3f} and {weak:.3f})")
    rows: list[Cells] = [(f"{found.name}: n {len(found.questions)}, weak {weak:.3f}, strong {strong:.3f}",)]
    first: dict[bytes, str] = {}  # labels -> the source that gave them first: they are not learned from again
    for done, source in enumerate(sources, start=1):
        labels = found.targets[source].tobytes() if source in found.targets else source.encode()
        if (same := first.setdefault(labels, source)) != source:
            rows.append((f"{source}: the same labels as {same}",))
        else:
            rows.append(row_or_why(source, partial(_measured, lab, found, source)))
        lab.progress(f"in domain: {pair}", done, len(sources))
    return reasons_together(rows)


def _measured(lab: Laboratory, found: Training, source: str) -> Cells:
    """A cell a router."""
    if source in found.lacking:
        raise InputError(found.lacking[source])
    X, y = lab.encoder.encode(found.questions), found.targets[source]
    curves = (
        cost_quality_curve(held_out(score, X, y), *found.quality, resamples=CELL_RESAMPLES)
        for score in ROUTERS.values()
    )
    return (*map(_apgr, curves), _cascade(lab, found, y))


def _cascade(lab: Laboratory, found: Training, y: FloatArray) -> str:
    if found.answers is None or found.answer_quality is None:
        return "no texts"
    X = lab.encoder.encode([f"{q} {a}" for q, a in zip(found.questions, found.answers, strict=True)])
    scores = held_out(ROUTERS["logistic"], X, y)
    return _apgr(cost_quality_curve(scores, *found.answer_quality, resamples=CELL_RESAMPLES))


def _apgr(curve: CostQualityCurve) -> str:
    return spanned(curve.apgr, *curve.interval("apgr"), 3)
