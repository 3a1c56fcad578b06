"""demur: the small model answers unless it demurs; then the large one does.

Public names are loaded on first use, so that `import demur` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demur.catalogue import models
    from demur.clustering import meaning_clusters
    from demur.curves import cost_quality_curve
    from demur.entailment import exact_match, shipped_entailment
    from demur.errors import DemurError
    from demur.explaining import explain
    from demur.pipeline import evaluate, label, report, route, run, sample, train
    from demur.probing import doctor
    from demur.quickstart import demo
    from demur.replaying import replay
    from demur.router import Router
    from demur.thresholds import calibrate
    from demur.uncertainty import agreement, semantic_entropy

_HOME = {
    "DemurError": "errors",
    "Router": "router",
    "agreement": "uncertainty",
    "calibrate": "thresholds",
    "cost_quality_curve": "curves",
    "demo": "quickstart",
    "doctor": "probing",
    "evaluate": "pipeline",
    "explain": "explaining",
    "exact_match": "entailment",
    "label": "pipeline",
    "meaning_clusters": "clustering",
    "models": "catalogue",
    "replay": "replaying",
    "report": "pipeline",
    "route": "pipeline",
    "run": "pipeline",
    "sample": "pipeline",
    "semantic_entropy": "uncertainty",
    "shipped_entailment": "entailment",
    "train": "pipeline",
}

__all__ = [
    "DemurError",
    "Router",
    "agreement",
    "calibrate",
    "cost_quality_curve",
    "demo",
    "doctor",
    "evaluate",
    "exact_match",
    "explain",
    "label",
    "meaning_clusters",
    "models",
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
