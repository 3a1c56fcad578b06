"""The pictures of a report: the cost-quality curve, entropies, targets. Needs matplotlib; does not know HTML.

Everything that should follow the page's colours is drawn in INK, which the report turns into ``currentColor``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from demur.errors import require
from demur.evaluation.report.headline_record import Headline
from demur.evaluation.results import Evaluation, EvaluationRow
from demur.measure.reliability import Reliability
from demur.records import Preference

INK = "#7a7a7b"  # a grey that no palette uses
# After Okabe-Ito, safe for the colour-blind, each 3:1 against a light and a dark page: no two oranges, no pale colour
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#a8527f", "#8f7700", "#6a6fd0")
LEFT, RIGHT = 25, 70  # percent of calls, within which the name of the served point stands in the middle
ROOM = 0.15  # of the height, for that name
NARROW = 5.0  # inches; below that the legend stands in one column
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}


_Drawer = TypeVar("_Drawer", bound=Callable[..., Any])


def in_style(draw: _Drawer) -> _Drawer:
    """Draw with STYLE in force; matplotlib is imported only now."""

    @wraps(draw)
    def with_style(*given: Any, **named: Any) -> Any:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*given, **named)

    return with_style  # type: ignore[return-value]


def check_matplotlib() -> None:
    """Raise MissingExtraError now rather than after everything was paid for."""
    require("matplotlib", extra="report", purpose="the report's pictures")


@in_style
def curve_figure(found: Evaluation, width: float = 10.0, height: float = 5.2) -> Any:
    """Quality against strong share: the served router with its interval and the best other one in colours, the others
    as grey lines of one name, chord, oracle, both ends."""
    figure, axes = axes_of(width, height)
    curve = found.rows[0].curve
    shares = np.linspace(0, 1, 101)
    oracle = curve.oracle
    axes.plot(100 * oracle.strong_shares, oracle.qualities, color=INK, lw=1, ls=":", label="oracle")
    axes.plot([0, 100], [curve.weak_quality, curve.strong_quality], color=INK, lw=1, ls="--", label="random")
    beside = [row for row in found.rows if row.router != found.served]
    best = max(beside, key=lambda row: row.curve.apgr, default=None)
    grey = [row for row in beside if row is not best]
    for row in grey:
        axes.plot(100 * shares, _quality_at(row, shares), color=INK, lw=0.8, alpha=0.5, label=_of_others(row, grey))
    if best:
        _draw_router(axes, best, shares, served=False)
    for row in found.rows:
        if row.router == found.served:
            _draw_router(axes, row, shares, served=True)
    _mark(axes, 0, curve.weak_quality, f"always {found.weak}", (8, -14), "left")
    _mark(axes, 100, curve.strong_quality, f"always {found.strong}", (0, 10), "right")
    axes.margins(y=0.15)
    _mark_operating_point(axes, found)
    quality = "believed quality" if found.believed else "mean quality"
    axes.set(xlabel=f"calls to {found.strong} (%)", ylabel=quality, xlim=(-2, 102))
    figure.legend(frameon=False, loc="outside lower center", ncols=1 if width < NARROW else 5)
    return figure


def _quality_at(row: EvaluationRow, shares: np.ndarray) -> np.ndarray:
    return np.asarray(np.interp(shares, row.curve.strong_shares, row.curve.qualities))


def _of_others(row: EvaluationRow, grey: Sequence[EvaluationRow]) -> str:
    """The legend's name of all grey lines, once; matplotlib leaves out names that begin with a line."""
    return "other routers (in the table)" if row is grey[0] else "_other"


def _mark(axes: Any, share: float, quality: float, name: str, offset: tuple[int, int], side: str) -> None:
    axes.plot([share], [quality], "o", color=INK, ms=6)
    axes.annotate(name, (share, quality), offset, textcoords="offset points", ha=side)


def _mark_operating_point(axes: Any, found: Evaluation) -> None:
    """Where the served router stands at its threshold, as the headline says it."""
    headline = found.drawn
    if headline.quality is None:
        return
    share = headline.strong_share if headline.judged_share is None else headline.judged_share
    share, quality = 100 * share, headline.quality[0]
    axes.plot([share], [quality], "D", color=PALETTE[0], mec="white", ms=11, zorder=5, label="as it is served")
    _name_operating_point(axes, _served_share(headline), share, quality)


