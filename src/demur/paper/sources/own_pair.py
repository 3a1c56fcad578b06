"""A run's training prompts with every source of supervision that its own samples give: `demur export outcomes` writes
them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from demur.labels.beliefs.unknown import UnknownPrompt
from demur.labels.graded_targets import sources_of
from demur.paper.outcome_files import Row, rows_of
from demur.paper.outcomes import Data
from demur.paper.sources.trainings import (
    ANSWER_WRONG,
    CASCAL,
    DEFAULT,
    DISCRETE,
    PRINTED,
    PRINTED_NORMALISED,
    SMOOTHIE,
    SOURCES,
    Training,
)
from demur.records import FloatArray

TRAIN = "samples/train"
_WHY = {
    **dict.fromkeys((SMOOTHIE, CASCAL), "it needs the samples' texts, which are not exported"),
    "preference": "no preferences are stored; --arena names a file of battles",
    "judge": "no judgements are stored, and asking for them takes one call per prompt: `demur label --from judge`",
}
_NO_GOLD = "a training prompt has no gold answers"
_NO_TOKENS = "an endpoint gave no log-probs, which Eq. 2 needs"


def own_pair(folder: Path, data: Data) -> Training:
    """The pair of a run. Raises InputError."""
    rows, models = rows_of(folder, TRAIN), (data.weak, data.strong)
    sizes = tuple([np.array(row.numbers("models", model, "class_size")) for row in rows] for model in models)
    weak, strong = (np.array([max(0.0, -float(np.log(one / len(one)).mean())) for one in side]) for side in sizes)
    entropies = {DISCRETE: (weak, strong), **_printed_uncertainty(rows, models)}
    graded = all(row.has("models", model, "correct") for row in rows for model in models)
    correct = _correct(rows, models) if graded else None
    targets = sources_of(
        entropy=entropies[DISCRETE],
        printed={name: pair for name, pair in entropies.items() if name != DISCRETE},
        gains=np.array([row.number("gain") for row in rows]),
        correct=correct,
    )
    targets[DEFAULT] = np.array([row.number("label") if row.has("label") else 0.5 for row in rows])
    if correct:
        targets[ANSWER_WRONG] = 1.0 - correct[0][:, 0]
    whys = dict.fromkeys(SOURCES, _NO_GOLD) | dict.fromkeys((PRINTED, PRINTED_NORMALISED), _NO_TOKENS) | _WHY
    questions, untold = [row.text("question") for row in rows], np.full(len(rows), np.nan)
    return Training(
        f"{data.strong} / {data.weak}",
        questions,
        targets,
        {name: whys[name] for name in SOURCES if name not in targets},
        (correct[0].mean(axis=1), correct[1].mean(axis=1)) if correct else (untold, untold),
        answers=[row.text("models", data.weak, "response") for row in rows] if correct else None,
        answer_quality=(correct[0][:, 0], correct[1].mean(axis=1)) if correct else None,
        unknown=tuple(
            UnknownPrompt(row.text("id"), question, str(row.values["unknown"]))
            for row, question in zip(rows, questions, strict=True)
            if row.values.get("unknown")
        ),
        entropies=entropies,
    )


def _printed_uncertainty(rows: list[Row], models: tuple[str, str]) -> dict[str, tuple[FloatArray, FloatArray]]:
    """Eq. 2 of both models by its form; none where an endpoint gave no log-probs."""
    fields = {PRINTED: "eq2_raw", PRINTED_NORMALISED: "eq2_length_normalised"}
    if not all(row.has("models", model, "eq2_raw") for row in rows for model in models):
        return {}
    weak, strong = models
    return {
        name: (
            np.array([row.number("models", weak, field) for row in rows]),
            np.array([row.number("models", strong, field) for row in rows]),
        )
        for name, field in fields.items()
    }


def _correct(rows: list[Row], models: tuple[str, str]) -> tuple[FloatArray, FloatArray]:
    """(n, samples) grades of both; as many of every prompt, since samples that stop when they agree would bias."""
    found = [[row.numbers("models", model, "correct") for row in rows] for model in models]
    count = min(len(one) for side in found for one in side)
    weak, strong = (np.array([one[:count] for one in side]) for side in found)
    return weak, strong
