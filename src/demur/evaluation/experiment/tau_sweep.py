"""A sweep over tau (Eq. 4): how many preferences are ties, on which side the others fall, and what SW learns of them.

The largest APGR is looked for on one half of the graded prompts and confirmed on the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from demur.config import load_run
from demur.errors import InputError
from demur.evaluation.results import first_quality, mean_quality
from demur.labels.preference_files import read_preferences
from demur.labels.scores.uncertainty import AS_PRINTED
from demur.labels.targets import Delta, hard_targets
from demur.measure.curve import cost_quality_curve
from demur.methods import SimilarityWeighted
from demur.prompts.grading import grade
from demur.records import FloatArray, IntArray, Preference, Progress, count_of, no_progress
from demur.runs.run import Run, open_run
from demur.statistics import first_rows, group_numbers

TAUS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0)
USUAL = 0.1
FEWEST = 20  # graded prompts of a half: below it an interval says nothing
Span = tuple[float, float, float]  # APGR and its 95 % interval


@dataclass(frozen=True, slots=True)
class TauRow:
    """Hard labels at one tau."""

    tau: float
    weak: float  # shares of the preferences
    strong: float
    ties: float
    chosen: Span | None = None  # on the half that tau is chosen on; None: nothing was measured
    confirmed: Span | None = None  # on the other half
    as_accuracy: float | None = None  # share of graded training prompts with the label that accuracy gives; None: none


@dataclass(frozen=True, slots=True)
class TauSweep:
    """All taus of one set of entropies."""

    about: str  # entropies, difference and graded prompts
    rows: tuple[TauRow, ...]

    @property
    def best(self) -> TauRow | None:
        """The row of the largest APGR on the half for choosing; None where nothing was measured."""
        measured = [row for row in self.rows if row.chosen is not None]
        return max(measured, key=lambda row: (row.chosen or (0.0,))[0], default=None)

    @property
    def lines(self) -> tuple[str, ...]:
        """The result as lines of text."""
        head = f"{'tau':>5}  {'weak':>5}  {'strong':>6}  {'ties':>5}  {'as accuracy':>11}  "
        head += f"{'APGR, to choose':<21}  APGR, to confirm"
        shown = [
            f"{row.tau:>5g}  {row.weak:>5.0%}  {row.strong:>6.0%}  {row.ties:>5.0%}  {_percent(row.as_accuracy):>11}  "
            f"{shown_span(row.chosen):<21}  {shown_span(row.confirmed)}".rstrip()
            for row in self.rows
        ]
        return (self.about, head, *shown, self.sentence)

    @property
    def sentence(self) -> str:
        """What tuning tau comes to."""
        if self.best is None:
            needed = f"{2 * FEWEST} test prompts with gold answers"
            return f"APGR is not measured, which takes {needed}: balance and ties are all that can be told"
        usual = next(row for row in self.rows if row.tau == USUAL)
        return (
            f"tau {self.best.tau:g} has the largest APGR on the half for choosing; on the other half it has "
            f"{shown_span(self.best.confirmed)}, tau {USUAL:g} has {shown_span(usual.confirmed)}"
        )


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"


def shown_span(span: Span | None) -> str:
    """APGR with its interval; "" where nothing was measured."""
    if span is None:
        return ""
    value, low, high = (f"{one:.3f}".removeprefix("0") for one in span)
    return f"{value} [{low}, {high}]"


def tau_sweep(
    *,
    run: str = "run",
    taus: Sequence[float] = TAUS,
    allow_endpoints: Sequence[str] = (),
    progress: Progress = no_progress,
) -> TauSweep:
    """Sweep tau over the entropies of a run's labels; APGR of SW on its test prompts, where these are graded.

    ``allow_endpoints``: as `demur.pipeline.evaluate` takes them. Raises InputError for labels without entropies.
    """
    with open_run(load_run(run), allow_endpoints=allow_endpoints, progress=progress) as opened:
        return sweep_of_run(opened, taus)


def sweep_of_run(run: Run, taus: Sequence[float] = TAUS) -> TauSweep:
    """The sweep of an open run."""
    rows = read_preferences(run.config.preferences)
    weak, strong = _entropies(rows, run.config.run)
    definition, label = rows[0].definition, run.config.label
    delta: Delta = "paper" if definition in AS_PRINTED else label.delta
    accuracy = accuracy_labels(run, [row.prompt for row in rows])
    made = count_of(len(rows), "preference")
    about = f"{made} by SE {definition}, difference {delta}{_ties_of_accuracy(accuracy)}"
    test = run.complete(run.held_back)
    if len(test) < 2 * FEWEST:
        return swept(about, weak, strong, delta, taus, accuracy=accuracy)
    settings = run.config.router
    method = SimilarityWeighted(settings.gamma, settings.weighting)
    X, asked = run.encoder.encode([row.prompt for row in rows]), run.encoder.encode([prompt.text for prompt in test])
    grader = run.own.grader or grade
    low, high = (mean_quality(test, side, grader) for side in (run.samples.weak, run.samples.strong))
    about += f"; SW ({settings.weighting} weights) on {len(test)} graded test prompts, half of them to choose on"

    def score(y: FloatArray) -> FloatArray:
        return method.fit(X, y).predict_proba(asked)[:, 1]

    groups = first_rows([prompt.text for prompt in test])
    return swept(about, weak, strong, delta, taus, score=score, quality=(low, high), accuracy=accuracy, groups=groups)


def accuracy_labels(run: Run, texts: Sequence[str]) -> FloatArray:
    """(n,) which model's first answer is better: 0 weak, 1 strong, .5 a tie; nan where a prompt has no gold answers."""
    graded, grader = [one for one in run.complete(run.train_prompts) if one.answers], run.own.grader or grade
    low, high = (first_quality(graded, side, grader) for side in (run.samples.weak, run.samples.strong))
    labels = {one.text: 0.5 + 0.5 * float(np.sign(gain)) for one, gain in zip(graded, high - low, strict=True)}
    return np.array([labels.get(text, math.nan) for text in texts])


