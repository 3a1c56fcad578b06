"""`demur reproduce`: every part in turn, a table or a figure each, and one page of them all.

A part whose data are missing is a row "not computable: why"; the others go on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur import drawing
from demur.catalogue import cache_folder, model
from demur.curves import CostQualityCurve, cost_quality_curve
from demur.encoding import CachedEncoder, load_encoder
from demur.errors import DemurError, InputError
from demur.judge import judge
from demur.records import Progress, no_progress
from demur.reporting import document, figure_html, table
from demur.reproducing import pools
from demur.reproducing.figures import learning_figure, trade_off_figure
from demur.reproducing.measuring import RESAMPLES, SIZES, Laboratory, in_domain, learning_curve
from demur.reproducing.outcomes import Benchmark, benchmark, judged_pair, local_pair, sampled_pair, small_pair
from demur.reproducing.systems import DEPARTURES, RANDOM_OF_PAPER, ROUTERS, SYSTEMS, System
from demur.store import Store

BENCHMARKS = ("mt_bench", "gsm8k", "mmlu")
JUDGED_QUESTIONS = 15  # at each of CPT50 and CPT80
COLUMNS = ("row", "CPT50 [95 %]", "CPT80 [95 %]", "APGR [95 %]", "routellm CPT50 / CPT80", "the paper's CPT50 / CPT80")


@dataclass
class Part:
    """One table or figure, as it was made."""

    name: str
    title: str
    columns: Sequence[str] = ()
    rows: list[tuple[str, ...]] = field(default_factory=list)
    figure: Any = None
    notes: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def lines(self) -> list[str]:
        """As text, columns aligned."""
        cells = [tuple(self.columns), *self.rows] if self.columns else self.rows
        widths = [max(len(row[i]) for row in cells if i < len(row)) for i in range(max(map(len, cells), default=0))]
        shown = ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=False)).rstrip() for row in cells]
        return ["", f"{self.title}  ({self.seconds:.0f} s)", *shown, *self.notes]


@dataclass(frozen=True)
class Reproduction:
    """All parts that were asked for, and the page."""

    parts: tuple[Part, ...]
    page: Path | None

    @property
    def lines(self) -> list[str]:
        """The whole as text."""
        return [line for part in self.parts for line in part.lines] + ([f"wrote {self.page}"] if self.page else [])


def reproduce(
    source: str | Path,
    *,
    out: str | Path = "run/reproduce",
    only: Sequence[str] = (),
    encoder: str = "minilm",
    judge_model: str = "qwen2.5-coder-1.5b",
    progress: Progress = no_progress,
) -> Reproduction:
    """Make the parts named in ``only`` (all when empty) from the data in ``source``; writes a page and PNGs to ``out``.

    Raises InputError for an unknown part or a folder that is not there; matplotlib is needed.
    """
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise InputError(f"no part is called {unknown[0]!r}; known: {', '.join(PARTS)}")
    if not Path(source).is_dir():
        raise InputError(f"{source}: no such folder; it must hold outcomes/, samples/, questions/ and preferences/")
    drawing.check_matplotlib()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(_embedding_store()) as kept:
        lab = Laboratory(Path(source), CachedEncoder(load_encoder(encoder), kept, progress=progress), progress)
        made: list[Part] = []
        for name in PARTS:
            if not only or name in only:
                progress("parts", len(made), len(only) or len(PARTS))
                made.append(_made(name, partial(PARTS[name][1], lab, (folder, judge_model))))
    for part in made:
        if part.figure is not None:
            drawing.save(part.figure, folder / f"{part.name}.png")
    return Reproduction(tuple(made), _write(made, folder))


def _embedding_store() -> Path:
    return cache_folder().parent / "reproduce.sqlite"


def _made(name: str, make: Callable[[Part], None]) -> Part:
    part, start = Part(name, PARTS[name][0]), time.perf_counter()
    try:
        make(part)
    except DemurError as error:
        part.rows.append((f"not computable: {error}",))
    part.seconds = time.perf_counter() - start
    return part


def _write(parts: Sequence[Part], folder: Path) -> Path:
    pieces = [
        "<h1>demur: the paper's tables and figures again</h1>",
        "".join(f"<p>{escape(d)}</p>" for d in DIFFERENCES),
    ]
    for part in parts:
        pieces.append(f"<h2>{escape(part.title)}</h2>")
        if part.figure is not None:
            pieces.append(figure_html(part.figure, ""))
        if part.rows:
            pieces.append(table(part.columns or ("",), part.rows))
        pieces += [f"<p>{escape(note)}</p>" for note in part.notes]
    path = folder / "reproduce.html"
    path.write_text(document("demur reproduce", pieces), encoding="utf-8")
    return path


DIFFERENCES = (
    "What differs from the paper: strong is gpt-4-1106-preview and weak Mixtral-8x7B on RouteLLM's decontaminated "
    "sets (72 MT-Bench questions, not 160 turns); uncertainty labels come from gpt-3.5-turbo and Llama-2-7b-chat on "
    "NQ-Open, whose samples are stored; preferences are AlpacaEval's and human judgements, not the arena's, so the "
    "RouteLLM rows are no fair RouteLLM.",
    f"Intervals are 95 % bootstrap over prompts, {RESAMPLES} resamples. CPT and APGR are at full resolution; "
    "RouteLLM's own protocol (eleven thresholds) stands beside them.",
)


def _span(curve: CostQualityCurve, metric: str, value: float, scale: float, digits: int) -> str:
    if math.isnan(value):
        return "never"
    low, high = curve.interval(metric)
    return f"{scale * value:.{digits}f} [{scale * low:.{digits}f}, {scale * high:.{digits}f}]"


def _cells(curve: CostQualityCurve) -> tuple[str, str, str]:
    return (
        _span(curve, "cpt50", curve.cpt(0.5), 100, 1),
        _span(curve, "cpt80", curve.cpt(0.8), 100, 1),
        _span(curve, "apgr", curve.apgr, 1, 3),
    )


def _two(a: float, b: float) -> str:
    return f"{a:.2f} / {b:.2f}"


def _system_row(lab: Laboratory, system: System, asked: Benchmark, place: int | None) -> tuple[str, ...]:
    curve, theirs = lab.curve(system, asked), lab.curve(system, asked, "routellm")
    paper = system.paper[2 * place : 2 * place + 2] if place is not None else ()
    return (
        f"{system.name} ({system.source})",
        *_cells(curve),
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
    return [*found, ("FrugalGPT: cascade (Chen et al. 2023)", *_cells(lab.frugal(asked)), "", "")]


def _table_1(lab: Laboratory, _: object, part: Part) -> None:
    part.columns = COLUMNS
    for place, name in enumerate(BENCHMARKS):
        part.rows += _rows_on(lab, benchmark(lab.folder, name), place)
    part.notes = list(DEPARTURES)


def _table_2(lab: Laboratory, _: object, part: Part) -> None:
    part.columns = COLUMNS
    part.rows = _rows_on(lab, small_pair(lab.folder), None)
    part.notes = ["gpt-4o-2024-08-06 and gemma-2-2b-it (ZeroEval) stand for GPT-4 and Qwen2-1.5B-Instruct."]


def _named(name: str, source: str) -> System:
    return next(one for one in SYSTEMS if one.name == name and one.source == source)


JUDGED = (
    ("TO-Router: kNN", "accuracy hard"),
    ("RouteLLM: SW", "preference"),
    ("Confidence-Driven: kNN", "entropy hard"),
)
PAPER_JUDGED = {0.5: (78.88, 79.72, 79.95), 0.8: (85.97, 88.88, 89.21)}


def _table_3(lab: Laboratory, judging: tuple[Path, str], part: Part) -> None:
    folder, name = judging
    if "@" not in name and not model(name).here:
        raise InputError(f"the judge {name} is not fetched; `demur models fetch {name}`, or --judge MODEL@BASE_URL")
    asked = benchmark(lab.folder, "gsm8k")
    part.columns = ("", *(system for system, _ in JUDGED))
    for recovered in (0.5, 0.8):
        file = folder / f"judged-cpt{recovered:.0%}".replace("%", ".jsonl")
        rows = routed_items(lab, asked, recovered)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        found = judge(file, name, store=folder / "judge.sqlite", progress=lab.progress)
        scores = [found.scores[system] for system, _ in JUDGED]
        part.rows.append((f"CPT({recovered:.0%})", *(f"{s:.1f} [{a:.0f}, {b:.0f}]" for s, a, b in scores)))
        part.rows.append((f"the paper, o1 as judge, CPT({recovered:.0%})", *(f"{v}" for v in PAPER_JUDGED[recovered])))
        part.notes += [found.lines[0], found.lines[-1].strip()]


def routed_items(
    lab: Laboratory, asked: Benchmark, recovered: float, count: int = JUDGED_QUESTIONS
) -> list[dict[str, Any]]:
    """A fixed draw of questions with the answers served at each router's own CPT, as rows that `demur judge` reads."""
    assert asked.weak_answers is not None and asked.strong_answers is not None and asked.gold is not None
    up = {which[0]: _goes_strong(lab, _named(*which), asked, recovered) for which in JUDGED}
    drawn = np.random.default_rng(0).permutation(len(asked.questions))[:count].tolist()
    said, right = (asked.weak_answers, asked.strong_answers), (asked.weak, asked.strong)
    return [
        {
            "question": asked.questions[i],
            "reference": asked.gold[i],
            "responses": {name: said[int(strong[i])][i] for name, strong in up.items()},
            "correct": {name: float(right[int(strong[i])][i]) for name, strong in up.items()},
        }
        for i in drawn
    ]


