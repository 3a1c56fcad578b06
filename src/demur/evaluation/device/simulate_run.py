"""`demur simulate`: the served router of a run on a device beside a cloud, over all strong shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.device.edge_cloud import (
    Cloud,
    Edge,
    Requests,
    cloud_seconds,
    device_seconds,
    poisson,
    simulate_serving,
)
from demur.evaluation.device.front_figure import front_figure
from demur.evaluation.evaluate_run import load_served
from demur.evaluation.report.figures import check_matplotlib, save
from demur.evaluation.report.headline import WITHOUT_SAMPLES, believed_pair, expected_use
from demur.evaluation.results import first_quality
from demur.files import check_output
from demur.gate.quality.believed_quality import judged_prompts, why_not_believed
from demur.gate.router import Router
from demur.limits import from_mapping
from demur.measure.threshold import threshold_for_share
from demur.models.prices import Price
from demur.prompts.grading import grade
from demur.records import BoolArray, Encoder, FloatArray, Prompt, Sample, count_of, dollars
from demur.routing.decision import digits_apart
from demur.routing.known.known_prompts import Looked
from demur.runs.run import Own, Run, open_run

Side = TypeVar("Side", Edge, Cloud)
SHARES = tuple(round(0.1 * i, 1) for i in range(11))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What one threshold comes to."""

    threshold: float
    routed_share: float  # of the prompts, that the router itself sends to the strong model
    strong_share: float  # of the requests, those diverted by the queue included
    p50: float  # seconds until the whole answer
    p95: float
    queue: float  # mean number of requests that wait for the device
    busy: float  # share of the slots' time
    diverted: float  # share of the requests that the queue sent to the cloud
    usd_per_1k: float | None  # None: a price is unknown
    joules: float  # per request, on the device
    quality: float | None  # None: not known

    def line(self, digits: int) -> str:
        """The point as a row of the table, its threshold in so many digits."""
        usd = "unknown" if self.usd_per_1k is None else dollars(self.usd_per_1k)
        quality = "unknown" if self.quality is None else f"{self.quality:.3f}"
        return (
            f"{self.threshold:>{threshold_width(digits)}.{digits}f} {self.strong_share:>7.0%} {self.p50:>7.2f} "
            f"{self.p95:>8.2f} {self.queue:>7.1f} {self.busy:>6.0%} {self.diverted:>9.0%} {usd:>10} "
            f"{self.joules:>8.1f} {quality:>8}"
        )


def threshold_width(digits: int) -> int:
    """Of the column of thresholds with so many digits."""
    return max(len("threshold"), digits + len("-1."))


def header(digits: int) -> str:
    """The table's first row, where thresholds have so many digits."""
    return (
        f"{'threshold':>{threshold_width(digits)}} {'strong':>7} {'p50 s':>7} {'p95 s':>8} {'queue':>7} {'busy':>6} "
        f"{'diverted':>9} {'USD/1,000':>10} {'J':>8} {'quality':>8}"
    )


@dataclass(frozen=True, slots=True)
class Simulation:
    """The operating points that differ, by rising strong share, and how the quality was measured."""

    points: tuple[OperatingPoint, ...]
    measured: str  # how the quality was
    p95: float | None  # seconds that were asked for
    drawn: str  # of what the requests are

    @property
    def chosen(self) -> OperatingPoint | None:
        """The cheapest point that keeps the p95 asked for; of equal cost the better one."""
        if self.p95 is None:
            return None
        kept = [point for point in self.points if point.p95 <= self.p95]
        return min(
            kept, key=lambda point: (point.usd_per_1k or point.strong_share, -(point.quality or 0)), default=None
        )

    @property
    def lines(self) -> tuple[str, ...]:
        """The table, and the point that was asked for."""
        digits = digits_apart([point.threshold for point in self.points])
        notes = (f"quality: {self.measured}", f"requests: {self.drawn}")
        rows = (header(digits), *(point.line(digits) for point in self.points), *notes)
        if self.p95 is None:
            return rows
        if self.chosen is None:
            return (*rows, f"no threshold keeps p95 at {self.p95:g} s: give the device more slots, or a --longest-wait")
        said = f"strong share {self.chosen.strong_share:.0%}, quality {self._quality_of(self.chosen)}"
        return (*rows, f"p95 {self.p95:g} s at least cost: threshold {self.chosen.threshold:.{digits}f} ({said})")

    def _quality_of(self, point: OperatingPoint) -> str:
        """Beside that of the large model alone, where one of the points is that."""
        best = next((one.quality for one in self.points if one.strong_share == 1), None)
        of = "" if best is None else f" of {best:.3f} always-strong"
        return "unknown" if point.quality is None else f"{point.quality:.3f}{of}"