def _ties_of_accuracy(accuracy: FloatArray) -> str:
    known = accuracy[~np.isnan(accuracy)]
    if not len(known):
        return ""
    return f"; by the accuracy of first answers {np.mean(known == 0.5):.0%} of {len(known)} are ties"


def _entropies(rows: Sequence[Preference], where: str) -> tuple[FloatArray, FloatArray]:
    found = [(row.entropy_a, row.entropy_b) for row in rows]
    if any(None in pair for pair in found):
        raise InputError(
            f"{where}: its labels are of kind {rows[0].kind!r} and carry no entropies; `demur label --from "
            "entropy` makes some"
        )
    weak, strong = np.array(found, dtype=float).T
    return weak, strong


def swept(
    about: str,
    weak: FloatArray,
    strong: FloatArray,
    delta: Delta,
    taus: Sequence[float] = TAUS,
    *,
    score: Callable[[FloatArray], FloatArray] | None = None,
    quality: tuple[FloatArray, FloatArray] | None = None,
    accuracy: FloatArray | None = None,
    groups: IntArray | None = None,
) -> TauSweep:
    """Rows for entropies (n,) of weak and strong.

    ``score``: targets (n,) -> scores (m,) of graded prompts, whose ``quality`` (m,) is that of weak and strong;
    ``groups`` (m,): rows of one prompt. ``accuracy`` (n,): as `accuracy_labels` gives it. Raises InputError for a tau
    below 0.
    """
    if min(taus) < 0:
        raise InputError(f"tau is {min(taus):g}; it must be at least 0")
    halves = _halves(len(quality[0]), groups) if quality else ()
    rows = []
    for tau in taus:
        y = hard_targets(weak, strong, tau=tau, delta=delta)
        rows.append(replace(_row(tau, y, score, quality, halves), as_accuracy=_agreement(y, accuracy)))
    return TauSweep(about, tuple(rows))


def _agreement(y: FloatArray, accuracy: FloatArray | None) -> float | None:
    known = np.zeros(len(y), dtype=bool) if accuracy is None else ~np.isnan(accuracy)
    return float(np.mean(y[known] == np.asarray(accuracy)[known])) if known.any() else None


def _halves(n: int, groups: IntArray | None) -> tuple[IntArray, IntArray]:
    """Rows of one of the groups are in one half."""
    number = group_numbers(n, groups)
    count = int(number.max()) + 1
    place = np.argsort(np.random.default_rng(0).permutation(count))[number]
    order, first = np.argsort(place, kind="stable"), int((place < count // 2).sum())
    return order[:first], order[first:]


def _row(
    tau: float,
    y: FloatArray,
    score: Callable[[FloatArray], FloatArray] | None,
    quality: tuple[FloatArray, FloatArray] | None,
    halves: Sequence[IntArray],
) -> TauRow:
    shares = [float(np.mean(y == side)) for side in (0.0, 1.0, 0.5)]
    if score is None or quality is None or len(np.unique(y)) == 1:
        return TauRow(tau, shares[0], shares[1], shares[2])
    found = score(y)
    spans = []
    for half in halves:
        curve = cost_quality_curve(found[half], quality[0][half], quality[1][half])
        value = curve.apgr
        spans.append(None if math.isnan(value) else (value, *curve.interval("apgr")))
    return TauRow(tau, shares[0], shares[1], shares[2], chosen=spans[0], confirmed=spans[1])
