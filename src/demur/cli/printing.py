"""Prints results as text or tables on stdout, and progress on stderr."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from demur.cli.advice import advice_lines
from demur.config.named_run import in_folder, in_run_file
from demur.evaluation.grades import FEWEST_GRADED
from demur.evaluation.report.cautions import kept_headline
from demur.evaluation.report.kinds_table import HEAD, columns_of, kinds_table
from demur.evaluation.report.tables import COLUMNS, base_of, reference_rows, router_rows, terms
from demur.gate.quality.extra_samples import COLUMNS as GATE_COLUMNS
from demur.labels.prompt_kinds import COLUMNS as COLUMNS_OF_LABELS
from demur.models.swapped_models import swap_words
from demur.records import count_of, fact_lines
from demur.runs.lineage import REPORT, older_lines, outdated_report, outdated_stages
from demur.runs.steps import next_command, serve_command, swap_advice
from demur.serving_file import gateways_of

if TYPE_CHECKING:
    from demur.evaluation.results import Evaluation, KindsTable
    from demur.gate.answer import Answered
    from demur.gate.quality.extra_samples import ExtraSamplesTrial
    from demur.gate.router import Router
    from demur.labels.from_samples import Labels
    from demur.models.catalogue import CatalogueModel
    from demur.pipeline import Outcome
    from demur.routing.prompt_router import Decision
    from demur.sampling.cost import PairEstimate, PairSpend


def printable(text: str) -> str:
    """Text without terminal escape sequences, which clients, models and foreign routers may contain.

    Line breaks and tabs stay; other unprintable characters are shown as Python escapes.
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in "\n\t" else ascii(one)[1:-1] for one in text)


class Terminal(Console):
    """A console that prints texts alone, in lines and in tables: no escape sequence that stands in one."""

    def render_str(self, text: str, **named: Any) -> Text:
        """See `rich.console.Console`."""
        return super().render_str(printable(text), **named)


# COLUMNS=0 is what a shell without a terminal says; rich would print nothing on a page of that width
_ENVIRONMENT = {name: value for name, value in os.environ.items() if (name, value) != ("COLUMNS", "0")}
out = Terminal(highlight=False, soft_wrap=True, _environ=_ENVIRONMENT)
err = Terminal(stderr=True, highlight=False, _environ=_ENVIRONMENT)


QUIET: ContextVar[bool] = ContextVar("quiet", default=False)  # set by --quiet
RUN_FILE: ContextVar[str] = ContextVar("run_file", default="")  # whose keys stand for options


@contextmanager
def in_words_of(file: Path) -> Iterator[None]:
    """What is printed in the block names the keys of a run file, where it would name options of `demur sample`."""
    before = RUN_FILE.set(str(file))
    try:
        yield
    finally:
        RUN_FILE.reset(before)


def next_step(command: str, router: Path | None = None, *, others: Sequence[str] = ()) -> None:
    """The command that comes next, or one of several, to be copied; on stderr, so that results can be piped.

    ``router``: what it is of.
    """
    for line in (*advice_lines(command, router), *(f"or:   {one}" for one in others)):
        explanation(printable(line))


def explanation(text: str) -> None:
    """What a command is about to do, before it does anything."""
    if not QUIET.get():
        err.print(in_run_file(text, RUN_FILE.get()), markup=False, soft_wrap=True)


def next_in(folder: str | Path) -> None:
    """The command that comes next in a run's folder."""
    next_step(next_command(Path(folder)), Path(folder) / "router")


def next_after_calibration(router: Path) -> None:
    """The next command, and what the threshold changes in a gateway that runs."""
    for one in gateways_of(router):
        if said := one.after_calibration:
            explanation(said)
    next_step(next_command(router.parent) if router.name == "router" else serve_command(router), router)


