"""The figures, in the report's style. Draws what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from demur.evaluation.report.figures import INK, PALETTE, axes_of, in_style
from demur.measure.curve import CostQualityCurve
from demur.measure.frontier import Frontier
from demur.records import FloatArray

NAMES = {"mt_bench": "MT-Bench", "gsm8k": "GSM8K", "mmlu": "MMLU"}
APART = 1.06  # factor between lines of a logarithmic axis that stand side by side


@in_style
def learning_figure(found: Mapping[str, tuple[tuple[int, ...], FloatArray]], on: str) -> Any:
    """Figure 1: APGR against training prompts, one line with bars per source; values (sizes, 3): mean, low, high.

    The lines stand a little apart, so that their bars do.
    """
    figure, axes = axes_of(7.2, 4.0)
    middle = (len(found) - 1) / 2
    for i, (source, (sizes, values)) in enumerate(found.items()):
        mean, low, high = values.T
        x, bar = np.array(sizes) * APART ** (i - middle), np.maximum([mean - low, high - mean], 0)
        colour, marker = PALETTE[i % len(PALETTE)], "os^"[i % 3]
        axes.errorbar(x, mean, yerr=bar, color=colour, marker=marker, ms=5, capsize=2, elinewidth=1, label=source)
    axes.axhline(0.5, color=INK, lw=1, ls="--", label="random")
    axes.set(xscale="log", xlabel="training prompts", ylabel=f"APGR on {on} (bar: 95 %)")
    ticks = sorted({size for sizes, _ in found.values() for size in sizes})
    axes.set_xticks(ticks, [str(size) for size in ticks])
    axes.minorticks_off()
    figure.legend(frameon=False, loc="outside upper center", ncols=len(found) + 1)
    return figure


@in_style
def trade_off_figure(found: Mapping[str, Mapping[str, CostQualityCurve]]) -> Any:
    """Figure 2: quality against calls to the strong model, one panel per benchmark, one line and band per source (all
    kNN).
    """
    figure, panels = axes_of(12.0, 4.2, max(2, len(found)))
    shares = np.linspace(0, 1, 101)
    for axes, (benchmark, curves) in zip(panels, found.items(), strict=False):
        any_curve = next(iter(curves.values()))
        oracle, ends = any_curve.oracle, [any_curve.weak_quality, any_curve.strong_quality]
        axes.plot(100 * oracle.strong_shares, oracle.qualities, color=INK, lw=1, ls=":", label="oracle")
        axes.plot([0, 100], ends, color=INK, lw=1, ls="--", label="random")
        for colour, (name, curve) in zip(PALETTE, curves.items(), strict=False):
            axes.fill_between(100 * shares, *curve.band(shares), color=colour, alpha=0.1, lw=0)
            axes.plot(100 * shares, np.interp(shares, curve.strong_shares, curve.qualities), color=colour, label=name)
        axes.set(xlabel="calls to the strong model (%)", title=NAMES.get(benchmark, benchmark))
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    panels[0].set(ylabel="mean quality (band: 95 % over prompts)")
    figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=4)
    return figure


@in_style
def frontier_figure(found: Mapping[str, tuple[Mapping[str, Frontier], Mapping[str, tuple[float, float]]]]) -> Any:
    """Quality against cost, one panel per pool: routers' hulls, and every single model by name as a point."""
    figure, panels = axes_of(12.0, 5.2, max(2, len(found)))
    shown: dict[str, Any] = {}
    colours: dict[str, Any] = {"oracle": (INK, ":"), "no prompt seen": (INK, "--")}
    for axes, (title, (hulls, models)) in zip(panels, found.items(), strict=False):
        for name, hull in hulls.items():
            colour, line = colours.setdefault(name, (PALETTE[(len(colours) - 2) % len(PALETTE)], "-"))
            costs, qualities = np.append(hull.costs, hull.high), np.append(hull.qualities, hull.qualities[-1])
            (shown[name],) = axes.plot(costs, qualities, color=colour, ls=line, lw=1.4)
        for model, (cost, quality) in models.items():
            axes.plot([cost], [quality], "o", color=INK, ms=4)
            axes.annotate(model, (cost, quality), (4, -10), textcoords="offset points", fontsize=7)
        axes.set(xscale="log", xlabel=title, ylabel="mean quality")
        _plain_logarithms(axes)
    for axes in panels[len(found) :]:
        axes.set_axis_off()
    figure.legend(list(shown.values()), list(shown), frameon=False, loc="outside lower center", ncols=7)
    return figure


@in_style
def overhead_figure(points: Mapping[str, tuple[float, float, float, float]], ylabel: str, log: bool) -> Any:
    """One point per router: milliseconds of a decision, and a value with its low and high end (equal: no bar)."""
    figure, axes = axes_of(8.6, 4.8)
    for i, (name, (milliseconds, value, low, high)) in enumerate(points.items()):
        colour, marker = PALETTE[i % len(PALETTE)], "os^D"[i // len(PALETTE) % 4]
        bar = np.maximum([[value - low], [high - value]], 0)
        axes.errorbar([milliseconds], [value], yerr=bar, color=colour, marker=marker, ls="", ms=6, label=name)
    axes.set(xscale="log", xlabel="one decision (ms, p50, embedding given)", ylabel=ylabel)
    if log:
        axes.set_yscale("log")
    else:
        axes.axhline(0.5, color=INK, lw=1, ls="--", label="random")
    _plain_logarithms(axes)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _plain_logarithms(axes: Any) -> None:
    """Ticks of a logarithmic x axis at 1, 2, 5, 10, ..., written as numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
