"""A gate on disk: policy.json beside its prompt router. Plain data; `demur.gate.router` makes a router of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ArtifactError
from demur.files import write_whole
from demur.gate.cascade.answer_scorer import AnswerScorer
from demur.gate.gate import Gate, GateStep, GateVerdict
from demur.gate.quality.extra_samples import ExtraSamplesTrial
from demur.gate.quality.two_stages import Rehearsal
from demur.gate.quality.weaker_groups import WeakerGroup
from demur.records import FloatArray
from demur.routing.artifact import GATE_FILE, weights_hash


@dataclass(frozen=True, slots=True, eq=False)
class SavedGate:
    """What policy.json holds; `demur.gate.router.Router` says what each is."""

    gate: Gate | None
    active: bool
    rules: bool
    about: str
    beliefs: FloatArray | None
    rehearsal: Rehearsal | None
    trials: tuple[ExtraSamplesTrial, ...]
    weaker: tuple[WeakerGroup, ...]


def write_gate(folder: Path, saved: SavedGate) -> None:
    """Write it beside the router saved there. Raises ArtifactError where none is."""
    known = saved.rehearsal
    kept = {
        "router": weights_hash(folder),
        "active": saved.active,
        "about": saved.about,
        "rules": saved.rules,
        "gate": asdict(saved.gate) if saved.gate else None,
        "beliefs": _as_list(saved.beliefs),
        "rehearsal": known and {"scores": _as_list(known.scores), "changes": _as_list(known.changes)},
        "trials": [asdict(trial) for trial in saved.trials],
        "weaker": [asdict(one) for one in saved.weaker],
    }
    write_whole(folder / GATE_FILE, json.dumps(kept) + "\n")


def read_gate(folder: Path) -> SavedGate | None:
    """The gate beside a saved router; None where there is none. Raises ArtifactError for one of another router."""
    path = folder / GATE_FILE
    if not path.exists():
        return None
    if not path.is_file():
        raise ArtifactError(f"{path}: is not a regular file; train again")
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = _from_json(kept)
        owner = kept["router"]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); train again") from None
    if owner != weights_hash(folder):
        raise ArtifactError(f"{path}: the gate belongs to another router than the one beside it; train again")
    return found


def _from_json(kept: dict[str, Any]) -> SavedGate:
    known = kept["rehearsal"] and {name: np.array(value) for name, value in kept["rehearsal"].items()}
    return SavedGate(
        gate=_gate(kept["gate"]) if kept["gate"] else None,
        active=kept["active"],
        rules=kept["rules"],
        about=kept["about"],
        beliefs=None if kept["beliefs"] is None else np.array(kept["beliefs"]),
        rehearsal=Rehearsal(**known) if known else None,
        trials=tuple(_trial(one) for one in kept["trials"]),
        weaker=tuple(WeakerGroup(**one) for one in kept["weaker"]),
    )


def _gate(kept: dict[str, Any]) -> Gate:
    head = _step(kept["head"]) if kept["head"] else None
    judged = GateVerdict(**kept["head_verdict"]) if kept["head_verdict"] else None
    scorer = kept.get("scorer")  # earlier versions had none
    words = AnswerScorer(tuple(map(float, scorer["weights"])), float(scorer["intercept"])) if scorer else None
    steps, verdict = tuple(_step(step) for step in kept["steps"]), GateVerdict(**kept["verdict"])
    return Gate(steps, head, kept["band"], verdict, judged, words)


def _trial(kept: dict[str, Any]) -> ExtraSamplesTrial:
    money = kept["for_the_money"] and tuple(kept["for_the_money"])
    arrays = {"tokens": tuple(kept["tokens"]), "for_the_money": money}
    return ExtraSamplesTrial(**{**kept, "verdict": GateVerdict(**kept["verdict"]), **arrays})


def _step(kept: dict[str, Any]) -> GateStep:
    return GateStep(**{**kept, "weights": tuple(kept["weights"])})


def _as_list(values: FloatArray | None) -> list[Any] | None:
    return None if values is None else values.tolist()
