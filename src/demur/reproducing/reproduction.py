"""`demur reproduce`: every part in turn, a table or a figure each, and one page of them all.

A part whose data are missing is a row "not computable: why"; the others go on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

from demur import drawing
from demur.catalogue import cache_folder
from demur.encoding import CachedEncoder, load_encoder
from demur.errors import DemurError, InputError
from demur.records import Progress, no_progress
from demur.reporting import document, figure_html, table
from demur.reproducing import tables
from demur.reproducing.judged import judged_answers
from demur.reproducing.measuring import RESAMPLES, Laboratory
from demur.reproducing.part import Part
from demur.store import Store


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
    encoder: str = "bge-small",
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


PARTS: dict[str, tuple[str, Callable[..., None]]] = {
    "table-1": ("Table 1: every system on MT-Bench, GSM8K, MMLU", tables.table_1),
    "table-2": ("Table 2's shape: a smaller weak model", tables.table_2),
    "figure-1": ("Figure 1: training prompts against routing efficiency", tables.figure_1),
    "figure-2": ("Figure 2: kNN routers by supervision", tables.figure_2),
    "cost": ("API cost at CPT80", tables.cost),
    "pools": ("Pools of more than two models", tables.pools_of_models),
    "in-domain": ("In domain: all sources x all routers (not in the paper)", tables.in_domain_table),
    "table-3": ("Table 3's shape: a judge compares routed answers", judged_answers),
}
