"""The paper's second limitation as a part: what every architecture costs to fit, decide and keep, beside its APGR."""

from __future__ import annotations

import time

from demur.errors import InputError
from demur.paper.measures import Laboratory
from demur.paper.overhead.quality import Qualities, held_out_quality
from demur.paper.overhead.report import NOTES, USD_PER_HOUR, Overheads, measure_costs, shown_exponent
from demur.paper.parts.part import PartContent
from demur.records import dollars

SIZES = (1_000, 12_000)  # training prompts: the mix's number, and one from which growth is told
DIMENSION = 384
SECONDS = 60.0  # that a fit may take
GROWTH = ("fit ~ N^a", "decision ~ N^a")
WITHOUT = f"Here USD/1,000 is at {dollars(USD_PER_HOUR)} per hour of one core and without an encoder."


def overheads(lab: Laboratory) -> PartContent:
    """The table at the largest size with growth, APGR held out on the pair's own prompts, and the picture."""
    begin, (quality, lacking) = time.perf_counter(), _quality(lab)
    costs = measure_costs(SIZES, DIMENSION, SECONDS, lab.progress)
    found = Overheads(DIMENSION, costs, (), quality, time.perf_counter() - begin)
    part, growth = found.parts[len(SIZES) - 1], found.growth
    rows = tuple(
        row if len(row) == 1 else (*row, *map(shown_exponent, growth[row[0]][:2])) for row in part.content.rows
    )
    about = [f"APGR: {quality.about}." if quality else f"No APGR: {lacking}."]
    columns = (*part.content.columns, *GROWTH)
    return PartContent(columns, tuple(rows), found.draw(), (f"{part.title}.", *NOTES, WITHOUT, *about))


def _quality(lab: Laboratory) -> tuple[Qualities | None, str]:
    """Of the laboratory's pair, or why there is none."""
    try:
        return held_out_quality(lab.pair("nq-open"), lab.encoder, lab.progress), ""
    except InputError as error:
        return None, str(error)
