"""demur: the small model answers unless it demurs; then the large one does.

Public names are loaded on first use, so that `import demur` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demur.errors import DemurError
    from demur.evaluation.replay import replay
    from demur.evaluation.results import Evaluation
    from demur.evaluation.thresholds.calibrate import calibrate
    from demur.gate.router import Router
    from demur.labels.from_samples import Labels
    from demur.labels.scores.uncertainty import agreement, semantic_entropy
    from demur.meaning.clusters import meaning_clusters
    from demur.meaning.entailment import exact_match, shipped_entailment
    from demur.measure.curve import cost_quality_curve
    from demur.measure.threshold import Calibration
    from demur.models.catalogue import catalogue
    from demur.models.doctor import doctor
    from demur.pipeline import evaluate, label, report, run, sample, train
    from demur.quickstart import demo
    from demur.routing.prompt_router import Decision

    __version__: str

_HOME = {
    "Calibration": "measure.threshold",
    "Decision": "routing.prompt_router",
    "DemurError": "errors",
    "Evaluation": "evaluation.results",
    "Labels": "labels.from_samples",
    "Router": "gate.router",
    "agreement": "labels.scores.uncertainty",
    "calibrate": "evaluation.thresholds.calibrate",
    "catalogue": "models.catalogue",
    "cost_quality_curve": "measure.curve",
    "demo": "quickstart",
    "doctor": "models.doctor",
    "evaluate": "pipeline",
    "exact_match": "meaning.entailment",
    "label": "pipeline",
    "meaning_clusters": "meaning.clusters",
    "replay": "evaluation.replay",
    "report": "pipeline",
    "run": "pipeline",
    "sample": "pipeline",
    "semantic_entropy": "labels.scores.uncertainty",
    "shipped_entailment": "meaning.entailment",
    "train": "pipeline",
}

__all__ = [
    "Calibration",
    "Decision",
    "DemurError",
    "Evaluation",
    "Labels",
    "Router",
    "agreement",
    "calibrate",
    "catalogue",
    "cost_quality_curve",
    "demo",
    "doctor",
    "evaluate",
    "exact_match",
    "label",
    "meaning_clusters",
    "replay",
    "report",
    "run",
    "sample",
    "semantic_entropy",
    "shipped_entailment",
    "train",
]


def __getattr__(name: str) -> object:
    value: object
    if name == "__version__":
        value = importlib.import_module("importlib.metadata").version("demur")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"demur.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'demur' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
