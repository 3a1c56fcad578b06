"""Figures 1 and 2, in the report's style. Draws what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from demur.curves import CostQualityCurve
from demur.drawing import INK, PALETTE, axes_of, in_style
from demur.records import FloatArray


@in_style
def learning_figure(sizes: Sequence[int], found: Mapping[str, FloatArray]) -> Any:
    """Figure 1: APGR against training prompts, mean and range over seeds, a line a source."""
    figure, axes = axes_of(7.2, 4.0)
    for colour, (source, values) in zip(PALETTE, found.items(), strict=False):
        axes.plot(sizes, values.mean(axis=1), color=colour, marker="o", ms=4, label=source)
        axes.fill_between(sizes, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.15, lw=0)
    axes.axhline(0.5, color=INK, lw=1, ls="--", label="random")
    axes.set(xscale="log", xlabel="training prompts", ylabel="APGR on GSM8K (band: all seeds)")
    axes.legend(frameon=False)
    return figure


@in_style
def trade_off_figure(found: Mapping[str, Mapping[str, CostQualityCurve]]) -> Any:
    """Figure 2: quality against calls to the strong model, a panel a benchmark, a line a source (all kNN)."""
    figure, panels = axes_of(11.0, 3.8, max(2, len(found)))
    for axes, (benchmark, curves) in zip(panels, found.items(), strict=False):
        any_curve = next(iter(curves.values()))
        oracle = any_curve.oracle
        axes.plot(100 * oracle.strong_shares, oracle.qualities, color=INK, lw=1, ls=":", label="oracle")
        axes.plot(
            [0, 100], [any_curve.weak_quality, any_curve.strong_quality], color=INK, lw=1, ls="--", label="random"
        )
        shares = np.linspace(0, 1, 101)
        for colour, (name, curve) in zip(PALETTE, curves.items(), strict=False):
            axes.plot(100 * shares, np.interp(shares, curve.strong_shares, curve.qualities), color=colour, label=name)
        axes.set(xlabel="calls to the strong model (%)", title=benchmark)
    panels[0].set(ylabel="mean quality")
    panels[0].legend(frameon=False, fontsize=8)
    return figure
