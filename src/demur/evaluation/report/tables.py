"""The table of an evaluation as rows of text, for terminal and page; missing values are a dash."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from demur.evaluation.report.headline_record import Headline
from demur.evaluation.results import Evaluation, EvaluationRow, usd_at_share
from demur.measure.curve import CostQualityCurve
from demur.measure.threshold import KeptPoint
from demur.records import dollars, percent

CHOICES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)  # strong shares
COLUMNS = ("router", "CPT50, %", "CPT80, %", "APGR [95 %]", "USD/1,000")


def router_rows(found: Evaluation) -> list[tuple[str, ...]]:
    """One row per router, the served one marked; cells as COLUMNS."""
    return [_router_row(row, served=row.router == found.served) for row in found.rows]


def choice_columns(found: Evaluation) -> tuple[str, ...]:
    """Names of the columns of `choice_rows`."""
    quality, line = "believed quality" if found.believed else "quality", found.drawn
    of_some = f", of {line.judged:,} prompts" if line.judged is not None else ""
    return f"calls to {found.strong}", f"{quality}{of_some}", "of the gap", "USD per 1,000 calls", "saved"


def choice_rows(found: Evaluation) -> list[tuple[str, ...]]:
    """What is served now; then what the served router gives and costs at some other strong shares, counted alike."""
    curve = next(row.curve for row in found.rows if row.router == found.served)
    rows = [_served_row(found, curve)] if found.drawn.quality else []
    if found.choices:
        return rows + [_choice_row(found.drawn, point, curve) for point in found.choices]
    for share in CHOICES:
        quality, cost = float(np.interp(share, curve.strong_shares, curve.qualities)), usd_at_share(curve, share)
        rows.append((f"{share:.0%}", number(quality), _part(curve, quality), usd(cost), _savings(curve, cost)))
    return rows


def served_share(found: Evaluation) -> str:
    """The name of the row of `choice_rows` that is served now."""
    return f"{found.drawn.strong_share:.0%}, as served"


def _served_row(found: Evaluation, curve: CostQualityCurve) -> tuple[str, ...]:
    line = found.drawn
    assert line.quality is not None, "a row of what is served has a quality"
    return (
        served_share(found),
        number(line.quality[0]),
        _part(curve, line.quality[0]),
        usd(line.usd),
        _shown_saving(line.saved),
    )


def _choice_row(line: Headline, point: KeptPoint, curve: CostQualityCurve) -> tuple[str, ...]:
    quality, saved = point.kept * curve.strong_quality, point.saved
    cost = None if saved is None or line.usd_strong is None else (1 - saved) * line.usd_strong
    share = f"{point.strong_share:.0%}"
    return share, number(quality), _part(curve, quality), usd(cost), _shown_saving(saved)


def _shown_saving(share: float | None) -> str:
    return "unknown" if share is None else percent(share)


def _part(curve: CostQualityCurve, quality: float) -> str:
    """Which part of the gap between the models is recovered, as text."""
    return "-" if not curve.has_gap else percent((quality - curve.weak_quality) / curve.gain)


def _savings(curve: CostQualityCurve, cost: float | None) -> str:
    """What is saved of always-strong's cost, as text."""
    whole = usd_at_share(curve, 1.0)
    return "unknown" if cost is None or not whole else percent(1 - cost / whole)


def reference_rows(found: Evaluation) -> list[tuple[str, ...]]:
    """What every router is measured against: random and oracle, where there is a gap to recover, and both models."""
    curve = found.rows[0].curve
    oracle, (weak, strong) = curve.oracle, found.usd_alone
    chord = None if weak is None or strong is None else 0.2 * weak + 0.8 * strong  # at its CPT80
    parts = [
        ("random (chord)", "50", "80", ".500", usd(chord)),
        ("oracle", _whole(oracle.cpt(0.5)), _whole(oracle.cpt(0.8)), _short(oracle.apgr), ""),
    ]
    return [
        *(parts if curve.has_gap else []),
        ("always weak", "", "", "", usd(found.usd_alone[0])),
        ("always strong", "", "", "", usd(found.usd_alone[1])),
    ]


def base_of(found: Evaluation) -> str:
    """Which prompts the table counts, where the first line counts more; empty where they are the same."""
    line = found.drawn
    if line.judged is None:
        return ""
    what, graded = "Shares and costs", ""
    if found.headline.weighed and not found.believed:
        what, graded = "Shares, costs and quality", f", its quality by {found.headline.judged or 0:,} graded ones"
    return (
        f"{what} of the table are of its {found.n_test:,} prompts, those of the first line of all "
        f"{line.prompts:,}{graded}."
    )


def terms(found: Evaluation) -> tuple[str, ...]:
    """What the table's words mean, and by what its figures were measured."""
    over = "believed quality" if found.believed else "the mean over all samples of a prompt"
    if found.drawn.by_grades:
        over = "that of one answer of each model, as a person graded it"
    return (
        "APGR: share of the quality gap between the models that is recovered, averaged over all shares of calls to the "
        "strong model; .500 for random routing. CPT50, CPT80: share of calls that recovers 50 %, 80 % of the gap. "
        "Brackets are 95 % intervals over prompts. USD/1,000: what 1,000 calls cost at CPT80, not at the served "
        "threshold as in the headline.",
        *filter(None, [base_of(found)]),
        f"Quality is {over}. The oracle knows each prompt's quality; a router with a gate looks at the answer itself "
        "and can do better.",
    )


def _router_row(row: EvaluationRow, *, served: bool) -> tuple[str, ...]:
    curve, name = row.curve, f"{row.router} (served)" if served else row.router
    shares = (_cpt(curve, 50), _cpt(curve, 80))
    apgr = "-" if not curve.has_gap else _with_interval(curve, "apgr", curve.apgr, _short)
    return name, *shares, apgr, _usd_at_cpt80(row)


def _cpt(curve: CostQualityCurve, percentage: int) -> str:
    share = curve.cpt(percentage / 100)
    return "-" if math.isnan(share) or not curve.has_gap else _with_interval(curve, f"cpt{percentage}", share, _whole)


def _with_interval(curve: CostQualityCurve, metric: str, value: float, show: Callable[[float], str]) -> str:
    low, high = curve.interval(metric)
    return f"{show(value)} [{show(low)}, {show(high)}]"


def _short(value: float) -> str:
    """Three digits without the zero before them: the table is 80 columns wide."""
    return number(value).replace("0.", ".", 1)


def _whole(share: float) -> str:
    """A fraction as a whole percentage, without the sign."""
    return "-" if math.isnan(share) else f"{100 * share:.0f}"


def _usd_at_cpt80(row: EvaluationRow) -> str:
    """Unknown without prices; a dash where 80 % of the gap is never recovered, as in the column of CPT80."""
    never = row.curve.costs is not None and (math.isnan(row.curve.cpt(0.8)) or not row.curve.has_gap)
    return "-" if never else usd(row.usd_at_cpt80)


def number(value: float) -> str:
    """Three digits."""
    return "-" if math.isnan(value) else f"{value:.3f}"


def usd(amount: float | None) -> str:
    """An amount in USD; an unknown price is shown as unknown, never as $0."""
    if amount is None or not math.isfinite(amount):
        return "unknown"
    return dollars(amount)
