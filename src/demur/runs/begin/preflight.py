"""Checks of a run before anything is paid for: values that would otherwise fail only after sampling.

Only the record is checked; whether an endpoint answers is found out by the first request.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from demur.config import DEFINITION_NAMES, EVERY_METHOD, RunConfig
from demur.config.names import HUB, IMAGES, LLM, TEXT_SHARE
from demur.errors import InputError
from demur.meaning.rules.known_languages import AUTO
from demur.models.catalogue import is_known, model
from demur.models.encoders.encoder import LENGTH, LetterEncoder, encoder_names
from demur.models.local import parse_model
from demur.prompts import split_prompts
from demur.records import Prompt
from demur.sampling.pair import check_pair


def check_run(config: RunConfig) -> None:
    """Raise InputError for a value that no later stage could use."""
    check_pair(config)
    _check_known("label.definition", config.label.definition, DEFINITION_NAMES)
    for method in config.router.methods:
        _check_known("router.methods", method, EVERY_METHOD)
    _check_known("router.serve", config.router.served, config.router.methods)
    check_encoder(config.router.encoder)
    check_entailment(config.label.entailment)
    for judge in filter(None, (config.label.judge, config.test.judge)):
        parse_model(judge)
    if config.test.prompts and not config.label.needs("samples"):
        raise InputError(
            f"[test] prompts beside label.source {config.label.source!r}: test sets are written with the entropies of "
            "training samples, which it does not read; leave [test] out, or use another source, such as entropy"
        )
    file = config.label.file
    if file and not file.startswith(HUB) and not Path(file).exists():
        raise InputError(f"label.file is {file!r}, and there is no such file")


def check_training(prompts: Sequence[Prompt], test_share: float) -> None:
    """Raise InputError where every prompt is kept for measuring, so that none would train."""
    train, test = split_prompts(prompts, test_share)
    if not train:
        raise InputError(f"all {len(test)} prompts are kept for measuring, none trains; give more, or lower test_share")


def check_encoder(spec: str) -> None:
    """Raise InputError for what `demur.models.encoders.encoder.load_encoder` would refuse."""
    words, joins, images = spec.partition(IMAGES)
    if words.endswith(TEXT_SHARE):
        raise InputError(f"router.encoder is {spec!r}; {TEXT_SHARE} stands at the end, after {IMAGES}FILE")
    if joins and not images.removesuffix(TEXT_SHARE):
        raise InputError(f"router.encoder is {spec!r}; name the image encoder: a .onnx file, its folder, or ORG/NAME")
    name = words.removesuffix(LENGTH)
    if "@" in words and name == words:
        parse_model(words)
    elif name in (AUTO, LetterEncoder.identity):
        return
    elif not is_known(name) or model(name).task != "encoder":
        known = ", ".join((AUTO, *encoder_names()))
        raise InputError(f"router.encoder is {spec!r}; use {known}, or MODEL@BASE_URL; {IMAGES}FILE may follow")


def check_entailment(spec: str) -> None:
    """Raise InputError for what `demur.meaning.entailment.open_entailment` would refuse."""
    if spec.startswith(LLM):
        parse_model(spec.removeprefix(LLM))
    elif not (spec in ("exact", "shipped") or spec.startswith("hub:") or Path(spec).exists()):
        raise InputError(f"label.entailment is {spec!r}; use exact, shipped, a folder, hub:ORG/NAME or llm:MODEL")


def _check_known(where: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"{where} holds {value!r}; known: {', '.join(known)}")
