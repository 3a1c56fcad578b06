"""Before the first router is learned: everything goes to the strong model, and the reason says so."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import InputError
from demur.gate.router import Router
from demur.gateway.settings import GatewaySettings
from demur.measure.threshold import Calibration
from demur.records import FloatArray
from demur.routing.prompt_router import PromptRouter

NOTHING_LEARNED = "learning from traffic: no router is shown to beat random yet, so the strong model answers"


# In a learning folder, symbolic links: to the router that was promoted last, and to the one that is tried on a share.
SERVING, CANARY = "serving", "canary"
STATUS = "status.json"  # in a learning folder: how far learning is


def learning_status(settings: GatewaySettings) -> tuple[str, list[Any]]:
    """How far learning is, as its last round said: in words, and of every version (prompts, believed gain beyond random
    order, its interval, promoted). Empty where nothing is learned, or nothing said yet."""
    if settings.learn is None:
        return "", []
    try:
        found = json.loads((Path(settings.learn.folder) / STATUS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "", []
    return (str(found.get("sentence", "")), list(found.get("curve", []))) if isinstance(found, dict) else ("", [])


def router_in_force(settings: GatewaySettings) -> str | None:
    """Folder of the router that serves: the one that learning has promoted, else the settings' own.

    None where neither is there yet and the settings say that one is to be learned.
    """
    if settings.learn is None:
        return settings.router
    promoted = Path(settings.learn.folder) / SERVING
    if promoted.exists():
        return str(promoted)
    return settings.router if (Path(settings.router) / "router.json").is_file() else None


def canary_in_force(settings: GatewaySettings) -> str | None:
    """Folder of the router that a share of the conversations gets; None without one."""
    canary = Path(settings.learn.folder) / CANARY if settings.learn else None
    return str(canary) if canary and canary.exists() else None


def linked_files(settings: GatewaySettings) -> tuple[str, str, str]:
    """What is read where links lead: the settings' router, the promoted one and the canary; empty where none is named.

    A link is replaced in one step, so a router behind it is either the old one or the new one.
    """
    router = os.path.realpath(Path(settings.router) / "router.json")
    return router, _link_name(settings, SERVING), _link_name(settings, CANARY)


def version_of(settings: GatewaySettings, link: str) -> int:
    """Number of the version that a link names; 0 for none."""
    name = Path(_link_name(settings, link)).parent.name
    return int(name) if name.isdecimal() else 0


def _link_name(settings: GatewaySettings, link: str) -> str:
    try:
        return str((Path(settings.learn.folder) / link).readlink()) if settings.learn else ""
    except OSError:
        return ""


def check_learning(settings: GatewaySettings) -> None:
    """Raise InputError for settings under which nothing could be learned from the traffic."""
    learn = settings.learn
    if learn is None:
        return
    if settings.weak is None or settings.strong is None:
        raise InputError("learning needs both models: name them by --weak and --strong, or [weak] and [strong]")
    if not settings.ledger:
        raise InputError("learning reads its prompts from the ledger, and ledger is empty; name a file")
    for pattern in learn.never:
        try:
            re.compile(pattern)
        except re.error as error:
            raise InputError(f"learn: never: {pattern!r} is not a regular expression: {error}") from None


class OneVector:
    """An encoder that gives every text the same vector."""

    def encode(self, texts: Sequence[str], /) -> FloatArray:
        """(n, 1) ones."""
        return np.ones((len(texts), 1), dtype=np.float32)


class AlwaysStrong:
    """A method that says of every prompt that the strong model is needed."""

    def fit(self, X: FloatArray, y: FloatArray, sample_weight: FloatArray | None = None) -> AlwaysStrong:
        """Learns nothing."""
        return self

    def predict_proba(self, X: FloatArray) -> FloatArray:
        """(n, 2) certainty."""
        return np.tile([0.0, 1.0], (len(X), 1))


def cold_router(weak: str, strong: str) -> Router:
    """A router of these models that has learned nothing, as an ordinary one."""
    nothing = np.empty((0, 1), dtype=np.float32)
    calibration = Calibration(0.5, 1.0, 0, NOTHING_LEARNED)
    first = PromptRouter(OneVector(), AlwaysStrong(), weak, strong, (), nothing, np.empty(0), calibration=calibration)
    return Router(first, about=NOTHING_LEARNED)
