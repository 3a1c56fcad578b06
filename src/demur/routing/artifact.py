"""A trained router on disk: router.json (what it is), weights.safetensors (arrays), training.jsonl (what taught it).

Never pickle. Loading checks format, versions, hashes and the encoder's identity before anything is used.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ArtifactError, DemurError
from demur.files import replace_whole, write_whole
from demur.measure.threshold import Calibration
from demur.methods import BY_NAME
from demur.methods.estimator import Estimator
from demur.models.encoder import encoder_identity, load_encoder, spec_of
from demur.records import Encoder, FloatArray
from demur.routing.router import Router, TrainingPrompt

FORMAT = 1
DESCRIPTION, WEIGHTS, TRAINING = "router.json", "weights.safetensors", "training.jsonl"
CERTIFICATE = "certificate.json"  # of the threshold in router.json; it goes with it


def save_router(router: Router, folder: Path) -> None:
    """Write a router, or leave the folder as it was: a full disk takes no earlier router. Raises ArtifactError."""
    from safetensors.numpy import save

    if not isinstance(router.method, Estimator):
        name = type(router.method).__name__
        raise ArtifactError(f"{name} is not one of demur.methods and cannot be saved without pickle; keep it in Python")
    arrays = {f"method.{name}": value for name, value in _learned_arrays(router.method).items()}
    if arrays.get("method.rows_") is not router.vectors:
        arrays["vectors"] = router.vectors
    arrays["training_scores"] = router.training_scores
    saved = save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
    lines = "".join(json.dumps(asdict(t), ensure_ascii=False) + "\n" for t in router.training)
    with _writing(folder), ExitStack() as parts:  # it closes backwards: the description takes its place last
        description, training, weights = (
            parts.enter_context(replace_whole(folder / name)) for name in (DESCRIPTION, TRAINING, WEIGHTS)
        )
        weights.write_bytes(saved)
        training.write_text(lines, encoding="utf-8")
        hashes = {WEIGHTS: _sha256(weights), TRAINING: _sha256(training)}
        description.write_text(_json(_description(router, hashes)), encoding="utf-8")
        (folder / CERTIFICATE).unlink(missing_ok=True)  # it was of another router


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the disk refuses, as one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise ArtifactError(
            f"{folder}: the router cannot be written ({error.strerror}), what was there stays; free some disk space, "
            "or name another folder"
        ) from error


def load_router(folder: Path, *, encoder: Encoder | None = None) -> Router:
    """Read a router and check it; raises ArtifactError for one that is corrupt, foreign, or does not fit."""
    description = read_description(folder)
    try:
        return _router(folder, description, encoder)
    except DemurError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError) as error:  # fields that are missing, or of another type
        raise ArtifactError(
            f"{folder}: not a whole router ({type(error).__name__}: {str(error)[:80]}); train again"
        ) from None


def _router(folder: Path, description: dict[str, Any], encoder: Encoder | None) -> Router:
    for name in (WEIGHTS, TRAINING):
        if _sha256(folder / name) != description["sha256"][name]:
            raise ArtifactError(f"{folder / name}: its content is not what router.json promises; train again")
    arrays = _arrays(folder / WEIGHTS)
    if description["method"] == "sw":  # by columns, as they were learned: a product takes two thirds of the time
        arrays["method.rows_"] = np.asfortranarray(arrays["method.rows_"])
    method = BY_NAME[description["method"]]().set_params(**description["params"])
    for name, value in arrays.items():
        if name.startswith("method."):
            setattr(method, name.removeprefix("method."), value)
    method.n_features_in_ = description["dimension"]
    training = [json.loads(line) for line in (folder / TRAINING).read_text(encoding="utf-8").split("\n") if line]
    vectors = arrays["vectors"] if "vectors" in arrays else arrays["method.rows_"]
    method.predict_proba(np.ones((1, vectors.shape[1]), dtype=np.float32))  # it must be able to score at all
    if not len(training) == len(vectors) == len(arrays["training_scores"]):
        raise ValueError(f"{len(training)} training prompts, {len(vectors)} vectors")
    return Router(
        encoder=_checked_encoder(description, encoder, folder),
        method=method,
        weak=str(description["weak"]),
        strong=str(description["strong"]),
        training=tuple(TrainingPrompt(**row) for row in training),
        vectors=vectors,
        training_scores=arrays["training_scores"],
        familiar_similarity=float(description["familiar_similarity"]),
        calibration=_calibration(description["calibration"], folder),
        record=dict(description["record"]),
    )


def _calibration(kept: dict[str, Any] | None, folder: Path) -> Calibration | None:
    if not kept:
        return None
    threshold = float(kept["threshold"])
    if not math.isfinite(threshold):
        raise ArtifactError(f"{folder}: its threshold is {threshold}, not a number; calibrate again")
    return Calibration(**{**kept, "threshold": threshold})


def save_calibration(folder: Path, calibration: Calibration) -> None:
    """Set the threshold of a saved router; nothing else of it changes, and a certificate of another one goes."""
    description = read_description(folder) | {"calibration": asdict(calibration)}
    with _writing(folder):
        (folder / CERTIFICATE).unlink(missing_ok=True)
        write_whole(folder / DESCRIPTION, _json(description))


def weights_hash(folder: Path) -> str:
    """What tells a saved router from others; raises ArtifactError."""
    return str(read_description(folder)["sha256"][WEIGHTS])


def read_description(folder: Path) -> dict[str, Any]:
    """router.json, checked for format and method; raises ArtifactError."""
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ArtifactError(f"{path}: no saved router here; make one with `demur train` or `demur run FILE`")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ArtifactError(f"{path}: not valid JSON ({error}); train again") from None
    if not isinstance(found, dict) or not isinstance(found.get("demur_format"), int):
        raise ArtifactError(f"{path}: not a router of demur's; point to a folder that `demur train` made")
    if found["demur_format"] > FORMAT:
        raise ArtifactError(f"{path}: format {found['demur_format']}, this demur reads {FORMAT}; upgrade demur")
    if found.get("method") not in list(BY_NAME):
        raise ArtifactError(f"{path}: method {found.get('method')!r} is none of {', '.join(BY_NAME)}")
    return found


def _description(router: Router, hashes: Mapping[str, str]) -> dict[str, Any]:
    method = next(name for name, kind in BY_NAME.items() if type(router.method) is kind)
    assert isinstance(router.method, Estimator)
    return {
        "demur_format": FORMAT,
        "demur_version": version("demur"),
        "weak": router.weak,
        "strong": router.strong,
        "method": method,
        "params": router.method.get_params(),
        "dimension": int(router.vectors.shape[1]),
        "encoder": {"spec": spec_of(router.encoder), "identity": encoder_identity(router.encoder)},
        "familiar_similarity": router.familiar_similarity,
        "calibration": asdict(router.calibration) if router.calibration else None,
        "n_train": len(router.training),
        "record": dict(router.record),
        "sha256": dict(hashes),
    }


def _json(description: Mapping[str, Any]) -> str:
    return json.dumps(description, indent=2, ensure_ascii=False) + "\n"


def _learned_arrays(method: Estimator) -> dict[str, FloatArray]:
    """The method's learned arrays: attributes whose names end in ``_``."""
    return {
        name: value
        for name, value in vars(method).items()
        if name.endswith("_") and not name.startswith("_") and isinstance(value, np.ndarray)
    }


def _arrays(path: Path) -> dict[str, FloatArray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found = dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: cannot be read ({error}); train again") from None
    for name, value in found.items():
        if not np.isfinite(value).all():
            raise ArtifactError(f"{path}: {name} holds {int((~np.isfinite(value)).sum())} values that are no number")
    return found


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({error.strerror}); train again") from None


def _checked_encoder(description: dict[str, Any], encoder: Encoder | None, folder: Path) -> Encoder:
    """The encoder that the router was trained on, by name, or the caller's own; its identity must match."""
    wanted = description["encoder"]
    if encoder is None:
        if not wanted["spec"]:
            raise ArtifactError(
                f"{folder}: trained on an encoder of your own ({wanted['identity']}); Router.load(..., encoder=)"
            )
        encoder = load_encoder(wanted["spec"])
    found = encoder_identity(encoder)
    if found != wanted["identity"]:
        raise ArtifactError(f"{folder}: trained on encoder {wanted['identity']!r}, this one is {found!r}; train again")
    return encoder
