"""`demur reproduce`: computes every part, each a table or a figure, and writes one page of them.

A row, line or cell that cannot be computed gives the reason; the others are computed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.experiment.export_outcomes import write_outcomes
from demur.evaluation.experiment.test_sets import measure_sets
from demur.evaluation.report import figures as curves
from demur.evaluation.report.page import document, figure_html, table
from demur.files import check_output_folder
from demur.meaning.rules.known_languages import ENCODER
from demur.models.catalogue import cache_folder
from demur.models.encoders.encoder import CachedEncoder, load_encoder
from demur.paper.listing import PARTS, choose_parts
from demur.paper.measures import Laboratory
from demur.paper.outcomes import data_of
from demur.paper.parts.judged_answers import JUDGED_QUESTIONS
from demur.paper.parts.part import Part, PartContent, rows_or_why
from demur.paper.sources.arena import arena_pair
from demur.records import Encoder, Progress, no_progress
from demur.runs.run import open_run
from demur.store import Store

PREFERENCES = (
    "Preferences are AlpacaEval's and human judgements, not the arena's, so the RouteLLM rows are not a fair "
    "comparison with RouteLLM."
)
DIFFERENCES = (
    "What differs from the paper: strong is gpt-4-1106-preview and weak Mixtral-8x7B on RouteLLM's decontaminated "
    "sets (72 MT-Bench questions, not 160 turns); uncertainty labels come from gpt-3.5-turbo and Llama-2-7b-chat on "
    "NQ-Open, whose samples are stored (and from the authors' set where it can be loaded).",
    PREFERENCES,
    "The systems' own departures stand under each table.",
)
OF_RUN = (
    "Tables and figures in the paper's shapes, of a run's own pair on its own test sets; the paper's figures beside "
    "them are of GPT-4 and Mixtral-8x7B. Table 2's shape is the run's main set again: a run has one pair.",
)
NOT_OF_RUN = ("pools",)  # parts that need outcomes of more models than two


@dataclass(frozen=True)
class Reproduction:
    """All parts that were asked for, and the page."""

    parts: tuple[Part, ...]
    page: Path
    about: tuple[str, ...] = DIFFERENCES

    @property
    def lines(self) -> list[str]:
        """The whole as text."""
        return [*self.about, *(line for part in self.parts for line in part.lines), f"wrote {self.page}"]

    def as_dict(self) -> dict[str, Any]:
        """As `demur reproduce --json` prints it."""
        return {
            "differences": self.about,
            "parts": [part.as_dict() for part in self.parts],
            "page": str(self.page),
        }


def reproduce(
    source: str | Path,
    *,
    out: str | Path = "",
    only: Sequence[str] = (),
    encoder: str | Encoder = ENCODER,
    judge_model: str = "qwen2.5-coder-1.5b",
    judged: int = JUDGED_QUESTIONS,
    weak: str = "",
    strong: str = "",
    arena: str = "",
    arena_models: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Reproduction:
    """Make what ``only`` names (all when empty) from the data in ``source``; writes a page and PNGs.

    ``out``: their folder, run/reproduce where it is empty. ``judged``: how many questions the judge is asked about at
    each CPT. ``weak`` and ``strong``: the models' names in the rows, where they are not those of the folder's
    description, or RouteLLM's. ``arena``: a file of battles of many models, from which the RouteLLM rows learn, and
    ``arena_models`` what it calls the weak and the strong one. Raises InputError for an unknown name or a folder that
    is not there; matplotlib is needed.
    """
    parts, rows = choose_parts(only)
    if not Path(source).is_dir():
        raise InputError(f"{source}: no such folder; it must hold outcomes/, samples/, questions/ and preferences/")
    if judged < 1:
        raise InputError(f"{judged} questions to judge; at least 1 is needed")
    curves.check_matplotlib()
    if out:
        check_output_folder(Path(out))
    folder, data = Path(out or "run/reproduce"), data_of(Path(source), weak, strong)
    named = tuple(arena_models) or (data.weak, data.strong)
    if len(named) != 2:
        raise InputError(f"the arena's models are the weak and the strong one, two names; found {', '.join(named)}")
    about = OF_RUN if data.own else tuple(line for line in DIFFERENCES if not (arena and line == PREFERENCES))
    if data.own and not only:
        parts = tuple(name for name in parts if name not in NOT_OF_RUN)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(cache_folder().parent / "reproduce.sqlite") as kept:
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        lab = Laboratory(
            Path(source),
            CachedEncoder(loaded, kept, progress=progress),
            folder,
            judge_model=judge_model,
            judged=judged,
            progress=progress,
            data=data,
            arena=arena_pair(arena, *named) if arena else None,
        )
        made: list[Part] = []
        for name in parts:
            progress("parts", len(made), len(parts))
            lab.rows = rows & PARTS[name].rows.keys()
            made.append(_make(name, lab))
            page = _write(made, folder, about)  # after every part: what is made is there when a later one is cut off
        progress("parts", len(made), len(parts))
    return Reproduction(tuple(made), page, about)


def reproduce_run(
    run: str,
    *,
    out: str = "",
    only: Sequence[str] = (),
    judge_model: str = "qwen2.5-coder-1.5b",
    judged: int = JUDGED_QUESTIONS,
    arena: str = "",
    arena_models: Sequence[str] = (),
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Reproduction:
    """The same of a run's own pair and test sets, with its encoder; writes to the folder ``reproduce`` in it.

    The models are asked for nothing: `demur run FILE` answers the test sets. ``allow_endpoints``: as
    `demur.pipeline.evaluate` takes them. Raises InputError for a run without test sets.
    """
    config = load_run(run)
    if not config.test.prompts:
        raise InputError(f'{run}: its run file names no test sets; add [test] prompts = "mt-bench + gsm8k + mmlu"')
    with open_run(config, allow_endpoints=allow_endpoints, progress=progress) as opened:
        write_outcomes(opened, measure_sets(opened, ask=False), config.outcomes)
        return reproduce(
            config.outcomes,
            out=out or config.folder / "reproduce",
            only=only,
            encoder=opened.encoder,
            judge_model=judge_model,
            judged=judged,
            arena=arena,
            arena_models=arena_models,
            progress=progress,
        )


def _make(name: str, lab: Laboratory) -> Part:
    start, content = time.perf_counter(), PartContent()

    def make() -> tuple[tuple[str, ...], ...]:
        nonlocal content
        content = PARTS[name].make(lab)
        return content.rows

    rows = rows_or_why(PARTS[name].title, make)
    return Part(name, PARTS[name].title, replace(content, rows=rows), time.perf_counter() - start)


def _write(parts: Sequence[Part], folder: Path, about: Sequence[str]) -> Path:
    """The page of all parts, and the last one's picture."""
    if parts[-1].content.figure is not None:
        curves.save(parts[-1].content.figure, folder / f"{parts[-1].name}.png")
    pieces = [
        "<h1>demur: the paper's tables and figures again</h1>",
        "".join(f"<p>{escape(d)}</p>" for d in about),
    ]
    for part in parts:
        content = part.content
        pieces.append(f"<h2>{escape(part.title)}</h2>")
        if content.figure is not None:
            pieces.append(figure_html(content.figure, ""))
        if content.rows:
            pieces.append(table(content.columns or ("",), content.rows))
        if content.notes:
            notes = "".join(f"<li>{escape(note)}</li>" for note in content.notes)
            pieces.append(f'<ul class="faint">{notes}</ul>')
    path = folder / "reproduce.html"
    path.write_text(document("demur reproduce", pieces), encoding="utf-8")
    return path