def _name_operating_point(axes: Any, name: str, share: float, quality: float) -> None:
    """Write the name below all curves, or, near the name of always-weak, above them; with a line to the point."""
    above = share < LEFT
    low, high = axes.get_ylim()
    room = ROOM * (high - low)
    axes.set_yticks([at for at in axes.get_yticks() if low <= at <= high])  # none where no quality is
    axes.set_ylim(low if above else low - room, high + room if above else high)
    end = high if above else low
    axes.plot([share, share], [quality, end], color=INK, lw=0.8)
    side = "left" if above else "center" if share < RIGHT else "right"
    axes.annotate(name, (share, end), color=INK, weight="bold", ha=side, va="bottom" if above else "top")


def _served_share(headline: Headline) -> str:
    """The share at the served point; of all prompts, too, where the curve is of some of them."""
    share = headline.strong_share if headline.judged_share is None else headline.judged_share
    shown, whole = f"{100 * share:.0f} %", f"{100 * headline.strong_share:.0f} %"
    if headline.judged is None or shown == whole:
        return f"as it is served: {shown}"
    return f"as it is served: {shown}\n(of all {headline.prompts:,}: {whole})"


def _draw_router(axes: Any, row: EvaluationRow, shares: np.ndarray, *, served: bool) -> None:
    name = f"{row.router} ({'served' if served else 'the best other'})"
    colour, line, width, order = (PALETTE[0], "-", 2.6, 3) if served else (PALETTE[1], "--", 2.0, 2)
    axes.plot(100 * shares, _quality_at(row, shares), color=colour, ls=line, lw=width, zorder=order, label=name)
    if served:
        axes.fill_between(100 * shares, *row.curve.band(shares), color=colour, alpha=0.15, lw=0)


@in_style
def entropy_figure(preferences: Sequence[Preference]) -> Any:
    """Histograms of both models' semantic entropy on the training prompts."""
    figure, axes = axes_of(4.6, 2.8)
    sides = [[row.entropy_a for row in preferences], [row.entropy_b for row in preferences]]
    known = [np.array([value for value in side if value is not None], dtype=float) for side in sides]
    low = min((float(side.min()) for side in known if side.size), default=0.0)
    high = max((float(side.max()) for side in known if side.size), default=1.0)
    bins = np.linspace(min(0.0, low), max(high, 1e-6), 13)
    axes.hist(known, bins=bins, color=PALETTE[:2], label=_models(preferences), hatch=["", "//"], edgecolor="white")
    axes.set(xlabel="semantic entropy (nats)", ylabel="prompts")
    axes.legend(frameon=False, loc="best")  # named, else it warns on a busy machine
    return figure


def _models(preferences: Sequence[Preference]) -> list[str]:
    """The names of the weak and of the strong model."""
    return [preferences[0].model_a, preferences[0].model_b]


@in_style
def target_figure(preferences: Sequence[Preference]) -> Any:
    """Histogram of the training targets."""
    figure, axes = axes_of(4.6, 2.8)
    axes.hist([row.target for row in preferences], bins=np.linspace(0, 1, 12), color=PALETTE[2])
    weak, strong = _models(preferences)
    axes.set(xlabel=f"target, from 0 ({weak} is enough)\nto 1 ({strong} is needed)", ylabel="prompts")
    return figure


@in_style
def reliability_figure(found: Reliability) -> Any:
    """How often prompts of similar score came true, with 95 % intervals; right scores lie on the line."""
    figure, axes = axes_of(4.6, 4.2)
    end = 1.05 * float(max(found.said.max(), found.high.max(), 1e-6))
    axes.plot([0, end], [0, end], color=INK, lw=1, ls="--")
    spread = np.abs(np.array([found.came - found.low, found.high - found.came]))
    axes.errorbar(found.said, found.came, yerr=spread, fmt="o", color=PALETTE[0], ms=5, lw=1)
    axes.set(xlabel="score", ylabel="strong right and weak wrong (share)", xlim=(0, end), ylim=(0, end))
    return figure


@in_style
def svg_of(figure: Any) -> str:
    """The figure as an SVG element."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]


@in_style
def save(figure: Any, path: Path) -> None:
    """Write the figure as PNG or SVG, by the path's ending, on white."""
    figure.savefig(path, dpi=160, facecolor="white", transparent=False)


def axes_of(width: float, height: float, columns: int = 1) -> Any:
    """A figure and its axes (an array of them with more than one column)."""
    from matplotlib.figure import Figure  # no pyplot: no global state, no window system

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns)
