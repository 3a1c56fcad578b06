"""What a threshold does on a run's own prompts by the grades of a person, as `demur evaluate` measures it.

The threshold itself is set without grades: those of 100 prompts set it less exactly than belief does (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demur.evaluation.grades import FEWEST_GRADED, read_grades
from demur.evaluation.report.graded_headline import count_by_score, graded_headline
from demur.evaluation.report.headline_record import Headline
from demur.gate.router import Router
from demur.records import count_of
from demur.routing.known.training_texts import training_texts
from demur.runs.lineage import GRADES_FILE
from demur.runs.steps import share_command


def measured_headline(
    router: Router, folder: Path, texts: Sequence[str], threshold: float | None = None
) -> Headline | None:
    """The headline of a router that is saved in ``folder`` by its run's grades, at its threshold or another.

    None where ``texts`` are not the prompts that it was to learn from, or too few of those are graded.
    """
    if folder.name != "router" or set(texts) != set(training_texts(router.prompt_router)):
        return None
    grades = read_grades(folder.parent / GRADES_FILE)
    enough = len(grades) >= FEWEST_GRADED and count_by_score(router, grades) >= FEWEST_GRADED
    return graded_headline(router, grades, threshold) if enough else None


def wish_note(found: Headline, keep: float, folder: Path) -> str:
    """What grades say of a threshold that was to keep a fraction of the large model's quality, where that is not what
    was asked for; empty elsewhere. ``folder`` has the router."""
    if not found.by_grades or found.quality is None or found.strong_quality is None:
        return ""
    gap_of = found.without_gap.by_score if found.without_gap else 0
    graded = count_of(gap_of or found.judged or 0, "graded prompt")
    if found.without_gap is not None:
        return (
            f"{graded} cannot show what is kept of the large model's quality, so the threshold was set by believed "
            "quality"
        )
    if found.quality[2] >= keep * found.strong_quality:
        return ""
    kept, larger = found.quality[0] / found.strong_quality, ""
    if found.kept and found.kept.share > found.strong_share:
        larger = f": `{share_command(folder.parent, found.kept.share)}`"
    return (
        f"The threshold was set by believed quality. By {graded} it keeps {kept:.0%} of the large model's, less than "
        f"{100 * keep:.4g}%. A larger strong share keeps more{larger}"
    )