def _goes_strong(lab: Laboratory, system: System, asked: Benchmark, recovered: float) -> NDArray[np.bool_]:
    """(n,) which prompts a system sends to the strong model at its own CPT."""
    share, scores = lab.curve(system, asked).cpt(recovered), lab.scores(system, asked)
    count = round(share * len(scores)) if not math.isnan(share) else len(scores)
    return np.asarray(np.argsort(np.argsort(-scores, kind="stable")) < count)


def _figure_1(lab: Laboratory, _: object, part: Part) -> None:
    asked = benchmark(lab.folder, "gsm8k")
    sources = ("preference", "entropy hard", "entropy margin")
    found = {source: learning_curve(lab, source, asked) for source in sources}
    part.figure = learning_figure(SIZES, found)
    part.columns = ("APGR, SW, mean of 5 seeds", *(str(size) for size in SIZES))
    part.rows = [(source, *(f"{v:.3f}" for v in values.mean(axis=1))) for source, values in found.items()]


def _figure_2(lab: Laboratory, _: object, part: Part) -> None:
    shown = {
        "accuracy": _named("TO-Router: kNN", "accuracy hard"),
        "preference": System("RouteLLM", "kNN", "preference", ROUTERS["knn"], "Figure 2"),
        "uncertainty (hard)": _named("Confidence-Driven: kNN", "entropy hard"),
        "uncertainty (margin)": _named("Confidence-Driven, soft margin: kNN", "entropy margin"),
    }
    found: dict[str, Mapping[str, CostQualityCurve]] = {}
    for name in BENCHMARKS:
        asked = benchmark(lab.folder, name)
        found[name] = {label: lab.curve(system, asked) for label, system in shown.items()}
    part.figure = trade_off_figure(found)


