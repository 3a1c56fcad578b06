"""A trained router on disk: router.json (description), weights.safetensors (arrays), training.jsonl (training prompts).

Never pickle. Reading checks format, versions and hashes before anything is used. This module handles arrays and a
description only; `demur.routing.prompt_router` builds a router from them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ArtifactError, DemurError
from demur.files import replace_whole, write_whole
from demur.measure.threshold import Calibration
from demur.methods import EVERY
from demur.records import FloatArray

FORMAT = 3  # of more than two models; a pair is written as `PAIR_FORMAT`, which earlier versions read as well
PAIR_FORMAT = 2  # 1: scores are the method's own, without a probability curve
DESCRIPTION, WEIGHTS, TRAINING = "router.json", "weights.safetensors", "training.jsonl"
UNKNOWN = "unknown.jsonl"  # the prompts that could not be labelled; routers saved before demur knew them have none
CERTIFICATE = "certificate.json"  # of the threshold in router.json; it goes with it
GATE_FILE = "policy.json"  # the gate of the router beside it


@dataclass(frozen=True, slots=True)
class Artifact:
    """A saved router as plain data."""

    description: Mapping[str, Any]  # router.json, but for the format, the version and the hashes, which writing adds
    arrays: Mapping[str, FloatArray]
    training: tuple[Mapping[str, Any], ...]  # a JSON object per training prompt
    unknown: tuple[Mapping[str, Any], ...] = ()  # and per prompt that could not be labelled


def write_artifact(folder: Path, artifact: Artifact) -> None:
    """Write a router, or leave the folder as it was, so that a full disk does not destroy an earlier router. Raises
    ArtifactError.
    """
    from safetensors.numpy import save

    saved = save({name: np.ascontiguousarray(value) for name, value in artifact.arrays.items()})
    texts = {TRAINING: _lines(artifact.training)}
    if artifact.unknown:
        texts[UNKNOWN] = _lines(artifact.unknown)
    head = {
        "demur_format": FORMAT if "tiers" in artifact.description else PAIR_FORMAT,
        "demur_version": version("demur"),
    }
    with _writing(folder), ExitStack() as parts:  # it closes backwards: the description takes its place last
        description, *others = (parts.enter_context(replace_whole(folder / name)) for name in (DESCRIPTION, *texts))
        weights = parts.enter_context(replace_whole(folder / WEIGHTS))
        weights.write_bytes(saved)
        for path, text in zip(others, texts.values(), strict=True):
            path.write_text(text, encoding="utf-8")
        hashes = {"sha256": {WEIGHTS: _sha256(weights)} | dict(zip(texts, map(_sha256, others), strict=True))}
        description.write_text(_json(head | dict(artifact.description) | hashes), encoding="utf-8")
        (folder / CERTIFICATE).unlink(missing_ok=True)  # it was of another router
        if not artifact.unknown:
            (folder / UNKNOWN).unlink(missing_ok=True)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turns an OSError of writing into an ArtifactError of one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ArtifactError(
            f"{folder}: the router cannot be written ({error.strerror}) and the earlier one is unchanged; free some "
            "disk space, or name another folder"
        ) from error


def read_artifact(folder: Path) -> Artifact:
    """Read a router's parts and check their hashes; raises ArtifactError, and KeyError for a missing hash."""
    description = read_description(folder)
    hashes = description["sha256"]
    for name in (WEIGHTS, TRAINING, *([UNKNOWN] if UNKNOWN in hashes else [])):
        if _sha256(folder / name) != hashes[name]:
            raise ArtifactError(f"{folder / name}: its content does not match its hash in router.json; train again")
    unknown = _rows(folder / UNKNOWN) if UNKNOWN in hashes else ()
    return Artifact(description, _arrays(folder / WEIGHTS), _rows(folder / TRAINING), unknown)


def rewrite_prompts(folder: Path, changed: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> None:
    """Replace the rows of a saved router's prompts, for a folder that nobody reads yet; nothing else changes.

    Raises ArtifactError.
    """
    artifact = read_artifact(folder)
    description = dict(artifact.description)
    hashes = dict(description["sha256"])
    for name, rows in ((TRAINING, artifact.training), (UNKNOWN, artifact.unknown)):
        if name in hashes:
            write_whole(folder / name, _lines(tuple(map(changed, rows))))
            hashes[name] = _sha256(folder / name)
    write_whole(folder / DESCRIPTION, _json(description | {"sha256": hashes}))


def _lines(rows: tuple[Mapping[str, Any], ...]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _rows(path: Path) -> tuple[Mapping[str, Any], ...]:
    return tuple(json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Fields that are missing or of another type, as one line: an ArtifactError."""
    try:
        yield
    except DemurError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise ArtifactError(
            f"{folder}: not a whole router ({type(error).__name__}: {str(error)[:80]}); train again"
        ) from None


def saved_calibration(artifact: Artifact, folder: Path) -> Calibration | None:
    """The threshold in force, None before `demur calibrate`. Raises ArtifactError for one that is not finite."""
    kept = artifact.description["calibration"]
    if not kept:
        return None
    threshold = float(kept["threshold"])
    if not math.isfinite(threshold):
        raise ArtifactError(f"{folder}: its threshold is {threshold}, not a number; calibrate again")
    return Calibration(**{**kept, "threshold": threshold})


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Set the threshold of a saved router and remove a certificate for another threshold; nothing else changes."""
    description = read_description(folder) | {"calibration": asdict(calibration)}
    with _writing(folder):
        (folder / CERTIFICATE).unlink(missing_ok=True)
        write_whole(folder / DESCRIPTION, _json(description))


def gate_beside(folder: Path) -> bool:
    """Whether an active gate is saved with the router of this folder."""
    try:
        return (folder / GATE_FILE).is_file() and bool(
            json.loads((folder / GATE_FILE).read_text(encoding="utf-8"))["active"]
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError):  # `demur.gate` says what is wrong with one
        return False


def weights_hash(folder: Path) -> str:
    """Content hash that identifies a saved router; raises ArtifactError."""
    return str(read_description(folder)["sha256"][WEIGHTS])


def read_description(folder: Path) -> dict[str, Any]:
    """router.json, checked for format and method; raises ArtifactError."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ArtifactError(f"{path}: no saved router here; make one with `demur train` or `demur run FILE`")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); train again") from None
    if not isinstance(found, dict) or not isinstance(found.get("demur_format"), int):
        raise ArtifactError(f"{path}: not a router of demur's; point to a folder that `demur train` made")
    if found["demur_format"] > FORMAT:
        raise ArtifactError(f"{path}: format {found['demur_format']}, this demur reads {FORMAT}; upgrade demur")
    if found.get("method") not in list(EVERY) and not found.get("classifier"):
        raise ArtifactError(f"{path}: method {found.get('method')!r} is not one of {', '.join(EVERY)}")
    return found


def _json(description: Mapping[str, Any]) -> str:
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def _arrays(path: Path) -> dict[str, FloatArray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); train again") from None
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise ArtifactError(f"{path}: {name} holds {int((~np.isfinite(value)).sum())} values that are not finite")
    return found


def _sha256(path: Path) -> str:
    if path.exists() and not path.is_file():  # a pipe or a device would be read for ever
        raise ArtifactError(f"{path}: is not a regular file; train again")
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); train again") from None
