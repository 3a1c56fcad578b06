"""Table 3's shape: a judge compares the answers that three routers would have served at their own CPT."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demur.catalogue import model
from demur.errors import InputError
from demur.judge import judge
from demur.reproducing.measuring import Laboratory
from demur.reproducing.outcomes import Benchmark, benchmark
from demur.reproducing.part import Part
from demur.reproducing.systems import System, named

JUDGED_QUESTIONS = 30  # at each of CPT50 and CPT80; routers give one and the same answer to half of them
JUDGED = (
    ("TO-Router: kNN", "accuracy hard"),
    ("RouteLLM: SW", "preference"),
    ("Confidence-Driven: kNN", "entropy hard"),
)
PAPER_JUDGED = {0.5: (78.88, 79.72, 79.95), 0.8: (85.97, 88.88, 89.21)}


def judged_answers(lab: Laboratory, judging: tuple[Path, str], part: Part) -> None:
    """Scores of both judged sets, beside the paper's; verdicts are kept in the folder and resumed."""
    folder, name = judging
    if "@" not in name and not model(name).here:
        raise InputError(f"the judge {name} is not fetched; `demur models fetch {name}`, or --judge MODEL@BASE_URL")
    asked = benchmark(lab.folder, "gsm8k")
    part.columns = ("", *(system for system, _ in JUDGED))
    for recovered in (0.5, 0.8):
        file = folder / f"judged-cpt{recovered:.0%}".replace("%", ".jsonl")
        rows = routed_items(lab, asked, recovered)
        file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
        found = judge(file, name, store=folder / "judge.sqlite", progress=lab.progress)
        scores = [found.scores[system] for system, _ in JUDGED]
        part.rows.append((f"CPT({recovered:.0%})", *(f"{s:.1f} [{a:.0f}, {b:.0f}]" for s, a, b in scores)))
        part.rows.append((f"the paper, o1 as judge, CPT({recovered:.0%})", *(f"{v}" for v in PAPER_JUDGED[recovered])))
        part.notes += [found.lines[0], found.lines[-1].strip()]


def routed_items(
    lab: Laboratory, asked: Benchmark, recovered: float, count: int = JUDGED_QUESTIONS
) -> list[dict[str, Any]]:
    """A fixed draw of questions with the answers served at each router's own CPT, as rows that `demur judge` reads."""
    assert asked.weak_answers is not None and asked.strong_answers is not None and asked.gold is not None
    up = {which[0]: _goes_strong(lab, named(*which), asked, recovered) for which in JUDGED}
    drawn = np.random.default_rng(0).permutation(len(asked.questions))[:count].tolist()
    said, right = (asked.weak_answers, asked.strong_answers), (asked.weak, asked.strong)
    return [
        {
            "question": asked.questions[i],
            "reference": asked.gold[i],
            "responses": {name: said[int(strong[i])][i] for name, strong in up.items()},
            "correct": {name: float(right[int(strong[i])][i]) for name, strong in up.items()},
        }
        for i in drawn
    ]


def _goes_strong(lab: Laboratory, system: System, asked: Benchmark, recovered: float) -> NDArray[np.bool_]:
    """(n,) which prompts a system sends to the strong model at its own CPT."""
    share, scores = lab.curve(system, asked).cpt(recovered), lab.scores(system, asked)
    count = round(share * len(scores)) if not math.isnan(share) else len(scores)
    return np.asarray(np.argsort(np.argsort(-scores, kind="stable")) < count)
