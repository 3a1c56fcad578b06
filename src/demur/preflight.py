"""What of a run can be refused before anything is paid for: values that would only fail after the sampling.

It looks at the record alone: whether an endpoint answers is for the first request to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demur.catalogue import is_known
from demur.config import METHOD_NAMES, RunConfig
from demur.drawing import check_matplotlib
from demur.errors import InputError
from demur.local import endpoint_of, parse_model
from demur.pair import check_settings
from demur.uncertainty import DEFINITIONS


def check_run(config: RunConfig) -> None:
    """Raise InputError for a value that no later stage could use, MissingExtraError where no picture could be drawn."""
    check_matplotlib()
    check_settings(config.sampling)
    if endpoint_of(config.weak).name == endpoint_of(config.strong).name:
        raise InputError(f"weak and strong are both {config.weak.model}; a router needs two different models")
    if not 0 <= config.strong_share <= 1:
        raise InputError(f"strong_share is {config.strong_share:g}; it is a fraction, from 0 to 1")
    if not 0 <= config.test_share < 1:
        raise InputError(f"test_share is {config.test_share:g}; it is a fraction below 1: some prompts must train")
    _check_known("label.definition", config.label.definition, tuple(DEFINITIONS))
    for method in config.router.methods:
        _check_known("router.methods", method, METHOD_NAMES)
    assert config.router.served  # raises for one that is not among the methods
    check_encoder(config.router.encoder)
    check_entailment(config.label.entailment)


def check_encoder(spec: str) -> None:
    """Raise InputError for what `demur.encoding.load_encoder` would refuse."""
    if "@" not in spec and not is_known(spec):
        raise InputError(f"router.encoder is {spec!r}; use minilm, bge-small, or MODEL@BASE_URL")


def check_entailment(spec: str) -> None:
    """Raise InputError for what `demur.entailment.open_entailment` would refuse."""
    if spec.startswith("llm:"):
        parse_model(spec.removeprefix("llm:"))
    elif not (spec in ("exact", "shipped") or spec.startswith("hub:") or Path(spec).exists()):
        raise InputError(f"label.entailment is {spec!r}; use exact, shipped, a folder, hub:ORG/NAME or llm:MODEL")


def _check_known(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{where} holds {value!r}; known: {', '.join(known)}")
