"""`demur overhead`: every architecture at growing numbers of prompts, and encoders, as tables and a picture."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from demur.errors import DemurError, InputError
from demur.evaluation.report import figures as curves
from demur.files import check_output
from demur.meaning.rules.known_languages import ENCODER
from demur.models.catalogue import cache_folder
from demur.models.encoders.encoder import CachedEncoder, load_encoder
from demur.paper.overhead.architectures import ARCHITECTURES, EXTRA_SAMPLES, QUERIES, gate_name
from demur.paper.overhead.measure import BATCH, Cost, decision_times, measure_within, with_times
from demur.paper.overhead.quality import Qualities, run_quality, stored_quality
from demur.paper.overhead.timing import least_expected, slope
from demur.paper.parts.figures import overhead_figure
from demur.paper.parts.part import Cells, Part, PartContent, span_columns
from demur.prompts import read_prompts
from demur.records import Encoder, Progress, dollars, no_progress
from demur.store import Store

SIZES = (1_000, 12_000, 100_000)
SLOW_FROM = 50_000  # training prompts, at which a user is warned
FEWEST = 20  # training prompts: half of that is what a gate can be learned from
COLUMNS = ("architecture", "fit s", "p50 ms", "p99 ms", f"per s, {BATCH} at once", "memory kB", "saved kB")
DECIDING = (2, 3, 4)  # columns of what an encoder takes: it learns and keeps nothing
USD_PER_HOUR = 0.05  # of one processor core, about what clouds take
MOST_USD_PER_HOUR = 1000.0
GROWTH_COLUMNS = ("growth with N as N^a, a of", "fit", "decision", "memory")
EXTRA = {gate_name(extra): extra for extra in range(EXTRA_SAMPLES + 1)}
NOTES = (
    "Planted unit vectors, one thread. A decision is timed from the embedding on; the encoder's own time is a row.",
    "saved kB: weights.safetensors as `demur train` writes it, with the training prompts' vectors; of cascade and gate "
    "policy.json, which stands beside the router's, with its rehearsal and beliefs.",
    "cascade: the scorer alone; it also waits for the weak answer and embeds prompt and answer together once more.",
    "gate: the step after so many extra samples (signals, meanings by rules and exact match), without sampling them.",
    "USD/1,000: p50 on one core, with the encoder's but for the gate; the gate's samples at the run's prices.",
)


@dataclass(frozen=True, slots=True, eq=False)
class Overheads:
    """All that was measured."""

    dimension: int
    costs: tuple[Cost, ...]  # by size, then by architecture
    encoders: tuple[Cost, ...]
    quality: Qualities | None
    seconds: float  # that measuring took
    usd_per_hour: float = USD_PER_HOUR  # of one processor core
    picture: str = ""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Numbers of training prompts, growing."""
        return tuple(dict.fromkeys(cost.n for cost in self.costs))

    def of(self, name: str) -> tuple[Cost, ...]:
        """An architecture at each size."""
        return tuple(cost for cost in self.costs if cost.name == name)

    @property
    def growth(self) -> dict[str, tuple[float | None, ...]]:
        """Exponents of fit, decision (p50) and memory by architecture; None with fewer than two values."""
        found = {}
        for name in dict.fromkeys(cost.name for cost in self.costs):
            costs = self.of(name)
            found[name] = tuple(
                slope(self.sizes, values)
                for values in (
                    [cost.fit_seconds for cost in costs],
                    [cost.p50 for cost in costs],
                    [cost.memory for cost in costs],
                )
            )
        return found

    @property
    def parts(self) -> tuple[Part, ...]:
        """One table per size, one of growth, one of encoders."""
        made = [
            Part(f"n-{n}", f"N = {n:,} training prompts, d = {self.dimension}", PartContent(*self._table(n)))
            for n in self.sizes
        ]
        if len(self.sizes) > 1:
            rows = tuple((name, *map(shown_exponent, values)) for name, values in self.growth.items())
            made.append(
                Part("growth", f"from N = {self.sizes[0]:,} to {self.sizes[-1]:,}", PartContent(GROWTH_COLUMNS, rows))
            )
        if self.encoders:
            shown = tuple(_cells(one, DECIDING) for one in self.encoders)
            columns = ("encoder", *(COLUMNS[i] for i in DECIDING))
            made.append(Part("encoders", "encoders, per prompt", PartContent(columns, shown)))
        return tuple(made)

    def _table(self, n: int) -> tuple[Cells, tuple[Cells, ...]]:
        """Columns and rows at one size; quality stands beside the largest one, where it is known."""
        quality = self.quality if n == self.sizes[-1] else None
        rows = []
        for cost in (one for one in self.costs if one.n == n):
            beside = () if cost.why_not else (self._usd(cost), *([_apgr(quality, cost.name)] if quality else []))
            rows.append((*_cells(cost), *beside))
        return (*COLUMNS, "USD/1,000", *(["APGR [95 %]"] if quality else [])), tuple(rows)

    def usd_per_1k(self, cost: Cost) -> float | None:
        """USD of 1,000 decisions: processor time, and the gate's extra samples; None where their price is unknown."""
        extra = EXTRA.get(cost.name)
        embedding = sum(one.p50 or 0.0 for one in self.encoders[:1]) if extra is None else 0.0
        computed = 1000 * ((cost.p50 or 0.0) + embedding) * self.usd_per_hour / 3600
        if not extra:
            return computed
        usd = self.quality.usd_of_a_sample if self.quality else None
        return None if usd is None else computed + 1000 * extra * usd

    def _usd(self, cost: Cost) -> str:
        usd = self.usd_per_1k(cost)
        return "unknown" if usd is None else dollars(usd)

    @property
    def lines(self) -> list[str]:
        """As text."""
        tables = [line for part in self.parts for line in ("", part.title, *part.lines[2:])]
        about = [f"one core at {dollars(self.usd_per_hour)} per hour (--usd-per-hour)"]
        about += [f"APGR: {self.quality.about}; the gate's with the run's router"] if self.quality else []
        wrote = [f"wrote {self.picture}"] if self.picture else []
        return [*tables, "", *NOTES, *about, f"measured in {self.seconds:.0f} s", *wrote]

    def as_dict(self) -> dict[str, Any]:
        """As `demur overhead --json` prints it; seconds, bytes and USD."""
        return {
            "dimension": self.dimension,
            "costs": self.costs,
            "growth": {
                name: dict(zip(("fit", "decision", "memory"), values, strict=True))
                for name, values in self.growth.items()
            },
            "encoders": self.encoders,
            "quality": self.quality,
            "usd_per_hour": self.usd_per_hour,
            "usd_per_1k": {cost.name: self.usd_per_1k(cost) for cost in self.costs if cost.n == self.sizes[-1]},
            "seconds": round(self.seconds, 1),
            "picture": self.picture or None,
        }

    def draw(self) -> Any:
        """Quality, or the fit's seconds where it is unknown, against the cost of a decision at the largest size, or the
        largest that was measured."""
        points = {}
        largest = {cost.name: cost for cost in self.costs if cost.p50 is not None}
        for name, cost in largest.items():
            apgr = self.quality.apgr.get(name) if self.quality else None
            if cost.p50 is None or cost.fit_seconds is None or (self.quality and apgr is None):
                continue
            shown = name if cost.n == self.sizes[-1] else f"{name}, N = {cost.n:,}"
            values = (cost.fit_seconds,) * 3 if apgr is None else (apgr.value, apgr.low, apgr.high)
            points[shown] = (1000 * cost.p50, *values)
        label = "APGR (bar: 95 % over prompts)" if self.quality else f"fit (s) at N = {self.sizes[-1]:,}"
        return overhead_figure(points, label, self.quality is None)