def simulate(
    run: str = "run",
    *,
    arrivals: str = "poisson:1/s",
    requests: int = 20_000,
    edge: str = "",
    cloud: str = "",
    p95: float | None = None,
    longest_wait: float = math.inf,
    longest_queue: float = math.inf,
    picture: str = "",
    force: bool = False,
    encoder: Encoder | None = None,
) -> Simulation:
    """Simulate a run's served router on a device beside a cloud, with quality and USD of the run's own samples.

    ``arrivals``: ``poisson:RATE/s`` or a file of seconds. ``edge`` and ``cloud``: fields of `Edge` and `Cloud` as
    NAME=NUMBER, separated by commas. ``longest_wait``: seconds, beyond which a request goes to the cloud;
    ``longest_queue``: requests at the device, likewise (the gateway's `weak_at_most`). ``picture``: a file to draw the
    front to; ``force`` replaces one that exists. ``encoder`` where the router was trained on one of your own. Raises
    InputError.
    """
    if picture:
        check_output(Path(picture), force=force)
        check_matplotlib()
    with open_run(load_run(run), Own(encoder=encoder)) as opened:
        found = simulate_run(
            opened,
            arrivals=arrivals,
            requests=requests,
            edge=edge,
            cloud=cloud,
            p95=p95,
            longest_wait=longest_wait,
            longest_queue=longest_queue,
        )
    if picture:
        draw_front(found, Path(picture))
    return found


def simulate_run(
    run: Run,
    *,
    arrivals: str = "poisson:1/s",
    requests: int = 20_000,
    edge: str = "",
    cloud: str = "",
    p95: float | None = None,
    longest_wait: float = math.inf,
    longest_queue: float = math.inf,
    seed: int = 0,
) -> Simulation:
    """Simulate the served router over the run's own prompts. Raises InputError for settings that cannot be read, and
    for a router of more than two models."""
    device, far = read_fields(Edge, edge, "edge"), read_fields(Cloud, cloud, "cloud")
    prompts = run.complete(run.held_back) or run.complete(run.train_prompts)
    router = load_served(run, run.own.classifier(run.config.router.served))
    if router.prompt_router.tiers is not None:
        count = len(router.prompt_router.tiers.names)
        raise InputError(
            f"{run.config.run}: a device beside a cloud is two models, and this router chooses among {count}"
        )
    at = read_arrivals(arrivals, requests, seed)
    drawn = np.random.default_rng([seed, 1]).integers(0, len(prompts), len(at))
    world = _World(run, router, prompts, device, far)
    finals = np.asarray(router.expected_scores(world.looked.scores, router.serving_gate).final)
    points = []
    for share in SHARES:
        threshold = threshold_for_share(finals, share).threshold
        points.append(world.point(threshold, at, drawn, (longest_wait, longest_queue), seed))
    where = f"{len(at):,} drawn at random from {count_of(len(prompts), 'prompt')}"
    drawn_from = f"{where}, so shares and USD differ a little from those of `demur calibrate`"
    return Simulation(distinct(points), world.measured, p95, drawn_from)


def distinct(points: Sequence[OperatingPoint]) -> tuple[OperatingPoint, ...]:
    """The points without those that come to the same as one before: shares between which no request lies."""
    found: dict[tuple[object, ...], OperatingPoint] = {}
    for point in points:
        found.setdefault(astuple(point)[2:], point)
    return tuple(found.values())


class _World:
    """The run's prompts as requests: their scores, lengths, prices and qualities."""

    def __init__(self, run: Run, router: Router, prompts: Sequence[Prompt], device: Edge, far: Cloud) -> None:
        weak, strong = ([side[one.id] for one in prompts] for side in (run.samples.weak, run.samples.strong))
        texts = [one.text for one in prompts]
        self.router, self.device = router, device
        self.looked = router.prompt_router.look_held_out(texts)  # a run without test prompts: those that it learned
        self.weak_tokens, self.strong_tokens = _answer_tokens(weak), _answer_tokens(strong)
        read = np.array([float(one[0].prompt_tokens) for one in weak])
        self.device_seconds = device_seconds(device, read, self.weak_tokens)
        self.cloud_seconds = cloud_seconds(far, np.array([len(text.encode()) for text in texts]), self.strong_tokens)
        prices = run.pair.weak.price, run.pair.strong.price
        self.usd = [_usd(price, side) for price, side in zip(prices, (weak, strong), strict=True)]
        self.quality, self.judged, self.measured = _quality(run, router, prompts, self.looked)

    def point(
        self, threshold: float, arrivals: FloatArray, drawn: np.ndarray, limits: tuple[float, float], seed: int
    ) -> OperatingPoint:
        """What a threshold comes to on these arrivals of these prompts; ``limits``: of the wait and of the queue."""
        use = expected_use(self.router, self.looked, threshold)  # unknown prompts go where the gateway sends them
        draft = np.random.default_rng([seed, 2]).integers(0, use.strong.shape[1], len(drawn))
        strong, checked, extra = (each[drawn, draft] for each in (use.strong, use.checked, use.extra))
        on_device = ~strong | checked
        asked = np.where(checked, 1 + extra, 1)
        busy = self.device_seconds[drawn] * asked
        requests = Requests(arrivals, on_device, strong, busy, self.cloud_seconds[drawn])
        found = simulate_serving(requests, self.device.slots, *limits)
        in_cloud = strong | found.diverted
        answers = np.where(on_device & ~found.diverted, asked, 0)
        usd = None
        if all(each is not None for each in self.usd):
            weak_usd, strong_usd = (np.asarray(each)[drawn] for each in self.usd)
            usd = 1000 * float((weak_usd * answers + strong_usd * in_cloud).mean())
        quality, judged = None, self.judged[drawn]
        if self.quality and judged.any():
            quality = float(np.where(in_cloud, self.quality[1][drawn], self.quality[0][drawn])[judged].mean())
        joules = self.device.joules_per_token * float((self.weak_tokens[drawn] * answers).mean())
        p50, p95 = np.quantile(found.latency, [0.5, 0.95])
        return OperatingPoint(
            *(
                threshold,
                float(use.strong.mean()),
                float(in_cloud.mean()),
                float(p50),
                float(p95),
                found.queue,
                found.busy,
            ),
            *(float(found.diverted.mean()), usd, joules, quality),
        )


