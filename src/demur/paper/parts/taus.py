"""The sweep over tau that the paper speaks of ("by tuning tau") and does not show, on the stored samples of NQ-Open."""

from __future__ import annotations

from functools import partial

from demur.evaluation.experiment.tau_sweep import TauSweep, shown_span, swept
from demur.labels.targets import Delta
from demur.paper.measures import Laboratory, score_held_out
from demur.paper.parts.part import Cells, PartContent
from demur.paper.sources.trainings import DISCRETE, PRINTED
from demur.paper.systems import AS_PRINTED, ROUTERS, Scorer

COLUMNS = ("tau", "weak", "strong", "ties", "APGR of SW, to choose [95 %]", "to confirm [95 %]")
NOTE = (
    "5-fold, held out; halves of the prompts at random. Printed: Eqs. 2 and 3, SW with "
    "Eq. 6. Discrete: the symmetric difference, which is at most 1, SW with RouteLLM's weights."
)
KINDS: dict[str, tuple[Delta, Scorer]] = {PRINTED: ("paper", AS_PRINTED["sw"]), DISCRETE: ("symmetric", ROUTERS["sw"])}


def taus(lab: Laboratory) -> PartContent:
    """Ties, balance and APGR by tau, of Eq. 2 as printed and of the discrete form."""
    pair = lab.pair("nq-open")
    X = lab.encoder.encode(pair.questions)
    rows: list[Cells] = []
    for done, (name, (delta, scorer)) in enumerate(KINDS.items(), start=1):
        if name not in pair.entropies:
            rows.append((f"SE {name}: not computable: {pair.lacking[name]}",))
            continue
        score = partial(score_held_out, scorer, X)
        about = f"{pair.name}: SE {name}, difference {delta}"
        rows += _rows(swept(about, *pair.entropies[name], delta, score=score, quality=pair.quality))
        lab.progress("tau", done, len(KINDS))
    return PartContent(COLUMNS, tuple(rows), notes=(NOTE,))


def _rows(found: TauSweep) -> list[Cells]:
    shares = [(f"{row.tau:g}", *(f"{share:.1%}" for share in (row.weak, row.strong, row.ties))) for row in found.rows]
    spans = [(shown_span(row.chosen), shown_span(row.confirmed)) for row in found.rows]
    return [(found.about,), *(a + b for a, b in zip(shares, spans, strict=True)), (found.sentence,)]
