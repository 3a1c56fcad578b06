"""What a trained router and a report keep of the run that made them: labels, sampling, models, what calls cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from demur.config import RunConfig
from demur.models.local import endpoint_of
from demur.models.prices import serving_cost
from demur.prompts import load_prompts, split_prompts
from demur.records import Preference
from demur.sampling.pair import stored_pair
from demur.store import Store


def record_of(config: RunConfig, preferences: Sequence[Preference]) -> dict[str, object]:
    """What a router and a report say of how they were made."""
    return {
        "demur": version("demur"),
        "prompts": Path(config.prompts).name,
        "labels": asdict(config.label) | {"rows": preferences[0].kind, "used_definition": preferences[0].definition},
        "sampling": asdict(config.sampling),
        "encoder": config.router.encoder,
        "strong_share": config.strong_share,
        "models": {"weak": asdict(config.weak), "strong": asdict(config.strong)},
    }


def serving_costs(config: RunConfig, store: Store) -> dict[str, object]:
    """What a call to each model is expected to cost, from the tokens of its samples; None for an unknown price."""
    train, _ = split_prompts(load_prompts(config.prompts), config.test_share)
    samples = stored_pair(config, train, store)
    found: dict[str, object] = {}
    for role, side, model in (("weak", samples.weak, config.weak), ("strong", samples.strong, config.strong)):
        cost = serving_cost({prompt.text: side[prompt.id] for prompt in train}, endpoint_of(model).price)
        found[role] = asdict(cost) if cost else None
    return found
