"""The picture of `demur simulate`: quality against latency, and against USD, along the strong share. Draws what it is
given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from demur.evaluation.report.figures import INK, PALETTE, axes_of, in_style
from demur.records import FloatArray

APART = (34.0, 14.0)  # points that two labels must be apart, across or up
WIDE = 10.0  # largest over least latency, beyond which the axis is logarithmic


@in_style
def front_figure(
    shares: Sequence[float],
    quality: Sequence[float] | None,
    p95: Sequence[float],
    usd: Sequence[float] | None,
    chosen: int | None,
) -> Any:
    """One panel for the 95th percentile of the latency (seconds) and, where prices are known, one for ``usd`` per 1,000
    requests; a point per threshold, labelled with its strong share. ``chosen``: number of the point that was asked for.
    Where the ``quality`` is not known the calls to the cloud stand in its place.
    """
    up_axis = shares if quality is None else quality
    panels = [("95th percentile of the latency (s)", p95, 5)]  # and where labels stand: beside a falling, a rising line
    panels += [("cost (USD per 1,000 requests)", usd, -11)] if usd is not None else []
    figure, axes = axes_of(4.8 * len(panels), 4.2, len(panels))
    for panel, (label, values, up), colour in zip(np.atleast_1d(axes), panels, PALETTE, strict=False):
        panel.plot(values, up_axis, "o-", color=colour, ms=5)
        if chosen is not None:
            (mark,) = panel.plot(values[chosen], up_axis[chosen], "D", color=INK, ms=11, mfc="none", mew=2)
        panel.set(xlabel=label, xscale="log" if label.endswith("(s)") and max(p95) > WIDE * min(p95) else "linear")
        panel.xaxis.set_major_formatter("{x:g}")
        panel.margins(x=0.14, y=0.1)
        figure.draw_without_rendering()  # the layout is known only then
        at = panel.transData.transform(np.column_stack([values, up_axis])) * 72 / figure.dpi
        for i in readable_labels(at):
            panel.annotate(f"{shares[i]:.0%}", (values[i], up_axis[i]), (6, up), textcoords="offset points")
    if chosen is not None:
        asked = "the cheapest point that keeps the 95th percentile asked for"
        figure.legend([mark], [asked], frameon=False, loc="outside upper center")
    label = "share of calls to the cloud" if quality is None else "quality (labels: calls to the cloud)"
    np.atleast_1d(axes)[0].set_ylabel(label)
    return figure


def readable_labels(at: FloatArray) -> list[int]:
    """Numbers of the points, (n, 2) in typographic points, whose labels do not cover each other: the two ends, then the
    others in their order."""
    kept: list[int] = []
    for i in dict.fromkeys((0, len(at) - 1, *range(len(at)))):
        if all((np.abs(at[i] - at[other]) > APART).any() for other in kept):
            kept.append(i)
    return kept
