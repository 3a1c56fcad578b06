"""Why a command proposes the strong share that it names, and what that keeps and saves. It reads files alone."""

from __future__ import annotations

from pathlib import Path

from demur.measure.threshold import KEPT, LEAST, ShareFigures
from demur.runs.lineage import (
    advice_of,
    advice_scope,
    least_share_of,
    share_figures_of,
    unknown_quality_of,
    wish_of,
)
from demur.runs.steps import (
    asked_share,
    calibrate_as_before,
    config_of,
    first_share,
    is_router,
    next_command,
    run_share,
    threshold_of,
)

NEAR = 0.005  # shares are said in whole hundredths


def proposed_shares(folder: Path) -> tuple[float, ...]:
    """The strong shares that commands on a run's router may propose, but the one that `advice_of` is of."""
    point, wish, in_file = advice_of(folder), wish_of(folder), run_share(folder)
    found = {first_share(folder)}
    found |= {float(share)} if wish and (share := asked_share(wish)) else set()
    found |= set() if in_file is None else {in_file}
    return tuple(sorted(one for one in found if point is None or abs(one - point.share) >= NEAR))


def why_first_share(folder: Path) -> str:
    """Why `first_share` is what it is, in words that stand after it."""
    point, config = advice_of(folder), config_of(folder)
    if point is None:
        return "to begin with, since what a share keeps is not known"
    if point.share >= 1:
        return f"to begin with, since no share keeps {KEPT:.0%}"
    if point.share <= 0:
        alone = "the smaller models alone keep" if config and config.between else "the small model alone keeps"
        return f"to begin with, since {alone} {point.kept:.0%}"
    return "as training proposes"


def share_notes(folder: Path, command: str = "") -> tuple[str, ...]:
    """Why that share, in short lines, and why the ``command`` that follows asks for another, or for something else;
    none where a threshold is set, or it is not the command that comes next."""
    router, strange = folder / "router", command and command != next_command(folder)
    if strange or not is_router(router) or threshold_of(router) is not None:
        return ()
    config, point, wish = config_of(folder), advice_of(folder), wish_of(folder)
    asked, least = asked_share(wish) if wish else "", least_share_of(folder)
    again = bool(command) and command == calibrate_as_before(folder)
    if wish and not asked:
        return (f"the command below asks for {wish[1]}, as for the router before",) if again else ()
    share = first_share(folder)
    begin = f"{share:.0%} is a share to begin with"
    if least:
        begin += f": {least:.0%} of the prompts are unknown and go to the large model whatever the threshold"
    if (in_file := run_share(folder)) is not None:
        share = in_file
        begin = f"the run file asks for a strong share of {share:.0%}"
    if again:
        share = float(asked)
        begin = f"the command below asks for {share:.0%}, as for the router before"
    figures = next((one for one in share_figures_of(folder) if abs(one.share - share) < NEAR), None)
    why = (f"  {begin}", *_figure_lines(figures))
    if point is None:
        unknown = unknown_quality_of(folder)
        of_all = f"what a share keeps is not known{f': {unknown}' if unknown else ''}"
        return (begin, *_figure_lines(figures)) if figures and figures.kept is not None else (of_all, *why)
    paid = f" and {point.money}" if point.money else ""
    whose = (f"  that is the quality of {scope}",) if (scope := advice_scope(folder)) else ()
    kept = f"{point.kept:.0%} of the large model's quality (believed)"
    if point.share <= 0:
        small = "the smaller models alone keep" if config and config.between else "the small model alone keeps"
        return f"{small} {kept}{paid}", *whose, *why
    if point.share >= 1:
        return f"no share keeps {KEPT:.0%} of the large model's quality (believed)", *whose, *why
    found = f"a strong share of {point.share:.0%} keeps {kept}{paid}"
    if round(point.kept, 2) > KEPT:  # `least_quality` asks for both, of which the second is more here
        whose = (f"  {LEAST}", *whose)
    another = in_file is not None or (again and round(share, 2) != point.share)
    return (found, *whose, *why) if another else (found, *whose)


def _figure_lines(figures: ShareFigures | None) -> tuple[str, ...]:
    if figures is None or not figures.sentence:
        return ()
    scope = (f"  that is the quality of {figures.scope}",) if figures.scope and figures.kept is not None else ()
    return f"  {figures.sentence}", *scope
