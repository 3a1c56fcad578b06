"""What a run has cost in all, and what its limit leaves: also with settings and models that it was begun again without.

Lists in the run's folder name each model that is asked, for samples or anything else, and its settings, with its price,
before it is asked; what was paid for is read from the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from demur.config import RUN_RECORD, RunConfig, load_run
from demur.errors import DemurError
from demur.files import write_whole
from demur.models.endpoint import Endpoint
from demur.models.local import endpoint_of
from demur.models.prices import GIVEN, Price
from demur.records import SamplingSettings
from demur.sampling.budget import Budget
from demur.store import Store

SAMPLINGS = "samplings.json"  # in the run's folder
QUESTIONS = "questions.json"  # likewise: whom it asked anything beside its samples, such as a judge


@dataclass(frozen=True, slots=True)
class AskedModel:
    """A model that a run has asked under some settings, and its price then; None: unknown."""

    name: str  # what its samples are stored under
    settings: str  # their key
    max_tokens: int
    store: str  # as the run's record names it
    usd_per_input_token: float | None
    usd_per_output_token: float | None
    batch_factor: float = 1.0

    @classmethod
    def of(cls, endpoint: Endpoint, settings: SamplingSettings, store: str) -> AskedModel:
        """A model of a run."""
        price, named = endpoint.price, (endpoint.name, settings.key, settings.max_tokens, store)
        if price is None:
            return cls(*named, None, None)
        return cls(*named, price.usd_per_input_token, price.usd_per_output_token, price.batch_factor)

    @property
    def model(self) -> str:
        """Its name without its address."""
        return self.name.partition("@http")[0]

    @property
    def price(self) -> Price | None:
        """USD per token; None when unknown."""
        if self.usd_per_input_token is None or self.usd_per_output_token is None:
            return None
        tiers = {"batch": self.batch_factor}
        return Price(self.usd_per_input_token, self.usd_per_output_token, GIVEN, tiers=tiers)

    def usd_paid(self, store: Store) -> float:
        """USD that its stored samples cost, whatever their prompts; 0 for an unknown price. An answer without a token
        count is assumed to have the maximum length."""
        price, usd = self.price, 0.0
        if price is None or not price.charges:
            return usd
        for batch, (asked, answered, uncounted) in store.tokens_paid(self.name, self.settings).items():
            found = price.usd(asked, answered + uncounted * self.max_tokens)
            usd += (price.batch_factor if batch else 1.0) * found
        return usd


def run_budget(config: RunConfig, endpoints: Sequence[Endpoint], store: Store, raised: str = "raise max_usd") -> Budget:
    """What a run may spend and what it has cost in all, of the models whose price is known; ``raised``: how its limit
    is raised. Without a limit nothing is added up.
    """
    if config.max_usd is None:
        return Budget()
    paid = partial(spent_on_run, config, endpoints, store)
    return Budget(config.max_usd, spent=paid(), known_part=True, by_all=paid, raised=raised)


def spent_on_run(config: RunConfig, endpoints: Iterable[Endpoint], store: Store) -> float:
    """USD that a run cost, by the models and settings of now and of before, with what it asked beside its samples; 0
    for an unknown price."""
    found = {(one.name, one.settings): one for one in asked_models(config)}
    for one in endpoints:
        asked = AskedModel.of(one, config.sampling, config.store)
        if asked.price is not None:
            found[asked.name, asked.settings] = asked
    return sum(one.usd_paid(store) for one in found.values()) + paid_for_questions(config, store)


def keep_asked(config: RunConfig) -> None:
    """Add a run's models under its settings to the list in its folder, before they are asked."""
    there = {(one.name, one.settings, one.store): one for one in _listed_models(config)}
    for one in (AskedModel.of(endpoint_of(model), config.sampling, config.store) for model in config.models):
        there.pop((one.name, one.settings, one.store), None)  # the last asked stands at the end
        there[one.name, one.settings, one.store] = one
    config.folder.mkdir(parents=True, exist_ok=True)
    write_whole(config.folder / SAMPLINGS, json.dumps([asdict(one) for one in there.values()], indent=1) + "\n")


def keep_questioned(config: RunConfig, endpoint: Endpoint, settings: SamplingSettings) -> None:
    """Add a model that is asked anything beside a run's samples to the list in its folder, before it is asked."""
    fresh = AskedModel.of(endpoint, settings, config.store)
    key = fresh.name, fresh.settings, fresh.store
    rows = [one for one in _listed_questions(config) if (one.name, one.settings, one.store) != key]
    config.folder.mkdir(parents=True, exist_ok=True)
    write_whole(config.folder / QUESTIONS, json.dumps([asdict(one) for one in (*rows, fresh)], indent=1) + "\n")


def paid_for_questions(config: RunConfig, store: Store) -> float:
    """USD that a run's questions beside its samples cost, to judges, entailment models and its own models, also where
    no reply was of use; 0 for an unknown price."""
    return sum(one.usd_paid(store) for one in _asked_beside(config))


def uncounted_models(config: RunConfig, store: Store) -> tuple[str, ...]:
    """Names of models that have replied to a run's questions beside its samples, and whose price is unknown."""
    unpriced = [one for one in _asked_beside(config) if one.price is None and store.has_samples(one.name, one.settings)]
    return tuple(dict.fromkeys(one.model for one in unpriced))


def _asked_beside(config: RunConfig) -> list[AskedModel]:
    """Who was asked beside the samples, through the run's store: whoever was sampled so counts there."""
    sampled = {(one.name, one.settings) for one in asked_models(config)}
    asked = [one for one in _listed_questions(config) if one.store == config.store]
    return [one for one in asked if (one.name, one.settings) not in sampled]


def _listed_questions(config: RunConfig) -> list[AskedModel]:
    return [one for one in map(_read, _rows(config, QUESTIONS)) if one is not None]


def asked_models(config: RunConfig) -> list[AskedModel]:
    """What a run has asked through its store, the last at the end: the list in its folder, and the folder's record,
    which may be of other settings than ``config``."""
    return [one for one in _listed_models(config) if one.store == config.store]


def _listed_models(config: RunConfig) -> list[AskedModel]:
    found = [one for one in map(_read, _rows(config)) if one is not None]
    listed = {(one.name, one.settings) for one in found}
    return found + [one for one in _of_record(config) if (one.name, one.settings) not in listed]


def _rows(config: RunConfig, name: str = SAMPLINGS) -> list[Any]:
    try:
        rows = json.loads((config.folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return rows if isinstance(rows, list) else []


def _read(row: Mapping[str, Any]) -> AskedModel | None:
    try:
        return AskedModel(**row)
    except TypeError:
        return None


def _of_record(config: RunConfig) -> Iterator[AskedModel]:
    """The models of the record in the folder: a run that an earlier version began has no list."""
    if (config.folder / RUN_RECORD).is_file():
        with suppress(DemurError):
            there = load_run(config.run)
            yield from [AskedModel.of(endpoint_of(one), there.sampling, there.store) for one in there.models]