def _cost(lab: Laboratory, _: object, part: Part) -> None:
    part.columns = ("row", "MT-Bench, USD", "GSM8K, USD", "MMLU")
    asked = [benchmark(lab.folder, name) for name in ("mt_bench", "gsm8k")]
    if any(one.costs is None for one in asked):
        raise InputError("a list price of gpt-4-1106-preview or Mixtral-8x7B is unknown to the installed genai-prices")
    ends = [cost_quality_curve(np.zeros(len(b.weak)), b.weak, b.strong) for b in asked]
    chord = [0.2 * b.costs[0].sum() + 0.8 * b.costs[1].sum() for b in asked if b.costs]
    assert len(ends) == 2
    part.rows.append(("Random (chord)", *(f"{v:.3f}" for v in chord), "not computable: no responses"))
    for system in SYSTEMS:
        cells = [_usd_at_cpt80(lab.curve(system, one)) for one in asked]
        part.rows.append((f"{system.name} ({system.source})", *cells, "not computable: no responses"))
    cells = [_usd_at_cpt80(lab.frugal(one)) for one in asked]
    part.rows.append(("FrugalGPT: cascade (both models paid)", *cells, "not computable: no responses"))
    part.notes = [
        "List prices of genai-prices as installed, tokens as characters / 4, of the whole benchmark at CPT80.",
        "The paper on MT-Bench (gpt-4-0613, 160 turns): Random $4.06, TO-Router $3.88, RouteLLM $4.04, its own $3.74.",
    ]


def _usd_at_cpt80(curve: CostQualityCurve) -> str:
    share = curve.cpt(0.8)
    if math.isnan(share) or curve.costs is None or curve._samples is None:
        return "never"
    return f"{float(np.interp(share, curve.strong_shares, curve.costs)) * len(curve._samples.gains):.3f}"


def _in_domain(lab: Laboratory, _: object, part: Part) -> None:
    part.columns = ("pair, source (APGR [95 %])", *ROUTERS)
    makers = (sampled_pair, partial(judged_pair, weak="gpt35"), partial(judged_pair, weak="chatgpt"), local_pair)
    for make in makers:
        try:
            training = make(lab.folder)
        except DemurError as error:
            part.rows.append((f"not computable: {error}",))
            continue
        curves = in_domain(training, lab.encoder, lab.progress)
        for source in training.targets:
            cells = [_span(curves[source, r], "apgr", curves[source, r].apgr, 1, 3) for r in ROUTERS]
            part.rows.append((f"{training.name}: {source}", *cells))


def _pools(lab: Laboratory, _: object, part: Part) -> None:
    part.columns = pools.COLUMNS
    for title, make in (
        ("GSM8K, USD a prompt", pools.priced_pool),
        ("14 sets, cost in 1e9 parameters", pools.open_pool),
    ):
        pool = make(lab)
        part.rows.append((f"{title}: {', '.join(pool[0])}", "", "", ""))
        part.rows += pools.pool_rows(lab, pool)


PARTS: dict[str, tuple[str, Callable[..., None]]] = {
    "table-1": ("Table 1: every system on MT-Bench, GSM8K, MMLU", _table_1),
    "table-2": ("Table 2's shape: a smaller weak model", _table_2),
    "figure-1": ("Figure 1: training prompts against routing efficiency", _figure_1),
    "figure-2": ("Figure 2: kNN routers by supervision", _figure_2),
    "cost": ("API cost at CPT80", _cost),
    "pools": ("Pools of more than two models", _pools),
    "in-domain": ("In domain: all sources x all routers (not in the paper)", _in_domain),
    "table-3": ("Table 3's shape: a judge compares routed answers", _table_3),
}