def overhead(
    *,
    n: int = 12_000,
    dimension: int = 384,
    seconds: float = 60.0,
    encoders: Sequence[str] = (ENCODER,),
    run: str = "",
    source: str = "",
    usd_per_hour: float = USD_PER_HOUR,
    picture: str = "",
    force: bool = False,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Overheads:
    """Measure every architecture on planted prompts, at the SIZES below ``n`` and at ``n``.

    ``seconds``: most that one fit may take. ``run`` or ``source``: a run's folder, or a folder of stored outcomes, on
    which APGR is measured too. ``usd_per_hour``: price of a processor core. ``picture``: file to draw (PNG or SVG);
    ``force`` replaces one that exists. ``allow_endpoints``: as `demur.pipeline.evaluate` takes them. Raises InputError
    for values out of range, MissingExtraError for a picture without matplotlib.
    """
    _check(n, dimension, seconds, run, source)
    if not 0 <= usd_per_hour <= MOST_USD_PER_HOUR:
        raise InputError(f"--usd-per-hour {usd_per_hour:g}: give the price of a core, from 0 to {MOST_USD_PER_HOUR:g}")
    if picture:
        check_output(Path(picture), force=force)
        curves.check_matplotlib()
    start = time.perf_counter()
    quality = _quality(run, source, encoders, progress, allow_endpoints)
    costs = measure_costs(sizes_up_to(n), dimension, seconds, progress)
    measured = tuple(encoder_cost(one) for one in encoders)
    found = Overheads(dimension, costs, measured, quality, time.perf_counter() - start, usd_per_hour, picture)
    if picture:
        curves.save(found.draw(), Path(picture))
    return found


def measure_costs(
    sizes: Sequence[int], dimension: int, seconds: float, progress: Progress = no_progress
) -> tuple[Cost, ...]:
    """Every architecture at rising numbers of training prompts; a fit may take ``seconds``."""
    costs: list[Cost] = []
    for size in sizes:
        for done, name in enumerate(ARCHITECTURES):
            progress(f"N = {size:,}", done, len(ARCHITECTURES))
            costs.append(measure_or_estimate(name, size, dimension, seconds, [c for c in costs if c.name == name]))
        progress(f"N = {size:,}", len(ARCHITECTURES), len(ARCHITECTURES))
    return tuple(costs)


def sizes_up_to(n: int) -> tuple[int, ...]:
    """The SIZES below ``n``, and ``n``."""
    return (*(size for size in SIZES if size < n), n)


def measure_or_estimate(name: str, n: int, dimension: int, seconds: float, smaller: Sequence[Cost]) -> Cost:
    """Measure, unless ``smaller`` sizes say that the fit would take longer; what it takes at least is said."""
    expected = least_expected([cost.n for cost in smaller], [cost.fit_seconds for cost in smaller], n)
    about = "" if expected is None else f"; by its growth {expected:,.0f} s or more"
    if expected is not None and expected > seconds:
        return Cost(name, n, why_not=f"the fit is expected to take longer than {seconds:g} s{about}")
    cost = measure_within(name, n, dimension, seconds)
    return replace(cost, why_not=f"{cost.why_not}{about}") if cost.why_not else cost


def encoder_cost(spec: str) -> Cost:
    """Time of an encoder on the demo's questions, in this process."""
    texts = [prompt.text for prompt in read_prompts(str(files("demur").joinpath("data/demo_questions.jsonl")))]
    asked = [texts[i % len(texts)] for i in range(QUERIES)]
    try:
        encoder = load_encoder(spec)
        return with_times(Cost(spec, 0), *decision_times(lambda rows: encoder.encode(asked[rows])))
    except DemurError as error:
        return Cost(spec, 0, why_not=" ".join(str(error).split()))


def _quality(
    run: str, source: str, encoders: Sequence[str], progress: Progress, allow_endpoints: Sequence[str]
) -> Qualities | None:
    if run:
        return run_quality(run, progress, allow_endpoints)
    if not source:
        return None
    with _kept_encoder(encoders[0]) as encoder:
        return stored_quality(source, encoder, progress)


@contextmanager
def _kept_encoder(spec: str) -> Iterator[Encoder]:
    """An encoder whose vectors are kept where `demur reproduce` keeps them."""
    with Store(cache_folder().parent / "reproduce.sqlite") as store:
        yield CachedEncoder(load_encoder(spec), store)


def _check(n: int, dimension: int, seconds: float, run: str, source: str) -> None:
    if n < FEWEST:
        raise InputError(f"--n {n}: give at least {FEWEST} training prompts")
    if dimension < 1:
        raise InputError(f"--dimension {dimension}: give at least 1")
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"--seconds {seconds:g}: give the most seconds that one fit may take, above 0")
    if run and source:
        raise InputError(f"--run {run} and --from {source}: quality is measured on one of them; give one")
    if source and not Path(source).is_dir():
        raise InputError(f"{source}: no such folder; it must hold samples/ as `demur reproduce --from` takes it")


def _cells(cost: Cost, columns: Sequence[int] = range(1, len(COLUMNS))) -> Cells:
    """The name and these of COLUMNS."""
    if cost.why_not:
        return (f"{cost.name}: not measured: {cost.why_not}",)
    cells = (
        cost.name,
        _number(cost.fit_seconds, 1.0),
        _number(cost.p50, 1e3),
        _number(cost.p99, 1e3),
        "-" if cost.per_second is None else f"{cost.per_second:,.0f}",
        _number(cost.memory, 1e-3),
        _number(cost.artifact, 1e-3),
    )
    return (cells[0], *(cells[i] for i in columns))


def _number(value: float | None, scale: float) -> str:
    """Two digits, or whole from 100 on."""
    if value is None:
        return "-"
    scaled = value * scale
    return f"{scaled:,.0f}" if scaled >= 100 else f"{scaled:.2g}"


def shown_exponent(value: float | None) -> str:
    """Of a power law, to two decimals."""
    return "-" if value is None else f"{round(value, 2) + 0.0:.2f}"  # no -0.00


def _apgr(quality: Qualities, name: str) -> str:
    found = quality.apgr.get(name)
    return quality.lacking[name] if found is None else span_columns(found.value, found.low, found.high, 3)