def plain(value: Any) -> Any:
    """Records, arrays and paths as JSON values; nan and infinity become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        as_dict = getattr(value, "as_dict", None)
        if as_dict is not None:
            return plain(as_dict())
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def as_json(value: Any) -> None:
    """One JSON object on stdout."""
    text = json.dumps(plain(value), ensure_ascii="utf" not in (sys.stdout.encoding or "").casefold())
    out.print_json(text) if out.is_terminal else print(text)


def evaluation(
    found: Evaluation,
    folder: Path | None = None,
    *,
    headline: bool = True,
    verbose: bool = False,
    pricing_said: bool = False,
) -> None:
    """The headline, unless it is to stand elsewhere, the table of routers, the findings, and the path of the report."""
    lines((*found.shown_block.lines, "") if headline else ())
    served = found.drawn
    what = "graded" if served.by_grades else "training" if found.believed else "test"
    some = served.judged is not None and not served.by_grades  # of those that are judged by hand, all are graded
    among = f"{found.n_test:,} of {served.prompts:,}" if some else f"{found.n_test:,}"
    title = f"{found.strong} (strong) / {found.weak} (weak), {among} {what} prompts"
    out.print(router_table(title, router_rows(found), reference_rows(found)))
    lines(filter(None, [base_of(found)] if not verbose else []))
    curve = found.rows[0].curve
    of = "" if served.judged is None else f" of these {found.n_test:,} prompts"
    out.print(f"mean quality{of}: always weak {curve.weak_quality:.3f}, always strong {curve.strong_quality:.3f}")
    meant = [found.reliability.sentence] if found.reliability else []
    for line in (*found.told, *meant, "" if pricing_said else found.pricing, found.payback):
        if line:
            out.print(f"- {line}", markup=False)
    if verbose:
        prompt_kinds(found.kinds)
        gate_trials(found.trials, found.remarks)
        lines(terms(found))
    if folder is not None:
        out.print(f"report: {folder / 'report.html'}   picture: {folder / 'curve.png'}")


def router_table(title: str, routers: Iterable[Sequence[str]], references: Iterable[Sequence[str]]) -> Table:
    """Rows of `COLUMNS`, without lines between them: with them 80 columns hold no interval whole."""
    table = Table(title=title, box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "router" else "right")
    for row in (*routers, (), *references):
        table.add_row(*row)
    return table


def prompt_kinds(found: KindsTable | None) -> None:
    """What is known of each kind of prompt, where it is recorded."""
    if found is None:
        return
    lines(filter(None, [found.sentence]))
    table = kinds_grid(columns_of(found), found.rows, max_width=9)  # of each column; else the kinds are cut
    table.title = HEAD.lower()
    out.print(table)


def kinds_grid(columns: Sequence[str], rows: Iterable[Sequence[str]], *, max_width: int | None = None) -> Table:
    """A row per kind of prompt, whose name is the first column."""
    table = Table(box=None, padding=(0, 2 if max_width is None else 1, 0, 0), pad_edge=False)
    for at, name in enumerate(columns):
        table.add_column(name, justify="right" if at else "left", max_width=max_width if at else None)
    for row in rows:
        table.add_row(*map(_escape, row))
    return table


def gate_trials(trials: Sequence[ExtraSamplesTrial], remarks: Sequence[str]) -> None:
    """What the gate was found to be worth with each number of extra samples, and beside that."""
    table = Table(title="the gate (believed gain, held out; per prompt)")
    for name in GATE_COLUMNS:
        table.add_column(name, justify="right")
    for trial in trials:
        table.add_row(*trial.cells)
    if trials:
        out.print(table)
    lines(remarks)


def decision(prompt: str, made: Decision) -> None:
    """One routed prompt: model, score, threshold, reason, nearest training prompts with their entropies."""
    shown = " ".join(prompt.split())
    out.print(f"\n[bold]{_escape(shown[:100])}[/bold]")
    model = _one_line(made.model) + (", whose answer is then checked" if made.wants_samples else "")
    from demur.labels.targets import need_in_words
    from demur.routing.decision import apart

    score, threshold = apart(made.score, made.threshold)
    out.print(f"  -> {made.role}: {model}")
    for line in made.reason.split("; "):
        out.print(f"  {_one_line(line)}")
    if made.stage == "unknown":  # then no reason names it
        out.print(f"  its score, {score} at a threshold of {threshold}, does not matter")
    for near in made.neighbours:
        text = " ".join(near.prompt.split())[:60]
        said = f"{need_in_words(near.training.target)} ({near.training.target:.2f})"
        out.print(f"  near, cosine {near.similarity:.2f}: {_escape(text)}\n    showed: {said}", style="dim")


def print_answered(found: Answered) -> None:
    """One prompt that a router answered: the answer, the model, the stages and the reason."""
    made = found.decision
    out.print(f"\n[bold]{_escape(' '.join(found.prompt.split())[:100])}[/bold]")
    out.print(f"  {_escape(found.answer or '(an empty answer)')}")
    out.print(f"  -> {made.role}: {_one_line(made.model)}, by {_escape(found.path)}")
    out.print(f"  {_one_line(made.reason)}", style="dim")


def _one_line(text: str) -> str:
    """A name or a reason, whose line breaks are shown as such."""
    return _escape(text.replace("\n", "\\n"))


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def estimate(expected: PairEstimate) -> None:
    """What sampling will cost, before it begins."""
    if expected.swapped:
        stop = swap_words(expected.swapped, expected.swap, first=", stop (Ctrl-C) before more is paid, and say")
        err.print(stop, markup=False, style="bold", soft_wrap=True)
    explanation("\n".join(_of_estimate(expected)))


def dry_estimate(expected: PairEstimate) -> None:
    """The same, as the result of a dry run."""
    if expected.swapped:
        out.print(swap_words(expected.swapped, expected.swap), markup=False, style="bold")
    first, *others = _of_estimate(expected)
    lines([f"dry run; {first}", *others])


def _of_estimate(expected: PairEstimate) -> list[str]:
    return [expected.sentence, *fact_lines(expected.facts), *([f"- {expected.limit}"] if expected.limit else [])]


def spend(spent: PairSpend) -> None:
    """What sampling has cost."""
    lines([spent.sentence, *fact_lines(spent.facts), *(f"- {one}" for one in spent.cautions)])


def outdated_stages_of(folder: Path, *, target: str = "") -> None:
    """Stages of a run that are older than what they were made from; with a ``target`` no threshold is needed."""
    for line in older_lines(folder) if target else outdated_stages(folder):
        err.print(in_folder(line, folder), markup=False, soft_wrap=True)


def outdated_of(folder: Path) -> None:
    """The same, and a report that is older than what it was made from."""
    outdated_stages_of(folder)
    outdated_report_of(folder)


def outdated_report_of(folder: Path) -> None:
    """A report that is older than what it was made from alone."""
    if line := outdated_report(folder):
        err.print(in_folder(line, folder), markup=False, soft_wrap=True)


def labels(made: Labels, *, verbose: bool = False) -> None:
    """What the labels say, what is known of each kind of prompt, and what to be careful about."""
    lines([made.sentence])
    if made.kinds and len(made.kinds.kinds) > 1:
        grid = kinds_grid(COLUMNS_OF_LABELS, [one.cells for one in made.kinds.kinds])
        lines([""])
        out.print(Padding(grid, (0, 0, 0, 2), expand=False))
        lines([""])
    lines(fact_lines(made.facts))
    lines(f"- {line}" for line in (*made.warnings, *made.notes))
    lines(["", *fact_lines(made.details)] if verbose else [])


def print_trained(router: Router, run: Path, *, verbose: bool = False) -> None:
    """What the router does at its threshold, which was kept when it was trained; then the next command."""
    block = kept_headline(run)
    if block:
        swapped = filter(None, [swap_advice(run)])
        notes, cautions = (*block.notes, *_notes_of(router, run)), (*swapped, *block.cautions)
        lines(replace(block, notes=notes, cautions=cautions).of_router(run / "router").lines)
    if verbose:
        lines([router.sentence])
        prompt_kinds(kinds_table(router))
        gate_trials(router.trials, router.lines[1:])
    next_in(run)


def _notes_of(router: Router, run: Path) -> Iterable[tuple[str, str]]:
    """How a router was made, and why its gate does not serve."""
    record, told = router.prompt_router.record, router.describe()
    held_back = record.get("held_back", 0)
    yield "router", f"{run / 'router'}: {told['method']} on {count_of(told['n_train'], 'prompt')}"
    if held_back:
        yield "held back", f"{count_of(held_back, 'prompt')} with gold answers, for measuring"
    if choice := record.get("encoder_choice"):
        yield "encoder", choice.removeprefix("encoder ")
    if not router.serving_gate:
        yield "gate", "off: it does not pay" if router.gate else router.about.removeprefix("the gate is ")


def outcome(found: Outcome, *, headline: bool = True) -> None:
    """What a whole run found; ``headline`` as `evaluation` takes it."""
    block = kept_headline(Path(found.folder))
    lines(line for one in found.sets for line in one.lines)
    if found.evaluation is not None:
        evaluation(found.evaluation, Path(found.folder), headline=headline, pricing_said=True)  # by `spend`
    elif not found.sets and block:
        cautions = (*block.cautions, *filter(None, [_caution_on_grades(found)]))
        lines(replace(block, cautions=cautions).of_router(Path(found.folder) / "router").lines)
    elif found.verdict:
        out.print(found.verdict.sentence, markup=False)
    lines([""])
    labels(found.labels)
    spend(found.spend)
    if found.evaluation is None and (Path(found.folder) / REPORT).is_file():
        out.print(f"report: {Path(found.folder) / REPORT}", markup=False)
    lines(filter(None, [found.kept]))


def _caution_on_grades(found: Outcome) -> str:
    """Why quality is not measured; empty where a person has graded enough prompts."""
    few = f", and of {FEWEST_GRADED} prompts graded by hand {found.graded:,} are there" if found.graded else ""
    said = f"No test prompt has gold answers{few}, so quality is not measured: `demur grade`"
    return "" if found.headline.by_grades else said


def table(rows: Sequence[Mapping[str, object]]) -> None:
    """Rows of the same columns as a table; None is shown as a dash."""
    found = Table()
    for name in rows[0] if rows else ():
        found.add_column(name.replace("_", " "), justify="left" if name == "name" else "right")
    for row in rows:
        found.add_row(*(_cell(value) for value in row.values()))
    out.print(found if rows else "none")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else _escape(str(value))


def models(known: Sequence[CatalogueModel]) -> None:
    """The catalogue as a table."""
    table = Table()
    for name in ("name", "task", "size", "licence", "here"):
        table.add_column(name, justify="right" if name == "size" else "left", no_wrap=name == "name")
    for model in known:
        table.add_row(model.name, model.task, f"{model.size / 1e6:,.0f} MB", model.licence, "yes" if model.here else "")
    out.print(table)


def lines(found: Iterable[str]) -> None:
    """Prints lines unchanged."""
    for line in found:
        out.print(in_run_file(line, RUN_FILE.get()), markup=False)
