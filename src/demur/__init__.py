"""demur: the small model answers unless it demurs; then the large one does.

Public names are loaded on first use, so that `import demur` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demur.errors import DemurError
    from demur.evaluation.calibrate import calibrate
    from demur.evaluation.explain import explain
    from demur.evaluation.replay import replay
    from demur.labels.uncertainty import agreement, semantic_entropy
    from demur.meaning.clusters import meaning_clusters
    from demur.meaning.entailment import exact_match, shipped_entailment
    from demur.measure.curve import cost_quality_curve
    from demur.models.catalogue import catalogue
    from demur.models.doctor import doctor
    from demur.pipeline import evaluate, label, report, route, run, sample, train
    from demur.quickstart import demo
    from demur.routing.router import Router

_HOME = {
    "DemurError": "errors",
    "Router": "routing.router",
    "agreement": "labels.uncertainty",
    "calibrate": "evaluation.calibrate",
    "catalogue": "models.catalogue",
    "cost_quality_curve": "measure.curve",
    "demo": "quickstart",
    "doctor": "models.doctor",
    "evaluate": "pipeline",
    "explain": "evaluation.explain",
    "exact_match": "meaning.entailment",
    "label": "pipeline",
    "meaning_clusters": "meaning.clusters",
    "replay": "evaluation.replay",
    "report": "pipeline",
    "route": "pipeline",
    "run": "pipeline",
    "sample": "pipeline",
    "semantic_entropy": "labels.uncertainty",
    "shipped_entailment": "meaning.entailment",
    "train": "pipeline",
}

__all__ = [
    "DemurError",
    "Router",
    "agreement",
    "calibrate",
    "catalogue",
    "cost_quality_curve",
    "demo",
    "doctor",
    "evaluate",
    "exact_match",
    "explain",
    "label",
    "meaning_clusters",
    "replay",
    "report",
    "route",
    "run",
    "sample",
    "semantic_entropy",
    "shipped_entailment",
    "train",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'demur' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"demur.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
