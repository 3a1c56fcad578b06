"""The command that starts a gateway again which learned from its traffic, by what it left: the settings in the folder
of what it learned, and how it was served last. It reads files alone.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from demur.config import ModelConfig
from demur.models.local import own_spec
from demur.serving_file import USUAL_LEARN, USUAL_ROUTER, served_before, served_last

SETTINGS = "settings.json"  # in the folder of what it learned
PAIR = " --weak MODEL@http://HOST/v1 --strong MODEL@https://HOST/v1"


def learning_again(run: Path) -> str:
    """The command where the gateway that served a run's folder last learned; empty where none did."""
    learn = served_last(run)
    return learning_command(learn) if learn and (learn / SETTINGS).is_file() else ""


def learning_command(learn: Path) -> str:
    """The command for a folder of what was learned, in the directory in which the gateway was started."""
    learn = Path(os.path.normpath(learn.absolute()))
    settings = _settings(learn)
    there = _directory(learn, settings)
    router = Path(str(settings.get("router") or USUAL_ROUTER))
    before = served_before(learn, there / router.parent)
    named = "" if router == USUAL_ROUTER or before.names_router else f" {shlex.quote(str(router))}"
    command = f"demur serve{named} --learn{'' if before.names_models else _pair(settings)}{before.options}"
    return command if there == Path.cwd() else f"cd {shlex.quote(str(there))} && {command}"


def _directory(learn: Path, settings: Mapping[str, Any]) -> Path:
    """Where the gateway was started, by what its settings call the folder of what it learned; else here."""
    found = settings.get("learn")
    folder = Path(str(found.get("folder", "")) if isinstance(found, dict) else USUAL_LEARN)
    parts = folder.parts
    named = parts and not folder.is_absolute() and learn.parts[-len(parts) :] == parts
    return Path(*learn.parts[: -len(parts)]) if named else Path.cwd()


def _pair(settings: Mapping[str, Any]) -> str:
    """The options that name both models; their places where the settings do not say them."""
    pair = {role: settings.get(role) for role in ("weak", "strong")}
    if not all(isinstance(one, dict) and one.get("model") for one in pair.values()):
        return PAIR
    return "".join(f" --{role} {shlex.quote(_spec(one))}" for role, one in pair.items() if isinstance(one, dict))


def _spec(served: Mapping[str, Any]) -> str:
    known = {one.name for one in fields(ModelConfig)}
    model = ModelConfig(**{name: value for name, value in served.items() if name in known})
    return own_spec(model.model, [model])


def _settings(learn: Path) -> Mapping[str, Any]:
    try:
        found = json.loads((learn / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
