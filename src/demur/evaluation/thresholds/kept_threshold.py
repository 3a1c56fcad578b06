"""Keeps the threshold that `demur calibrate` has set, with its certificate, where a run makes the same router again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demur.config import RUN_RECORD, RunConfig, load_run
from demur.errors import ArtifactError
from demur.files import write_whole
from demur.gate.shares import OF_A_RUN
from demur.measure.threshold import Calibration
from demur.routing.artifact import CERTIFICATE, GATE_FILE, read_description, save_calibration


@dataclass(frozen=True, slots=True)
class KeptThreshold:
    """A threshold that was set after a run, and what it was set for."""

    calibration: Mapping[str, Any]
    certificate: str  # the file; empty: there is none
    router: str  # identity of the router and its gate
    replaced: str  # why the run sets its own in any case; empty: it does not

    @property
    def about(self) -> str:
        """What was asked for when it was set."""
        asked = f"{float(self.calibration['threshold']):.4f}, {self.calibration['asked']}"
        return f"the certified threshold ({asked})" if self.certificate else f"the threshold of calibrate ({asked})"


def threshold_there(config: RunConfig, *, again: bool) -> KeptThreshold | None:
    """The threshold that was set for a run's router after the run; None where there is none but the run's own.

    ``again``: whether the run is to be begun again, with a threshold of its own.
    """
    router = config.served_router
    try:
        calibration = read_description(router).get("calibration")
    except ArtifactError:
        return None  # no router, or one that is about to be replaced
    if not isinstance(calibration, dict) or calibration.get("on") == OF_A_RUN:
        return None
    file = router / CERTIFICATE
    certificate = file.read_text(encoding="utf-8") if file.is_file() else ""
    before = load_run(config.run).strong_share if (config.folder / RUN_RECORD).is_file() else None
    other = config.strong_share not in (None, before)
    why = "the run is begun again" if again else "the run asks for another strong share" if other else ""
    return KeptThreshold(calibration, certificate, _identity(router), why)


def keep_threshold(router: Path, kept: KeptThreshold | None, calibration: Calibration) -> tuple[Calibration, str]:
    """The threshold that is in force now, and a sentence on the one that stood there before; empty: none did.

    It is kept where the router and its gate are the same as then, unless it says why not.
    ``calibration``: the run's own.
    """
    if kept is None:
        return calibration, ""
    why = kept.replaced or ("the router is another one" if _identity(router) != kept.router else "")
    if why:
        lost = "; its guarantee holds no more: calibrate with --risk again" if kept.certificate else ""
        return calibration, f"{kept.about} is replaced, because {why}{lost}"
    found = Calibration(**kept.calibration)
    save_calibration(router, found)
    if kept.certificate:
        write_whole(router / CERTIFICATE, kept.certificate)
    return found, f"{kept.about} is kept, because the router is unchanged; replace it with `demur calibrate`"


def _identity(router: Path) -> str:
    gate = router / GATE_FILE
    parts = json.dumps(read_description(router)["sha256"], sort_keys=True).encode()
    return hashlib.sha256(parts + (gate.read_bytes() if gate.is_file() else b"")).hexdigest()
