"""The method and the encoder of a saved router, by what its folder says, or the user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from demur.errors import ArtifactError
from demur.methods.saved_method import restore_classifier, restore_method
from demur.models.allowed_endpoints import AllowedEndpoints
from demur.models.encoders.encoder import encoder_identity, load_encoder
from demur.records import Encoder, Method
from demur.routing.artifact import Artifact


def restored_method(saved: Artifact, given: object | None, folder: Path) -> Method:
    """The method by its arrays, or the user's own classifier."""
    description, arrays = saved.description, saved.arrays
    name = str(description["method"])
    if not description.get("classifier"):
        if given is not None:
            raise ArtifactError(f"{folder}: its method is demur's own {name!r}; load it without method=")
        learned = {key.removeprefix("method."): value for key, value in arrays.items() if key.startswith("method.")}
        return restore_method(name, description["params"], learned, dimension=int(description["dimension"]))
    if given is None:
        raise ArtifactError(
            f"{folder}: trained with a method of your own, {name!r} ({description['classifier']}); "
            "Router.load(..., method=)"
        )
    targets = np.array([float(row["target"]) for row in saved.training])
    return restore_classifier(given, name, arrays["embeddings"], targets, arrays["scores"])


def trained_on(
    wanted: Mapping[str, Any], encoder: Encoder | None, endpoints: AllowedEndpoints, folder: Path
) -> Encoder:
    """The encoder that the router was trained on, by name, or the caller's own; its identity must match."""
    if encoder is None:
        if not wanted["spec"]:
            raise ArtifactError(
                f"{folder}: trained on an encoder of your own ({wanted['identity']}); Router.load(..., encoder=)"
            )
        encoder = load_encoder(endpoints.spec(wanted["spec"], folder))
    found = encoder_identity(encoder)
    if found != wanted["identity"]:
        raise ArtifactError(f"{folder}: trained on encoder {wanted['identity']!r}, this one is {found!r}; train again")
    return encoder