def _quality(
    run: Run, router: Router, prompts: Sequence[Prompt], looked: Looked
) -> tuple[Sequence[FloatArray], BoolArray, str]:
    """(n,) quality of both models, of which prompts it is, (n,), and how it is known; no arrays where it is not.

    Without gold answers it is believed, as the headline of `demur train` has it.
    """
    everything = np.ones(len(prompts), dtype=bool)
    if all(one.answers for one in prompts):
        grader, sides = run.own.grader or grade, (run.samples.weak, run.samples.strong)
        return [first_quality(prompts, side, grader) for side in sides], everything, "of one graded answer"
    believed = believed_pair(router, looked, [one.text for one in prompts])
    if believed is None:
        why = why_not_believed(router, looked) or WITHOUT_SAMPLES
        return (), everything, f"unknown: no prompt has gold answers, and it cannot be believed, since {why}"
    judged = judged_prompts(router, looked)
    of = "" if judged.all() else f"; of the {judged.mean():.0%} of the prompts that could be judged"
    return believed, judged, f"believed, from how the answers agree{of}"


def _answer_tokens(samples: Sequence[Sequence[Sample]]) -> FloatArray:
    """(n,) tokens of one answer, averaged over the samples of each prompt."""
    return np.array([np.mean([one.completion_tokens for one in answers]) for answers in samples], dtype=float)


def _usd(price: Price | None, samples: Sequence[Sequence[Sample]]) -> FloatArray | None:
    """(n,) USD of one answer; None for an unknown price."""
    if price is None:
        return None
    return np.array(
        [np.mean([price.usd(one.prompt_tokens, one.completion_tokens) for one in answers]) for answers in samples]
    )


def read_fields(record: type[Side], text: str, where: str) -> Side:
    """``name=value,name=value`` as a record. Raises InputError naming what is wrong."""
    values: dict[str, float | int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        try:
            values[name.strip()] = int(value) if name.strip() == "slots" else float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"--{where}: {part!r} is not NAME=NUMBER, such as tokens_per_s=40")
    return from_mapping(record, values, where=f"--{where}")


def read_arrivals(text: str, requests: int, seed: int) -> FloatArray:
    """``poisson:RATE/s``, or a file of seconds, one a line: (m,) rising, from 0. Raises InputError."""
    kind, colon, rate = text.partition(":")
    if colon and kind == "poisson":
        try:
            per_second = float(rate.removesuffix("/s"))
        except ValueError:
            per_second = math.nan
        if not (math.isfinite(per_second) and per_second > 0):
            raise InputError(f"--arrivals: {rate!r} is not a rate; write poisson:5/s, or name a file of seconds")
        return poisson(per_second, requests, seed)
    try:
        lines = Path(text).read_text(encoding="utf-8").split()
        at = np.array([float(line) for line in lines])
    except (OSError, ValueError) as error:
        raise InputError(f"--arrivals: {text}: {error}; write poisson:5/s, or name a file of seconds") from None
    if len(at) < 2 or not np.isfinite(at).all():
        raise InputError(f"--arrivals: {text}: {len(at)} arrivals that can be read; at least two seconds are needed")
    if (np.diff(at) < 0).any():
        line = int(np.flatnonzero(np.diff(at) < 0)[0]) + 2
        raise InputError(f"--arrivals: {text}:{line}: {at[line - 1]:g} s comes before the line above it; sort the file")
    return np.asarray(at - at[0])


def draw_front(found: Simulation, file: Path) -> None:
    """Quality against the 95th percentile of the latency and against USD, a point per threshold. Raises InputError."""
    points, chosen = found.points, found.chosen
    usd = [point.usd_per_1k for point in points]
    shares, quality = [point.strong_share for point in points], [point.quality for point in points]
    known = [one for one in quality if one is not None]
    figure = front_figure(
        shares,
        known if len(known) == len(points) else None,
        [point.p95 for point in points],
        [one for one in usd if one is not None] if None not in usd else None,
        None if chosen is None else points.index(chosen),
    )
    try:
        save(figure, file)
    except (OSError, ValueError) as error:
        raise InputError(f"--picture: {file}: {error}") from None
