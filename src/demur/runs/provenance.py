"""The provenance that a router and a report keep of their run: labels, sampling, models, cost per call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from demur.config import tier_name
from demur.meaning.rules.known_languages import AUTO
from demur.models.prices import serving_cost
from demur.prompts.pictures import has_pictures
from demur.records import Preference, Sample
from demur.runs.run import Run

AnswerTokens = Mapping[str, tuple[Sequence[int], Sequence[int]]]  # of either model, by prompt


def record_of(run: Run, preferences: Sequence[Preference]) -> dict[str, object]:
    """What a router and a report say of how they were made; of files their names alone, but for models' own."""
    config = run.config
    file = config.label.file and Path(config.label.file).name
    used = {"rows": preferences[0].kind, "used_definition": preferences[0].definition, "file": file}
    return {
        "demur": version("demur"),
        "prompts": Path(config.prompts).name,
        "labels": asdict(config.label) | used | _belief(preferences[0]),
        "held_back": len(run.held_back),
        "calls": any(prompt.request and not has_pictures(prompt) for prompt in run.train_prompts),
        "sampling": asdict(config.sampling),
        "encoder": run.encoder_name,
        "encoder_choice": run.languages.sentence if config.router.encoder == AUTO else "",
        "models": {"weak": asdict(config.weak), "strong": asdict(config.strong)}
        | ({"between": [asdict(one) for one in config.between]} if config.between else {}),
    }


def _belief(row: Preference) -> dict[str, float | None]:
    return {} if row.slope is None else {"slope": row.slope, "strong_weight": row.strong_weight}


def serving_costs(run: Run) -> dict[str, object]:
    """What a call to each model is expected to cost, from the tokens of its samples; None for an unknown price."""
    found: dict[str, object] = {}
    train = run.complete(run.train_prompts)
    roles = ("weak", *map(tier_name, run.config.between), "strong")
    for role, samples, model, of in zip(roles, run.samples.all, run.pair.all, run.config.models, strict=True):
        cost = serving_cost({prompt.text: samples[prompt.id] for prompt in train}, model.price)
        found[role] = asdict(cost.times(of.votes)) if cost else None
    return found


def answer_lengths(run: Run) -> AnswerTokens:
    """Tokens of the weak model's sampled answers to each training prompt, by its text, and of the strong one's."""
    weak, strong = run.samples.weak, run.samples.strong
    train = run.complete(run.train_prompts)
    return {prompt.text: (_tokens(weak[prompt.id]), _tokens(strong[prompt.id])) for prompt in train}


def _tokens(answers: Sequence[Sample]) -> list[int]:
    return [one.completion_tokens for one in answers]
